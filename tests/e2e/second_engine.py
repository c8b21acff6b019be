"""A second container engine on this machine: its own data, socket and containerd. It may be killed and filled."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from .world import Outcome, docker, must, run

DOCKERD = shutil.which("dockerd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def available() -> str:
    """Return why no second engine can be started here, or nothing."""
    if DOCKERD is None:
        return "dockerd is not installed"
    return "" if os.getuid() == 0 else "only root can start a second container engine"


@dataclass
class Engine:
    """One dockerd. `root` must have a short name: the paths of sockets are limited."""

    root: Path
    data: Path
    options: Sequence[str] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def host(self) -> str:
        """What DOCKER_HOST has to be."""
        return f"unix://{self.root}/docker.sock"

    @property
    def log(self) -> Path:
        return self.root / "dockerd.log"

    def docker(self, *words: str | Path) -> Outcome:
        environment = {**os.environ, "DOCKER_HOST": self.host, "DOCKER_BUILDKIT": "0"}
        return run(["docker", *words], env=environment)

    def start(self) -> None:
        assert DOCKERD is not None and self.process is None
        # The namespaces keep it apart where dockerd uses a containerd of the system instead of starting one.
        # A network of its own, where it needs none of ours: an engine without a bridge removes the first one's.
        apart = [] if any(option.startswith("--bridge=") for option in self.options) else ["unshare", "--net"]
        words = [
            *apart, DOCKERD, "--config-file", str(self.root / "daemon.json"), "--data-root", str(self.data),
            "--exec-root", str(self.root / "exec"), "--pidfile", str(self.root / "dockerd.pid"),
            "--host", self.host, "--containerd-namespace", "sconectl-test",
            "--containerd-plugins-namespace", "sconectl-test-plugins", "--iptables=false", "--ip6tables=false",
            "--ip-masq=false", "--ip-forward=false", *self.options,
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "PATH": _PATH}
            )
        deadline = time.monotonic() + 180
        while self.docker("version").code != 0:
            ended = self.process.poll() is not None
            assert not ended and time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.1)

    def kill(self) -> None:
        """End the engine as a power cut does: nothing is tidied up."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        for process in self.processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        for place in sorted(_mounted_below(self.root) - {str(self.data)}, reverse=True):
            must(run(["umount", "-l", place]))
        shutil.rmtree(self.root / "exec", ignore_errors=True)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(30)
        self.kill()

    def processes(self) -> dict[int, str]:
        """Return the command lines of what the engine started: containerd, its helpers, and containers."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
                inside = (folder / "ns" / "mnt").readlink() != Path("/proc/self/ns/mnt").readlink()
                helper = str(self.root / "exec") in words
                # While a container of the first engine is made, it has this engine's mounts where the host has them.
                mounts = [line for line in (folder / "mountinfo").read_text().splitlines() if str(self.root) in line]
                if helper or (inside and any(not line.split()[4].startswith(str(self.root)) for line in mounts)):
                    found[int(folder.name)] = words
        return found

    def take(self, *images: str) -> None:
        """Copy images from the first engine."""
        with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as saving:
            words = ["docker", "--host", self.host, "load"]
            assert subprocess.run(words, stdin=saving.stdout, stdout=subprocess.DEVNULL, check=False).returncode == 0

    def state(self) -> tuple[list[str], list[str]]:
        """Return all images (also those without a name) and all containers."""
        images = must(self.docker("images", "--all", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")).out
        containers = must(self.docker("ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Image}}")).out
        return sorted(images.splitlines()), sorted(containers.splitlines())


@contextmanager
def second_engine(root: Path, *, network: bool = False, size: str = "", features: str = "") -> Iterator[Engine]:
    """Run another engine with the folder `root`, which must not exist.

    `network` gives containers a way out, `size` (like `500m`) limits its data, `features` are those of daemon.json.
    """
    root.mkdir(parents=True)
    data = root / "data"
    data.mkdir()
    (root / "daemon.json").write_text(json.dumps({"features": dict.fromkeys(features.split(), True)}))
    if size:
        must(run(["mount", "-t", "tmpfs", "-o", f"size={size}", "sconectl-test", data]))
    engine = Engine(root, data, _bridge(root.name) if network else [])
    try:
        engine.start()
        yield engine
    finally:
        engine.stop()
        if network:
            docker("network", "rm", root.name)
        while str(data) in _mounted_below(root):  # its own mount, and one that dockerd makes
            must(run(["umount", "-l", data]))
        shutil.rmtree(root)


def _bridge(name: str) -> list[str]:
    """Return options for using a network that the first engine keeps, with its way out.

    Not the first engine's own bridge: another engine that uses it gives it another address.
    """
    must(docker("network", "create", "--opt", f"com.docker.network.bridge.name={name[-15:]}", name))
    return [f"--bridge={name[-15:]}"]


def _mounted_below(root: Path) -> set[str]:
    places = (line.split()[1] for line in Path("/proc/mounts").read_text().splitlines())
    return {place for place in places if place.startswith(f"{root}/")}
