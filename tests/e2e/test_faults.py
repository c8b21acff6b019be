"""Bad input and faults on the main path: one clear message, the documented exit code, nothing half-written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .world import World, docker, free_port, gateway, must, snapshot, stored_rows


@pytest.fixture
def project(hello: World, tmp_path: Path) -> Iterator[Path]:
    """A copy of the example to break; the shared target directory is not touched."""
    folder = tmp_path / "project"
    shutil.copytree(hello.root / "hello", folder)
    yield folder


def change(file: Path, old: str, new: str) -> Path:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    return file


def fails(outcome: object, code: int, *texts: str) -> str:
    from .world import Outcome

    assert isinstance(outcome, Outcome)
    assert outcome.code == code, outcome.text
    assert "Traceback" not in outcome.text
    for text in texts:
        assert text in outcome.err, outcome.err
    return outcome.err


def test_an_invalid_manifest_shows_all_faults(hello: World, project: Path, tmp_path: Path) -> None:
    file = change(project / "service.yaml", "requirements: requirements.txt", "requirments: requirements.txt")
    change(file, "kind: python", "kind: pyton")
    change(file, "- print_env.py", "- ../../etc/shadow")
    err = fails(hello.apply_service(file, "-t", str(tmp_path / "t")), 3, "did you mean requirements?")
    assert err.count("error SC1002") == 3 and f"{file}:" in err
    assert not (tmp_path / "t").exists()


def test_a_missing_file_is_named(hello: World, project: Path, tmp_path: Path) -> None:
    file = change(project / "service.yaml", "- print_env.py", "- print_env.py\n    - gone.py")
    fails(hello.apply_service(file, "-t", str(tmp_path / "t")), 4, "build.copy[1]", "there is no such file")
    (project / "gone.py").symlink_to("/etc/hostname")
    fails(hello.apply_service(file, "-t", str(tmp_path / "t")), 4, "build.copy[1]", "leads elsewhere")
    assert not (tmp_path / "t").exists()


def test_a_failing_step_shows_its_output(hello: World, project: Path, tmp_path: Path) -> None:
    file = change(
        project / "service.yaml", '- echo "The files', '- echo speaking-before-dying; exit 7\n    - echo "The files'
    )
    images = must(docker("images", "-q", hello.image())).out
    fails(
        hello.apply_service(file, "-t", str(tmp_path / "t")),
        5,
        "| speaking-before-dying",
        "returned a non-zero code: 7",
    )
    assert not (tmp_path / "t").exists()
    assert must(docker("images", "-q", hello.image())).out == images


def test_no_engine(hello: World, project: Path, tmp_path: Path) -> None:
    done = hello.sconectl(
        "apply",
        "-f",
        project / "service.yaml",
        "-n",
        "-t",
        tmp_path / "t",
        "--lock",
        hello.target.parent / "sconectl.lock",
        DOCKER_HOST="unix:///nonexistent.sock",
    )
    fails(done, 5, "no container engine", "DOCKER_HOST")


def test_a_refused_push(hello: World, project: Path, tmp_path: Path) -> None:
    port = free_port("127.0.0.1")
    file = change(project / "service.yaml", hello.image(), f"127.0.0.1:{port}/x/hello:1")
    done = hello.sconectl("apply", "-f", file, "--cas", hello.address, "-t", tmp_path / "t")
    fails(done, 5, "could not be pushed", "the next run only pushes it")
    docker("rmi", "-f", f"127.0.0.1:{port}/x/hello:1")


def test_an_unknown_base_image(hello: World, project: Path, tmp_path: Path) -> None:
    done = hello.apply_service(
        project / "service.yaml", "-t", str(tmp_path / "t"), "--base-image", "python=127.0.0.1:9/none:1"
    )
    fails(done, 5, "127.0.0.1:9/none:1", "--base-image")


def test_no_cas(hello: World, project: Path) -> None:
    before = snapshot(hello.target)
    port = free_port("127.0.0.1")
    done = hello.sconectl("apply", "-f", project / "mesh.yaml", "--set", f"CAS_URL=127.0.0.1:{port}")
    fails(done, 6, f"127.0.0.1:{port}")
    assert snapshot(hello.target) == before


def test_a_wrong_and_a_changed_cas_key(world: World) -> None:
    project = world.hello()
    must(world.apply_service(project / "service.yaml"))
    other = "2wkBET2rRgE8pahuaczxKbmv7ciehqsne57F9gtzf1PVdr2VP3"
    keyed = change(project / "mesh.yaml", "cas_url: $CAS_URL", f"cas_url: $CAS_URL\n    cas_key: {other}")
    fails(world.apply_mesh(keyed), 6, other)
    change(keyed, f"\n    cas_key: {other}", "")
    must(world.apply_mesh(keyed))
    before = snapshot(world.target)
    world.stop_cas()
    shutil.rmtree(world.cas_directory)
    must(world.sconectl("cas", "serve", "--dir", world.cas_directory, "--listen", world.address, "--detach"))
    fails(world.apply_mesh(keyed), 6, "key")
    assert snapshot(world.target) == before


def test_a_namespace_of_somebody_else(hello: World, project: Path, tmp_path: Path) -> None:
    rows = stored_rows(hello.cas_directory)
    before = snapshot(hello.target)
    done = hello.apply_mesh(project / "mesh.yaml", "--cas-config", str(tmp_path / "other-identity"))
    fails(done, 6, "hello-user", "hint")
    assert stored_rows(hello.cas_directory) == rows
    assert snapshot(hello.target) == before


@pytest.mark.shows("002.undefined")
def test_a_variable_without_value(hello: World, project: Path) -> None:
    before = snapshot(hello.target)
    file = change(project / "mesh.yaml", "      - name: API_USER\n        value: myself\n", "")
    fails(hello.apply_mesh(file), 4, "API_USER", "pythonservice", "mesh.yaml:")
    assert snapshot(hello.target) == before


def test_an_import_that_nobody_defines(world: World) -> None:
    project = world.hello()
    file = change(project / "service.yaml", "secrets:\n  global:", "secrets:\n  import: [redis_cert]\n  global:")
    must(world.apply_service(file))
    fails(world.apply_mesh(project / "mesh.yaml"), 4, "redis_cert", "no service defines it")
    assert not (world.target / "policies").exists() and not (world.target / "helm").exists()


def test_an_image_that_is_not_built(hello: World, project: Path) -> None:
    file = change(project / "mesh.yaml", hello.image(), f"127.0.0.1:{free_port('127.0.0.1')}/none:1")
    fails(hello.apply_mesh(file), 4, "was not found", "mesh.yaml:", "sconectl apply -f")
    change(file, file.read_text().split("image: ")[1].split()[0], hello.base_image)
    fails(hello.apply_mesh(file), 4, "is no confidential image of sconectl", "sconectl apply -f")


def test_an_unavailable_mode(hello: World, project: Path) -> None:
    file = change(project / "mesh.yaml", "cas_url: $CAS_URL", "cas_url: $CAS_URL\n    mode: SignOnline")
    fails(hello.apply_mesh(file), 4, "mode SignOnline) is not available yet")


def test_hardware_can_be_required(hello: World, project: Path) -> None:
    done = hello.sconectl("apply", "-f", project / "service.yaml", "-n", SCONECTL_REQUIRE="hardware")
    fails(done, 7, "SCONECTL_REQUIRE=hardware")


def test_a_cas_address_in_use(hello: World, tmp_path: Path) -> None:
    done = hello.sconectl("cas", "serve", "--dir", tmp_path / "cas", "--listen", hello.address, "--detach")
    fails(done, 6, hello.address)
    assert gateway() in hello.address


def test_offline_compilation_needs_neither_engine_nor_cas(hello: World, project: Path, tmp_path: Path) -> None:
    done = hello.sconectl(
        "apply", "-f", project / "mesh.yaml", "--release", "hello", "--set", f"CAS_URL={hello.address}", "--dry-run",
        "--facts", hello.target / "images", "-t", tmp_path / "t",
        "--lock", hello.target.parent / "sconectl.lock", DOCKER_HOST="unix:///nonexistent.sock",
    )  # fmt: skip
    must(done)
    for folder in ("policies", "helm"):
        mine = {name: content for name, (content, _) in snapshot(tmp_path / "t" / folder).items()}
        theirs = {name: content for name, (content, _) in snapshot(hello.target / folder).items()}
        assert mine == theirs
    assert json.loads((hello.target / "images/python-hello-user.json").read_text())["facts"]["toolchain"] == "sim"
