"""The wheel cache: made once for each base image, checked at each use, nothing of it left in the engine."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from sconectl.apply.sources.requirements import Requirements
from sconectl.apply.sources.wheels import obtain_wheels
from sconectl.errors import BuildFailed
from sconectl.image.build.native_build import BuildEnvironment, Wheel
from sconectl.ports import ImageInfo, Progress

BASE = ImageInfo("sha256:1", "amd64", {})
ASKED = Requirements("r.txt", {"r.txt": b"demo\n", "sub/c.txt": b"x\n"})
DEMO = "demo-1.0-py3-none-any.whl"


class Engine:
    """An engine whose builds leave these files in the directory of wheels."""

    def __init__(self) -> None:
        self.wheels = {DEMO: b"demo", "my_lib-2.0+local-cp311-cp311-manylinux_2_17_x86_64.whl": b"lib"}
        self.images: list[str] = []
        self.removed: list[str] = []
        self.contexts: list[bytes] = []
        self.failure: BuildFailed | None = None

    def build(self, context: BinaryIO, base: ImageInfo, progress: Progress, *, name: str = "") -> str:
        assert not name
        self.contexts.append(context.read())
        if self.failure:
            raise self.failure
        self.images.append(f"sha256:made-{len(self.images)}")
        return self.images[-1]

    @contextmanager
    def read_directory(self, image: str, path: str) -> Iterator[BinaryIO]:
        assert (image, path) == (self.images[-1], "/.sconectl/wheels")
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name, content in {"": None, **self.wheels}.items():
                member = tarfile.TarInfo(f"wheels/{name}")
                member.type, member.size = (tarfile.DIRTYPE, 0) if content is None else (tarfile.REGTYPE, len(content))
                tar.addfile(member, io.BytesIO(content or b""))
        buffer.seek(0)
        yield buffer

    def remove(self, image: str) -> None:
        self.removed.append(image)


@pytest.fixture
def engine() -> Engine:
    return Engine()


def obtain(engine: Engine, folder: Path, asked: Requirements = ASKED, info: ImageInfo = BASE) -> tuple[Wheel, ...]:
    return obtain_wheels(engine, info, asked, BuildEnvironment(), folder, lambda _text: None)  # type: ignore[arg-type]


def test_they_are_made_once(engine: Engine, tmp_path: Path) -> None:
    first = obtain(engine, tmp_path / "wheels")
    assert [wheel.file.name for wheel in first] == sorted(engine.wheels)
    assert [wheel.file.read_bytes() for wheel in first] == [b"demo", b"lib"]
    assert first[0].requirement.startswith("demo==1.0 --hash=sha256:2a97516c354b")
    assert first[1].requirement.startswith("my_lib==2.0+local --hash=sha256:")
    assert obtain(engine, tmp_path / "wheels") == first
    assert len(engine.contexts) == 1
    assert engine.removed == engine.images


def test_the_context_has_the_files_and_runs_pip_once(engine: Engine, tmp_path: Path) -> None:
    obtain(engine, tmp_path)
    with tarfile.open(fileobj=io.BytesIO(engine.contexts[0])) as tar:
        dockerfile, files = (tar.extractfile(name) for name in ("Dockerfile", "files.tar"))
        assert dockerfile and files
        (step,) = [line for line in dockerfile.read().decode().splitlines() if line.startswith("RUN")]
        with tarfile.open(fileobj=files) as inner:
            names = inner.getnames()
    assert json.loads(step.removeprefix("RUN "))[:7] == ["python3", "-I", "-B", "-m", "pip", "wheel", "--wheel-dir"]
    assert {".sconectl/requirements/r.txt", ".sconectl/requirements/sub/c.txt", ".sconectl/wheels"} <= set(names)


@pytest.mark.parametrize(
    ("asked", "info"),
    [
        (Requirements("r.txt", {**ASKED.files, "r.txt": b"demo \n"}), BASE),
        (Requirements("r.txt", {"r.txt": b"demo\n"}), BASE),
        (ASKED, ImageInfo("sha256:3", "amd64", {})),
    ],
)
def test_others_have_their_own(engine: Engine, tmp_path: Path, asked: Requirements, info: ImageInfo) -> None:
    obtain(engine, tmp_path)
    obtain(engine, tmp_path, asked, info)
    assert len(engine.contexts) == 2


@pytest.mark.parametrize("garbage", [b"", b"{}x", b"[]", b'{"../x": "1"}', b'{"a": 1}', b'"x"'])
def test_a_list_that_makes_no_sense_is_made_again(engine: Engine, tmp_path: Path, garbage: bytes) -> None:
    first = obtain(engine, tmp_path)
    (list_file,) = tmp_path.glob("*/wheels.json")
    list_file.write_bytes(garbage)
    assert obtain(engine, tmp_path) == first
    assert len(engine.contexts) == 2


def test_a_changed_wheel_is_made_again(engine: Engine, tmp_path: Path) -> None:
    first = obtain(engine, tmp_path)
    first[0].file.write_bytes(b"evil")
    second = obtain(engine, tmp_path)
    assert second == first and second[0].file.read_bytes() == b"demo"
    second[1].file.unlink()
    assert obtain(engine, tmp_path) == first
    assert len(engine.contexts) == 3


def test_names_that_lead_elsewhere_are_not_written(engine: Engine, tmp_path: Path) -> None:
    engine.wheels = {
        "../../evil-1-py3-none-any.whl": b"x",
        "notes.txt": b"y",
        "a b-1-py3-none-any.whl": b"z",
        DEMO: b"demo",
    }
    assert [wheel.file.name for wheel in obtain(engine, tmp_path / "w")] == [DEMO, "evil-1-py3-none-any.whl"]
    assert not list(tmp_path.glob("*.whl"))


def test_somebody_else_puts_the_same_wheels_there_at_the_same_time(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = obtain(engine, tmp_path / "first")
    [theirs] = [folder for folder in (tmp_path / "first").iterdir() if folder.is_dir()]
    rename = Path.rename

    def late(work: Path, target: Path) -> Path:
        if not target.exists():  # the other one was faster
            shutil.copytree(theirs, target)
        return rename(work, target)

    monkeypatch.setattr(Path, "rename", late)
    second = obtain(engine, tmp_path / "second")
    assert [(wheel.file.name, wheel.digest) for wheel in second] == [(wheel.file.name, wheel.digest) for wheel in first]
    assert len(list((tmp_path / "second").iterdir())) == 1


def test_requirements_that_need_nothing(engine: Engine, tmp_path: Path) -> None:
    engine.wheels = {}
    assert obtain(engine, tmp_path) == () == obtain(engine, tmp_path)
    assert len(engine.contexts) == 1


@pytest.mark.parametrize(
    ("output", "hint"),
    [
        ("error: command 'gcc' failed: No such file or directory", "compiled"),
        ("error: command 'x86_64-linux-gnu-gcc' failed", "compiled"),
        ("configure: error: no acceptable C compiler found in $PATH", "compiled"),
        ("/bin/sh: 1: cargo: not found", "compiled"),
        ("error: can't find Rust compiler", "compiled"),
        ("ERROR: No matching distribution found for nothing", "correct the requirements"),
    ],
)
def test_a_failure_says_what_to_do_and_leaves_nothing(engine: Engine, tmp_path: Path, output: str, hint: str) -> None:
    engine.failure = BuildFailed("a build step failed", hint="general", output=output)
    with pytest.raises(BuildFailed) as caught:
        obtain(engine, tmp_path / "wheels")
    assert hint in caught.value.hint and caught.value.output == output
    assert not list(tmp_path.rglob("wheels/*"))


def test_an_index_of_this_machine(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example.org/simple")
    obtain(engine, tmp_path)
    assert b'"--index-url", "https://index.example.org/simple"' in engine.contexts[0]
    monkeypatch.setenv("PIP_INDEX_URL", "https://me:hunter2@index.example.org/simple")
    with pytest.raises(BuildFailed) as caught:
        obtain(engine, tmp_path)
    assert "hunter2" not in caught.value.message + caught.value.hint
    assert len(engine.contexts) == 1


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o1777])
def test_a_directory_that_others_can_write_to_is_refused_before_the_build(
    engine: Engine, tmp_path: Path, mode: int
) -> None:
    obtain(engine, tmp_path / "wheels")
    (tmp_path / "wheels").chmod(mode)
    with pytest.raises(BuildFailed, match="others can write") as caught:
        obtain(engine, tmp_path / "wheels")
    assert "XDG_CACHE_HOME" in caught.value.hint
    assert len(engine.contexts) == 1
