"""A Java program: compiled, measured, attested, and given its password by the CAS."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from .readme_walk import walk
from .world import REPOSITORY, World, docker, free_port, must, saved_bytes

JDK = "sconectl-base/jdk:slim-bookworm"
EXAMPLE = REPOSITORY / "examples" / "hello-java"
IMAGE = "sconectl-demo/java_hello_user:1"
SERVING = "Serving on port 8080."
GREETED = re.compile(r"Hello, 'myself', from Java!\nThe checksum of the API_PASSWORD is '([0-9a-f]{16})'\.")


@pytest.fixture(scope="module", autouse=True)
def jdk() -> None:
    if docker("image", "inspect", JDK).code != 0:
        pytest.skip(f"{JDK} is not there; scripts/test-images.sh makes it")


def example(world: World, image: str = "") -> Path:
    """Copy the example into the workspace, with an image name of its own."""
    project = world.root / "hello-java"
    shutil.copytree(EXAMPLE, project)
    for file in ("service.yaml", "mesh.yaml"):
        text = (project / file).read_text()
        (project / file).write_text(text.replace(IMAGE, image or world.image("java")))
    return project


@pytest.fixture(scope="module")
def said(walker: World) -> str:
    """All that is printed to somebody who follows the README; the image stays."""
    config = walker.root / "sconectl.toml"
    config.write_text(config.read_text().replace("[base_images]\n", f'[base_images]\njava17 = "{JDK}"\n'))
    place = f"127.0.0.1:{free_port('127.0.0.1')}"
    return "".join(walk(walker, "hello-java", {"127.0.0.1:8080": place}).values())


@pytest.mark.shows("002.java")
def test_the_readme(said: str) -> None:
    first, page, again = GREETED.findall(said)
    assert first == page == again, said
    assert SERVING in said and "Goodbye" not in said


def test_what_is_in_the_image(walker: World, said: str, tmp_path: Path) -> None:
    image = IMAGE.replace("sconectl-demo", walker.prefix("hello-java"))
    assert said and b"Returns the first eight bytes" not in saved_bytes(image, tmp_path)
    project = example(walker, image)
    walker.start_cas()
    first = must(walker.apply_service(project / "service.yaml"))
    assert "unchanged" in first.out
    (project / "greeting/greeting.txt").write_text("Bye, '%s' (%s)\n")
    changed = must(walker.apply_service(project / "service.yaml"))
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
