"""What `plan`, conversion and launcher say of images with many layers, closed directories or missing settings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from .native_images import File, Native, busybox_of, load
from .world import World, docker, must


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory, base_image: str, ca_bundle: str, cache: Path) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("odd"), base_image, ca_bundle, cache=cache)
    world.configure()
    yield world
    world.close()


def manifest(world: World, source: str, *injected: str) -> Path:
    about = {
        "name": "odd",
        "kind": "sconify_image",
        "from": source,
        "to": world.image("odd"),
        "command": "/bin/busybox",
    }
    document = {
        "apiVersion": "scone/5.8",
        "kind": "genservice",
        "build": about,
        "environment": {},
        "injection_files": [{"path": path, "content": "x"} for path in injected],
    }
    file = world.root / "service.yaml"
    file.write_text(json.dumps(document))
    return file


def test_too_many_layers_are_refused_before_the_work(odd: World) -> None:
    source = odd.image("deep")
    config = {"Cmd": ["/bin/busybox", "true"]}
    layers = tuple({f"/layer/{number}": File(b"%d" % number, 0o644)} for number in range(123))
    load(Native(0, config, layers), source, busybox_of("sconectl-test-image/musl-shell"))
    file = manifest(odd, source)
    for words in (("plan", "-f", file), ("apply", "-f", file, "-n", "--cas", "local")):
        done = odd.sconectl(*words)
        assert done.code == 4 and "would have 126 layers" in done.err and "FROM scratch" in done.err, done.text
    assert docker("inspect", odd.image("odd")).code != 0


def test_injected_files_that_the_user_of_the_image_cannot_get_at(odd: World) -> None:
    source = odd.image("closed")
    files = {"/etc/redis": File(None, 0o750, (102, 103)), "/etc/redis/redis.conf": File(b"", 0o640, (102, 103))}
    config = {"User": "33", "Cmd": ["/bin/busybox", "true"]}
    load(Native(0, config, (files,)), source, busybox_of("sconectl-test-image/musl-shell"))
    done = odd.sconectl("plan", "-f", manifest(odd, source, "/etc/redis/redis.conf", "/etc/hosts"))
    assert "may not enter /etc/redis (user 102, group 103, mode 0750)" in done.text, done.text
    assert "/etc/hosts is written where the container runtime has it, which user 33 of the image may not" in done.text
    assert "SC1008" in done.text


def test_hints_of_sconify_image_name_its_own_options(odd: World) -> None:
    source = odd.image("plain")
    load(Native(0, {"Cmd": ["/bin/busybox", "true"]}, ()), source, busybox_of("sconectl-test-image/musl-shell"))
    about = ("--from", source, "--to", odd.image("hints"), "--cas", "local", "--dry-run")
    done = odd.sconectl("sconify-image", *about, "--host-path", "*")
    assert done.code == 2 and "--host-path '*'" in done.err and "build." not in done.err, done.text
    done = odd.sconectl("sconify-image", *about, "--binary", "/bin/missing")
    assert done.code != 0 and "run step" not in done.text and "--base-image" not in done.text, done.text
    assert "`run`" not in done.text and "build." not in done.text, done.text


def test_settings_in_the_arguments_of_a_container_are_explained(odd: World) -> None:
    source = odd.image("plain")
    load(Native(0, {"Cmd": ["/bin/busybox", "true"]}, ()), source, busybox_of("sconectl-test-image/musl-shell"))
    must(odd.sconectl("apply", "-f", manifest(odd, source), "-n", "--cas", "local"))
    container = odd.create(odd.image("odd"), "sh", "-c", "export SCONE_CONFIG_ID=a/b/c; exec program", config_id="")
    must(docker("start", container))
    code, log = odd.finish(container)
    assert code != 0 and "SCONE_CONFIG_ID is missing" in log, log
    assert "docker run -e SCONE_CONFIG_ID=" in log and "`environment:` in docker-compose.yml" in log, log
