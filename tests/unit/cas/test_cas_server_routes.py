"""Each row of the REST interface over real TLS: what the CAS is asked, and how its answers look."""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from sconectl import __version__
from sconectl.cas.client.identity import CasConfig
from sconectl.cas.http.routes import ROWS
from sconectl.cas.keys import certificates
from sconectl.errors import CasError
from sconectl.key_hash import hash_of_certificate
from sconectl.ports import StoredSession

from .fake_cas import HASH, NOTE, TAG, VOLUME, Running, Taken, refusal, running

pytestmark = pytest.mark.sockets
HOLDER = "5a" * 16


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("served")) as server:
        yield server


@pytest.fixture
def server(shared: Running) -> Running:
    shared.cas.calls.clear()
    shared.cas.answers.clear()
    shared.cas.refusal = None
    return shared


def key_of(server: Running, who: str = "alice") -> str:
    return CasConfig(server.identities / who).identity().key_hash


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/sessions"), ("POST", "/session"), ("PUT", "/v1/encrypted_sessions")]
)
def test_uploads(server: Running, method: str, path: str) -> None:
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "nonsense", "application/json"):
        assert server.ask(method, path, b"name: x", **{"Content-Type": content_type})[:2] == (
            201,
            {"hash": HASH, "created": True},
        )
    call, body, principal = server.cas.calls[-1]
    assert (call, body, principal.key_hash) == ("put", b"name: x", key_of(server))
    server.cas.answers["put"] = Taken(HASH, warnings=("this is", "unusual"))
    assert server.ask(method, path, b"x")[1] == {"hash": HASH, "created": True, "warnings": ["this is", "unusual"]}
    assert server.ask(method, path, b"x", who=None)[0] == 201  # whether a certificate is needed, the CAS decides
    assert server.cas.calls[-1][2] is None


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("acme", "acme"),
        ("acme/web", "acme/web"),
        ("acme%2Fweb", "acme/web"),
        ("%2F", "/"),
        ("/", "/"),
        ("a%2520b", "a%20b"),
        ("%C3%A4", "ä"),
    ],
)
def test_names_in_paths(server: Running, written: str, name: str) -> None:
    assert server.ask("GET", f"/v1/sessions/{written}")[1] == {"session": "name: x\n", "hash": HASH}
    status, text, headers = server.ask("GET", f"/session/{written}?hash={HASH}")
    assert (status, text, headers["content-type"]) == (200, "name: x\n", "application/yaml")
    assert server.ask("GET", f"/v1/hashes/{written}")[1] == {"hash": HASH}
    assert server.ask("GET", f"/v1/values/session={written}")[1] == {"values": {"note": NOTE}}
    assert server.ask("GET", f"/v1/values/session={written},secret=n%2Cm=o")[1] == NOTE
    assert server.ask("GET", f"/v1/sessions?namespace={written}")[1] == {"sessions": [{"name": "acme", "hash": HASH}]}
    calls = server.cas.calls
    assert [(call[0], call[1]) for call in calls] == [
        (method, name) for method in ("read", "read", "hash_of", "public_values", "public_value", "list_sessions")
    ]
    assert (calls[0][3], calls[1][3], calls[4][2]) == (None, HASH, "n,m=o")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/values/nonsense",
        "/v1/values/session=",
        "/v1/values/session=a,secret=",
        "/v1/values/session=a,b=c",
        "/v1/values/",
        "/v1/sessions",
        "/v1/sessions?namespace=",
        "/v1/sessions/a?hash=xyz",
        "/v1/sessions/a?hash=" + "AB" * 32,
        "/session/a?hash=" + "ab" * 33,
        "/v1/attest?nonce=abc",
        "/v1/attest?nonce=",
        "/v1/attest?nonce=" + "ab" * 65,
        "/v1/sessions/a?" + "&".join("abcdefghijklm"),
    ],
)
def test_malformed_paths_and_queries(server: Running, path: str) -> None:
    status, problem, _ = server.ask("GET", path)
    assert status == 400
    assert problem["msg"][0] == "The request is malformed"
    assert server.cas.calls == []


def test_programs(server: Running) -> None:
    channel = CasConfig(server.identities / "program").identity().certificate_der

    def post(path: str, message: Any, who: str | None = "program") -> tuple[int, Any]:
        return server.ask("POST", f"/v1/sim/{path}", json.dumps(message).encode(), who=who)[:2]

    assert post("nonce", {}, None) == (200, {"nonce": "00ff"})
    assert post("quote", {"report": {"a": 1}}, None) == (200, {"quote": {"report": {"a": 1}}})
    attest = {"config_id": "acme/app", "quote": {"q": 1}}
    assert post("attest", attest) == (200, {"config": {"argv": []}, "version": ""})
    assert post("attest", attest | {"access_token": "t"})[0] == 200
    assert post("attest", attest | {"access_token": None})[0] == 200
    files = [{"path": "/a", "content": base64.b64encode(b"x").decode()}]
    assert post("fill", {"files": files}) == (200, {"files": [{"path": "/a", "content": ""}]})
    assert post("tags", {"subject": "volume:v", "new": TAG}) == (200, {"tag": TAG})
    assert post("tags", {"subject": "volume:v", "old": TAG, "new": TAG, "holder": HOLDER})[0] == 200
    lease = {"volume": "v", "holder": HOLDER, "name": "host", "action": "take"}
    assert post("leases", lease) == (200, {"tag": None, "seconds": 30})
    assert post("leases", lease | {"action": "release"}) == (200, {"tag": TAG, "seconds": 0})
    assert server.cas.calls == [
        ("nonce",),
        ("quote", {"a": 1}),
        ("attest", "acme/app", {"q": 1}, channel, None),
        ("attest", "acme/app", {"q": 1}, channel, "t"),
        ("attest", "acme/app", {"q": 1}, channel, None),
        ("fill", channel, files),
        ("update_tag", channel, "volume:v", None, TAG, None),
        ("update_tag", channel, "volume:v", TAG, TAG, HOLDER),
        ("take_lease", channel, "v", HOLDER, "host"),
        ("release_lease", channel, "v", HOLDER, "host"),
    ]
    server.cas.calls.clear()
    for path, message in (
        ("attest", attest),
        ("fill", {"files": []}),
        ("tags", {"subject": "s", "new": TAG}),
        ("leases", lease),
    ):
        assert post(path, message, None)[0] == 401
    wrong: list[tuple[str, Any]] = [
        ("quote", {}),
        ("quote", {"report": []}),
        ("quote", []),
        ("attest", {"config_id": 7, "quote": {}}),
        ("attest", {"quote": {}}),
        ("attest", attest | {"more": 1}),
        ("attest", attest | {"access_token": 1}),
        ("fill", {"files": {}}),
        ("tags", {"subject": "s", "new": None}),
        ("tags", {"subject": "s", "old": 1, "new": TAG}),
        ("tags", {"subject": "s", "new": TAG, "holder": 1}),
        ("leases", lease | {"action": "steal"}),
        ("leases", lease | {"holder": None}),
        ("leases", {"volume": "v", "action": "take", "holder": HOLDER}),
        ("exports", []),
    ]
    for path, message in wrong:
        assert post(path, message)[0] == 400, (path, message)
    for raw in (b"[" * 60_000, b"{", b"\xff", b'{"report": {"a": NaN}}', b'{"report": {"a": ' + b"9" * 5000 + b"}}"):
        assert server.ask("POST", "/v1/sim/quote", raw)[0] == 400
    assert server.cas.calls == []


def test_owners_of_volumes(server: Running) -> None:
    status, answer, _ = server.ask("GET", "/v1/sim/volumes/acme/app")
    assert (status, answer) == (200, {"volumes": [VOLUME]})
    message = {"session": "acme/app", "volume": "v", "old": None, "new": TAG}
    status, answer, _ = server.ask("POST", "/v1/sim/volumes", json.dumps(message).encode())
    assert (status, answer) == (200, {"tag": TAG})
    (listed, accepted) = server.cas.calls
    assert listed[:2] == ("volumes", "acme/app") and accepted[:5] == ("accept", "acme/app", "v", None, TAG)
    assert listed[2] == accepted[5] is not None
    server.cas.calls.clear()
    for wrong in ({"session": "a"}, message | {"new": 1}, message | {"more": 1}):
        assert server.ask("POST", "/v1/sim/volumes", json.dumps(wrong).encode())[0] == 400
    assert server.cas.calls == []


def test_another_cas_shows_its_whole_chain(server: Running, tmp_path: Path) -> None:
    keys = server.cas.keys
    leaf = keys.serve_as(["cas"])
    pem = tmp_path / "other.pem"
    leaf_pem = certificates.certificate_pem(leaf.certificate)
    key = leaf.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(key + (leaf_pem + keys.chain_pem).encode())
    context = server.context(None)
    context.load_cert_chain(pem)
    body = b'{"session": "a"}'
    request = b"POST /v1/sim/exports HTTP/1.1\r\nHost: c\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    with (
        socket.create_connection(("127.0.0.1", server.port)) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as tls,
    ):
        tls.sendall(request + body)
        assert tls.recv(100).startswith(b"HTTP/1.1 200")
    [(call, message, chain)] = server.cas.calls
    assert (call, message) == ("export", {"session": "a"})
    expected = [leaf.certificate, keys.software.certificate, keys.root.certificate]
    assert chain == [certificates.certificate_der(certificate) for certificate in expected]
    assert server.ask("POST", "/v1/sim/exports", body)[0] == 200
    assert server.cas.calls[-1][2] == [CasConfig(server.identities / "alice").identity().certificate_der]
    assert server.ask("POST", "/v1/sim/exports", body, who=None)[0] == 401


def test_public_information(server: Running) -> None:
    simulated = {"simulation": True}
    for path in ("/health", "/livez", "/readyz"):
        assert server.ask("GET", path, who=None)[1] == {"status": "ok", **simulated}
    assert server.cas.calls == [("check",)]
    assert server.ask("GET", "/v1/version", who=None)[1] == {"version": __version__, **simulated}
    assert server.ask("GET", "/v1/sim/certificate-chain", who=None)[1] == server.cas.keys.chain_pem
    assert server.ask("GET", "/v1/attest?nonce=00ff", who=None)[1]["report"]["nonce"] == "00ff"
    assert server.ask("GET", "/v1/attest", who=None)[0] == 200
    assert [call[1] for call in server.cas.calls if call[0] == "report"] == ["00ff", ""]


def test_readiness(server: Running) -> None:
    for trouble in (refusal(507, "The disk is full"), CasError("the store is locked")):
        server.cas.refusal = trouble
        assert server.ask("GET", "/readyz", who=None)[0] == 503
        assert server.ask("GET", "/livez", who=None)[0] == 200
    assert "locked" not in str(server.ask("GET", "/readyz", who=None)[1])


def test_problems(server: Running) -> None:
    server.cas.refusal = refusal(409, "outer \ud800 ä", "inner")
    for method, path in (("POST", "/session"), ("GET", "/v1/sessions/a"), ("GET", "/v1/values/session=a")):
        status, problem, headers = server.ask(method, path, b"x" if method == "POST" else None)
        assert (status, headers["content-type"]) == (409, "application/json")
        assert problem == {"msg": ["outer \ud800 ä", "inner"], "version": __version__, "simulation": True}


def test_bugs_are_no_secrets(server: Running, caplog: pytest.LogCaptureFixture) -> None:
    server.cas.refusal = KeyError("a secret value")
    status, problem, _ = server.ask("POST", "/session", b"x")
    assert (status, problem["msg"][0]) == (500, "The CAS failed")
    assert "KeyError" in caplog.text
    assert "in seen" in caplog.text  # where it happened
    assert "a secret value" not in caplog.text
    assert "a secret value" not in str(problem)


def test_methods_and_paths_that_do_not_exist(server: Running) -> None:
    allowed: dict[str, set[str]] = {}
    for row in ROWS:
        allowed.setdefault(re.sub(r"\{\w+\}", "a", row.path), set()).add(row.method)
    for path, methods in allowed.items():
        for method in ("HEAD", "GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
            if method not in methods:
                status, problem, headers = server.ask(method, path)
                assert (status, set(headers["allow"].split(", "))) == (405, methods), (method, path)
                assert method == "HEAD" or problem["msg"] == ["This method is not allowed here"]
    for path in ("/", "/nothing", "/health/", "/v1", "/v1/sessionsx", "/V1/version", "/v1/attest/"):
        status, problem, _ = server.ask("GET", path)
        assert (status, problem["msg"]) == (404, ["There is no such resource"])


def test_certificates_of_all_kinds_are_clients(server: Running, tmp_path: Path) -> None:
    import subprocess

    kinds = [["rsa:2048"], ["ec", "-pkeyopt", "ec_paramgen_curve:P-384"], ["ed25519"]]
    for kind in kinds:
        pem = tmp_path / "own.pem"
        subprocess.run(
            [
                "openssl",
                "req",
                "-x509",
                "-nodes",
                "-newkey",
                *kind,
                "-keyout",
                pem,
                "-out",
                tmp_path / "c",
                "-subj",
                "/",
            ],
            check=True,
            capture_output=True,
        )
        certificate = (tmp_path / "c").read_text()
        pem.write_text(pem.read_text() + certificate)
        context = server.context(None)
        context.load_cert_chain(pem)
        with (
            socket.create_connection(("127.0.0.1", server.port)) as raw,
            context.wrap_socket(raw, server_hostname="localhost") as tls,
        ):
            tls.sendall(b"GET /v1/sessions/a HTTP/1.1\r\nHost: c\r\nConnection: close\r\n\r\n")
            assert tls.recv(100).startswith(b"HTTP/1.1 200"), kind
        assert server.cas.calls[-1][2].key_hash == hash_of_certificate(certificate.encode())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_tls_is_refused(server: Running) -> None:
    context = server.context(None)
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with (
        socket.create_connection(("127.0.0.1", server.port)) as raw,
        pytest.raises(ssl.SSLError),
        context.wrap_socket(raw, server_hostname="localhost"),
    ):
        pass


def test_one_line_for_each_change_and_refusal(server: Running, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server.cas.answers["read"] = StoredSession("value: answer-77", HASH)
    server.ask("GET", "/v1/sessions/acme")
    server.ask("GET", "/v1/values/session=acme,secret=note")
    assert caplog.messages == []
    server.ask("POST", "/v1/sessions", b"value: body-77")
    server.ask("GET", "/v1/sessions/acme?hash=query-77")
    server.ask("GET", "/nothing?token=query-77", who=None)
    server.ask("POST", "/v1/sim/attest", b'{"config_id": "c", "quote": {}, "access_token": "token-77"}', who=None)
    server.ask("GET", "/" + "x" * 3000)
    assert caplog.messages == [
        f"201 POST /v1/sessions by {key_of(server)}",
        f"400 GET /v1/sessions/acme by {key_of(server)}",
        "404 GET /nothing",
        "401 POST /v1/sim/attest by a client without certificate",
        "404 GET /" + "x" * 199 + "…",
    ]


def test_lines_of_the_log_say_what_it_is(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import logging, sys; from sconectl.cas.bounds.limits import DEFAULT;"
        "from sconectl.cas.http.server_log import log_to; log_to(sys.stdout, DEFAULT);"
        "logging.getLogger('uvicorn.error').info('one\\ntwo'); logging.getLogger('httpx').info('quiet')"
    )
    environment = {**os.environ}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("SIMULATION ") for line in lines)


def test_certificates_are_renewed_in_the_background(shared: Running) -> None:
    assert shared.cas.renewals == 1
