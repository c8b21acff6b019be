"""Two manifests become a running, attested service."""

from __future__ import annotations

import re
from pathlib import Path

import helm_python as helm
import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from .world import CHECKSUM, GREETING, World, docker, inspected, log_until, must, saved_bytes, snapshot, stored_rows


@pytest.mark.shows("002.output")
def test_the_program_gets_its_configuration(hello: World) -> None:
    log = hello.log_with(hello.start(hello.image()), "Stop ME by executing")
    assert GREETING + " and xpassword=#NOPEE!!" in log
    first = re.search(r"original API_PASSWORD is '([0-9a-f]{32})'", log)
    second = re.search(r"current password is '([0-9a-f]{32})'", log)
    assert first and second and first[1] == second[1]
    assert "SIMULATION" in log.splitlines()[0]
    assert "Hello! !#what!$# user 'myself'!" in log


def test_applying_again_changes_nothing(hello: World) -> None:
    project = hello.root / "hello"
    before, cas = snapshot(hello.target), _kept(hello)
    image = inspected(hello.image())["Id"]
    service = must(hello.apply_service(project / "service.yaml"))
    mesh = must(hello.apply_mesh(project / "mesh.yaml"))
    assert "unchanged" in service.out and "built" not in service.out
    assert mesh.out.count("unchanged") == 4 and "updated" not in mesh.out and "written" not in mesh.out
    assert snapshot(hello.target) == before
    assert inspected(hello.image())["Id"] == image
    assert _kept(hello) == cas


def _kept(world: World) -> list[str]:
    """Return what the CAS stores, but for the audit log: that sessions were read is on record."""
    rows = [row for row in stored_rows(world.cas_directory) if not row.startswith('INSERT INTO "audit"')]
    assert any(row.startswith('INSERT INTO "sessions"') for row in rows)
    return rows


@pytest.mark.shows("002.exported", "attack.environment.002", "attack.arguments.002")
def test_arguments_and_environment_of_the_operator_are_ignored(hello: World) -> None:
    container = hello.start(
        hello.image(), "sh", "-c", "echo pwned", API_USER="evil", API_PASSWORD="known", PATH="/tmp", PYTHONPATH="/tmp"
    )
    log = hello.log_with(container, "Stop ME by executing")
    assert GREETING in log
    assert "pwned" not in log and "evil" not in log


def test_nothing_of_the_launcher_reaches_the_program(hello: World) -> None:
    container = hello.start(hello.image(), OPERATOR_VARIABLE="x")
    hello.log_with(container, CHECKSUM)
    listing = must(docker("exec", container, "/usr/bin/python3", "-c", _PROGRAM_STATE)).out
    names, files = listing.strip().splitlines()
    assert set(names.split()) == {
        "API_PASSWORD", "API_USER", "DISCLAIMER", "EXCLAIM", "RELEASE", "SCONE_ALLOW_DLOPEN", "SCONE_HEAP",
        "SCONE_LOG", "XPASSWORD",
    }  # fmt: skip
    assert set(files.split()) <= {"0", "1", "2"}


_PROGRAM_STATE = """
import os
for pid in os.listdir('/proc'):
    if pid.isdigit() and b'print_env.py' in open(f'/proc/{pid}/cmdline', 'rb').read():
        entries = open(f'/proc/{pid}/environ', 'rb').read().split(b'\\0')
        print(*sorted(e.split(b'=')[0].decode() for e in entries if e))
        print(*os.listdir(f'/proc/{pid}/fd'))
        break
"""


@pytest.mark.shows("002.nowhere")
def test_the_generated_password_is_nowhere(hello: World, tmp_path: Path) -> None:
    container = hello.start(hello.image(), SCONE_LOG="TRACE")
    log = hello.log_with(container, "Stop ME by executing")
    code = (
        "import os\nfor pid in os.listdir('/proc'):\n"
        " if pid.isdigit() and b'print_env.py' in open(f'/proc/{pid}/cmdline','rb').read():\n"
        "  e = open(f'/proc/{pid}/environ','rb').read()\n"
        "  print(dict(x.split(b'=',1) for x in e.split(b'\\0') if b'=' in x)[b'API_PASSWORD'].decode()); break\n"
    )
    password = must(docker("exec", container, "/usr/bin/python3", "-c", code)).out.rstrip("\n")
    assert len(password) == 10
    project = hello.root / "hello"
    verbose = must(hello.apply_service(project / "service.yaml", "-vvv")).text
    verbose += must(hello.apply_mesh(project / "mesh.yaml", "-vvv")).text
    processes = must(docker("top", container, "-eo", "pid,args")).out
    assert password not in log + verbose + processes
    assert password not in str(inspected(container)) + str(inspected(hello.image()))
    secret = password.encode()
    assert not [name for name, (content, _) in snapshot(hello.target).items() if secret in content]
    assert not [name for name, (content, _) in snapshot(hello.cas_directory).items() if secret in content]
    assert secret not in saved_bytes(hello.image(), tmp_path)


VALUES = ["myself", "#NOPEE!!", "!#what!$#", "This program shows a checksum", "192M", "$$SCONE::password$$"]


@pytest.mark.shows("002.nowhere")
def test_whoever_pulls_or_administers_learns_no_value(hello: World, tmp_path: Path) -> None:
    image = saved_bytes(hello.image(), tmp_path)
    chart = b"".join(content for content, _ in snapshot(hello.target / "helm").values())
    public = str(inspected(hello.image()))
    launcher = must(docker("images", "sconectl-launcher", "--format", "{{.Repository}}:{{.Tag}}")).out.split()[0]
    # Ordinary words also stand in files of the program's base and in the launcher.
    others = saved_bytes("sconectl-native/python-hello-user:latest", tmp_path) + saved_bytes(launcher, tmp_path)
    for value in VALUES:
        assert image.count(value.encode()) <= others.count(value.encode()), value
        assert value.encode() not in chart, value
        assert value not in public, value


def test_files_with_values_are_private(hello: World) -> None:
    for folder in ("images", "policies"):
        for path in (hello.target / folder).iterdir():
            assert path.stat().st_mode & 0o077 == 0, path


def test_the_chart_is_valid(hello: World) -> None:
    chart = hello.target / "helm"
    report = helm.lint(str(chart), strict=True, with_subcharts=True)
    assert not report["messages"] and not report["errors"]
    with helm.Chart.load(str(chart)) as loaded:
        rendered = loaded.render(name="hello", namespace="default")
    documents = [
        document
        for name, text in rendered.items()
        if name.endswith((".yaml", ".yml"))
        for document in YAML(typ="safe").load_all(text)
        if isinstance(document, dict)
    ]
    assert {document["kind"] for document in documents} >= {"Deployment", "Service", "ServiceAccount"}
    for document in documents:
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
    pod = next(d for d in documents if d["kind"] == "Deployment")["spec"]["template"]["spec"]
    variables = {entry["name"]: entry.get("value") for entry in pod["containers"][0]["env"]}
    assert variables["SCONE_CONFIG_ID"] == "hello-user/pythonservice/python3"
    assert variables["SCONE_CAS_ADDR"] == hello.address
    assert "command" not in pod["containers"][0] and "args" not in pod["containers"][0]


def test_the_pod_settings_of_the_chart_work(hello: World) -> None:
    """What the chart asks of a cluster, asked of the engine: no capabilities, memory for /dev/shm, read-only root."""
    options = ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--read-only", "--shm-size", "256m"]
    assert GREETING in hello.log_with(hello.start(hello.image(), options=options), CHECKSUM)


def test_two_machines_write_the_same_files(tmp_path: Path, base_image: str, ca_bundle: str, cache: Path) -> None:
    """Two data directories, two identities, two embedded CASes, and one empty cache; only the inputs are the same."""
    caches = {"one": cache, "two": None}
    machines = [World(tmp_path / name, base_image, ca_bundle, "twin", cache=kept) for name, kept in caches.items()]
    try:
        for machine in machines:
            machine.configure()
            project = machine.hello()
            must(machine.apply_service(project / "service.yaml"))
            must(machine.apply_mesh(project / "mesh.yaml"))
        # The key of this mark is in the CAS, and each machine has one of its own.
        mark = re.compile(rb"(configuration|sconectl.io/content): .*")
        for folder in ("policies", "helm"):
            one, two = (
                {name: mark.sub(b"", content) for name, (content, _) in snapshot(machine.target / folder).items()}
                for machine in machines
            )
            assert one == two and one
        assert snapshot(machines[0].root / "data") != snapshot(machines[1].root / "data")
    finally:
        machines[0].close()


def test_restart_of_a_container(hello: World) -> None:
    container = hello.start(hello.image())
    hello.log_with(container, CHECKSUM)
    must(
        docker("exec", container, "/bin/sh", "-c", "echo x > /python/left-over; mkdir /python/d; echo y > /python/d/e")
    )
    must(docker("restart", "-t", "5", container))
    log_until(container, "a second checksum", lambda log: log.count(CHECKSUM) == 2)
    listing = must(docker("exec", container, "/bin/ls", "/python")).out.split()
    assert "left-over" not in listing and "d" not in listing


def test_signals_and_exit_codes_pass_through(hello: World) -> None:
    container = hello.start(hello.image())
    hello.log_with(container, CHECKSUM)
    must(docker("kill", "-s", "TERM", container))
    code, _ = hello.finish(container)
    assert code == 128 + 15


@pytest.mark.parametrize("command", [[], ["apply"], ["cas"], ["cas", "serve"], ["cas", "status"], ["cas", "stop"]])
def test_help_reads_well_at_80_columns(hello: World, command: list[str]) -> None:
    done = must(hello.sconectl(*command, "--help", COLUMNS="80", TERM="dumb"))
    assert all(len(line) <= 80 for line in done.out.splitlines())
    assert "Usage" in done.out
