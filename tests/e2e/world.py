"""One workspace with its own CAS, keys and target directory, driven through the installed command."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import select
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, cast

from docker import APIClient
from docker.errors import NotFound
from docker.utils import kwargs_from_env

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = REPOSITORY / "examples" / "hello-user"
SCONECTL = Path(sys.executable).with_name("sconectl")
CONFIG_ID = "hello-user/pythonservice/python3"
GREETING = "Hello, 'myself' - thanks for passing along the API_PASSWORD"
CHECKSUM = "The checksum of the original API_PASSWORD is '"
KEPT = f"sconectl-test-kept-{os.getpid()}"
"""Where the names are of images that keep their layers in the engine until all tests of this process are done."""
_ASKING = threading.Lock()


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


def run(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
) -> Outcome:
    words = [str(word) for word in command]
    done = subprocess.run(
        words, capture_output=True, text=True, env=env, cwd=cwd, input=stdin, check=False, timeout=540
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def docker(*words: str | Path) -> Outcome:
    return run(["docker", *words], env={**os.environ, "DOCKER_BUILDKIT": "0"})


def logs(container: str) -> str:
    """Return stdout and stderr of a container in the order in which they were written."""
    return run(["sh", "-c", 'docker logs "$1" 2>&1', "sh", container]).out


def log_until(container: str, awaited: str, enough: Callable[[str], bool], *, seconds: float = 120) -> str:
    """Follow a container's log until it is `enough`; return it. `awaited` says what that is."""
    deadline = time.monotonic() + seconds
    while True:
        log = _followed(container, enough, deadline)
        if enough(log):
            return log
        assert is_running(container) and time.monotonic() < deadline, f"{awaited!r} did not appear in:\n{log}"
        time.sleep(0.1)


def _followed(container: str, enough: Callable[[str], bool], deadline: float) -> str:
    """Return the log when it is enough, the container has ended, or it is too late."""
    words = ["docker", "logs", "-f", container]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as following:
        assert following.stdout is not None
        log = b""
        try:
            while select.select([following.stdout], [], [], max(deadline - time.monotonic(), 0))[0]:
                more = os.read(following.stdout.fileno(), 1 << 16)
                log += more
                if not more or enough(log.decode("utf-8", "replace")):
                    break
        finally:
            following.kill()
    return log.decode("utf-8", "replace")


def must(outcome: Outcome) -> Outcome:
    assert outcome.code == 0, outcome.text
    return outcome


def gateway() -> str:
    """Return the host's address as containers see it."""
    [network] = json.loads(must(docker("network", "inspect", "bridge")).out)
    config = network["IPAM"]["Config"][0]
    return str(config.get("Gateway") or next(ipaddress.ip_network(config["Subnet"]).hosts()))


def free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


@dataclass
class World:
    """A user's machine as far as sconectl sees it: data directory, identity, CAS, target."""

    root: Path
    base_image: str
    ca_bundle: str
    name: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    address: str = ""
    containers: list[str] = field(default_factory=list)
    cache: Path | None = None
    """Shared with other worlds; a folder of its own without one."""

    @property
    def target(self) -> Path:
        return self.root / "target"

    @property
    def cas_directory(self) -> Path:
        return self.root / "data" / "sconectl" / "cas"

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SCONE")}
        places = {"DATA": self.root / "data", "CACHE": self.cache or self.root / "cache"}
        return {**kept, **{f"XDG_{name}_HOME": str(path) for name, path in places.items()}, "HOME": str(self.root)}

    def image(self, name: str = "hello") -> str:
        return f"sconectl-test/{self.name}-{name}:1"

    def prefix(self, example: str) -> str:
        """What the images of an example are called, in the place of `sconectl-demo`."""
        return f"sconectl-test/{self.name}-{example}"

    def sconectl(self, *words: str | Path, cwd: Path | None = None, **variables: str) -> Outcome:
        return run([SCONECTL, *words], env={**self.environment, **variables}, cwd=cwd or self.root)

    def start_cas(self) -> None:
        host = gateway()
        self.address = f"{host}:{free_port(host)}"
        must(self.sconectl("cas", "serve", "--dir", self.cas_directory, "--listen", self.address, "--detach"))

    def stop_cas(self) -> None:
        self.sconectl("cas", "stop", "--dir", self.cas_directory)

    def configure(self) -> None:
        """Write the project configuration that this machine needs."""
        self.root.mkdir(parents=True, exist_ok=True)
        text = f'[base_images]\npython = "{self.base_image}"\ndebian = "{self.base_image}"\n'
        if self.ca_bundle:
            text += f'[build]\nca_bundle = "{self.ca_bundle}"\n'
        (self.root / "sconectl.toml").write_text(text)

    def hello(self, folder: str = "hello") -> Path:
        """Copy the example into the workspace, with an image name of its own."""
        project = self.root / folder
        shutil.copytree(EXAMPLE, project, dirs_exist_ok=True)
        for file in ("service.yaml", "mesh.yaml"):
            text = (project / file).read_text()
            (project / file).write_text(text.replace("sconectl-demo/python_hello_user:1", self.image()))
        return project

    def apply_service(self, file: Path, *words: str) -> Outcome:
        return self.sconectl("apply", "-f", file, "-n", "--cas", self.address or "local", *words)

    def apply_mesh(self, file: Path, *words: str) -> Outcome:
        cas = f"CAS_URL={self.address or 'local'}"
        return self.sconectl("apply", "-f", file, "--release", "hello", "--set", cas, *words)

    def start(
        self, image: str, *arguments: str, config_id: str = CONFIG_ID, options: Sequence[str] = (), **variables: str
    ) -> str:
        """Start a container the way an operator does and return its name."""
        name = self.create(image, *arguments, config_id=config_id, options=options, **variables)
        must(docker("start", name))
        return name

    def create(
        self, image: str, *arguments: str, config_id: str = CONFIG_ID, options: Sequence[str] = (), **variables: str
    ) -> str:
        """Prepare a container, but do not start it yet."""
        name = f"sconectl-test-{uuid.uuid4().hex[:10]}"
        settings = {"SCONE_CONFIG_ID": config_id, "SCONE_CAS_ADDR": self.address, **variables}
        words = [word for key, value in settings.items() if value for word in ("-e", f"{key}={value}")]
        self.containers.append(name)
        must(docker("create", "--name", name, *words, *options, image, *arguments))
        return name

    def log_with(self, container: str, awaited: str, *, seconds: float = 120) -> str:
        """Wait until `awaited` is in the container's log; return the log."""
        return log_until(container, awaited, lambda log: awaited in log, seconds=seconds)

    def finish(self, container: str, *, seconds: float = 90) -> tuple[int, str]:
        """Wait for the container to end; return exit code and log."""
        done = run(["timeout", str(seconds), "docker", "wait", container])
        log = logs(container)
        assert done.code == 0, f"the container did not end:\n{log}"
        return int(done.out), log

    def remove_containers(self) -> None:
        for name in self.containers:
            docker("rm", "-f", "-v", name)
        self.containers.clear()

    def close(self) -> None:
        self.remove_containers()
        if self.address:
            self.stop_cas()
        for image in must(docker("images", "--format", "{{.Repository}}:{{.Tag}}")).out.split():
            if f"/{self.name}-" in image:
                keep_layers(image, re.split("[/-]", image.rpartition(":")[0])[-1])
                docker("rmi", "-f", image)


def keep_layers(image: str, service: str) -> None:
    """Keep the layers of an image in the engine: those of the same service in the next test are mostly the same."""
    if docker("image", "inspect", f"{KEPT}/{service}").code != 0:
        docker("tag", image, f"{KEPT}/{service}")


@contextmanager
def running_world(root: Path, base_image: str, ca_bundle: str, cache: Path) -> Iterator[World]:
    """Provide a configured machine with a running CAS, and take away what was made on it."""
    world = World(root, base_image, ca_bundle, cache=cache)
    world.configure()
    try:
        world.start_cas()
        yield world
    finally:
        world.close()


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return content and modification time of every file below `folder`."""
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def saved_bytes(image: str, folder: Path) -> bytes:
    """Return everything that `docker save` gives out, every layer unpacked."""
    import gzip
    import tarfile

    archive = folder / "saved.tar"
    must(docker("save", "-o", str(archive), image))
    content = b""
    with tarfile.open(archive) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isfile() else None
            data = file.read() if file else b""
            content += gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    archive.unlink()
    return content


def stored_rows(directory: Path) -> list[str]:
    """Return everything that the store of an embedded CAS holds, as SQL."""
    rows: list[str] = []
    for file in sorted(directory.rglob("*.db")) + sorted(directory.rglob("*.sqlite*")):
        if file.suffix in (".db", ".sqlite", ".sqlite3"):
            with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
                rows += database.iterdump()
    assert rows
    return rows


@cache
def _engine() -> APIClient:
    return APIClient(version="auto", **kwargs_from_env())


def inspected(name: str) -> dict[str, Any]:
    """Return what the engine says about a container, else about an image; this costs less than a command."""
    with _ASKING:
        try:
            found = _engine().inspect_container(name)
        except NotFound:
            found = _engine().inspect_image(name)  # type: ignore[no-untyped-call]
        return cast(dict[str, Any], found)


def is_running(container: str) -> bool:
    return bool(inspected(container)["State"]["Running"])


def remove_kept() -> None:
    """Remove the images whose layers were kept."""
    for image in must(docker("images", "--format", "{{.Repository}}:{{.Tag}}", f"{KEPT}/*")).out.split():
        docker("rmi", "-f", image)
