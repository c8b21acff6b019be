"""What happens to a volume in its life: a second instance, a CAS that is away, backups, older states."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sconectl.toolchains.sim.toolchain import SimToolchain

from .world import Outcome, World, docker, is_running, log_until, logs, must

pytestmark = pytest.mark.skipif(not SimToolchain.traits.volumes, reason="sim cannot protect volumes yet")
REFUSED = 125
LEDGER = """\
import errno, os, signal, sys, time
ended = []
signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
with open("/data/ledger", "a+") as file:
    file.seek(0)
    number = len(file.readlines())
    print("found", number, flush=True)
    while not ended:
        started = time.monotonic()
        try:
            file.write(f"{number}\\n")
            file.flush()
            os.fsync(file.fileno())
            print("synced", number, flush=True)
        except OSError as error:
            print(errno.errorcode[error.errno], round(time.monotonic() - started), flush=True)
        number += 1
        time.sleep(0.05)
"""
SERVICE = """\
apiVersion: scone/5.8
kind: genservice
build:
  name: ledger
  kind: python
  to: {image}
  pwd: /app
  command: python3 ledger.py
  copy: [ledger.py]
  volumes: [{{name: data, path: /data}}]
environment: {{local: [{{name: SCONE_LOG, value: INFO}}]}}
"""
MESH = """\
apiVersion: scone/5.8
kind: mesh
cas:
  - {{name: cas, alias: [image, security, access, attestation], cas_url: {address}}}
policy: {{namespace: ledgers}}
env: []
services: [{{name: ledger, image: {image}}}]
"""
CONFIG_ID, SESSION = "ledgers/ledger/python3", "ledgers/ledger"


@dataclass
class Ledger:
    """A service that syncs all the time, and its storage on this machine."""

    world: World
    storage: Path

    def start(self, **variables: str) -> str:
        options = ["-v", f"{self.storage}:/scone/volumes/data", "--tmpfs", "/scone/memory:exec", "--stop-timeout", "20"]
        return self.world.start(self.world.image("ledger"), config_id=CONFIG_ID, options=options, **variables)

    def stop(self, container: str) -> int:
        """End the program in order; return how many lines it has promised."""
        must(docker("stop", container))
        code, log = self.world.finish(container)
        assert code == 0, log
        return synced(log)

    def found(self, container: str) -> int:
        """Return how many lines a program has found."""
        [number] = re.findall(r"^found ([0-9]+)$", self.world.log_with(container, "synced"), re.M)
        return int(number)

    def volume(self, *words: str | Path) -> Outcome:
        cas = ("--cas", self.world.address)
        return self.world.sconectl(
            "volume", *words, *(cas if words[0] in ("list", "accept") or "--of" in words else ())
        )


def synced(log: str) -> int:
    """Return how many lines were promised: all up to the last one."""
    return int(re.findall(r"^synced ([0-9]+)$", log, re.M)[-1]) + 1


def wait_for(container: str, pattern: str) -> str:
    return log_until(container, pattern, lambda log: bool(re.search(pattern, log, re.M)))


@pytest.fixture(scope="module")
def built(module_world: World) -> World:
    project = module_world.root / "ledger"
    project.mkdir()
    names = {"image": module_world.image("ledger"), "address": module_world.address}
    (project / "ledger.py").write_text(LEDGER)
    (project / "service.yaml").write_text(SERVICE.format(**names))
    (project / "mesh.yaml").write_text(MESH.format(**names))
    must(module_world.apply_service(project / "service.yaml"))
    must(module_world.apply_mesh(project / "mesh.yaml"))
    return module_world


@pytest.fixture
def ledger(built: World) -> Iterator[Ledger]:
    """A volume that nothing was ever written to: the last test's state is given up, as an owner would."""
    storage = built.root / f"storage-{uuid.uuid4().hex[:8]}"
    storage.mkdir()
    found = Ledger(built, storage)
    deadline = time.monotonic() + 120  # the lease of a container that was killed has to run out
    while (done := found.volume("accept", SESSION, "data", "--empty")).code:
        assert "in use" in done.err and time.monotonic() < deadline, done.err
        time.sleep(1)
    yield found
    if running := [container for container in built.containers if is_running(container)]:
        docker("stop", *running)  # in order, so that nobody has to wait for the end of a lease
    built.remove_containers()


def test_a_second_instance_is_refused_and_a_restart_is_not(ledger: Ledger) -> None:
    first = ledger.start()
    ledger.found(first)
    host = must(docker("inspect", "-f", "{{.Config.Hostname}}", first)).out.strip()
    listed = must(ledger.volume("list", SESSION)).out
    assert f"in use by {host} until " in listed
    code, log = ledger.world.finish(ledger.start(SCONE_VOLUME_TIMEOUT="2"))
    assert code == REFUSED and f"Volume data is in use by {host}" in log and "found" not in log
    must(docker("kill", "-s", "KILL", first))
    promised = synced(logs(first))
    must(docker("start", first))  # the same container: its lease is its own
    log = wait_for(first, r"^found [0-9]+\n(?:.*\n)*found [0-9]+$")
    assert int(re.findall("^found ([0-9]+)$", log, re.M)[-1]) >= promised
    assert "waiting for volume data" not in log
    ledger.stop(first)
    assert "in use" not in must(ledger.volume("list", SESSION)).out
    second = ledger.start()  # another one, at once: the first has released it
    assert ledger.found(second) >= promised


def test_another_container_follows_one_that_was_killed(ledger: Ledger) -> None:
    first = ledger.start()
    ledger.found(first)
    must(docker("kill", "-s", "KILL", first))
    promised = synced(logs(first))
    second = ledger.start()
    wait_for(second, "waiting for volume data: Volume data is in use by")
    wait_for(second, "^found ")
    assert ledger.found(second) >= promised


def test_the_cas_is_away_for_a_while(ledger: Ledger) -> None:
    world, container = ledger.world, ledger.start(SCONE_VOLUME_TIMEOUT="6")
    ledger.found(container)
    world.stop_cas()
    wait_for(container, r"^EIO ([5-9]|1[0-9])$")  # the sync has waited, and nothing was promised
    must(world.sconectl("cas", "serve", "--dir", world.cas_directory, "--listen", world.address, "--detach"))
    wait_for(container, r"EIO [0-9]+\n(?:.*\n)*synced")  # which attests again
    log = wait_for(container, r"the CAS answers for volume data again")
    assert "the CAS does not answer for volume data" in log
    promised = ledger.stop(container)
    assert ledger.found(ledger.start()) == promised


def test_a_session_that_is_updated_while_the_program_runs(ledger: Ledger) -> None:
    world, container = ledger.world, ledger.start()
    before = ledger.found(container)
    session = must(world.sconectl("session", "read", SESSION, "--cas", world.address)).out
    file = world.root / "session.yaml"
    file.write_text(re.sub("^salt: .*\n", "", session, flags=re.M) + f"salt: {uuid.uuid4().hex}\n")
    must(world.sconectl("session", "update", file, "--cas", world.address))
    count = logs(container).count("synced")
    wait_for(container, rf"^synced {before + count + 20}$")
    assert "EIO" not in logs(container) and "FATAL" not in logs(container)
    assert ledger.stop(container) > before


def test_a_backup_is_restored_and_accepted(ledger: Ledger) -> None:
    root, container = ledger.world.root, ledger.start()
    ledger.found(container)
    wait_for(container, "^synced 30$")
    backup = root / f"backup-{uuid.uuid4().hex[:8]}"
    at_least = synced(logs(container))
    done = must(ledger.volume("backup", ledger.storage, backup, "--of", f"{SESSION}/data"))  # while it runs
    state = done.out.strip()
    assert re.fullmatch("[0-9a-f]{32}", state)
    wait_for(container, f"^synced {at_least + 30}$")
    promised = ledger.stop(container)
    refused = ledger.volume("restore", backup, ledger.storage)
    assert refused.code == 7 and "--replace" in refused.err
    must(ledger.volume("restore", backup, ledger.storage, "--replace"))
    code, log = ledger.world.finish(ledger.start())
    assert code == REFUSED and "volume data" in log and "found" not in log
    must(ledger.volume("accept", SESSION, "data", state))
    again = ledger.start()
    found = ledger.found(again)
    assert at_least <= found < promised
    must(docker("stop", again))
    assert b"synced" not in b"".join(path.read_bytes() for path in backup.rglob("*") if path.is_file())
