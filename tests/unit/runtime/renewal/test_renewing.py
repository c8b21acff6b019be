"""Files of a program that runs are renewed with their certificates, and the program is told of it."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from sconectl.protect.index import Index
from sconectl.runtime.attest import AttestationRefused, Attester
from sconectl.runtime.configuration import Host
from sconectl.runtime.files import Given
from sconectl.runtime.log import LaunchRefused
from sconectl.runtime.renewal import renewing
from sconectl.runtime.renewal.reload import reload_of

from ..configurations import configuration
from ..volumes.cas_world import MEASUREMENT, CasWorld, Network

pytestmark = pytest.mark.sockets
VALID_FOR, RENEWED = 4, 2
"""Seconds: the CAS renews what lives so short when half of its time is over."""
PROGRAM = """
trap 'echo told >>{out}; cat {leaf} >>{out}' USR1; echo started >>{out}; while :; do sleep 0.05; done
"""
SLOW_PROGRAM = """
echo started >>{out}; sleep 4; trap 'echo told >>{out}' USR1; while :; do sleep 0.05; done
"""
LEAF = "/tls/leaf.crt"


class World:
    """A CAS whose certificates last for seconds, and a launcher with a program that uses them."""

    def __init__(self, folder: Path, cas: CasWorld, network: Network) -> None:
        self.folder, self.cas, self.network = folder, cas, network
        self.out, self.log, self.memory = folder / "out", folder / "log", folder / "scone"
        self.memory.mkdir()
        self.process: subprocess.Popen[bytes] | None = None
        self.session()

    def session(
        self,
        *,
        valid_for: str = f"{VALID_FOR} s",
        more: str = "",
        content: str | None = "$$SCONE::leaf:crt$$",
        program: str = PROGRAM,
    ) -> None:
        program = program.format(out=self.out, leaf=self.file(LEAF))
        injected: dict[str, Any] = {"path": LEAF, "permission": "0440"} | ({"content": content} if content else {})
        document = {
            "name": "acme",
            "version": "0.3.12",
            "security": {"attestation": {"mode": "simulation"}},
            "services": [
                {
                    **{"name": "app", "image_name": "i", "pwd": "/", "environment": {"WHERE": str(self.out)}},
                    **{"command": ["/bin/sh", "-c", program], "attestation": [{"mrenclave": MEASUREMENT}]},
                }
            ],
            "images": [{"name": "i", "injection_files": [injected, {"path": "/conf", "content": f"x{more}"}]}],
            "secrets": [
                {"name": "key", "kind": "private-key", "migrate": True},
                {"name": "leaf", "kind": "x509", "private_key": "key", "valid_for": valid_for},
            ],
        }
        self.cas.put("".join(f"{name}: {json.dumps(value)}\n" for name, value in document.items()))

    def file(self, path: str) -> Path:
        return Path(f"{self.memory}/files{path}")

    def start(
        self,
        *,
        config_id: str = "acme/app",
        key: str | None = None,
        original: str = "",
        lose: bool = False,
        **reload: Any,
    ) -> None:
        known: dict[str, Any] = {
            **{"memory": str(self.memory), "measurement": MEASUREMENT, "config_id": config_id, "original": original},
            **{"cas": self.network.address, "key": self.cas.key if key is None else key},
            **{"ready": str(self.folder / "ready"), "parameters": {"mode": "production"}},
            "lose": lose,
        }
        if reload:
            known["parameters"]["reload"] = json.dumps(reload)
        script = Path(__file__).with_name("a_launcher.py")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([sys.executable, str(script), json.dumps(known)], stderr=log)
        self.wait_for(self.out, "started")

    def wait_for(self, file: Path, text: str, times: int = 1, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not (file.exists() and file.read_text().count(text) >= times):
            said = self.log.read_text()
            assert time.monotonic() < deadline and self.process and self.process.poll() is None, said
            time.sleep(0.02)

    def serial(self) -> int:
        return x509.load_pem_x509_certificate(self.file(LEAF).read_bytes()).serial_number

    def wait_for_another(self, serial: int, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while self.serial() == serial:
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def children(self) -> list[int]:
        """Return who renews, and the program."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(child) for child in children]

    def end(self) -> None:
        """End the launcher, and its program, which would outlive it: it is not process 1 here."""
        if self.process is None:
            return
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        found = children.read_text().split() if self.process.poll() is None else []
        self.process.kill()
        self.process.wait()
        for child in map(int, found):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    cas = CasWorld(tmp_path)
    with cas.served() as network:
        found = World(tmp_path, cas, network)
        yield found
        found.end()


def test_a_signal(world: World) -> None:
    world.start(signal="SIGUSR1")
    first = world.serial()
    for times in (1, 2):
        world.wait_for(world.out, "told", times)
        world.wait_for(world.out, "END CERTIFICATE", times)
    [one, two] = x509.load_pem_x509_certificates(world.out.read_bytes().partition(b"told\n")[2])[:2]
    assert len({first, one.serial_number, two.serial_number}) == 3
    assert world.file(LEAF).stat().st_mode & 0o777 == 0o440 and world.file("/conf").read_text() == "x"
    assert f"renewed {LEAF}" in world.log.read_text() and "/conf" not in world.log.read_text()


def test_a_command_with_the_environment_of_the_program(world: World) -> None:
    world.start(command=["sh", "-c", 'echo "renewed: $(cat ' + str(world.file(LEAF)) + ')" >>"$WHERE"'])
    world.wait_for(world.out, "renewed: -----BEGIN CERTIFICATE", 2)


def test_a_command_that_fails_is_tried_again(world: World) -> None:
    world.start(command=["sh", "-c", 'echo tried >>"$WHERE"; test $(grep -c tried "$WHERE") -gt 1'])
    world.wait_for(world.out, "tried", 2)
    assert "could not be renewed, trying again: the command ended with 1" in world.log.read_text()


def test_a_command_that_is_not_of_the_image(world: World) -> None:
    world.start(command=["cat", "/etc/passwd"])
    world.wait_for(world.log, "is not among the protected files")


def test_a_program_that_looks_by_itself(world: World) -> None:
    world.start()
    world.wait_for_another(world.serial())
    assert "told" not in world.out.read_text()


def test_a_file_of_the_image(world: World) -> None:
    world.session(content=None)
    world.start(signal="SIGUSR1", original="$$SCONE::leaf:crt$$")
    world.wait_for_another(world.serial())


def test_a_cas_that_is_away_for_a_while(world: World) -> None:
    world.start(signal="SIGUSR1")
    first = world.serial()
    world.network.cut()
    world.wait_for(world.log, "could not be renewed, trying again")
    assert world.serial() == first
    world.network.mend()
    world.wait_for(world.out, "told")
    assert world.serial() != first


def test_another_cas_is_not_believed(world: World) -> None:
    """The address leads to somebody else now, with another key than the launcher knows."""
    world.start(signal="SIGUSR1")
    first = world.serial()
    stranger = CasWorld(world.folder / "stranger")
    own = world.network
    with stranger.served() as theirs:
        own.cut()
        own.target = theirs.target
        own.mend()
        world.wait_for(world.log, "the CAS is not the expected one")
        time.sleep(0.5)
    assert world.serial() == first and "told" not in world.out.read_text()


def test_a_session_that_was_changed_changes_nothing(world: World) -> None:
    """Variables and arguments of the program stay: files of another version may not fit to them."""
    world.start(signal="SIGUSR1")
    first = world.serial()
    world.session(more="y")
    world.wait_for(world.log, "session acme was changed; the program has to be started again")
    time.sleep(RENEWED)
    assert world.serial() == first and world.file("/conf").read_text() == "x" and "told" not in world.out.read_text()
    assert world.log.read_text().count("was changed") == 1, "said once"


def test_a_one_time_password_is_not_used_twice(world: World) -> None:
    world.start(config_id="acme/app@123456")
    assert "a one-time password allows one start" in world.log.read_text()


@pytest.mark.parametrize("valid_for", ["10 y", "500 y"])
def test_what_lasts_for_years_is_renewed_in_years(world: World, valid_for: str) -> None:
    world.session(valid_for=valid_for)
    world.start(signal="SIGUSR1")
    assert int((world.folder / "ready").read_text()) > 10**8
    time.sleep(0.5)
    assert len(world.children()) == 2 and "not renewed" not in world.log.read_text()


def test_a_program_without_a_handler_is_not_ended(world: World) -> None:
    """The default action of the signal is to end it, and its start takes longer than its certificate."""
    world.session(program=SLOW_PROGRAM)
    world.start(signal="SIGUSR1")
    world.wait_for(world.log, "SIGUSR1 would end the program, which has no handler for it (yet)")
    world.wait_for(world.out, "told")


def test_a_program_is_told_again_without_another_attestation(world: World) -> None:
    world.session(valid_for="10 s")
    world.start(command=["sh", "-c", 'echo tried >>"$WHERE"; test $(grep -c tried "$WHERE") -gt 1'])
    world.wait_for(world.out, "tried")
    connections = world.network.connections
    world.wait_for(world.out, "tried", 2)
    assert world.network.connections == connections


def test_a_signal_to_all_processes_does_not_end_it(world: World) -> None:
    """Programs that end their children send it to all that they may."""
    world.start(signal="SIGUSR1")
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        os.kill(world.children()[0], number)
    world.wait_for(world.out, "told", 2)


def test_a_program_starts_though_nobody_renews_its_files(world: World) -> None:
    world.start(signal="SIGUSR1", lose=True)
    assert "certificates are not renewed: the process that does it has ended" in world.log.read_text()


def test_what_the_program_made_of_its_file_stays(world: World) -> None:
    """Such as PostgreSQL, whose start gives its key to its user, and to nobody else."""
    world.start()
    first, file = world.serial(), world.file(LEAF)
    file.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(file, 4321, 1234)
    before = file.stat()
    world.wait_for_another(first)
    after = file.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert list(file.parent.iterdir()) == [file]


def test_memory_that_leads_elsewhere_gets_nothing(world: World) -> None:
    world.start()
    other = world.folder / "disk"
    world.memory.rename(other)
    world.memory.symlink_to(other)
    first = world.serial()
    world.wait_for(world.log, "does not belong to this container")
    assert world.serial() == first


class Attempts(renewing._Renewing):
    """Fails as it is told to, and counts."""

    def __init__(self, error: Exception | None, most: int) -> None:
        given = Given(configuration())
        given.renew_in = 0
        super().__init__(Attester("", "", "", "", {}, "", Host()), Index((), (), {}), given, lambda _: None)
        self.error, self.most, self.times = error, most, 0
        self.reading, self.writing = os.pipe()

    def _renew(self) -> None:
        self.times += 1
        if self.times == self.most:
            os.close(self.writing)
        if self.error:
            raise self.error

    def log(self, capfd: pytest.CaptureFixture[str]) -> str:
        self.run(self.reading, os.getpid(), 0)
        os.close(self.reading)
        return capfd.readouterr().err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (None, "the CAS has not made anew all that is due"),
        (KeyError("secret"), "this is a bug of sconectl"),
        (OverflowError("secret"), "this is a bug of sconectl"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (AttestationRefused(403, ("no",)), "attestation failed: no"),
    ],
)
def test_whatever_fails_is_said_once_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], error: Exception | None, said: str
) -> None:
    monkeypatch.setattr(renewing, "_FIRST_PAUSE", 0.001)
    attempts = Attempts(error, 6)
    log = attempts.log(capfd)
    assert attempts.times == 6 and log.count(said) == 1 and "secret" not in log


@pytest.mark.parametrize(
    ("error", "longest"),
    [
        (OSError(), 300),
        (AttestationRefused(429, ()), 300),
        (LaunchRefused("not the CAS"), 300),
        (AttestationRefused(403, ()), 3600),
        (renewing._Changed("the session"), 3600),
    ],
)
def test_pauses_grow(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], error: Exception, longest: float
) -> None:
    """A CAS that has refused does not get its audit log filled by programs that ask again and again."""
    now = [0.0]
    attempts = Attempts(error, 100)
    times = []

    def ended(_lifeline: int, until: float) -> bool:
        times.append(until)
        now[0] = until
        return len(times) > 30

    monkeypatch.setattr(renewing, "_ended", ended)
    monkeypatch.setattr(renewing, "_now", lambda: now[0])
    attempts.run(attempts.reading, os.getpid(), 0)
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert pauses[0] <= 1.2 and all(later < 3.1 * earlier for earlier, later in itertools.pairwise(pauses))
    assert all(0.8 * longest <= pause <= 1.2 * longest for pause in pauses[-10:])


@pytest.mark.parametrize("seconds", [1, 10**10, 10**30, 10**400])
def test_any_number_of_seconds_is_a_time(seconds: int) -> None:
    due = renewing._later(5, seconds)
    assert due is not None and due >= 5 + min(seconds, 10**10)
    reading, writing = os.pipe()
    threading.Timer(0.2, os.close, (writing,)).start()
    assert renewing._ended(reading, due + renewing._now()), "it waits without a fault"
    os.close(reading)


def test_the_sleep_of_a_machine_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting stops while it sleeps, and is not the time that is left then."""
    times = iter([0.0, 0.0, 10_000.0, 10_000.0])
    monkeypatch.setattr(renewing, "_now", lambda: next(times))
    monkeypatch.setattr(renewing, "_LOOK_SECONDS", 0.01)
    reading, writing = os.pipe()
    assert not renewing._ended(reading, 9_000)
    os.close(reading)
    os.close(writing)


def test_it_ends_with_the_launcher(world: World) -> None:
    world.start(signal="SIGUSR1")
    process = world.process
    assert process is not None
    children = world.children()
    assert len(children) == 2, "the program, and who renews"
    os.kill(process.pid, signal.SIGTERM)
    process.wait(20)
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    "text",
    ["[]", "x", "1", '{"signal": "SIGKILL"}', '{"signal": 1}', '{"command": "x"}', '{"command": [1]}', '{"other": 1}'],
)
def test_an_image_that_says_it_in_an_unknown_way_is_not_started(text: str) -> None:
    with pytest.raises(LaunchRefused, match="in an unknown way"):
        reload_of({"reload": text}, configuration(), Index((), (), {}), 1)
