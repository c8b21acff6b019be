"""`sconectl up` beside what others do: Docker Compose, a CAS that runs already, other meshes, ports that are taken."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from .test_up import STRANGER
from .up_mesh import PORT, Local, local_meshes, write_manifests, write_mesh
from .world import SCONECTL, World, docker, free_port, gateway, must, run


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, base_image: str, ca_bundle: str, cache: Path) -> Iterator[Local]:
    world = World(tmp_path_factory.mktemp("ways"), base_image, ca_bundle, cache=cache)
    world.configure()
    write_manifests(world)
    with local_meshes(world) as local:
        yield local


@pytest.fixture
def compose() -> list[str]:
    """The words that call Docker Compose."""
    if docker("compose", "version").code == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    pytest.skip("there is no Docker Compose; `make test` installs it where Debian packages can be had")


def test_compose_runs_the_same_mesh_from_the_file_alone(local: Local, compose: list[str]) -> None:
    done = must(local.up("-o", "compose"))
    assert "compose.yaml: written" in done.out and local.objects() == []
    file = local.world.target / "compose.yaml"
    before = file.read_bytes()
    assert "compose.yaml: unchanged" in must(local.up("-o", "compose")).out and file.read_bytes() == before
    project = [*compose, "-f", str(file)]
    try:
        must(run([*project, "up", "-d"]))
        log = local.world.log_with(f"{local.release}-client", "answer: hello the client")
        assert "SIMULATION" in log
        deadline = time.monotonic() + 180
        while local.container("server")["State"]["Health"]["Status"] != "healthy":
            assert time.monotonic() < deadline
            time.sleep(0.5)
        words = ("run", "--rm", "--network", f"sconectl-{local.release}", local.world.base_image, "python3", "-c")
        assert docker(*words, STRANGER, f"{local.release}-server").code != 0
        assert {name: each["state"] for name, each in local.ps().items()} == {"server": "healthy", "client": "running"}

        by_compose = {name: local.container(name) for name in ("server", "client")}
        assert "server: unchanged, healthy" in must(local.up()).out  # the same containers, so `up` leaves them
        must(run([*project, "down"]))
        assert local.objects() == []
        must(local.up())
        for name, theirs in by_compose.items():
            ours = local.container(name)
            for part in ("CapDrop", "SecurityOpt", "ReadonlyRootfs", "PortBindings", "RestartPolicy", "Memory"):
                assert ours["HostConfig"][part] == theirs["HostConfig"][part], part
            for part in ("User", "Healthcheck", "Hostname"):
                assert ours["Config"].get(part) == theirs["Config"].get(part), part
            assert sorted(ours["Config"]["Env"]) == sorted(theirs["Config"]["Env"])
    finally:
        local.down()


def test_a_cas_that_somebody_else_started_is_used_and_stays(local: Local) -> None:
    world = local.world
    world.start_cas()
    try:
        done = must(local.up())
        assert "the embedded CAS was started" not in done.err
        assert f"SCONE_CAS_ADDR={world.address}" in local.container("server")["Config"]["Env"]
        must(local.down())
        assert world.sconectl("cas", "status").code == 0
    finally:
        world.stop_cas()


def test_a_cas_where_containers_do_not_reach_it_is_no_cas_for_them(local: Local) -> None:
    address = f"127.0.0.1:{free_port('127.0.0.1')}"
    must(local.world.sconectl("cas", "serve", "--listen", address, "--detach"))
    try:
        refused = local.up()
        assert refused.code == 6 and "where containers do not reach it" in refused.err
        assert "sconectl cas stop" in refused.err and local.objects() == []
    finally:
        local.world.stop_cas()
    write_mesh(local.world, cas_url="127.0.0.1:8081")
    try:
        refused = local.up()
        assert refused.code == 6 and "cas_url: local" in refused.err
    finally:
        write_mesh(local.world)


def test_a_cas_with_an_address_of_this_machine_is_started_there(local: Local) -> None:
    address = f"{gateway()}:{free_port(gateway())}"
    write_mesh(local.world, cas_url=address)
    try:
        done = must(local.up())
        assert f"the embedded CAS was started at {address}" in done.err
        local.world.log_with(f"{local.release}-client", "answer: hello the client")
        must(local.down())
        assert local.world.sconectl("cas", "status").code == 6
    finally:
        write_mesh(local.world)
        local.down()


def test_two_releases_live_side_by_side_on_ports_of_their_own(local: Local) -> None:
    other = f"{local.release}-b"
    with socket.socket() as taken:
        free = taken.connect_ex(("127.0.0.1", PORT)) != 0
    try:
        with closing(socket.create_server(("127.0.0.1", PORT))) if free else closing(socket.socket()):
            must(local.up())
            must(local.up(release=other))
        ports = {
            release: must(docker("port", f"{release}-server", str(PORT))).out.strip()
            for release in (local.release, other)
        }
        assert len(set(ports.values())) == 2 and f"127.0.0.1:{PORT}" not in ports.values()
        assert all(place.startswith("127.0.0.1:") for place in ports.values())
        ambiguous = local.world.sconectl("down")
        assert ambiguous.code == 2 and local.release in ambiguous.err and "--release" in ambiguous.err
        local.world.log_with(f"{other}-client", "answer: hello the client")
        must(local.down(release=other))
        assert local.ps()["server"]["state"] == "healthy"  # and its CAS runs
        assert local.world.sconectl("cas", "status").code == 0
    finally:
        local.down(release=other)
        local.down()


def test_a_container_of_somebody_else_is_left_alone(local: Local) -> None:
    name = f"{local.release}-server"
    must(docker("create", "--name", name, local.world.base_image, "true"))
    try:
        failed = local.up()
        assert failed.code == 5 and f"a container {name} is there that is not of this mesh" in failed.err
        must(local.down())
        assert docker("inspect", name).code == 0
    finally:
        docker("rm", name)
        local.down()


def test_a_cas_that_died_is_started_where_it_was_and_nothing_else_is_touched(local: Local) -> None:
    must(local.up())
    before = {name: local.container(name)["Id"] for name in ("server", "client")}
    status = must(local.world.sconectl("cas", "status")).out
    process = re.search(r"process (\d+)", status)
    assert process
    os.kill(int(process[1]), signal.SIGKILL)
    again = must(local.up())
    assert "the embedded CAS was started at" in again.err
    assert {name: local.container(name)["Id"] for name in before} == before
    assert must(local.world.sconectl("cas", "status")).out.split("(")[0] == status.split("(")[0]  # the same address
    must(local.down())
    assert local.world.sconectl("cas", "status").code == 6


def test_an_interrupted_run_is_finished_by_the_next_and_undone_by_down(local: Local) -> None:
    write_mesh(local.world, port=PORT + 1)  # nobody listens there
    words = [str(SCONECTL), "up", "-f", "mesh.yaml", "--release", local.release]
    try:
        with subprocess.Popen(
            words, env=local.world.environment, cwd=local.world.root, stderr=subprocess.PIPE, stdout=subprocess.PIPE
        ) as running:
            deadline = time.monotonic() + 120
            while "starting" not in {each["state"] for each in local.ps().values()}:
                assert time.monotonic() < deadline and running.poll() is None
                time.sleep(0.5)
            running.send_signal(signal.SIGINT)
            _, said = running.communicate(timeout=120)
            assert running.returncode == 130 and b"run it again to finish" in said and b"Traceback" not in said
        assert local.objects()
    finally:
        write_mesh(local.world)
    done = must(local.up())
    assert "server: replaced, healthy" in done.out
    must(local.down())
    assert local.objects() == []


def test_what_cannot_run_here_is_refused_before_anything_is_built(local: Local) -> None:
    write_mesh(local.world, server={"extraContainers": [{"name": "log", "image": "example/log:1"}]})
    try:
        refused = local.up()
        assert refused.code == 4 and "server has extraContainers" in refused.err
        assert "image" not in refused.out and local.objects() == []
    finally:
        write_mesh(local.world)
