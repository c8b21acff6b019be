"""`sconectl cas`: serving detached, its state, and what identifies a CAS."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sconectl.cas import daemon
from sconectl.cas.connect import connect
from sconectl.cas.keys.cas_keys import load_or_create
from sconectl.cas.sessions.embedded import EmbeddedCas
from sconectl.cli.cas.cas_cmd import cas_app
from sconectl.cli.wiring import cas_directory
from sconectl.errors import CasError, CasUnreachable, SconectlError, UsageError

from .conftest import Served, session_text

pytestmark = pytest.mark.sockets


@pytest.fixture(autouse=True)
def own_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the command group by itself, whatever else `sconectl` consists of."""
    code = "sys.argv[1:2] = []; from sconectl.cli.cas.cas_cmd import cas_app; cas_app()"
    monkeypatch.setattr(daemon, "PROGRAM", code)


def run(*arguments: object) -> Any:
    return CliRunner().invoke(cas_app, [str(argument) for argument in arguments])


def done(*arguments: object) -> Any:
    result = run(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def failed(kind: type[SconectlError], *arguments: object) -> SconectlError:
    error = run(*arguments).exception
    assert isinstance(error, kind)
    return error


def test_detached_life(directory: Path, tmp_path: Path) -> None:
    failed(CasUnreachable, "status", "--dir", directory)
    started = done("serve", "--dir", directory, "--listen", "127.0.0.1:0", "--detach")
    try:
        address = started.stdout.strip()
        assert "SIMULATION" in started.stderr
        assert load_or_create(directory).cas_key_hash in started.stderr
        assert address in done("status", "--dir", directory).stdout
        assert "already running" in failed(CasError, "serve", "--dir", directory, "--detach").message
        assert "already running" in failed(CasError, "serve", "--dir", directory, "--listen", "127.0.0.1:0").message
        store = connect(address, config_dir=tmp_path / "c", data_dir=tmp_path)
        hash_ = store.put(session_text(body="secrets: [{name: x, kind: ascii, value: not-in-the-log}]"))
        beside = connect("local", config_dir=tmp_path / "c", data_dir=directory).read("acme")
        assert beside is not None
        assert beside.hash == hash_
        log = (directory / daemon.LOG_FILE).read_text()
        assert "not-in-the-log" not in log
        assert "/v1/sessions" in log
    finally:
        stopped = run("stop", "--dir", directory)
    assert stopped.exit_code == 0, stopped.exception
    failed(CasUnreachable, "status", "--dir", directory)
    assert "no CAS is running" in failed(CasError, "stop", "--dir", directory).message


@pytest.mark.parametrize("name", ["master.key", "keys.json", "platform.json"])
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o606])
def test_a_key_file_that_was_open_is_closed_with_a_warning(
    directory: Path, caplog: pytest.LogCaptureFixture, name: str, mode: int
) -> None:
    EmbeddedCas(directory).close()
    (directory / name).chmod(mode)
    EmbeddedCas(directory).close()
    assert (directory / name).stat().st_mode & 0o777 == 0o600
    assert str(directory / name) in caplog.text
    assert f"{mode:04o}" in caplog.text
    caplog.clear()
    EmbeddedCas(directory).close()
    assert caplog.text == ""


def test_who_starts_a_server_in_the_background_is_warned_too(directory: Path) -> None:
    EmbeddedCas(directory).close()
    (directory / "master.key").chmod(0o644)
    started = done("serve", "--dir", directory, "--listen", "127.0.0.1:0", "--detach")
    done("stop", "--dir", directory)
    assert f"warning: {directory / 'master.key'}" in started.stderr
    assert started.stderr.count("warning:") == 1


def test_what_cannot_be_served_is_one_message(directory: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        assert "cannot listen" in failed(CasError, "serve", "--dir", directory, "--listen", listen).message
        detached = failed(CasError, "serve", "--dir", directory, "--listen", listen, "--detach").message
        assert "cannot listen" in detached
    file = tmp_path / "file"
    file.touch()
    for below in (file, file / "x"):
        assert "directory" in failed(CasError, "serve", "--dir", below, "--listen", "127.0.0.1:0").message
    for wrong in ("8081", "127.0.0.1", "a:b", ":1", "a:99999"):
        failed(UsageError, "serve", "--dir", directory, "--listen", wrong)


def test_identification(served: Served, tmp_path: Path) -> None:
    keys = served.cas.keys
    for where in (["--dir", served.cas.directory], [served.address, "--cas-config", tmp_path / "c"]):
        assert done("show-certificate", *where).stdout == keys.chain_pem
        assert done("show-identification", *where).stdout == keys.cas_key_hash + "\n"
        assert done("show-identification", "-c", *where).stdout == keys.cas_key_hash + "\n"
        assert done("show-identification", "-s", *where).stdout == keys.software_key_hash + "\n"
        assert done("show-identification", "-T", *where).stdout == keys.chain_pem
    failed(UsageError, "show-identification", "-c", "-s")


def test_default_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert cas_directory() == Path("/data/sconectl/cas")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cas_directory() == tmp_path / ".local" / "share" / "sconectl" / "cas"


@pytest.mark.parametrize(
    "command", [[], ["serve"], ["status"], ["stop"], ["show-certificate"], ["show-identification"]]
)
def test_help_fits_into_80_columns(command: list[str]) -> None:
    result = CliRunner(env={"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}).invoke(cas_app, [*command, "--help"])
    assert result.exit_code == 0
    assert max(len(line) for line in result.stdout.splitlines()) <= 80
    assert "…" not in result.stdout
