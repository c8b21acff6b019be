"""What the launcher cannot read is believed only where the program can never read it: a program tries every way.

The matrix: user root, another one, the owner × all capabilities that Docker gives, none, all without DAC_* × a file of
mode 0600, a file in a directory of mode 0700, the target of a link, a file added there. Root also becomes the owner.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from .test_images import deploy
from .world import World, docker, inspected, must

PROGRAM = """
import ctypes, os, subprocess
PLACES = ["/srv/mods/plugin.py", "/srv/mods/added.py", "/srv/file.py", "/srv/link.py"]

def attempt(way):
    for place in PLACES:
        try:
            with open(place) as file:
                print(way, file.read().strip(), place, flush=True)
        except OSError:
            pass

def as_root_of_a_name_space():
    libc = ctypes.CDLL(None)
    user = os.getuid()
    if libc.unshare(0x10000000) == 0:
        for name, text in (("uid_map", f"0 {user} 1"), ("setgroups", "deny"), ("gid_map", f"0 {os.getgid()} 1")):
            try:
                open(f"/proc/self/{name}", "w").write(text)
            except OSError:
                pass
        attempt("in a name space:")

def become(user):
    try:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    except OSError:
        pass

attempt("as started:")
for place in PLACES:
    for helper in ("owner", "root"):
        done = subprocess.run([f"/usr/local/bin/cat-as-{helper}", place], capture_output=True, text=True)
        if done.returncode == 0:
            print(f"by a set-uid {helper}:", done.stdout.strip(), place, flush=True)
if (child := os.fork()) == 0:
    as_root_of_a_name_space()
    os._exit(0)
os.waitpid(child, 0)
become(1000)
attempt("as the owner:")
print("tried everything", os.environ["TOKEN"], flush=True)
"""
BUILD = """
  pwd: /srv
  copy: [main.py]
  run:
    - mkdir /srv/mods /srv/behind && for f in mods/plugin file behind/target; do echo genuine > /srv/$f.py; done
    - ln -s /srv/behind/target.py /srv/link.py && cp /bin/cat /usr/local/bin/cat-as-owner
    - chown -R 1000:1000 /srv/mods /srv/behind /srv/file.py /usr/local/bin/cat-as-owner
    - cp /bin/cat /usr/local/bin/cat-as-root && chmod 4755 /usr/local/bin/cat-as-*
    - chmod 0700 /srv/mods /srv/behind && chmod 0600 /srv/file.py
"""
FOREIGN = (
    "for f in mods/plugin file behind/target mods/added; do echo foreign > /srv/$f.py; done; "
    "chown 1000:1000 /srv/mods/added.py; chmod 0600 /srv/mods/added.py"
)
USERS = {"root": (), "other": ("--user", "1001:1001"), "owner": ("--user", "1000:1000")}
CAPABILITIES = {
    "all of Docker's": (),
    "none": ("--cap-drop", "ALL"),
    "no DAC": ("--cap-drop", "DAC_OVERRIDE", "--cap-drop", "DAC_READ_SEARCH"),
}
REFUSED, UNREAD = "the image was changed", "protected files cannot be read"


def expected(image: str, user: str, capabilities: str) -> tuple[str, ...]:
    """Return what the log must hold; of the changed image that starts, nothing foreign may be read."""
    hidden = ("unreadable: /srv/behind", "unreadable: /srv/file.py", "unreadable: /srv/mods")
    seen = ("changed: /srv/behind/target.py", "changed: /srv/file.py", "changed: /srv/mods/plugin.py")
    if user == "root" and capabilities == "no DAC":
        return ("protected files cannot be read", *hidden)
    if image == "foreign" and (user == "owner" or (user, capabilities) == ("root", "all of Docker's")):
        return ("the image was changed", *seen)
    return ("tried everything explicit-token-value",)


@dataclass(frozen=True)
class Machine:
    world: World
    config_id: str
    images: dict[str, str]

    def log(self, change: str, *options: str) -> str:
        code, log = self.world.finish(
            self.world.start(self.images[change], config_id=self.config_id, options=options, SCONE_LOG="INFO")
        )
        assert code == (0 if "tried everything" in log else 125) and "Traceback" not in log, log
        return log


@pytest.fixture(scope="module")
def machine(module_world: World) -> Iterator[Machine]:
    folder = module_world.root / "unread"
    folder.mkdir()
    (folder / "main.py").write_text(PROGRAM)
    image, config_id = deploy(module_world, "unread", "python", "python3 /srv/main.py", BUILD)
    entry = json.dumps(inspected(image)["Config"]["Entrypoint"])
    name = f"sconectl-test-{uuid.uuid4().hex[:10]}"
    module_world.containers.append(name)
    must(docker("run", "--name", name, "--entrypoint", "/bin/sh", image, "-c", FOREIGN))
    foreign = f"{image}-foreign"
    must(docker("commit", "--change", f"ENTRYPOINT {entry}", "--change", "CMD []", name, foreign))
    images = {"genuine": image, "foreign": foreign}
    yield Machine(module_world, config_id, images)


def test_nothing_foreign_is_ever_read(machine: Machine) -> None:
    cases = [(image, user, caps) for image in machine.images for user in USERS for caps in CAPABILITIES]
    with ThreadPoolExecutor(2) as pool:
        logs = list(pool.map(lambda case: machine.log(case[0], *USERS[case[1]], *CAPABILITIES[case[2]]), cases))
    for case, log in zip(cases, logs, strict=True):
        assert all(text in log for text in expected(*case)), f"{case}: {log}"
        assert ": foreign" not in log, f"{case}: {log}"
        assert "/srv/mods/plugin.py" not in log or "unreadable: /srv/mods" not in log, log


def test_the_message_names_files_reason_and_remedy(machine: Machine) -> None:
    log = machine.log("genuine", "--cap-drop", "ALL", "--cap-add", "SETUID", "--cap-add", "NET_RAW")
    assert "protected files cannot be read, and so not verified" in log
    assert "the container runs as user 0, and the program could get at these files later: it has CAP_SETUID\n" in log
    assert "--cap-add" in log and "DAC_OVERRIDE" in log


@pytest.mark.parametrize(
    "options",
    [
        ("--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE"),
        ("--user", "1001:1001", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        ("--user", "1001:1001", "--group-add", "27", "--init"),
    ],
)
def test_harmless_capabilities_and_set_options_are_no_obstacle(machine: Machine, options: tuple[str, ...]) -> None:
    log = machine.log("foreign", *options)
    assert "tried everything" in log and ": foreign" not in log and "(no_new_privs)" in log, log


def test_nothing_is_given_up_where_everything_can_be_read(machine: Machine) -> None:
    """A program that runs as root with Docker's capabilities still becomes whom it likes."""
    log = machine.log("genuine")
    assert "as the owner: genuine /srv/file.py" in log and "no_new_privs" not in log
