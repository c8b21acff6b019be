"""examples/flask-redis as `sconectl up` runs it: what fails comes back, and certificates are renewed while it runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from .confidential import address_of, await_end, process_of_cas
from .curated_mesh import NATIVE_CLIENT, require_images
from .restart_order import drawn_order
from .test_flask_redis import JANE, form
from .up_mesh import Local, local_meshes
from .world import REPOSITORY, World, docker, inspected, logs, must, run

BACK = 60
VALID_FOR = 45
"""Seconds: the last third is enough to attest, and to tell the program."""
SERVICES = ("flask", "redis")


@dataclass
class Running:
    """The application, and whoever asks it, verifies it, and has patience."""

    local: Local
    folder: Path
    ca: Path

    def up(self) -> str:
        words = ("--release", self.local.release, "--set", "CAS_URL=local", "--wait", str(BACK))
        return must(self.local.world.sconectl("up", "-f", "mesh.yaml", *words, cwd=self.folder)).out

    def container(self, service: str) -> str:
        return f"{self.local.release}-{service}"

    def ask(self, path: str, *words: str) -> tuple[int, Any]:
        """Ask until there is an answer that is none of a server that waits for another one."""
        deadline = time.monotonic() + BACK
        while True:
            place = self.local.ps()["flask"]["ports"].get("4996", "")
            to = ["--connect-to", f"api:4996:{place}", "--cacert", str(self.ca), "-w", "\n%{http_code}", *words]
            done = run(["curl", "-sS", "--max-time", "10", *to, f"https://api:4996{path}"])
            body, _, status = done.out.rpartition("\n")
            if done.code == 0 and status != "503":
                return int(status), json.loads(body)
            assert time.monotonic() < deadline, (done, [logs(self.container(each)) for each in SERVICES])
            time.sleep(0.3)

    # --- what happens to it -----------------------------------------------------------------------------------------

    def restarted(self, service: str) -> None:
        must(docker("restart", "-t", "10", self.container(service)))

    def crashed(self, service: str) -> None:
        """Its process is killed from outside of the container, which is nobody's wish: the engine starts it again."""
        process = str(inspected(self.container(service))["State"]["Pid"])
        words = ("--rm", "--pid", "host", "--user", "0", "--entrypoint", "kill", NATIVE_CLIENT, "-9", process)
        must(docker("run", *words))

    def killed(self, service: str) -> None:
        must(docker("kill", self.container(service)))
        await_end(self.container(service))
        self.up()

    def removed(self, service: str) -> None:
        must(docker("rm", "-f", self.container(service)))
        self.up()

    def cas_restarted(self) -> None:
        must(self.local.world.sconectl("cas", "stop"))
        self.up()

    def cas_killed(self) -> None:
        os.kill(process_of_cas(self.local.world), signal.SIGKILL)
        self.up()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, base_image: str, ca_bundle: str, cache: Path) -> Iterator[Running]:
    world = World(tmp_path_factory.mktemp("restarts"), base_image, ca_bundle, cache=cache)
    require_images(world)
    world.configure()
    folder = world.root / "flask-redis"
    shutil.copytree(REPOSITORY / "examples" / "flask-redis", folder)
    shutil.copy(world.root / "sconectl.toml", folder)
    for file in folder.glob("*.yaml"):
        file.write_text(file.read_text().replace("sconectl-demo/", f"sconectl-test/{world.name}-restarts/"))
    with local_meshes(world) as local:
        app = Running(local, folder, world.root / "api-ca.pem")
        app.up()
        address = inspected(app.container("flask"))["Config"]["Env"]
        [cas] = [entry.partition("=")[2] for entry in address if entry.startswith("SCONE_CAS_ADDR=")]
        found = must(run(["curl", "-sSk", f"https://{cas}/v1/values/session=flask-redis/flask"])).out
        app.ca.write_text(json.loads(found)["values"]["api_ca_cert"]["value"])
        assert app.ask("/client/jane", *form(**JANE))[0] == 200
        yield app


@pytest.mark.shows("003.restart")
def test_whatever_fails_in_any_order_is_back_within_a_minute(app: Running) -> None:
    events = [(name, service) for name in ("restarted", "crashed", "killed", "removed") for service in SERVICES]
    events += [("cas_restarted", ""), ("cas_killed", "")]
    drawn_order().shuffle(events)
    before = app.ask("/client/jane")
    assert before[0] == 200
    for name, service in events:
        began = time.monotonic()
        getattr(app, name)(*([service] if service else []))
        answer = app.ask("/client/jane")
        took = time.monotonic() - began
        assert answer == before and took < BACK, (name, service, took)


@pytest.mark.shows("003.restart")
def test_all_at_once(app: Running) -> None:
    """As when the machine is started again: nothing runs, not even the CAS; one command brings all of it back."""
    before = app.ask("/client/jane")
    began = time.monotonic()
    os.kill(process_of_cas(app.local.world), signal.SIGKILL)
    must(docker("kill", *[app.container(service) for service in SERVICES]))
    app.up()
    assert app.ask("/client/jane") == before and time.monotonic() - began < BACK


class Asking:
    """Requests one after the other, each over a connection of its own."""

    def __init__(self, ca: Path, container: str) -> None:
        self._to = ["--resolve", f"api:4996:{address_of(container)}", "--cacert", str(ca)]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.answers: list[str] = []

    def __enter__(self) -> Asking:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _ask(self) -> None:
        """Note what an answer begins with, or why there is none."""
        while not self._ended.wait(0.05):
            done = run(["curl", "-sS", "--max-time", "10", *self._to, "https://api:4996/score/jane"])
            self.answers.append(done.out[:13] if done.code == 0 else f"{done}")


def end_of_certificate(container: str) -> float:
    """Return when the certificate of a running service ends; wait until it serves."""
    deadline = time.monotonic() + BACK
    while True:
        try:
            pem = ssl.get_server_certificate((address_of(container), 4996), timeout=5)
        except OSError:
            assert time.monotonic() < deadline, logs(container)
            time.sleep(0.2)
        else:
            return x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc.timestamp()


def process_of(container: str) -> tuple[Any, ...]:
    found = inspected(container)
    return found["Id"], found["State"]["Pid"], found["State"]["StartedAt"], found["RestartCount"]


@pytest.mark.shows("003.renewed")
def test_certificates_are_renewed_while_it_runs(app: Running) -> None:
    """There is one container, which is not started again, and each request verifies what it serves at that moment."""
    service = app.folder / "service.yaml"
    service.write_text(service.read_text().replace("dns: [api]\n", f"dns: [api]\n      valid_for: {VALID_FOR} s\n"))
    app.up()
    container = app.container("flask")
    first = end_of_certificate(container)
    assert first - time.time() <= VALID_FOR
    before = process_of(container)
    with Asking(app.ca, container) as asking:
        time.sleep(max(0.0, first + 2 - time.time()))
    assert set(asking.answers) == {'{"id":"jane",'} and len(asking.answers) > 50, asking.answers
    assert end_of_certificate(container) > first
    assert process_of(container) == before
