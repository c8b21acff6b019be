"""The REST interface over real mutual TLS, with httpx and with curl."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509

from sconectl.cas.client.identity import ClientIdentity
from sconectl.cas.keys import certificates
from sconectl.policy.reading import parse_session
from sconectl.policy.serialized.canonical import session_hash

from .conftest import MEASUREMENT, Served, session_text

pytestmark = pytest.mark.sockets

SERVICE = f"""
security: {{attestation: {{mode: simulation}}}}
services:
  - name: app
    command: app --token $$SCONE::token$$
    environment: {{MODE: test}}
    attestation: [{{mrenclave: {MEASUREMENT}}}]
secrets:
  - {{name: token, kind: ascii, size: 30}}
  - {{name: note, kind: ascii, value: "42", export_public: true}}
  - {{name: blob, kind: binary, value: DEADBEEF, export_public: true}}
"""


@pytest.fixture
def browse(served: Served, identities: Callable[[str], ClientIdentity]) -> Callable[..., httpx.Response]:
    def request(method: str, path: str, who: str | None = "alice", **options: Any) -> httpx.Response:
        context = ssl.create_default_context(cafile=str(served.chain))
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        if who:
            context.load_cert_chain(identities(who).file)
        with httpx.Client(verify=context, trust_env=False) as client:
            response = client.request(method, f"https://{served.address}{path}", **options)
        assert response.headers["x-sconectl-simulation"] == "true"
        return response

    return request


def test_session_life(browse: Callable[..., httpx.Response]) -> None:
    created = browse("POST", "/v1/sessions", content=session_text())
    assert created.status_code == 201
    first = created.json()["hash"]
    read = browse("GET", "/v1/sessions/acme").json()
    assert read["hash"] == first == session_hash(parse_session(read["session"]))
    for path, status in (("/v1/sessions", 200), ("/session", 201)):
        again = browse("POST", path, content=session_text())
        assert (again.status_code, again.json()) == (status, {"hash": first, "unchanged": True})
    taken = browse("POST", "/session", content=session_text(body=SERVICE))
    assert taken.status_code == 409
    assert "Session already exists, please specify predecessor hash" in taken.text
    updated = browse("POST", "/session", content=session_text(body=f"predecessor: {first}\n" + SERVICE))
    assert updated.status_code == 201
    second = updated.json()["hash"]
    assert second != first
    assert browse("GET", f"/v1/sessions/acme?hash={first}").json()["hash"] == first
    assert parse_session(browse("GET", "/session/acme").text).predecessor == first
    assert browse("GET", "/v1/sessions/acme?hash=" + "0" * 64).status_code == 404
    stale = browse("POST", "/session", content=session_text(body=f"predecessor: {first}\n"))
    assert stale.status_code == 409
    assert "Session already exists" not in stale.text


def test_names_with_slashes_and_json_bodies(browse: Callable[..., httpx.Response]) -> None:
    assert browse("POST", "/v1/sessions", content=json.dumps({"name": "acme", "version": "0.3"})).status_code == 201
    assert browse("POST", "/v1/sessions", content=session_text("acme/web")).status_code == 201
    assert browse("GET", "/v1/sessions/acme/web").status_code == 200
    assert browse("GET", "/v1/sessions/acme%2Fweb").status_code == 200


def test_refusals_have_causes_and_their_status(browse: Callable[..., httpx.Response]) -> None:
    assert browse("POST", "/v1/sessions", who=None, content=session_text()).status_code == 401
    assert browse("GET", "/v1/sessions/none").status_code == 404
    assert "Session not found" in browse("GET", "/v1/sessions/none").json()["msg"][0]
    broken = browse("POST", "/v1/sessions", content="name: [")
    assert broken.status_code == 400
    assert len(broken.json()["msg"]) >= 2
    assert browse("POST", "/v1/sessions", content=session_text(body="predecessor: " + "0" * 64)).status_code == 404
    assert browse("POST", "/v1/sessions", content=session_text("ghost/child")).status_code == 404
    assert browse("POST", "/v1/sessions", content=session_text()).status_code == 201
    assert browse("GET", "/v1/sessions/acme", who="bob").status_code == 403
    assert browse("GET", "/v1/sessions/acme", who=None).status_code == 401
    assert browse("POST", "/v1/sessions", who="bob", content=session_text()).status_code == 403
    assert browse("POST", "/v1/sessions", who="bob", content=session_text("acme/x")).status_code == 403
    assert browse("GET", "/nothing").json()["msg"] == ["There is no such resource"]
    assert browse("DELETE", "/v1/sessions/acme").status_code == 405


def test_large_bodies_are_refused(browse: Callable[..., httpx.Response]) -> None:
    assert browse("POST", "/v1/sessions", content=b"#" * (1 << 20)).status_code == 400
    assert browse("POST", "/v1/sessions", content=b"#" * ((1 << 20) + 1)).status_code == 413


def test_large_answers_and_clients_that_speak_no_tls(browse: Callable[..., httpx.Response], served: Served) -> None:
    import socket

    host, _, port = served.address.rpartition(":")
    for noise in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b""):
        with socket.create_connection((host, int(port)), timeout=10) as raw:
            raw.sendall(noise)
    value = "0123456789abcdef" * 30_000
    body = f"secrets: [{{name: big, kind: ascii, value: {value}, export_public: true}}]"
    assert browse("POST", "/v1/sessions", content=session_text(body=body)).status_code == 201
    assert browse("GET", "/v1/values/session=acme,secret=big").json()["value"] == value


def test_public_values_only(browse: Callable[..., httpx.Response]) -> None:
    assert browse("POST", "/v1/sessions", content=session_text(body=SERVICE)).status_code == 201
    assert browse("POST", "/v1/sessions", content=session_text("acme/sub", SERVICE)).status_code == 201
    empty: dict[str, None] = {"expires": None, "renew": None}
    note = {"kind": "string", "value": "42", **empty}
    for name in ("acme", "acme/sub"):
        values = browse("GET", f"/v1/values/session={name}", who=None).json()
        assert values == {"values": {"note": note, "blob": {"kind": "binary", "value": "deadbeef", **empty}}}
        assert browse("GET", f"/v1/values/session={name},secret=note", who=None).json() == note
    hidden = browse("GET", "/v1/values/session=acme,secret=token")
    missing = browse("GET", "/v1/values/session=acme,secret=absent")
    assert (hidden.status_code, missing.status_code) == (404, 404)
    assert hidden.json()["msg"][1:] == missing.json()["msg"][1:]
    assert browse("HEAD", "/v1/values/session=acme,secret=note", who=None).status_code == 405
    assert browse("GET", "/v1/values/nonsense", who=None).status_code == 400
    assert browse("GET", "/v1/values/session=ghost", who=None).status_code == 404


def test_public_information(browse: Callable[..., httpx.Response], served: Served) -> None:
    assert browse("GET", "/health", who=None).json() == {"status": "ok", "simulation": True}
    assert browse("GET", "/v1/version", who=None).json()["simulation"] is True
    chain = browse("GET", "/v1/sim/certificate-chain", who=None).text
    names = [certificate.subject.rfc4514_string() for certificate in x509.load_pem_x509_certificates(chain.encode())]
    assert names == ["CN=cas-instance (simulation)", "CN=cas (simulation)"]


def _quote(browse: Callable[..., httpx.Response], certificate: bytes, measurement: str = MEASUREMENT) -> Any:
    report = {
        "toolchain": "sim",
        "measurement": measurement,
        "debug": False,
        "report_data": hashlib.sha512(certificate).hexdigest(),
    }
    answer = browse("POST", "/v1/sim/quote", who=None, json={"report": report})
    assert answer.status_code == 200
    return answer.json()["quote"]


def test_attestation_binds_the_channel(
    browse: Callable[..., httpx.Response], identities: Callable[[str], ClientIdentity]
) -> None:
    assert browse("POST", "/v1/sessions", content=session_text(body=SERVICE)).status_code == 201
    quote = _quote(browse, identities("program").certificate_der)
    body = {"config_id": "acme/app", "quote": quote}
    granted = browse("POST", "/v1/sim/attest", who="program", json=body)
    assert granted.status_code == 200
    config = granted.json()["config"]
    assert config["argv"][:2] == ["app", "--token"]
    assert len(config["argv"][2]) == 30
    assert browse("POST", "/v1/sim/attest", who="bob", json=body).status_code == 403  # a replay on another channel
    assert browse("POST", "/v1/sim/attest", who=None, json=body).status_code == 401
    assert browse("POST", "/v1/sim/attest", content=b"[" * 60_000).status_code == 400
    assert browse("POST", "/v1/sim/attest", json={**body, "config_id": 7}).status_code == 400


def test_nothing_secret_is_logged(
    browse: Callable[..., httpx.Response],
    identities: Callable[[str], ClientIdentity],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    body = SERVICE.replace('note, kind: ascii, value: "42"', "note, kind: ascii, value: explicit-value-77")
    assert browse("POST", "/v1/sessions", content=session_text(body=body)).status_code == 201
    broken = body.replace("kind: binary, value: DEADBEEF", "kind: binary, value: explicit-value-77")
    refused = browse("POST", "/v1/sessions", content=session_text("other", broken))
    assert refused.status_code == 400
    attested = browse(
        "POST",
        "/v1/sim/attest",
        who="program",
        json={"config_id": "acme/app", "quote": _quote(browse, identities("program").certificate_der)},
    )
    generated = attested.json()["config"]["argv"][2]
    out, err = capfd.readouterr()
    for text in (caplog.text, out, err, refused.text):
        assert "explicit-value-77" not in text
        assert generated not in text


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl(served: Served, tmp_path: Path) -> None:
    """A self-signed certificate of another kind, made by hand, as third-party clients do."""
    key = certificates.new_key()
    (tmp_path / "client.key").write_text(certificates.key_pem(key))
    (tmp_path / "client.crt").write_text(certificates.certificate_pem(certificates.issue_root(key, "made by hand")))
    (tmp_path / "session.yml").write_text(session_text("curled", SERVICE))
    port = served.address.rpartition(":")[2]
    base = [
        "curl", "--silent", "--show-error", "--fail-with-body", "--noproxy", "*", "--cacert", str(served.chain),
        "--connect-to", f"cas:8081:127.0.0.1:{port}",
    ]  # fmt: skip
    mine = ["--cert", str(tmp_path / "client.crt"), "--key", str(tmp_path / "client.key")]

    def curl(*arguments: str) -> Any:
        done = subprocess.run([*base, *arguments], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr + done.stdout
        return json.loads(done.stdout)

    upload = ["--data-binary", f"@{tmp_path / 'session.yml'}", "-X", "POST"]
    for version in ("--tlsv1.3", "--tls-max"):
        extra = [version] if version == "--tlsv1.3" else [version, "1.2"]
        assert curl(*extra, "https://cas:8081/health")["status"] == "ok"
    created = curl(*mine, *upload, "https://cas:8081/session")
    assert curl(*mine, "https://cas:8081/v1/sessions/curled")["hash"] == created["hash"]
    assert curl("https://cas:8081/v1/values/session=curled,secret=note")["value"] == "42"
    denied = subprocess.run([*base, "https://cas:8081/v1/sessions/curled"], capture_output=True, text=True, timeout=60)
    assert denied.returncode != 0
    assert "client certificate" in denied.stdout
