"""examples/flask-redis as `sconectl up` runs it: what fails comes back, and certificates are renewed while it runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .confidential import await_end, process_of_cas
from .curated_mesh import NATIVE_CLIENT, require_images
from .restart_order import drawn_order
from .test_flask_redis import JANE, form
from .up_mesh import Local, local_meshes
from .world import REPOSITORY, World, docker, inspected, logs, must, run

BACK = 60
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
