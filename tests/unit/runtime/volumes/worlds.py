"""A supervised program, with its volumes in memory and what is kept of them; and a program that keeps a ledger."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from sconectl.runtime import start
from sconectl.runtime.volumes.interfaces import Mount, Volume
from sconectl.runtime.volumes.supervisor import supervise
from sconectl.runtime.volumes.watch import Watcher

from ..configurations import configuration
from ..forked import exit_code, fork
from .mirror import Ledger, Mirror


@dataclass
class World:
    """Where a program runs: its volumes in memory, and what is kept of them."""

    folder: Path
    names: tuple[str, ...] = ("V1",)
    tags: bool = True
    bound: float | None = None
    setup: Callable[[Mirror, Ledger], object] = lambda _volume, _tags: None
    children: list[int] = field(default_factory=list)

    def live(self, name: str = "V1") -> Path:
        return self.folder / "live" / name

    def kept(self, name: str = "V1") -> Path:
        return self.folder / "kept" / name

    @property
    def out(self) -> str:
        path = self.folder / "out"
        return path.read_text() if path.exists() else ""

    @property
    def notes(self) -> list[str]:
        return (self.folder / "notes").read_text().splitlines()

    def prepare(self, name: str) -> None:
        """Make the directories of a volume."""
        self.live(name).mkdir(parents=True, exist_ok=True)
        self.kept(name).mkdir(parents=True, exist_ok=True)

    def open(self, name: str, watcher: Watcher, tags: Ledger) -> Volume:
        """Open a volume, in the supervisor."""
        volume = Mirror(self.live(name), self.kept(name), watcher, name)
        self.setup(volume, tags)
        return volume

    def begin(self, code: str) -> int:
        """Start a Python program, in the directory of the first volume."""
        for name in self.names:
            self.prepare(name)
        words = ("python", "-I", "-c", textwrap.dedent(code))
        config = configuration(argv=words, environment={"PATH": "/usr/bin:/bin"}, pwd=str(self.live(self.names[0])))

        def launch() -> NoReturn:
            mounts = []
            for name in self.names:
                watcher, tags = Watcher(str(self.live(name))), Ledger(self.folder / "notes")
                mounts.append(Mount(self.open(name, watcher, tags), watcher, tags if self.tags else None, self.bound))
            start.start(config, sys.executable, None, lambda program, health: supervise(mounts, program, health))

        (self.folder / "notes").touch()
        self.children.append(fork(launch, self.folder / "out"))
        return self.children[-1]

    def run(self, code: str) -> int:
        """Run a Python program to its end; return the exit status of its supervisor."""
        found = exit_code(self.begin(code))
        self.children.pop()
        return found

    def wait_for(self, text: str, seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.out:
            assert time.monotonic() < deadline, self.out
            time.sleep(0.005)


SQLITE = """
    import os, sqlite3, sys
    database = sqlite3.connect('ledger.db', isolation_level=None)
    database.execute('pragma journal_mode={mode}')
    database.execute('pragma synchronous=full')
    database.execute('create table if not exists t (n integer primary key, text)')
    notes = os.open('../../acknowledged', os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for number in range(100000):
        database.execute('insert into t values (?, ?)', (number, 'x' * (number % 3000)))
        os.write(notes, b'%d\\n' % number)
"""
