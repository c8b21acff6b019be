"""A machine of its own for bad input: an engine that may be broken, a workspace, and a look at what is left behind."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from .second_engine import Engine, available, second_engine
from .world import Outcome, World, must, snapshot


def tiny_program() -> bytes:
    """Return the smallest static x86-64 program: it does nothing, successfully."""
    code = b"\x31\xff\x6a\x3c\x58\x0f\x05"  # exit(0)
    start, size = 0x400000, 64 + 56 + len(code)
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = ident + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, start + 120, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, start, start, size, size, 4096) + code


def member(name: str | bytes, content: bytes | None = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes | None]:
    """Return a member of a tar; one without content and type is a directory."""
    text = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
    info = tarfile.TarInfo(text)
    info.mode = 0o755
    if content is None:
        info.type = tarfile.DIRTYPE
    else:
        info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content if info.isreg() else None


FILE_SIZE = int(os.environ.get("SCONECTL_TEST_FILE_SIZE", 200_000_001))
"""Of the one large file; `make nightly` takes more than 4 GiB."""
PROGRAM = member("app/program", tiny_program())


@dataclass
class Bench:
    """One engine, one workspace, one empty directory for temporary files."""

    engine: Engine
    world: World
    temporary: Path
    made: list[str] = field(default_factory=list)

    def sconectl(self, *words: str | Path, **variables: str) -> Outcome:
        return self.world.sconectl(*words, cwd=None, **{**self.settings, **variables})

    @property
    def settings(self) -> dict[str, str]:
        """The variables that bind sconectl to this machine."""
        return {"DOCKER_HOST": self.engine.host, "TMPDIR": str(self.temporary), "DOCKER_BUILDKIT": "0"}

    def apply(self, file: Path, *words: str, **variables: str) -> Outcome:
        return self.sconectl("apply", "-f", file, "--cas", "local", *words, **variables)

    def image(
        self, name: str, members: Iterable[tuple[tarfile.TarInfo, bytes | None]], *changes: str, options: str = ""
    ) -> str:
        """Make a native image of these files. `changes` are lines of a Dockerfile."""
        archive = self.world.root / "image.tar"
        with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
            for info, content in members:
                tar.addfile(info, io.BytesIO(content) if content is not None else None)
        words = [word for change in changes for word in ("--change", change)]
        must(self.engine.docker("import", *options.split(), *words, archive, f"bad/{name}:1"))
        archive.unlink()
        self.made.append(f"bad/{name}:1")
        return f"bad/{name}:1"

    def convert(self, source: str, **build: Any) -> Path:
        """Write the manifest that converts an existing image."""
        return self.manifest(**{"kind": "sconify_image", "from": source, "command": "/app/program", **build})

    def manifest(self, folder: str = "", **build: Any) -> Path:
        full = {"name": "bad", "kind": "python", "to": self.target, "command": "python3 /app/main.py", **build}
        file = self.world.root / folder / "service.yaml"
        file.parent.mkdir(exist_ok=True)
        document = {"apiVersion": "scone/5.8", "kind": "genservice", "build": full, "environment": {}}
        file.write_text(json.dumps(document))
        return file

    @property
    def target(self) -> str:
        return f"sconectl-test/{self.world.name}-bad:1"

    def images(self) -> Mapping[str, str]:
        """Return all images of the engine by name; those without a name, and parts of others, too."""
        return dict(line.rsplit(" ", 1) for line in self.engine.state()[0])

    @contextmanager
    def nothing_left(self) -> Iterator[None]:
        """Check that the engine has the same images and containers after it, and that no file is left."""
        before = self.engine.state(), snapshot(self.world.target)
        yield
        assert (self.engine.state(), snapshot(self.world.target)) == before
        assert [path.name for path in self.temporary.rglob("*")] == []

    def clean(self) -> None:
        """Remove what a test made."""
        for container in must(self.engine.docker("ps", "--all", "--quiet")).out.split():
            self.engine.docker("rm", "--force", container)
        self.engine.docker("rmi", "--force", self.target, "sconectl-native/bad", *self.made)
        shutil.rmtree(self.world.target, ignore_errors=True)
        self.made.clear()


def refused(outcome: Outcome, code: int, *texts: str) -> str:
    """Check that a command failed with one clear message, and return what it said."""
    assert outcome.code == code, outcome.text
    assert "Traceback" not in outcome.text
    assert outcome.err.count("error: ") + outcome.err.count(" error SC") >= 1, outcome.err
    for text in texts:
        assert text in outcome.err, outcome.err
    return outcome.err


def bench_of(engine: Engine, world: World) -> Bench:
    """Return a workspace that uses an engine."""
    world.configure()
    temporary = world.root / "tmp"
    temporary.mkdir()
    return Bench(engine, world, temporary)


@pytest.fixture(scope="session")
def bench_machine(
    tmp_path_factory: pytest.TempPathFactory, base_image: str, ca_bundle: str, cache: Path, launcher: str
) -> Iterator[Bench]:
    if reason := available():
        pytest.skip(reason)
    world = World(tmp_path_factory.mktemp("bench"), base_image, ca_bundle, cache=cache)
    in_memory = "3g" if FILE_SIZE < 1 << 30 else ""
    with second_engine(Path(f"/tmp/sconectl-{world.name}"), network=True, size=in_memory) as engine:
        engine.take(base_image, launcher)
        yield bench_of(engine, world)


@pytest.fixture
def bench(bench_machine: Bench) -> Iterator[Bench]:
    """The machine for bad input, as clean as at first."""
    yield bench_machine
    bench_machine.clean()
