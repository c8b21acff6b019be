"""Images with odd configurations, converted with the installed command on the real engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from .bad_inputs import tiny_program
from .name_pairs import import_image
from .native_images import File, Native, busybox_of, load
from .world import Outcome, World, docker, must


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory, base_image: str, ca_bundle: str, cache: Path) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("odd"), base_image, ca_bundle, cache=cache)
    world.configure()
    yield world
    world.close()


def converted(world: World, *changes: str, links: str = "", kind: str = "sconify_image", **build: object) -> Outcome:
    """Convert an image whose configuration has these `changes`; `links` are steps that make it."""
    source, target = world.image("native"), world.image("odd")
    import_image(source, {"bin/program": tiny_program(), "srv/data/file": b"1"}, *changes)
    if links:
        context = world.root / "context"
        context.mkdir(exist_ok=True)
        (context / "Dockerfile").write_text(f"FROM {world.base_image}\n{links}")
        must(docker("build", "-q", "-t", source, context))
    about = {"name": "odd", "kind": kind, "from": source, "to": target, "command": "/bin/program", **build}
    if links:
        about["command"] = "/bin/true"
    file = world.root / "service.yaml"
    document = {"apiVersion": "scone/5.8", "kind": "genservice", "build": about, "environment": {}}
    file.write_text(json.dumps(document))
    return world.sconectl("apply", "-f", file, "-n", "--cas", "local")


def outside(world: World) -> set[str]:
    record = json.loads((world.target / "images" / "odd.json").read_text())
    return set(record["facts"]["protected"]["outside"])


def test_a_relative_volume(odd: World) -> None:
    must(converted(odd, 'VOLUME ["rel/x"]'))
    assert "/rel/x" in outside(odd)
    [config] = json.loads(must(docker("inspect", odd.image("odd"))).out)
    assert config["Config"]["Volumes"] == {"/rel/x": {}}


def test_a_volume_that_is_a_link(odd: World) -> None:
    must(converted(odd, links='RUN mkdir -p /srv/real && ln -s srv/real /data\nVOLUME ["/data"]\n'))
    assert "/srv/real" in outside(odd) and "/data" not in outside(odd)
    # The launcher looks at its files before it asks for its configuration: a volume in the right place is no change.
    container = odd.create(odd.image("odd"), config_id="nobody/odd/odd", SCONE_ATTEST_TIMEOUT="1")
    must(docker("start", container))
    code, log = odd.finish(container)
    assert code != 0 and "changed after it was built" not in log and "mount" not in log, log


def test_a_changed_cache_is_not_believed(odd: World) -> None:
    """What is remembered of a layer would go into the measurement."""

    def measured() -> str:
        must(converted(odd))
        return str(json.loads((odd.target / "images" / "odd.json").read_text())["facts"]["measurement"])

    assert odd.cache
    first, program = measured(), sha256(tiny_program()).hexdigest().encode()
    indexes = [file for file in odd.cache.rglob("layers/*.json") if program in file.read_bytes()]
    assert indexes  # else nothing is attacked
    for file in indexes:
        file.write_bytes(file.read_bytes().replace(program, sha256(b"another program").hexdigest().encode()))
    (odd.target / "images" / "odd.json").unlink()
    assert measured() == first


def refused(outcome: Outcome, code: int, words: str) -> None:
    assert outcome.code == code and words in outcome.err and "Traceback" not in outcome.err, outcome.text


def test_what_cannot_be_is_refused_in_its_own_words(odd: World) -> None:
    refused(converted(odd, 'VOLUME ["/"]'), 4, "root directory as a volume")
    refused(converted(odd, r'VOLUME ["/a\nb"]'), 4, r"declares a volume at '/a\nb': paths have no control characters")


def test_triggers_of_the_base_image_are_refused(odd: World) -> None:
    refused(
        converted(odd, "ONBUILD RUN touch /evil", kind="python"), 4, "ONBUILD triggers, which would run in the build"
    )


def test_a_path_that_looks_like_a_template(odd: World) -> None:
    must(converted(odd, host_paths=["/{% raw %}{{namespace}}{% endraw %}/cache", "/{% raw %}{% if %}{% endraw %}"]))
    assert {"/{{namespace}}/cache", "/{% if %}"} <= outside(odd)
    refused(converted(odd, host_paths=["/{{namespace}}/cache"]), 3, "{% raw %}…{% endraw %} around such a name")


PROGRAM = 'printf "%s|%s|%s" "$(/bin/busybox pwd)" "$(/bin/busybox cat "$1")" "$2"'


@pytest.mark.parametrize("pwd", ["/a b", "/ünï/{{x}} $HOME '\\"])
def test_paths_of_any_form(module_world: World, pwd: str) -> None:
    world, folder, number = module_world, "/my data", len(pwd)
    source, target = world.image(f"paths-{number}"), world.image(f"any-path-{number}")
    command = ["/bin/busybox", "sh", "-c", PROGRAM, "sh", f"{folder}/file", "said"]
    config = {"WorkingDir": pwd, "Cmd": command}
    files = {f"{folder}/file": File(b"of the encrypted folder", 0o644), folder: File(None)}
    load(Native(0, config, (files,)), source, busybox_of("sconectl-test-image/musl-shell"))
    about = ("--from", source, "--to", target, "--cas", world.address, "--namespace", f"paths-{number}")
    must(world.sconectl("sconify-image", *about, "--name", "any", "--create-namespace", "--dir", folder))
    container = world.create(target, config_id=f"paths-{number}/any/service", options=("--tmpfs", "/dev/shm:exec"))
    must(docker("start", container))
    code, log = world.finish(container)
    assert (code, log.splitlines()[-1]) == (0, f"{pwd}|of the encrypted folder|said")
