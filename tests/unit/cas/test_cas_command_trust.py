"""`sconectl cas`: what a CAS shows of itself, and attesting it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sconectl import __version__
from sconectl.cas.client import trust
from sconectl.cas.client.identity import CasConfig
from sconectl.cas.keys.certificates import certificate_pem
from sconectl.cli.cas.cas_cmd import cas_app
from sconectl.errors import CasError, CasNotTrusted, Refused, SconectlError, UsageError
from sconectl.key_hash import key_hash

from .fake_cas import Running, running

pytestmark = pytest.mark.sockets
M = "ab" * 32


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path / "server") as server:
        yield server


def run(*arguments: object, **variables: str) -> Any:
    return CliRunner(env=variables).invoke(cas_app, [str(argument) for argument in arguments])


def done(*arguments: object, **variables: str) -> str:
    result = run(*arguments, **variables)
    assert result.exit_code == 0, (result.output, result.exception)
    return str(result.stdout)


def failed(kind: type[SconectlError], *arguments: object, **variables: str) -> str:
    error = run(*arguments, **variables).exception
    assert isinstance(error, kind), error
    return f"{error.message} {error.hint}"


def test_identification(server: Running, tmp_path: Path) -> None:
    keys = server.cas.keys
    local = ["--dir", tmp_path / "server" / "cas"]
    for where in (local, [server.address, "--cas-config", tmp_path / "c"]):
        assert done("show-certificate", *where) == keys.chain_pem
        expected = {
            (): keys.cas_key_hash + "\n",
            ("-c",): keys.cas_key_hash + "\n",
            ("-C",): certificate_pem(keys.root.certificate),
            ("-s",): keys.software_key_hash + "\n",
            ("-S",): certificate_pem(keys.software.certificate),
            ("-T",): keys.chain_pem,
            ("--session-encryption-key",): keys.encryption.public_key().public_bytes_raw().hex() + "\n",
        }
        for options, output in expected.items():
            assert done("show-identification", *options, *where) == output
        assert done("version", *where) == __version__ + "\n"
        lines = done("show-identification", "--shell", *where)
        names = ("CAS_KEY", "CAS_SOFTWARE_KEY", "CAS_SESSION_ENCRYPTION_KEY")
        script = f"set -eu; . /dev/stdin; printenv {' '.join(names)}"
        taken = subprocess.run(["bash", "-c", script], input=lines, capture_output=True, text=True, check=True).stdout
        assert taken == "".join(expected[option] for option in (("-c",), ("-s",), ("--session-encryption-key",)))
    for options in (("-c", "-s"), ("-C", "-T"), ("--platform", "--session-encryption-key"), ("--shell", "-s")):
        failed(UsageError, "show-identification", *options, *local)
    failed(UsageError, "show-identification", "--platform", server.address)


def test_attesting_makes_a_cas_known(server: Running, tmp_path: Path) -> None:
    config = ["--cas-config", tmp_path / "c"]
    local = f"* local: {tmp_path / 'l'}\n"
    assert done("list", "--dir", tmp_path / "l", *config) == local
    keys = server.cas.keys
    failed(CasNotTrusted, "attest", server.address, "-s", keys.cas_key_hash, *config)
    assert done("list", "--dir", tmp_path / "l", *config) == local
    output = done("attest", server.address, "-GCS", "-c", keys.cas_key_hash, "-s", keys.software_key_hash, *config)
    host = server.address
    assert output == (
        f"CAS {host} at https://{host}/ is trustworthy (SIMULATION: no hardware protects it)\n"
        "Version of attested CAS: 0.test\n"
    )
    assert done("list", "--dir", tmp_path / "l", *config) == f"{local}  {host}: https://{host}/\n"
    assert CasConfig(tmp_path / "c").pinned(host) == keys.cas_key_hash


def test_first_sight_is_told(server: Running, tmp_path: Path) -> None:
    result = run("attest", server.address, "--cas-config", tmp_path / "c")
    assert result.exit_code == 0
    assert server.cas.keys.cas_key_hash in result.stderr


def test_the_local_cas_can_be_attested(tmp_path: Path, server: Running) -> None:
    local = ["local", "--dir", tmp_path / "server" / "cas"]
    assert "SIMULATION" in done("attest", *local, "-c", server.cas.keys.cas_key_hash)
    assert "CAS key" in failed(CasNotTrusted, "attest", *local, "-c", key_hash(server.cas.keys.quoting.public_key()))
    assert "measurement" in failed(CasNotTrusted, "attest", *local, M)


@pytest.mark.parametrize(
    ("flags", "kind", "text"),
    [
        (["--mrenclave", M], CasNotTrusted, "only hardware can"),
        ([M], CasNotTrusted, "only hardware can"),
        (["--mrsigner", M, "--isvprodid", 1, "--isvsvn", 2], CasNotTrusted, "the signer of an enclave"),
        (["--isvsvn", 2], CasNotTrusted, "a security version"),
        (["--mrsigner", M], UsageError, "all three"),
        (["-c", "nonsense"], UsageError, "50 characters"),
        (["--verification-time", "today"], UsageError, "yyyy-mm-dd"),
        (["--only_for_testing-ignore-signer"], UsageError, "--mrenclave"),
    ],
)
def test_demands(server: Running, tmp_path: Path, flags: list[Any], kind: type[SconectlError], text: str) -> None:
    assert text in failed(kind, "attest", server.address, *flags, "--cas-config", tmp_path / "c")
    assert CasConfig(tmp_path / "c").pinned(server.address) is None


def test_hardware_can_be_required(server: Running, tmp_path: Path) -> None:
    for cas in (server.address, "local"):
        assert "simulation" in failed(Refused, "attest", cas, "--dir", tmp_path, SCONECTL_REQUIRE="hardware")


def test_offline_reports(server: Running, tmp_path: Path) -> None:
    keys = server.cas.keys
    file = tmp_path / "report.json"
    file.write_text(json.dumps(trust.make_report(keys, "00ff", "7", datetime(2026, 1, 2, tzinfo=UTC))))
    offline = ["attest", "my-cas", "--offline-report", file]
    output = done(*offline, "--nonce", "00ff", "-c", keys.cas_key_hash)
    assert output.startswith("CAS my-cas, by its report of 2026-01-02T00:00:00Z, is trustworthy (SIMULATION")
    assert "which key" not in output
    assert "not made for this request" in failed(CasNotTrusted, *offline, "--nonce", "00", "-c", keys.cas_key_hash)
    assert "CAS key" in failed(CasNotTrusted, *offline, "--nonce", "00ff", "-c", key_hash(keys.quoting.public_key()))
    assert "expected" in failed(UsageError, *offline, "--nonce", "00ff")
    assert "belong together" in failed(UsageError, *offline)
    for content in ("{", "[" * 100_000):
        file.write_text(content)
        assert "not JSON" in failed(UsageError, *offline, "--nonce", "00ff")
    file.unlink()
    assert "No such file" in failed(UsageError, *offline, "--nonce", "00ff")


@pytest.mark.parametrize("content", ["{", "[]", '{"sconectl_cas_keys": 7}'])
def test_a_broken_configuration_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    assert "backup" in failed(CasError, "list", "--cas-config", tmp_path)


@pytest.mark.parametrize(
    ("command", "columns"),
    [("attest", 120), ("list", 80), ("version", 80), ("show-identification", 80), ("show-certificate", 80)],
)
def test_help_is_whole(command: str, columns: int) -> None:
    environment = {"COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "dumb"}
    result = CliRunner(env=environment).invoke(cas_app, [command, "--help"])
    assert result.exit_code == 0
    assert max(len(line) for line in result.stdout.splitlines()) <= columns
    assert "…" not in result.stdout
