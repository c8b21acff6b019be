"""A Java program: compiled, measured, attested, and given its password by the CAS."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from .world import REPOSITORY, World, docker, must, run, saved_bytes

JDK = "sconectl-base/jdk:bookworm"
EXAMPLE = REPOSITORY / "examples" / "hello-java"
CONFIG_ID = "hello-java/javaservice/java"
SERVING = "Serving on port 8080."


@pytest.fixture(scope="module", autouse=True)
def jdk() -> None:
    if docker("image", "inspect", JDK).code != 0:
        pytest.skip(f"{JDK} is not there; scripts/test-images.sh makes it")


def example(world: World, folder: str = "hello-java") -> Path:
    """Copy the example into the workspace, with an image name of its own."""
    project = world.root / folder
    shutil.copytree(EXAMPLE, project)
    for file in ("service.yaml", "mesh.yaml"):
        text = (project / file).read_text()
        (project / file).write_text(text.replace("sconectl-demo/java_hello_user:1", world.image("java")))
    return project


@pytest.mark.shows("002.java")
def test_apply_mesh_and_run(world: World, tmp_path: Path) -> None:
    project = example(world)
    base = ("--base-image", f"java17={JDK}")
    first = must(world.apply_service(project / "service.yaml", *base))
    must(world.apply_mesh(project / "mesh.yaml"))
    container = world.start(world.image("java"), "evil", config_id=CONFIG_ID, API_USER="evil")
    log = world.log_with(container, SERVING)
    greeted = re.search(r"Hello, 'myself', from Java!\nThe checksum of the API_PASSWORD is '([0-9a-f]{16})'\.", log)
    assert greeted and "evil" not in log
    address = json.loads(must(docker("inspect", container)).out)[0]["NetworkSettings"]["IPAddress"]
    page = must(run(["curl", "-sS", "--max-time", "20", f"http://{address}:8080/"])).out
    assert greeted[1] in page

    world.remove_containers()
    assert "unchanged" in must(world.apply_service(project / "service.yaml", *base)).out

    files = must(docker("run", "--rm", "--entrypoint", "find", world.image("java"), "/java", "-type", "f")).out.split()
    assert sorted(files) == [
        "/java/HelloServer.class",
        "/java/greeting/Checksum.class",
        "/java/greeting/greeting.txt",
    ]
    assert b"Returns the first eight bytes" not in saved_bytes(world.image("java"), tmp_path)

    (project / "greeting/greeting.txt").write_text("Bye, '%s' (%s)\n")
    changed = must(world.apply_service(project / "service.yaml", *base))
    assert first.out.split("measurement ")[1][:64] != changed.out.split("measurement ")[1][:64]


def test_errors_of_the_compiler_are_shown(world: World) -> None:
    project = example(world)
    (project / "greeting/Checksum.java").write_text("package greeting;\npublic class Checksum { int x = ; }\n")
    failed = world.apply_service(project / "service.yaml", "--base-image", f"java17={JDK}")
    assert failed.code == 5
    assert "greeting/Checksum.java:2: error: illegal start of expression" in failed.err
    assert "correct the sources" in failed.err


def test_a_base_image_without_a_compiler(world: World, base_image: str) -> None:
    project = example(world)
    failed = world.apply_service(project / "service.yaml", "--base-image", f"java17={base_image}")
    assert failed.code == 5
    assert "take a base image with a JDK" in failed.err


def test_unknown_kinds_are_refused(world: World) -> None:
    project = example(world)
    failed = world.apply_service(project / "service.yaml", "--base-image", f"jav17={JDK}")
    assert failed.code == 2
    assert "did you mean java17?" in failed.err
