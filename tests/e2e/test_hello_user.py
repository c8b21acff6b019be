"""examples/hello-user: what its password outlives, and what changed programs, values and tags come to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from .capture import listening
from .curated_mesh import require_images
from .operator_attacks import learns_nothing
from .readme_walk import walk
from .world import CONFIG_ID, GREETING, Outcome, World, docker, must

ORIGINAL = re.compile(r"The checksum of the original API_PASSWORD is '([0-9a-f]{32})'")
NOW = "The checksum of the current password is '"
CURRENT = re.compile(rf"{NOW}([0-9a-f]+)'")


class Versions:
    """The project in several versions: each has an image of its own, and prints which one it is."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.folder = world.hello()
        self.texts = {name: (self.folder / name).read_text() for name in ("service.yaml", "mesh.yaml", "print_env.py")}

    def image(self, version: int) -> str:
        return self.world.image().replace(":1", f":{version}")

    def write(self, program: int, tag: int, *, size: int = 10) -> None:
        """Write the program of a version into manifests with a tag."""
        service = self.texts["service.yaml"].replace(self.world.image(), self.image(tag))
        (self.folder / "service.yaml").write_text(service.replace("size: 10", f"size: {size}"))
        (self.folder / "mesh.yaml").write_text(self.texts["mesh.yaml"].replace(self.world.image(), self.image(tag)))
        text = self.texts["print_env.py"].replace("Stop ME by", f"Stop Version {program} by")
        (self.folder / "print_env.py").write_text(text)

    def build(self) -> None:
        must(self.world.apply_service(self.folder / "service.yaml"))

    def apply(self, *words: str) -> Outcome:
        return must(self.world.apply_mesh(self.folder / "mesh.yaml", *words))

    @property
    def config_id(self) -> str:
        """What the chart gives to new pods."""
        file: Path = self.world.target / "helm" / "charts" / "pythonservice" / "values.yaml"
        values: Any = YAML(typ="safe").load(file.read_text())
        return str(values["scone"]["configId"])

    def pod(self, tag: int) -> str:
        return self.world.start(self.image(tag), config_id=self.config_id)

    def checksum(self, pod: str, version: int) -> str:
        """Wait until a pod greets as this version does; return the checksum of its password."""
        log = self.world.log_with(pod, f"Stop Version {version} by executing 'helm uninstall hello'")
        [found] = ORIGINAL.findall(log)
        assert log.count(GREETING) == 1 and set(CURRENT.findall(log)) == {found}, log
        return str(found)


@pytest.fixture
def versions(world: World) -> Versions:
    return Versions(world)


@pytest.mark.shows("002.update", "002.kept")
def test_the_readme(walker: World) -> None:
    """It goes to version 2 and back without a gap: old and new pods start beside each other; the password stays."""
    said = "".join(walk(walker, "hello-user").values())
    found = ORIGINAL.findall(said)
    assert len(found) == 8 and len(set(found)) == 1, said


@pytest.mark.shows("002.kept")
def test_the_password_is_drawn_anew_when_its_size_changes(versions: Versions) -> None:
    versions.write(1, 1)
    versions.build()
    versions.apply()
    pod = versions.pod(1)
    password = versions.checksum(pod, 1)
    versions.write(1, 1, size=12)
    versions.build()
    kept = versions.world.apply_mesh(versions.folder / "mesh.yaml")
    assert kept.code == 7 and "SC2022" in kept.err and "size was 10, and is 12" in kept.err
    versions.apply("--allow-secret-loss", "password")
    assert versions.checksum(versions.pod(1), 1) != password


@pytest.mark.shows("002.retagged", "attack.tag.002")
def test_an_old_version_under_a_new_tag(versions: Versions) -> None:
    """Consistency: whoever has the registry may call version 1 version 2, and gets nothing by it."""
    versions.write(1, 1)
    versions.build()
    versions.apply()
    versions.write(2, 2)
    versions.build()
    versions.apply()
    pod = versions.pod(2)
    password = versions.checksum(pod, 2)
    must(docker("tag", versions.image(2), versions.image(22)))
    must(docker("tag", versions.image(1), versions.image(2)))
    code, log = versions.world.finish(versions.pod(2))
    assert code == 125 and "The program enclave is not trustworthy" in log and "Unexpected enclave" in log
    assert ORIGINAL.search(log) is None
    versions.write(3, 3)  # a new version is the way out
    versions.build()
    versions.apply()
    assert versions.checksum(versions.pod(3), 3) == password


@pytest.mark.shows("002.shell", "002.exported", "002.edited", "002.unset", "002.violation", "attack.exec.002")
def test_in_the_pod_of_an_operator(hello: World) -> None:
    """Confidentiality and integrity, with a shell in the running container."""
    world = hello
    pod = world.start(world.image())
    log = world.log_with(pod, NOW)
    found = ORIGINAL.search(log)
    assert found

    def shell(script: str) -> Outcome:
        return docker("exec", pod, "sh", "-c", script)

    assert must(shell('echo "[$API_PASSWORD][$API_USER][$XPASSWORD]"')).out == "[][][]\n"
    # Names may be found, but no value.
    values = "-e '#NOPEE!!' -e 'shows a checksum of its password and never'"
    named = shell(f"grep -rsIl {values} / --exclude-dir=proc --exclude-dir=sys --exclude-dir=dev || echo nowhere")
    assert named.out == "nowhere\n", named.out
    held = [path for path in world.target.rglob("*") if path.is_file() and "myself" in path.read_text()]
    assert {path.parent.name for path in held} <= {"policies"}, held
    # The text of the program may be read by everybody: it is not confidential here.
    assert "/python/print_env.py" in must(shell("grep -rl 'thanks for passing along' /python")).out
    # Variables in a shell of the pod are those of the shell.
    attempt = shell("API_USER=evil API_PASSWORD=x EXCLAIM=y XPASSWORD=z timeout 3 python3 /python/print_env.py")
    assert found[1] not in attempt.text and "Hello, 'evil' - thanks" in attempt.out
    assert attempt.out.count("..:WRN:") == 2 and "..:INF:'release' is unknown." in attempt.out
    for given in ("", "API_USER=x API_PASSWORD=x EXCLAIM=x"):
        unset = shell(f"{given} python3 /python/print_env.py")
        assert (unset.code, unset.out) == (1, "Not all required environment variables are defined.\n")
    # Nobody can change the variables of the running program; a program that changes its own is caught by itself.
    look = "import os, print_env; os.environ.update(API_USER='new', API_PASSWORD='b'); print(print_env.violation({}))"
    for given, said in (("'me', 'b'", "API_USER changed from 'me' to 'new'!"), ("'new', 'a'", "API_PASSWORD changed")):
        assert said in must(shell(f'cd /python && python3 -B -c "{look.format(given)}"')).out
    # A program that is changed while it runs goes on as what it was, and is found out at the next start.
    must(shell("sed -i 's/Hello/Goodbye/' /python/print_env.py"))
    before = world.log_with(pod, NOW).count(NOW)
    for _ in range(80):
        log = world.log_with(pod, NOW)
        if log.count(NOW) > before:
            break
        shell("sleep 0.3")
    assert log.count(NOW) > before and f"{NOW}{found[1]}'" in log and "Goodbye" not in log and "violation" not in log
    must(docker("restart", "-t", "2", pod))
    code, log = world.finish(pod)
    assert code == 125 and "changed: /python/print_env.py" in log


@pytest.mark.shows("attack.wire.002", "attack.stranger.002")
def test_around_the_pod(hello: World, tmp_path: Path) -> None:
    """It talks to the CAS only; neither who listens nor who asks the CAS without a policy learns anything."""
    require_images(hello)
    learns_nothing(hello, CONFIG_ID, "password")
    with listening("", int(hello.address.rpartition(":")[2]), tmp_path) as heard:
        pod = hello.start(hello.image(), options=["--network", f"container:{heard.listener}"])
        hello.log_with(pod, NOW)
    assert len(heard.sizes) >= 2 and max(heard.sizes) > 1000 and heard.not_tls() == []
    assert not any(text in heard for text in ("myself", "#NOPEE!!", CONFIG_ID))
