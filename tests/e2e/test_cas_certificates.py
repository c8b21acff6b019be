"""A PKI of three levels out of two sessions, judged by openssl and used by real servers with mutual TLS."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .black_box import Client, OutsideCas, run

PKI = """
name: pki
version: "0.3.12"
access_policy: {read: [CREATOR], update: [CREATOR]}
secrets:
- {name: root_key, kind: private-key, key_type: P-384, migrate: true}
- {name: root, kind: x509-ca, private_key: root_key, common_name: Acme Root, export_public: true}
- {name: issuing_key, kind: private-key, migrate: true, export: {session: servers}}
- {name: issuing, kind: x509-ca, private_key: issuing_key, issuer: root, common_name: Acme Issuing,
   export: {session: servers}}
"""

FILES = {
    "server.crt": "$$SCONE::server:crt$$",
    "server.key": "$$SCONE::server:privatekey$$",
    "client.crt": "$$SCONE::client$$",
    "client.key": "$$SCONE::client_key$$",
    "chain.pem": "$$SCONE::server:chain$$",
    "legacy-chain.pem": "$$SCONE::server.chain$$",
    "client.p12": "$$SCONE::client:pkcs12-with-private-key$$",
    "other.crt": "$$SCONE::other$$",
    "other.key": "$$SCONE::other_key:pem$$",
}

SERVERS = """
name: servers
version: "0.3.12"
access_policy: {read: [CREATOR], update: [CREATOR]}
security: {attestation: {mode: none}}
services: [{name: all, image_name: all, command: x, pwd: /}]
secrets:
- {name: issuing, import: {session: pki, secret: issuing}, kind: x509-ca}
- {name: server_key, kind: private-key}
- {name: server, kind: x509, private_key: server_key, issuer: issuing, common_name: server.test, endpoint: server,
   san: ["dns:server.test", "dns:*.server.test", "ip:127.0.0.1", "ip:::1"], valid_for: 90 days}
- {name: client_key, kind: private-key, key_type: Ed25519}
- {name: client, kind: x509, private_key: client_key, issuer: issuing, common_name: client, endpoint: client}
- {name: other_key, kind: private-key}
- {name: other, kind: x509, private_key: other_key, common_name: other, endpoint: client}
images:
- name: all
  injection_files:
"""


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the files that an attested program gets, fetched by curl."""
    folder = tmp_path_factory.mktemp("pki")
    cas = OutsideCas(folder)
    cas.start()
    owner = Client.new(folder, "owner")
    cas.upload(owner, PKI)
    files = "".join(f'  - {{path: /tls/{name}, content: "{content}"}}\n' for name, content in FILES.items())
    cas.upload(owner, SERVERS + files)
    value = cas.curl("/v1/values/session=pki,secret=root").json()
    (folder / "root.pem").write_text(value["value"])
    for file in attested(cas, owner, "servers/all")["files"]:
        (folder / Path(file["path"]).name).write_bytes(base64.b64decode(file["content"]))
    cas.stop()
    (folder / "full.crt").write_bytes((folder / "server.crt").read_bytes() + (folder / "chain.pem").read_bytes())
    (folder / "client-full.crt").write_bytes((folder / "client.crt").read_bytes() + (folder / "chain.pem").read_bytes())
    return folder


def attested(cas: OutsideCas, client: Client, config_id: str) -> dict[str, list[dict[str, str]]]:
    der = run(["openssl", "x509", "-in", client.certificate, "-outform", "der"])
    report = {"toolchain": "sim", "measurement": "00" * 32, "debug": False}
    report["report_data"] = hashlib.sha512(der).hexdigest()
    quoted = cas.curl("/v1/sim/quote", client=client, body=json.dumps({"report": report})).json()
    request = json.dumps({"config_id": config_id, "quote": quoted["quote"]})
    answer = cas.curl("/v1/sim/attest", client=client, body=request)
    assert answer.status == 200, answer
    config = answer.json()["config"]
    assert isinstance(config, dict)
    return config


@pytest.mark.parametrize(("leaf", "purpose"), [("server.crt", "sslserver"), ("client.crt", "sslclient")])
def test_openssl_verifies_strictly(pki: Path, leaf: str, purpose: str) -> None:
    command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", pki / "root.pem"]
    run([*command, "-untrusted", pki / "chain.pem", pki / leaf])
    run([*command, pki / leaf], code=2)
    wrong = "sslclient" if purpose == "sslserver" else "sslserver"
    command[4] = wrong
    run([*command, "-untrusted", pki / "chain.pem", pki / leaf], code=2)


def test_names_are_verified(pki: Path) -> None:
    command = ["openssl", "verify", "-x509_strict", "-CAfile", pki / "root.pem", "-untrusted", pki / "chain.pem"]
    for right in (["-verify_hostname", "a.server.test"], ["-verify_ip", "127.0.0.1"], ["-verify_ip", "::1"]):
        run([*command, *right, pki / "server.crt"])
    run([*command, "-verify_hostname", "elsewhere.test", pki / "server.crt"], code=2)


@pytest.mark.shows("004.chain")
def test_chains_are_ordered_as_documented(pki: Path) -> None:
    def subjects(file: str) -> list[str]:
        found = run(["openssl", "storeutl", "-noout", "-text", "-certs", pki / file]).decode()
        return re.findall(r"Subject: ?CN ?= ?(.*)", found)

    assert subjects("chain.pem") == ["Acme Issuing", "Acme Root"]
    assert subjects("legacy-chain.pem") == ["Acme Root", "Acme Issuing", "server.test"]


def test_pkcs12_opens_with_the_empty_password(pki: Path) -> None:
    shown = run(["openssl", "pkcs12", "-in", pki / "client.p12", "-passin", "pass:", "-nodes"]).decode()
    assert shown.count("BEGIN CERTIFICATE") == 3
    assert "BEGIN PRIVATE KEY" in shown


@pytest.fixture
def nginx(pki: Path, tmp_path: Path) -> Iterator[int]:
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed; `make test` installs it")
    port = free_port()
    (tmp_path / "conf").write_text(f"""
daemon off; pid {tmp_path}/pid; error_log stderr; worker_processes 1; user root;
events {{}}
http {{ access_log off; client_body_temp_path {tmp_path}/b; proxy_temp_path {tmp_path}/p;
  fastcgi_temp_path {tmp_path}/f;  uwsgi_temp_path {tmp_path}/u; scgi_temp_path {tmp_path}/s;
  server {{ listen 127.0.0.1:{port} ssl; server_name server.test;
    ssl_certificate {pki}/full.crt; ssl_certificate_key {pki}/server.key;
    ssl_client_certificate {pki}/root.pem; ssl_verify_client on; ssl_verify_depth 3;
    location / {{ return 200 "hello $ssl_client_s_dn"; }} }} }}
""")
    with server(["nginx", "-p", tmp_path, "-c", tmp_path / "conf"], port):
        yield port


@pytest.mark.shows("004.strict")
def test_nginx_with_mutual_tls(pki: Path, nginx: int) -> None:
    url = [f"https://server.test:{nginx}/", "--connect-to", f"server.test:{nginx}:127.0.0.1:{nginx}", "-sS"]
    trusted = ["curl", *url, "--cacert", pki / "root.pem"]
    assert run([*trusted, "--cert", pki / "client-full.crt", "--key", pki / "client.key"]) == b"hello CN=client"
    assert b"400 No required SSL certificate" in run(trusted)
    stranger = run([*trusted, "--cert", pki / "other.crt", "--key", pki / "other.key"])
    assert b"The SSL certificate error" in stranger
    context = ssl.create_default_context(cafile=str(pki / "root.pem"))
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    context.load_cert_chain(pki / "client-full.crt", pki / "client.key")
    with (
        socket.create_connection(("127.0.0.1", nginx), 10) as raw,
        context.wrap_socket(raw, server_hostname="www.server.test") as stream,
    ):
        stream.sendall(b"GET / HTTP/1.0\r\nHost: server.test\r\n\r\n")
        assert b"hello CN=client" in b"".join(iter(lambda: stream.recv(4096), b""))


@pytest.fixture
def redis(pki: Path, tmp_path: Path) -> Iterator[int]:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed; `make test` installs it")
    port = free_port()
    tls = [
        "--tls-cert-file",
        pki / "full.crt",
        "--tls-key-file",
        pki / "server.key",
        "--tls-ca-cert-file",
        pki / "root.pem",
    ]
    options = ["--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", tmp_path]
    with server(["redis-server", *options, *tls, "--tls-auth-clients", "yes"], port):
        yield port


def test_redis_with_mutual_tls(pki: Path, redis: int) -> None:
    client = ["redis-cli", "-h", "127.0.0.1", "-p", str(redis), "--tls", "--cacert", pki / "root.pem"]
    own = ["--cert", pki / "client-full.crt", "--key", pki / "client.key"]
    assert run([*client, *own, "SET", "a", "1"]).strip() == b"OK"
    assert run([*client, *own, "GET", "a"]).strip() == b"1"
    other = ["--cert", pki / "other.crt", "--key", pki / "other.key"]
    for nobody in ([], other):
        assert b"1" != run([*client, *nobody, "GET", "a"], code=None).strip()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def server(command: list[object], port: int) -> Iterator[None]:
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 90
        while True:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline, "it does not listen"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=20)
