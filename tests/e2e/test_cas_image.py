"""The image of the CAS: built from the checkout, run as it is meant to be, and talked to over TLS."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import hostile_folder
from .world import REPOSITORY, docker, free_port, inspected, logs, must, run

SOURCES = ("pyproject.toml", "README.md", "LICENSE", "sconectl", "charts_templates", "curated", "schemas", "packaging")
SESSION = "name: team\nversion: '0.3.11'\nsecrets: [{name: note, kind: ascii, value: '42', export_public: true}]\n"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory, base_image: str, ca_bundle: str) -> Iterator[str]:
    context = tmp_path_factory.mktemp("context")
    for name in SOURCES:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, context / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, context / name)
    words = ["--build-arg", f"BASE_IMAGE={base_image}"]
    if ca_bundle:
        shutil.copy(ca_bundle, context / "ca.pem")
        words += ["--build-arg", "CA_BUNDLE=ca.pem"]
    for variable in ("PIP_INDEX_URL", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"):
        if os.environ.get(variable):
            words += ["--build-arg", variable]
    name = f"sconectl-test/cas-{uuid.uuid4().hex[:8]}"
    must(
        docker(
            "build",
            "--network",
            "host",
            "-q",
            "-f",
            context / "packaging/docker/Dockerfile",
            "-t",
            name,
            *words,
            context,
        )
    )
    yield name
    docker("rmi", "-f", name)


@pytest.fixture
def container(image: str, tmp_path: Path) -> Iterator[tuple[str, int]]:
    port = free_port("127.0.0.1")
    name = f"sconectl-test-{uuid.uuid4().hex[:10]}"
    volumes = [f"{name}-data", f"{name}-anchor"]
    start(image, name, port)
    yield name, port
    docker("rm", "-f", name)
    for volume in volumes:
        docker("volume", "rm", "-f", volume)


def start(image: str, name: str, port: int) -> None:
    options = "-d --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges".split()
    options += ["-p", f"127.0.0.1:{port}:8081", "-v", f"{name}-data:/data", "-v", f"{name}-anchor:/anchor"]
    must(docker("run", *options, "--name", name, image))


def healthy(name: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while (state := inspected(name)["State"])["Health"]["Status"] != "healthy":
        assert state["Running"] and time.monotonic() < deadline, logs(name)
        time.sleep(0.3)


def curl(folder: Path, port: int, path: str, *words: str) -> Any:
    command = ["curl", "-sS", "--fail-with-body", "--noproxy", "*", "--cacert", str(folder / "cas.pem")]
    command += ["--connect-to", f"cas:8081:127.0.0.1:{port}", *words, f"https://cas:8081{path}"]
    done = run(command)
    assert done.code == 0, done.text
    return json.loads(done.out)


def test_a_team_can_use_it(image: str, container: tuple[str, int], tmp_path: Path) -> None:
    name, port = container
    healthy(name)
    shown = must(docker("exec", name, "sconectl", "cas", "show-certificate", "--dir", "/data/cas"))
    (tmp_path / "cas.pem").write_text(shown.out)
    make = "openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj /CN=me -days 2"
    subprocess.run(
        [*make.split(), "-keyout", tmp_path / "key.pem", "-out", tmp_path / "me.pem"], check=True, capture_output=True
    )
    (tmp_path / "session.yml").write_text(SESSION)
    mine = ["--cert", str(tmp_path / "me.pem"), "--key", str(tmp_path / "key.pem")]
    created = curl(tmp_path, port, "/v1/sessions", *mine, "--data-binary", f"@{tmp_path / 'session.yml'}")
    assert curl(tmp_path, port, "/v1/values/session=team,secret=note")["value"] == "42"

    must(docker("stop", "-t", "10", name))
    state = json.loads(must(docker("inspect", name)).out)[0]["State"]
    assert (state["ExitCode"], state["OOMKilled"]) == (0, False), logs(name)
    must(docker("rm", name))
    start(image, name, port)  # another container on the same volumes is the same CAS
    healthy(name)
    assert curl(tmp_path, port, "/v1/sessions/team", *mine)["hash"] == created["hash"]


def test_it_is_small_in_rights_and_says_what_it_is(container: tuple[str, int]) -> None:
    name, _ = container
    healthy(name)
    assert must(docker("exec", name, "id", "-u")).out.strip() == "10001"
    modes = must(docker("exec", name, "sh", "-c", "stat -c %a /data/cas /anchor; find /data/cas -type f -perm /077"))
    assert modes.out.split() == ["700", "700"]
    lines = [line for line in logs(name).splitlines() if line.strip()]
    assert lines[0].startswith("SIMULATION")
    assert [line for line in lines if " INFO " in line or " ERROR " in line]
    assert all("SIMULATION" in line for line in lines if " INFO " in line or " ERROR " in line)
    config = json.loads(must(docker("inspect", name)).out)[0]["Config"]
    assert "simulation" in config["Labels"]["org.opencontainers.image.title"]
    assert config["Entrypoint"][0] == "python3"  # no shell in between that would keep signals to itself
    assert config["Healthcheck"]["Test"][0] == "CMD"


def test_nothing_is_imported_from_where_others_write(image: str, tmp_path: Path) -> None:
    """The volume is the server's HOME and, here, its working directory and Python's search path, too."""
    folder = tmp_path / "data"
    hostile_folder.make(folder, seen_as="/data")
    version = must(docker("run", "--rm", "--entrypoint", "ls", image, "/usr/local/lib")).out.split()
    user_site = folder / ".local/lib" / next(name for name in version if name.startswith("python3.")) / "site-packages"
    user_site.mkdir(parents=True)
    (user_site / "hostile.pth").write_text("import uvicorn\n/data\n")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 10001, 10001)
    name = f"sconectl-test-{uuid.uuid4().hex[:10]}"
    options = [
        "-d",
        "-w",
        "/data",
        "-v",
        f"{folder}:/data",
        "-e",
        "PYTHONPATH=/data",
        "-e",
        "PYTHONSTARTUP=/data/ssl.py",
    ]
    try:
        must(docker("run", *options, "--name", name, image))
        healthy(name)
        must(docker("exec", name, "sconectl", "cas", "show-identification", "--dir", "/data/cas"))
        must(docker("exec", name, "python3", "-I", "/opt/sconectl-healthcheck.py"))
        assert hostile_folder.loaded(folder) == []
    finally:
        docker("rm", "-f", "-v", name)


def test_nothing_of_the_build_is_left(image: str) -> None:
    found = must(
        docker("run", "--rm", "--entrypoint", "sh", image, "-c", "ls -d /src /tmp/ca-bundle 2>/dev/null; ls /")
    )
    assert "src" not in found.out.split()
    assert "/tmp/ca-bundle" not in found.out
