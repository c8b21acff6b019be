"""The CAS under attack: the installed command, started with its defaults, and what it takes of memory and disk.

In: a directory. Out: a running server, and the largest amounts that were seen.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

SCONECTL = Path(sys.executable).with_name("sconectl")
EVERY = 0.25
_PEAK = re.compile(r"VmHWM:\s+(\d+) kB")
_NOW = re.compile(r"VmRSS:\s+(\d+) kB")


@dataclass
class WatchedCas:
    """A CAS in `root`, with everything that it writes below `root`."""

    root: Path
    address: tuple[str, int] = ("", 0)
    pid: int = 0
    peak_kb: int = 0
    processes: int = 0
    disk: int = 0
    log: int = 0
    before: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)
    _watcher: threading.Thread | None = None

    def run(self, *arguments: object, code: int | None = 0) -> str:
        """Run `sconectl` and return what it printed."""
        command = [str(SCONECTL), *(str(argument) for argument in arguments)]
        own = {"HOME": str(self.root), "XDG_STATE_HOME": str(self.root / "state"), "XDG_DATA_HOME": ""}
        done = subprocess.run(
            command, capture_output=True, text=True, env=os.environ | own, timeout=120, check=False, cwd=self.root
        )
        if code is not None and done.returncode != code:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def start(self) -> None:
        output = self.run("cas", "serve", "--detach", "--dir", self.root / "cas", "--listen", "127.0.0.1:0")
        host, _, port = output.strip().rpartition(":")
        self.address = (host, int(port))
        self.pid = self.process()

    def process(self) -> int:
        """Return the number of the running process, or 0."""
        found = re.search(r"process (\d+)", self.run("cas", "status", "--dir", self.root / "cas", code=None))
        return int(found[1]) if found else 0

    def watch(self) -> None:
        """Measure from now on."""
        self.before = self.disk = self._written()
        self._watcher = threading.Thread(target=self._watching, daemon=True)
        self._watcher.start()

    def unwatch(self) -> None:
        self._ended.set()
        if self._watcher is not None:
            self._watcher.join()

    @property
    def peak(self) -> float:
        """MB of memory: the sum of the largest sizes of the server and its children, at the worst moment."""
        return self.peak_kb / 1000

    @property
    def grown(self) -> float:
        """MB more on disk, at the worst moment."""
        return (self.disk - self.before) / 1e6

    def _watching(self) -> None:
        while not self._ended.wait(EVERY):
            found = [kb for kb in (_memory(pid) for pid in _tree(self.pid)) if kb]
            self.peak_kb = max(self.peak_kb, sum(found))
            self.processes = max(self.processes, len(found))
            self.disk = max(self.disk, self._written())
            self.log = max(self.log, self._size(self.root / "cas" / "server.log"))

    def _written(self) -> int:
        return sum(self._size(file) for file in self.root.rglob("*"))

    @staticmethod
    def _size(file: Path) -> int:
        with contextlib.suppress(OSError):
            found = file.lstat()
            return found.st_blocks * 512
        return 0


def _tree(pid: int) -> list[int]:
    found = [pid]
    for known in found:
        with contextlib.suppress(OSError):
            for children in Path(f"/proc/{known}/task").glob("*/children"):
                found += [int(child) for child in children.read_text().split()]
    return found


def _memory(pid: int) -> int:
    with contextlib.suppress(OSError):
        found = _PEAK.search(Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) if found else 0
    return 0
