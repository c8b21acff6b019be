"""The native part in a real engine: what is copied and installed arrives, and failures show what a step printed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from fakes.builders import SIM

from sconectl.adapters.docker_engine import DockerEngine
from sconectl.adapters.leftovers import LABEL, mark
from sconectl.apply.native import build_native, collect_sources
from sconectl.errors import BuildFailed
from sconectl.image.build.native_build import BuildEnvironment
from sconectl.manifest.model.genservice import GenService
from sconectl.manifest.reading.reader import read_manifest
from sconectl.text.yaml_text import dump
from sconectl.usecases.check_service import check_service

from .world import docker, must

NAME = "native-part-test"


class Bench:
    """A project that is built in the engine, without anything confidential around it."""

    def __init__(self, root: Path, base_image: str, ca_bundle: str) -> None:
        self.root, self.base, self.cache = root / "project", base_image, root / "cache"
        self.root.mkdir()
        self.ca = Path(ca_bundle).read_bytes() if ca_bundle else b""
        self.said: list[str] = []

    def build(self, *, ca: bytes | None = None, **build: Any) -> str:
        about = {"name": NAME, "kind": "python", "to": "x", "pwd": "/app", "command": "python3"} | build
        text = dump({"apiVersion": "scone/5.8", "kind": "genservice", "build": about, "environment": {}})
        manifest = read_manifest(text, "service.yaml", {})
        assert isinstance(manifest.model, GenService)
        plan = check_service(manifest, mode="production", bases={"python": self.base}, toolchain=SIM).planned()
        engine = DockerEngine()
        base = engine.inspect(self.base)
        assert base is not None
        return build_native(
            plan,
            collect_sources(plan, self.root, manifest.document),
            base,
            engine=engine,
            environment=BuildEnvironment(self.ca if ca is None else ca),
            cache=self.cache,
            progress=self.said.append,
            detail=self.said.append,
        )


@pytest.fixture
def bench(tmp_path: Path, base_image: str, ca_bundle: str) -> Any:
    yield Bench(tmp_path, base_image, ca_bundle)
    docker("rmi", "-f", f"sconectl-native/{NAME}")


LIST = """
import os
for folder, folders, files in sorted(os.walk(b'/app')):
    for name in sorted(folders + files):
        path = os.path.join(folder, name)
        status = os.lstat(path)
        print(ascii(path), oct(status.st_mode), status.st_uid, os.readlink(path) if os.path.islink(path) else '')
"""


def test_names_modes_and_links_arrive(bench: Bench) -> None:
    folder = os.fsencode(bench.root / "d")
    (bench.root / "d").mkdir()
    for name in (b"\xff\xfe", b"new\nline", "größe".encode(), b".dot", b"a b", b"x" * 200, b"Dockerfile"):
        Path(os.fsdecode(folder + b"/" + name)).write_bytes(name)
    (bench.root / "d/run").write_text("#!/bin/sh\n")
    (bench.root / "d/run").chmod(0o700)
    (bench.root / "d/empty").mkdir()
    (bench.root / "d/link").symlink_to("run")
    (bench.root / "d/ignored.pyc").write_text("x")
    (bench.root / ".dockerignore").write_text("**/*.pyc\n")
    image = bench.build(copy=["d"])
    found = must(docker("run", "--rm", image, "python3", "-c", LIST)).out
    assert found.splitlines() == [
        r"b'/app/d' 0o40755 0 ",
        r"b'/app/d/.dot' 0o100644 0 ",
        r"b'/app/d/Dockerfile' 0o100644 0 ",
        r"b'/app/d/a b' 0o100644 0 ",
        r"b'/app/d/empty' 0o40755 0 ",
        r"b'/app/d/gr\xc3\xb6\xc3\x9fe' 0o100644 0 ",
        r"b'/app/d/link' 0o120777 0 b'run'",
        r"b'/app/d/new\nline' 0o100644 0 ",
        r"b'/app/d/run' 0o100755 0 ",
        f"b'/app/d/{'x' * 200}' 0o100644 0 ",
        r"b'/app/d/\xff\xfe' 0o100644 0 ",
    ]


def test_wheels_are_made_once_and_installed_without_network(bench: Bench) -> None:
    (bench.root / "r.txt").write_text("-r sub/more.txt\n")
    (bench.root / "sub").mkdir()
    (bench.root / "sub/more.txt").write_text("humanize==4.12.3\n")
    show = ("python3", "-c", "import humanize; print(humanize.__version__)")
    image = bench.build(requirements="r.txt", run=["ls /.sconectl/wheels"])
    assert must(docker("run", "--rm", image, *show)).out == "4.12.3\n"
    assert not must(docker("images", "--all", "--quiet", "--filter", f"label={LABEL}={mark()}")).out
    # The second build has other steps, and no way to trust the index any more.
    (bench.root / "new").write_text("x")
    docker("rmi", "-f", f"sconectl-native/{NAME}")
    again = bench.build(requirements="r.txt", copy=["new"], ca=b"not a certificate")
    assert must(docker("run", "--rm", again, *show)).out == "4.12.3\n"
    assert "direct_url.json" not in must(docker("run", "--rm", again, "find", "/usr/local/lib")).out
    (kept,) = bench.cache.glob("wheels/*/*.whl")
    kept.write_bytes(b"evil")
    with pytest.raises(BuildFailed):  # is noticed, and made again: which has no way to the index
        bench.build(requirements="r.txt", ca=b"not a certificate")
    assert must(docker("run", "--rm", bench.build(requirements="r.txt"), *show)).out == "4.12.3\n"


def test_modules_in_the_directory_of_the_program_are_not_pips(bench: Bench, tmp_path: Path) -> None:
    """An image may well have a json.py of its own where its program is."""
    fill = "for m in json ssl pip secrets; do echo 'raise SystemExit(7)' > $m.py; done"
    (tmp_path / "Dockerfile").write_text(f"FROM {bench.base}\nWORKDIR /app\nRUN {fill}\n")
    tag = f"sconectl-test/own-modules-{tmp_path.name.lower()}"
    must(docker("build", "-q", "-t", tag, tmp_path))
    try:
        (bench.root / "r.txt").write_text("humanize==4.12.3\n")
        bench.base = tag
        image = bench.build(requirements="r.txt")
        assert must(docker("run", "--rm", "-w", "/", image, "python3", "-c", "import humanize")).code == 0
    finally:
        docker("rmi", "-f", tag)


def test_hashes_are_insisted_on(bench: Bench) -> None:
    (bench.root / "r.txt").write_text(f"humanize==4.12.3 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(BuildFailed) as caught:
        bench.build(requirements="r.txt")
    assert "DO NOT MATCH THE HASHES" in caught.value.output
    assert not list(bench.cache.glob("wheels/*"))


def test_a_requirement_that_needs_a_compiler(bench: Bench) -> None:
    (bench.root / "r.txt").write_text("--no-binary uvloop\nuvloop==0.21.0\n")
    with pytest.raises(BuildFailed) as caught:
        bench.build(requirements="r.txt")
    assert "no acceptable C compiler" in caught.value.output
    assert "has to be compiled" in caught.value.hint
    assert not must(docker("images", "--all", "--quiet", "--filter", f"label={LABEL}={mark()}")).out


def test_a_step_that_fails_in_its_middle_shows_what_it_printed(bench: Bench) -> None:
    step = "echo \"first $HOME\" 'quoted'\n&& echo second && cd /nowhere\n&& echo third\n"
    with pytest.raises(BuildFailed) as caught:
        bench.build(run=["echo fine", step, "echo never"])
    printed = caught.value.output.splitlines()
    assert "first /root quoted" in printed and "second" in printed
    assert any("/nowhere" in line for line in printed[1:])
    assert "third" not in printed and "never" not in caught.value.output


def test_steps_run_after_copy_in_their_order(bench: Bench) -> None:
    (bench.root / "f").write_text("x")
    image = bench.build(copy=["f"], run=["mv f g", "cat g g >\n  h\n"])
    assert must(docker("run", "--rm", image, "sh", "-c", "cd /app && ls && cat h")).out == "g\nh\nxx"
