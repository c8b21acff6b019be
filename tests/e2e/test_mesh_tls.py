"""Two services of a mesh that trust each other by certificates from the CAS, and nobody else."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from .world import World, docker, must, run

SERVER = """
import socket, ssl, sys
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile="/tls/ca.crt")
context.verify_mode = ssl.CERT_REQUIRED
context.verify_flags |= ssl.VERIFY_X509_STRICT
context.load_cert_chain("/tls/server.crt", "/tls/server.key")
listening = socket.create_server(("0.0.0.0", 8443))
print("listening", flush=True)
while True:
    raw, peer = listening.accept()
    try:
        with context.wrap_socket(raw, server_side=True) as stream:
            subject = dict(entry[0] for entry in stream.getpeercert()["subject"])
            stream.sendall(("hello " + subject["commonName"]).encode())
    except (ssl.SSLError, OSError) as error:
        print("refused", type(error).__name__, flush=True)
"""

CLIENT = """
import os, socket, ssl, time
context = ssl.create_default_context(cafile="/tls/ca.crt")
context.verify_flags |= ssl.VERIFY_X509_STRICT
context.load_cert_chain("/tls/client.crt", "/tls/client.key")
for attempt in range(50):
    try:
        raw = socket.create_connection((os.environ["SERVER_HOST"], 8443), 5)
        break
    except OSError:
        time.sleep(0.2)
with context.wrap_socket(raw, server_hostname=os.environ["SERVER_HOST"]) as stream:
    print("answer:", stream.recv(100).decode(), flush=True)
"""

SERVICES = {
    "server": """
secrets:
  global:
    - {name: ca_key, kind: private-key, migrate: true}
    - {name: ca, kind: x509-ca, private_key: ca_key, common_name: Mesh CA, export_public: true}
    - {name: server_key, kind: private-key}
    - {name: server_cert, kind: x509, private_key: server_key, issuer: ca, endpoint: server, dns: "{{SERVER_HOST}}"}
    - {name: client_key, kind: private-key}
    - {name: client_cert, kind: x509, private_key: client_key, issuer: ca, endpoint: client, common_name: the client}
injection_files:
  - {path: /tls/ca.crt, content: "$$SCONE::ca$$"}
  - {path: /tls/server.crt, content: "$$SCONE::server_cert$$"}
  - {path: /tls/server.key, content: "$$SCONE::server_key$$"}
""",
    "client": """
secrets:
  import: [ca, client_cert, client_key]
injection_files:
  - {path: /tls/ca.crt, content: "$$SCONE::ca.chain$$"}
  - {path: /tls/client.crt, content: "$$SCONE::client_cert$$"}
  - {path: /tls/client.key, content: "$$SCONE::client_cert:privatekey$$"}
""",
}


def manifest(image: str, name: str, rest: str) -> str:
    return f"""apiVersion: scone/5.8
kind: genservice
build:
  name: tls-{name}
  kind: python
  to: {image}
  pwd: /app
  command: python3 {name}.py
  copy: [{name}.py]
environment:
  global:
    - name: SERVER_HOST
{rest}"""


@pytest.fixture
def network() -> Iterator[str]:
    name = f"sconectl-test-{uuid.uuid4().hex[:10]}"
    must(docker("network", "create", name))
    yield name
    docker("network", "rm", name)


def test_mutual_tls_with_certificates_of_the_cas(world: World, network: str, tmp_path: Path) -> None:
    for name, program in (("server", SERVER), ("client", CLIENT)):
        (world.root / f"{name}.py").write_text(program)
        (world.root / f"{name}.yaml").write_text(manifest(world.image(name), name, SERVICES[name]))
        must(world.apply_service(world.root / f"{name}.yaml"))
    (world.root / "mesh.yaml").write_text(f"""apiVersion: scone/5.8
kind: mesh
cas:
  - {{name: cas, alias: [image], cas_url: "{world.address}"}}
policy: {{namespace: tls-mesh}}
services:
  - {{name: server, image: {world.image("server")}}}
  - {{name: client, image: {world.image("client")}}}
env:
  - service: global
    env: [{{name: SERVER_HOST, value: mesh-server}}]
""")
    must(world.apply_mesh(world.root / "mesh.yaml"))
    options = ["--network", network]
    server = world.start(
        world.image("server"), config_id="tls-mesh/server/python3", options=[*options, "--network-alias", "mesh-server"]
    )
    world.log_with(server, "listening")
    client = world.start(world.image("client"), config_id="tls-mesh/client/python3", options=options)
    code, log = world.finish(client)
    assert code == 0, log
    assert "answer: hello the client" in log
    stranger = must(docker("inspect", server)).out
    address = json.loads(stranger)[0]["NetworkSettings"]["Networks"][network]["IPAddress"]
    ca = world.root / "ca.pem"
    curl = ["curl", "-sSk", f"https://{world.address}/v1/values/session=tls-mesh/server,secret=ca"]
    ca.write_text(json.loads(must(run(curl)).out)["value"])
    refused = run(
        ["curl", "-sS", "--cacert", ca, "--resolve", f"mesh-server:8443:{address}", "https://mesh-server:8443/"]
    )
    assert refused.code != 0
    world.log_with(server, "refused")
    # Again: certificates are kept as they are, because nothing changed; and the client's session exports nothing.
    again = must(world.apply_mesh(world.root / "mesh.yaml"))
    assert again.out.count("unchanged") == 5
