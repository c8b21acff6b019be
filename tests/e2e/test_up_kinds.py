"""What pods can be, on one machine: jobs, waiting, replicas with storage of their own, users that are not root."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from .up_mesh import PORT, Local, local_meshes, write_manifests
from .world import World, docker, must

KEEPER = """
import os, pathlib, signal, socket, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
number = pathlib.Path("/data/number")
count = int(number.read_text()) + 1 if number.exists() else 1
with number.open("w") as file:
    file.write(str(count))
    file.flush()
    os.fsync(file.fileno())
listening = socket.create_server(("0.0.0.0", 9000))
print("start", count, "on", socket.gethostname(), flush=True)
while True:
    with listening.accept()[0] as stream:
        stream.sendall(str(count).encode())
"""
ONCE = """
import os, socket, time
def writes(path):
    try:
        open(path, "w").close()
    except OSError as error:
        return error.strerror
    return "yes"
def ask(host):
    for _ in range(600):  # it waits for another service only
        try:
            return socket.create_connection((host, 9000), 5)
        except OSError:
            time.sleep(0.1)
print("as", os.getuid(), "writes", writes("/app/x"), "and", writes("/tmp/x"), flush=True)
print("keeper:", ask(os.environ["KEEPER_HOST"]).recv(10).decode(), flush=True)
raise SystemExit(int(os.environ["HOW"]))
"""
PROGRAMS = {"keeper": KEEPER, "once": ONCE}


def manifest(world: World, name: str) -> dict[str, object]:
    build: dict[str, object] = {"name": f"kinds-{name}", "kind": "python", "to": world.image(name), "pwd": "/app"}
    build |= {"command": f"python3 {name}.py", "copy": [f"{name}.py"]}
    if name == "keeper":
        build["volumes"] = [{"name": "data", "path": "/data"}]
    given = {"once": [{"name": "KEEPER_HOST"}, {"name": "HOW"}]}.get(name, [])
    return {"apiVersion": "scone/5.8", "kind": "genservice", "build": build, "environment": {"global": given}}


def write(local: Local, *, how: str = "0") -> None:
    world, release = local.world, local.release
    waits = {"container1": {"enabled": True, "host": f"{release}-server", "port": PORT}}
    values = {
        "client": {"replicaCount": 2, "initContainers": waits},
        "once": {
            "podSecurityContext": {"runAsNonRoot": True, "runAsUser": 1234, "runAsGroup": 1234},
            "securityContext": {"readOnlyRootFilesystem": True},
            "writable": ["/tmp"],
            "initContainers": {"container1": {**waits["container1"]}},
        },
    }
    services = [
        {"name": "keeper", "image": world.image("keeper"), "ports": [9000], "workload": "statefulset"},
        {"name": "once", "image": world.image("once"), "workload": "job"},
        {"name": "nightly", "image": world.image("once"), "workload": "cronjob", "schedule": "0 3 * * *"},
        {"name": "server", "image": world.image("server"), "ports": [PORT]},
        {"name": "client", "image": world.image("client")},
    ]
    shared = {"SERVER_HOST": f"{release}-server", "KEEPER_HOST": f"{release}-keeper", "HOW": how}
    document = {
        "apiVersion": "scone/5.8",
        "kind": "mesh",
        "cas": [{"name": "cas", "alias": ["image"], "cas_url": "local"}],
        "policy": {"namespace": "kinds"},
        "services": services,
        "env": [{"service": "global", "env": [{"name": name, "value": text} for name, text in shared.items()]}],
        "helm_extra_values": values,
    }
    (world.root / "mesh.yaml").write_text(json.dumps(document))


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, base_image: str, ca_bundle: str, cache: Path) -> Iterator[Local]:
    world = World(tmp_path_factory.mktemp("kinds"), base_image, ca_bundle, cache=cache)
    world.configure()
    write_manifests(world)
    for name, program in PROGRAMS.items():
        (world.root / f"{name}.py").write_text(program)
        (world.root / f"{name}.yaml").write_text(json.dumps(manifest(world, name)))
    with local_meshes(world) as local:
        write(local)
        yield local


def started(local: Local, times: int | str = "") -> tuple[int, str]:
    """Return how often the keeper found that it was started (wait for so many `times`), and the name of its host."""
    log = local.world.log_with(f"{local.release}-keeper", f"start {times}")
    found = re.findall(r"^start (\d+) on (\S+)$", log, re.M)[-1]
    return int(found[0]), found[1]


def test_every_kind_of_workload_runs_as_in_a_cluster(local: Local) -> None:
    done = must(local.up())
    release = local.release
    assert "nightly is a CronJob" in done.err and "nightly" not in local.ps()
    assert f"{release}-once: created, done" in done.out
    assert started(local) == (1, f"{release}-keeper-0")
    aliases = local.container("keeper")["NetworkSettings"]["Networks"][f"sconectl-{release}"]["Aliases"]
    assert {f"{release}-keeper-0", f"{release}-keeper-0.{release}-keeper-pods"} <= set(aliases)
    once = local.logs("once")
    assert "as 1234 writes Read-only file system and yes" in once, once
    assert "keeper: 1" in once
    for number in range(2):
        waiting = local.world.log_with(f"{release}-client-{number}-wait-container1", "answers; it speaks TLS")
        assert f"{release}-server:{PORT}" in waiting
        local.world.log_with(f"{release}-client-{number}", "answer: hello the client")
    assert local.ps()["once"]["state"] == "done"
    mounts = {mount["Name"] for mount in local.container("keeper")["Mounts"] if mount["Type"] == "volume"}
    assert len(mounts) == 1 and all(name.startswith(f"{release}-") for name in mounts)

    again = must(local.up())  # a job that is done is not done again
    words = ("keeper", "once", "server", "client-0", "client-1")
    assert [f"{release}-{word}: unchanged" in again.out for word in words] == [True] * 5, again.out


def test_data_stay_until_they_are_given_up_and_then_a_new_volume_is_taken(local: Local) -> None:
    must(local.up())
    before = started(local)[0]
    down = must(local.down())
    assert "these volumes stay" in down.err
    must(local.up())
    assert started(local, before + 1)[0] == before + 1
    there = local.objects()
    stranger = local.down("--volumes", "--cas-config", str(local.world.root / "stranger"))
    assert stranger.code == 6 and local.objects() == there, stranger.text  # the CAS is asked first
    assert "keeper: unchanged" in must(local.up()).out
    gone = must(local.down("--volumes"))
    assert "volume kinds/keeper/data: the CAS expects an empty one" in gone.out
    assert local.objects() == []
    must(local.up())
    assert started(local)[0] == 1


def test_a_job_that_fails_is_told_and_done_again_by_the_next_run(local: Local) -> None:
    must(local.up())
    write(local, how="3")
    try:
        failed = local.up()
        assert failed.code == 5 and f"{local.release}-once ended with exit code 3" in failed.err, failed.text
        assert "keeper: " in failed.err  # the end of its log
        assert local.ps()["once"]["text"] == "failed (exit code 3)"
        assert local.ps()["server"]["state"] == "healthy"
    finally:
        write(local)
    done = must(local.up())
    assert "once: replaced, done" in done.out


def test_a_service_starts_again_by_itself_and_finds_its_data(local: Local) -> None:
    must(local.up())
    before = started(local)[0]
    must(docker("kill", "--signal", "KILL", f"{local.release}-keeper"))
    must(docker("start", f"{local.release}-keeper"))  # an engine starts nothing again that was killed through it
    must(local.up())
    assert started(local, before + 1)[0] == before + 1
