"""An engine that dies or has no space, and a machine without space for temporary files: the next run goes on."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from docker import DockerClient

from sconectl.adapters.docker_build import prefers_buildkit

from .bad_inputs import PROGRAM, Bench, bench_of, member, refused
from .breaking_socket import breaking_socket
from .registry import running_registry
from .second_engine import second_engine
from .world import World, must, run

SAVE = rb"GET /v[0-9.]+/images/[^ ]*/get "
LOAD = rb"POST /v[0-9.]+/images/load"
PUSH = rb"POST /v[0-9.]+/images/[^ ]*/push"


@pytest.fixture
def broken(bench: Bench) -> Iterator[Bench]:
    """The machine, with a running engine at its end."""
    yield bench
    if bench.engine.process is None:
        bench.engine.start()


def small_service(bench: Bench, **build: object) -> Path:
    """Return the manifest of an image with a few megabytes that cannot be compressed."""
    content = [PROGRAM, member("app/data", os.urandom(4 << 20))]
    return bench.convert(bench.image("small", content, 'ENTRYPOINT ["/app/program"]'), **build)


def python_service(bench: Bench, *steps: str) -> Path:
    file = bench.manifest(copy=["main.py"], pwd="/app", run=list(steps))
    (file.parent / "main.py").write_text("print('a secret of the program')\n")
    return file


@pytest.mark.parametrize("buildkit", ["0", "1"])
def test_a_step_that_fails(bench: Bench, buildkit: str) -> None:
    file = python_service(bench, "echo before", "echo speaking-before-dying >&2; exit 7", "echo after")
    with bench.nothing_left():
        texts = ("a build step failed", "| speaking-before-dying", "exit 7", "correct `requirements` or `run`")
        err = refused(bench.apply(file, "-n", DOCKER_BUILDKIT=buildkit), 5, *texts)
    assert "| before" not in err and "| after" not in err


def test_the_builder_that_the_engine_recommends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_BUILDKIT", raising=False)
    for features in ("", "buildkit"):
        name = f"/tmp/sconectl-{uuid.uuid4().hex[:8]}"
        with second_engine(Path(name), features=features) as engine, closing(DockerClient(engine.host)) as client:
            assert prefers_buildkit(client.api) == bool(features)
            with monkeypatch.context() as patch:
                patch.setenv("DOCKER_BUILDKIT", "0" if features else "1")
                assert prefers_buildkit(client.api) != bool(features)


@pytest.mark.parametrize("buildkit", ["0", "1"])
def test_an_engine_that_dies_in_the_middle_of_a_build(broken: Bench, buildkit: str) -> None:
    file = python_service(broken, "echo sleeping; sleep 300")
    with ThreadPoolExecutor() as pool:
        outcome = pool.submit(broken.apply, file, "-n", DOCKER_BUILDKIT=buildkit)
        deadline = time.monotonic() + 180
        while "sleep 300" not in broken.engine.processes().values():
            assert time.monotonic() < deadline and not outcome.done(), outcome.result()
            time.sleep(0.1)
        broken.engine.kill()
        refused(outcome.result(60), 5, "the container engine broke off while building", "see whether it still runs")
    assert [*broken.temporary.iterdir()] == []
    broken.engine.start()
    if buildkit == "0":
        assert broken.engine.state()[1] != []  # the step's container; BuildKit clears up itself
    file = python_service(broken, "echo ready")
    must(broken.apply(file, "-n", DOCKER_BUILDKIT=buildkit))
    assert broken.engine.state()[1] == []


@pytest.mark.parametrize(("wanted", "limit", "doing"), [(SAVE, 1 << 20, "saving"), (LOAD, 1 << 20, "loading")])
def test_an_engine_that_dies_in_the_middle_of_saving_or_loading(
    broken: Bench, wanted: bytes, limit: int, doing: str
) -> None:
    engine = broken.engine
    file = small_service(broken)
    state = engine.state()
    path = engine.root / "breaking.sock"
    with breaking_socket(path, engine.root / "docker.sock", wanted, limit, engine.kill) as breaker:
        outcome = broken.apply(file, "-n", DOCKER_HOST=f"unix://{path}")
        assert breaker.done.wait(30), outcome.text
    refused(outcome, 5, f"the container engine broke off while {doing}", "see whether it still runs")
    assert [*broken.temporary.iterdir()] == [] and not broken.world.target.exists()
    engine.start()
    assert engine.state() == state
    must(broken.apply(file, "-n"))
    assert broken.target in str(engine.state())


def test_an_engine_that_dies_in_the_middle_of_a_push(broken: Bench, tmp_path: Path) -> None:
    engine = broken.engine
    with running_registry(tmp_path) as registry:
        image = f"{registry.address}/team/app:1"
        broken.made.append(image)
        file = small_service(broken, to=image)
        path = engine.root / "breaking.sock"
        with breaking_socket(path, engine.root / "docker.sock", PUSH, 1500, engine.kill) as breaker:
            outcome = broken.apply(file, DOCKER_HOST=f"unix://{path}")
            assert breaker.done.wait(30), outcome.text
        refused(outcome, 5, f"the container engine broke off while pushing {image}", "see whether it still runs")
        assert not [line for line in registry.requests() if line.startswith("PUT") and "/manifests/" in line]
        engine.start()
        assert ", pushed" in must(broken.apply(file)).out


def test_no_engine_at_all(broken: Bench) -> None:
    file = small_service(broken)
    broken.engine.kill()
    refused(broken.apply(file, "-n"), 5, "no container engine can be reached", "start the engine")
    assert [*broken.temporary.iterdir()] == [] and not broken.world.target.exists()


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[None]:
    must(run(["mount", "-t", "tmpfs", "-o", f"size={size}", "sconectl-test", path]))
    try:
        yield
    finally:
        must(run(["umount", path]))


def test_no_space_for_temporary_files(bench: Bench) -> None:
    file = small_service(bench, dirs=["/app"])
    with small_disk(bench.temporary, "3m"), bench.nothing_left():
        refused(bench.apply(file, "-n"), 5, "No space left on device", str(bench.temporary), "TMPDIR")
    must(bench.apply(file, "-n"))


def test_no_space_in_the_engine(base_image: str, ca_bundle: str, launcher: str, bench: Bench, tmp_path: Path) -> None:
    """The engine needs space for saving an image, too: there it can only break off."""
    world = World(tmp_path, base_image, ca_bundle, cache=bench.world.cache)
    data = [PROGRAM, member("app/data", os.urandom(60 << 20))]
    with second_engine(Path(f"/tmp/sconectl-{world.name}"), size="700m") as engine:
        engine.take(base_image, launcher)
        small = bench_of(engine, world)
        file = small.convert(small.image("large", data, 'ENTRYPOINT ["/app/program"]'), dirs=["/app"])
        for space, texts in (
            (30, ("broke off while saving", "has disk space left")),
            (75, ("no space left on device", "the engine's disk is full")),
        ):
            with filled(engine.data, space << 20), small.nothing_left():
                refused(small.apply(file, "-n"), 5, *texts)
        must(small.apply(file, "-n"))


@contextmanager
def filled(folder: Path, rest: int) -> Iterator[None]:
    """Leave `rest` bytes of a disk."""
    filler = folder / "filler"
    space = os.statvfs(folder)
    with filler.open("wb") as content:
        os.posix_fallocate(content.fileno(), 0, space.f_bavail * space.f_frsize - rest)
    yield
    filler.unlink()
