"""Strangers fill neither audit log nor disk nor the server's log; a full disk is told, and attestation lasts."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import ssl
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .black_box import SCONECTL, Client, OutsideCas, run

SECRET = "the secret of an honest program"
HONEST = {
    "name": "honest",
    "version": "0.3.12",
    "access_policy": {"read": ["ANY"]},
    "security": {
        "attestation": {"mode": "simulation", "tolerate": ["hyperthreading", "outdated-tcb"], "ignore_advisories": "*"}
    },
    "services": [
        {"name": "app", "image_name": "i", "command": "x", "pwd": "/", "attestation": [{"mrenclave": ["00" * 32]}]}
    ],
    "images": [{"name": "i", "injection_files": [{"path": "/s", "content": "$$SCONE::s$$"}]}],
    "secrets": [{"name": "s", "kind": "ascii", "value": SECRET}],
}


@dataclass
class Kept:
    """A kept connection of one client."""

    connection: http.client.HTTPSConnection
    certificate: bytes

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode() if body is not None else None
        self.connection.request(method, path, content)
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read())

    def quote(self, measurement: str = "00" * 32) -> Any:
        digest = hashlib.sha512(self.certificate).hexdigest()
        report = {"toolchain": "sim", "measurement": measurement, "debug": False, "report_data": digest}
        return self.ask("POST", "/v1/sim/quote", {"report": report})[1]["quote"]

    def attest(self, quote: Any) -> tuple[int, Any]:
        return self.ask("POST", "/v1/sim/attest", {"config_id": "honest/app", "quote": quote})


@contextlib.contextmanager
def connected(cas: OutsideCas, client: Client) -> Iterator[Kept]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the server is our own
    context.load_cert_chain(client.certificate, client.key)
    host, _, port = cas.address.rpartition(":")
    der = run(["openssl", "x509", "-in", client.certificate, "-outform", "der"])
    with contextlib.closing(http.client.HTTPSConnection(host, int(port), timeout=60, context=context)) as connection:
        yield Kept(connection, der)


@pytest.fixture
def cas(tmp_path: Path) -> Iterator[OutsideCas]:
    outside = OutsideCas(tmp_path)
    outside.start()
    yield outside
    subprocess.run([SCONECTL, "cas", "stop", "--dir", outside.directory], env=os.environ | outside.env, check=False)


@pytest.fixture
def owner(tmp_path: Path) -> Client:
    return Client.new(tmp_path, "owner")


@pytest.fixture
def stranger(tmp_path: Path) -> Client:
    return Client.new(tmp_path, "stranger")


def log_of(cas: OutsideCas) -> list[dict[str, Any]]:
    lines = cas.command("cas", "audit-log", "--dir", cas.directory).decode().splitlines()
    return [json.loads(line) for line in lines]


def test_a_flood_is_a_few_entries_that_say_how_much_it_was(cas: OutsideCas, owner: Client, stranger: Client) -> None:
    cas.upload(owner, json.dumps(HONEST))
    cas.upload(owner, json.dumps(HONEST | {"name": "kept", "access_policy": {"read": ["CREATOR"]}}))
    with connected(cas, stranger) as kept:
        quote = kept.quote()
        forged = quote | {"signature": quote["signature"][::-1]}
        for _ in range(300):
            assert kept.attest(forged)[0] == 403
        for _ in range(100):
            assert kept.ask("GET", "/v1/sessions/honest")[0] == 200
            assert kept.ask("GET", "/v1/sessions/kept")[0] == 403
    with connected(cas, owner) as kept:
        quote = kept.quote()
        for _ in range(30):
            assert kept.attest(quote)[0] == 200
    assert (cas.directory / "server.log").stat().st_size < 100_000
    cas.stop()
    entries = log_of(cas)
    counted: Counter[str] = Counter()
    for entry in entries:
        counted[entry["event"]] += entry.get("count", 1)
    assert counted["attestation_refused"] == 300
    assert counted["session_read"] == 100
    events = Counter(entry["event"] for entry in entries)
    assert events["attestation_refused"] == 2
    assert events["session_read"] == 2
    assert events["service_attested"] == 30, "what is granted to programs is never folded"
    assert events["session_created"] == 2
    [folded] = [entry for entry in entries if entry["event"] == "attestation_refused" and "count" in entry]
    assert folded["since"] < folded["until"]
    assert folded["who"][0]["address"] == "127.0.0.1"
    cas.command("cas", "verify-audit-log", "--dir", cas.directory)


def test_uploads_of_strangers_have_a_budget(cas: OutsideCas, owner: Client, stranger: Client) -> None:
    cas.upload(owner, json.dumps(HONEST))
    before = sum(file.stat().st_size for file in cas.directory.iterdir())
    filler = [{"name": f"v{number}", "kind": "ascii", "value": "x" * 90_000} for number in range(10)]
    with connected(cas, stranger) as kept:
        for number in range(60):
            status, answer = kept.ask(
                "POST", "/v1/sessions", {"name": f"s{number}", "version": "0.3.12", "secrets": filler}
            )
            if status != 201:
                break
        assert status == 429, answer
        assert "seconds" in answer["msg"][1]
        assert 5 <= number < 30
    with connected(cas, owner) as kept:
        assert kept.attest(kept.quote())[0] == 200
        assert kept.ask("GET", "/v1/sessions/honest")[0] == 200
    grown = sum(file.stat().st_size for file in cas.directory.iterdir()) - before
    assert grown < 50 << 20


def test_the_log_is_moved_into_segments_while_the_cas_runs(cas: OutsideCas, owner: Client, tmp_path: Path) -> None:
    cas.stop()
    cas.start("127.0.0.1:0", "--limit", "audit-segment-bytes=20000")
    cas.upload(owner, json.dumps(HONEST))
    with connected(cas, owner) as kept:
        quote = kept.quote()
        for _ in range(100):
            assert kept.attest(quote)[0] == 200
    cas.stop()
    cas.start("127.0.0.1:0", "--limit", "audit-segment-bytes=20000")
    segments = sorted((cas.directory / "audit").iterdir())
    assert segments
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in segments)
    entries = log_of(cas)
    assert [entry["sequence"] for entry in entries] == list(range(1, len(entries) + 1))
    assert "correct" in cas.command("cas", "verify-audit-log", "--dir", cas.directory).decode()
    backup = tmp_path / "cas.tar"
    cas.command("cas", "backup", backup, "--dir", cas.directory)
    moved = tmp_path / "moved"
    moved.mkdir()
    segments[0].rename(moved / segments[0].name)
    cas.command("cas", "verify-audit-log", "--dir", cas.directory, code=15)
    cas.command("cas", "verify-audit-log", "--dir", cas.directory, "--segments", moved)
    cas.stop()
    cas.command("cas", "restore", backup, "--dir", cas.directory, "--replace")
    cas.command("cas", "verify-audit-log", "--dir", cas.directory)
    cas.start()


def status_of(cas: OutsideCas, *, code: int) -> str:
    command = [str(SCONECTL), "cas", "status", "--dir", str(cas.directory)]
    done = subprocess.run(command, env=os.environ | cas.env, capture_output=True, text=True, check=False)
    assert done.returncode == code, done
    return done.stdout + done.stderr


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(place)], check=False).returncode != 0:
        pytest.skip("this machine does not let us mount a tmpfs")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_strangers_fill_the_disk_and_programs_attest_all_the_same(
    small: Path, tmp_path: Path, owner: Client, stranger: Client
) -> None:
    cas = OutsideCas(tmp_path)
    cas.directory = small / "cas"
    cas.start()
    try:
        cas.upload(owner, json.dumps(HONEST))
        filler = [{"name": "v", "kind": "ascii", "value": "x" * 90_000}]
        with connected(cas, stranger) as kept:
            for number in range(300):
                session = {"name": f"s{number}", "version": "0.3.12", "secrets": filler}
                status, answer = kept.ask("POST", "/v1/sessions", session)
                if status != 201:
                    break
            assert status == 507, answer
            assert "disk is full" in answer["msg"][0]
            quote = kept.quote()
            assert kept.attest(quote | {"signature": quote["signature"][::-1]})[0] == 403
        with connected(cas, owner) as kept:
            for _ in range(50):
                assert kept.attest(kept.quote())[0] == 200
                assert kept.ask("GET", "/v1/sessions/honest")[0] == 200
            assert kept.ask("GET", "/readyz")[0] == 200
        assert "nearly full" in status_of(cas, code=0)
        # Another program takes what is left.
        filling = small / "filler"
        with filling.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
            while True:
                stream.write(bytes(4096))
        with connected(cas, owner) as kept:
            status = 200
            for _ in range(20_000):  # until there is no room in the files of the database either
                if (status := kept.attest(kept.quote())[0]) != 200:
                    break
            assert status == 507
            status, answer = kept.ask("GET", "/readyz")
            assert (status, answer["msg"]) == (503, ["The CAS is not ready", "Nothing can be stored: its disk is full"])
            shown = status_of(cas, code=6)
            assert "running at" in shown
            assert "its disk is full" in shown
            filling.unlink()
            subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)
            assert kept.attest(kept.quote())[0] == 200
            time.sleep(2.1)  # the result of a trial is kept for two seconds
            assert kept.ask("GET", "/readyz")[0] == 200
        cas.command("cas", "verify-audit-log", "--dir", cas.directory)
    finally:
        subprocess.run([SCONECTL, "cas", "stop", "--dir", cas.directory], env=os.environ | cas.env, check=False)
