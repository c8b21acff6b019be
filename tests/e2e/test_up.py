"""`sconectl up`: two services with mutual TLS on this machine, looked at, changed, and ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .up_mesh import PORT, Local, local_meshes, write_manifests, write_mesh
from .world import World, docker, must, snapshot

LONGEST = 120
"""Seconds for services whose images are there, on a busy machine; a quiet one needs less than 20."""
STRANGER = f"""
import socket, ssl, sys
context = ssl._create_unverified_context()
with context.wrap_socket(socket.create_connection((sys.argv[1], {PORT}), 5)) as stream:
    print("got", stream.recv(100))
"""


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, base_image: str, ca_bundle: str, cache: Path) -> Iterator[Local]:
    """A machine on which no CAS runs."""
    world = World(tmp_path_factory.mktemp("up"), base_image, ca_bundle, cache=cache)
    world.configure()
    write_manifests(world)
    with local_meshes(world) as local:
        yield local


def wait_for(local: Local, service: str, text: str) -> str:
    return local.world.log_with(f"{local.release}-{service}", text)


def test_one_word_builds_applies_and_starts_and_another_one_ends_it(local: Local) -> None:
    first = must(local.up())
    assert "image" in first.out and "the embedded CAS was started at" in first.err
    assert f"{local.release}-server: created, healthy" in first.out
    wait_for(local, "client", "answer: hello the client")
    assert [each["state"] for each in local.ps().values()] == ["running", "healthy"]

    before = {name: local.container(name) for name in ("server", "client")}
    second = must(local.up())
    assert "server: unchanged, healthy" in second.out and "started" not in second.err
    for name, was in before.items():
        now = local.container(name)
        assert (now["Id"], now["State"]["StartedAt"]) == (was["Id"], was["State"]["StartedAt"])
    must(local.down())
    assert local.objects() == []
    assert local.world.sconectl("cas", "status").code == 6  # `up` started it
    assert "no mesh" in must(local.world.sconectl("logs", "--release", local.release)).err
    must(local.down())  # again

    began = time.monotonic()
    must(local.up())
    assert time.monotonic() - began < LONGEST


def test_a_stranger_in_the_network_gets_nothing(local: Local) -> None:
    must(local.up())
    words = ("run", "--rm", "--network", f"sconectl-{local.release}", local.world.base_image, "python3", "-c")
    refused = docker(*words, STRANGER, f"{local.release}-server")
    assert refused.code != 0 and "certificate required" in refused.err.lower().replace("_", " ")
    assert "got" not in refused.out
    assert "refused" in wait_for(local, "server", "refused")


def test_containers_have_what_the_chart_gives_and_nothing_more(local: Local) -> None:
    must(local.up())
    found = local.container("server")
    host = found["HostConfig"]
    assert host["CapDrop"] == ["ALL"] and not host["Privileged"] and host["SecurityOpt"] == ["no-new-privileges"]
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert {entry["HostIp"] for entry in host["PortBindings"][f"{PORT}/tcp"]} == {"127.0.0.1"}
    given = dict(entry.split("=", 1) for entry in found["Config"]["Env"])
    assert given["SCONE_CAS_KEY"], "the containers know the CAS by its key"
    assert not [name for name in given if not name.startswith("SCONE_")]


def test_only_what_the_pod_annotation_would_restart_is_restarted(local: Local) -> None:
    must(local.up())
    before = {name: local.container(name)["Id"] for name in ("server", "client")}
    program = local.world.root / "client.py"
    program.write_text(program.read_text().replace('"answer:"', '"another answer:"'))
    done = must(local.up())
    assert "client: replaced, running" in done.out and "server: unchanged" in done.out
    after = {name: local.container(name)["Id"] for name in ("server", "client")}
    assert after["server"] == before["server"] and after["client"] != before["client"]
    wait_for(local, "client", "another answer: hello the client")


def test_a_rehearsal_says_what_would_be_done_and_does_nothing(local: Local) -> None:
    must(local.down())
    first = must(local.up("--dry-run"))
    assert "embedded CAS: would be started at" in first.out
    assert [f"{local.release}-{name}: would be created" in first.out for name in ("server", "client")] == [True] * 2
    assert local.objects() == [] and local.world.sconectl("cas", "status").code == 6
    must(local.up())
    there = snapshot(local.world.root)
    objects = local.objects()
    assert must(local.up("--dry-run")).out.split("\n")[:-1] == [
        f"{local.release}-{name}: would stay" for name in ("server", "client")
    ]
    program = local.world.root / "server.py"
    text = program.read_text()
    program.write_text(text + "\n")
    changed = must(local.up("--dry-run")).out
    program.write_text(text)
    assert f"image {local.world.image('server')}: would be built" in changed
    assert "server: would be replaced" in changed and "client: would stay" in changed
    now = snapshot(local.world.root)
    touched = {name for name in {*there, *now} if there.get(name) != now.get(name)}
    assert not {name for name in touched if not name.startswith(("data/sconectl/cas/", "server.py"))}, touched
    assert local.objects() == objects


def test_logs_name_the_service_of_each_line(local: Local) -> None:
    must(local.up())
    wait_for(local, "client", "answer:")
    lines = local.logs().splitlines()
    assert {line.partition("|")[0].strip() for line in lines} == {f"{local.release}-{n}" for n in ("server", "client")}
    assert all(line.startswith(f"{local.release}-client |") for line in local.logs("client").splitlines())
    wrong = local.world.sconectl("logs", "--release", local.release, "nobody")
    assert wrong.code == 2 and "known are" in wrong.err


def test_a_service_that_is_not_healthy_is_shown_with_what_its_health_check_said(local: Local) -> None:
    write_mesh(local.world, port=PORT + 1)  # where nobody listens
    try:
        failed = local.up(seconds=40)
        assert failed.code == 5, failed.text
        assert f"{local.release}-server does not do its work after 40 seconds" in failed.err
        assert "| its health check said:" in failed.err and "refused" in failed.err.partition("health check said")[2]
    finally:
        write_mesh(local.world)
    must(local.up())


def test_a_service_that_ends_is_shown_with_the_end_of_its_log(local: Local) -> None:
    write_mesh(local.world, host="no-such-host")
    try:
        deadline = time.monotonic() + 180
        while (failed := local.up()).code == 0 and time.monotonic() < deadline:
            pass  # nothing can be asked of the client: on a slow machine its launcher is taken for a program that works
        assert failed.code == 5, failed.text
        assert f"{local.release}-client ended with exit code 1" in failed.err
        assert "socket.gaierror" in failed.err and "Traceback" in failed.err  # of the program
    finally:
        write_mesh(local.world)
    must(local.up())
    wait_for(local, "client", "answer: hello the client")
