"""What asks whether a server answers, as the containers of the chart run it, and the pods that run it."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest
from fakes.builders import TOOLCHAINS
from ruamel.yaml import YAML

from sconectl import assets
from sconectl.artefacts.chart import render_chart
from sconectl.artefacts.pod import PYTHON
from sconectl.plan.mesh.chart_plan import ChartPlan, ChartService
from sconectl.toolchains.sim.commands import INTERPRETER

from .test_cluster_standards import admitted, violations
from .test_manifests import BOXED, PEER, WEB

SCRIPT = assets.read("charts_templates/service/files/answers.py").decode()


class Server:
    """A server on this machine; `context` makes it speak TLS. It may greet its clients, and then takes `asked`."""

    def __init__(self, context: ssl.SSLContext | None, greeting: bytes = b"", asked: int = 0) -> None:
        self._context, self._greeting, self._asked = context, greeting, asked
        self.requests: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                try:
                    if self._greeting:
                        connection.sendall(self._greeting)
                        self.requests.append(connection.recv(self._asked))
                    if self._context:
                        with self._context.wrap_socket(connection, server_side=True) as wrapped:
                            wrapped.recv(1)
                    else:
                        connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
                except OSError:
                    continue

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def wanting(tmp_path: Path) -> ssl.SSLContext:
    """What makes a server want a certificate of its clients."""
    subprocess.run(
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=x -days 2".split(),
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(tmp_path / "cert.pem")
    return context


@pytest.fixture
def mutual_tls(wanting: ssl.SSLContext) -> Iterator[Server]:
    """A server that wants a certificate of its clients."""
    server = Server(wanting)
    yield server
    server.close()


def greeting(flags: int, version: bytes = b"\x0a11.4.2-MariaDB") -> bytes:
    """Return how a server of MySQL's protocol greets, and what it can as two bytes of flags."""
    text = version + b"\0" + bytes(4) + b"challeng" + b"\0" + flags.to_bytes(2, "little") + b"\x21\2\0" + bytes(20)
    return len(text).to_bytes(3, "little") + b"\0" + text


@pytest.mark.sockets
def test_a_database_that_greets_first_is_asked_for_tls(wanting: ssl.SSLContext) -> None:
    server = Server(wanting, greeting(0xFFFF), 36)
    try:
        code, said = ask(server.port, "tls")
        assert (code, "it speaks TLS" in said) == (0, True)
        [asked] = server.requests
        assert asked[:4] == b"\x20\0\0\1" and len(asked) == 36 and asked[5] & 0x8A == 0x8A
    finally:
        server.close()


@pytest.mark.sockets
@pytest.mark.parametrize(
    "said",
    [greeting(0xF7FF), greeting(0xFFFF, b"\x09old"), b"220 mail ESMTP\r\n", b"\xff\xff\xff\0", greeting(0xFFFF)[:9]],
    ids=["without TLS", "an old protocol", "SMTP", "endless", "cut off"],
)
def test_who_greets_otherwise_speaks_no_tls(said: bytes) -> None:
    server = Server(None, said, 0)
    try:
        code, text = ask(server.port, "1")
        assert (code, "it speaks no TLS" in text) == (0, True)
    finally:
        server.close()


def ask(port: int, until: str, *, patience: float = 20) -> tuple[int | None, str]:
    """Return exit code and output; no code if it still waits when the patience of the test is over."""
    words = [sys.executable, "-I", "-S", "-B", "-c", SCRIPT, "127.0.0.1", str(port), until]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=patience, check=False)
    except subprocess.TimeoutExpired as error:
        return None, (error.stdout or b"").decode()
    return done.returncode, done.stdout


@pytest.mark.sockets
@pytest.mark.parametrize("until", ["tls", "1"])
def test_a_server_with_mutual_tls_answers(mutual_tls: Server, until: str) -> None:
    code, said = ask(mutual_tls.port, until)
    assert (code, "it speaks TLS" in said) == (0, True)


@pytest.mark.sockets
def test_a_server_without_tls_is_no_peer_but_answers() -> None:
    server = Server(None)
    try:
        assert ask(server.port, "tls", patience=4) == (None, f"waiting for 127.0.0.1:{server.port}\n" * 2)
        code, said = ask(server.port, "1")
        assert (code, "it speaks no TLS" in said) == (0, True)
    finally:
        server.close()


@pytest.mark.sockets
def test_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code, said = ask(port, "1")
    assert (code, "does not answer" in said) == (1, True)
    assert ask(port, "tls", patience=3)[0] is None


def rendered(folder: Path, service: ChartService) -> dict[tuple[str, str], Any]:
    for name, content in render_chart(ChartPlan("shop", "0.1.0", (service,))).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    with helm.Chart.load(str(folder)) as chart:
        files = chart.render(None, name="demo", namespace="prod")
    items = [i for path, text in files.items() if path.endswith(".yaml") for i in YAML(typ="safe").load_all(text) if i]
    for item in items:
        kubernetes_validate.validate(item, kubernetes_validate.latest_version(), strict=True)
    return {(item["kind"], item["metadata"]["name"]): item for item in items}


def test_the_python_of_the_launcher_asks(tmp_path: Path) -> None:
    waiting = {"initContainers": {"container1": PEER}}
    found = rendered(tmp_path, replace(BOXED, extra_values=waiting))
    spec = found["Deployment", "demo-web"]["spec"]["template"]["spec"]
    [container] = spec["initContainers"]
    assert tuple(container["command"][:8]) == (*PYTHON, "-I", "-S", "-B") == INTERPRETER
    assert container["command"][8:] == ["-c", SCRIPT, "demo-db", "5432", "tls"]
    assert list(violations(spec)) == []


def test_helm_test_asks_the_service_and_is_let_in_for_that_long(tmp_path: Path) -> None:
    found = rendered(tmp_path, replace(BOXED, callers=("front",)))
    pod, policy = found["Pod", "demo-web-test"], found["NetworkPolicy", "demo-web.test"]
    assert list(violations(pod["spec"])) == []
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert pod["spec"]["containers"][0]["command"][-3:] == ["demo-web", "443", "60"]
    annotations = policy["metadata"]["annotations"]
    assert (annotations["helm.sh/hook"], annotations["helm.sh/hook-weight"]) == ("test", "-1")
    assert "hook-succeeded" in annotations["helm.sh/hook-delete-policy"]
    labels = pod["metadata"]["labels"]
    assert not admitted(found, "demo-web", labels, 443)
    assert admitted(found, "demo-web.test", labels, 443)
    assert not admitted(found, "demo-web.test", {"app.kubernetes.io/name": "x"}, 443)
    selector = found["Service", "demo-web"]["spec"]["selector"]
    assert not selector.items() <= labels.items(), "the Service would send its clients to the test"


@pytest.mark.parametrize("user", [0, None])
def test_nobody_has_to_be_root_to_ask(tmp_path: Path, user: int | None) -> None:
    waiting = {"initContainers": {"container1": PEER}}
    found = rendered(tmp_path, replace(WEB, user=user, extra_values=waiting))
    assert list(violations(found["Pod", "demo-web-test"]["spec"])) == []
    spec = found["Deployment", "demo-web"]["spec"]["template"]["spec"]
    assert [place for place in violations(spec) if not place.startswith("api:")] == []


@pytest.mark.parametrize("where", ["test", "initContainers"])
def test_images_of_another_toolchain_need_help(tmp_path: Path, where: str) -> None:
    on: dict[str, Any] = {"test": {"enabled": True}, "initContainers": {"container1": PEER}}
    hardware = replace(WEB, toolchain=TOOLCHAINS["scone"])
    assert ("Pod", "demo-web-test") not in rendered(tmp_path / "a", hardware)
    with pytest.raises(helm.HelmRenderError, match=f"name an image with python3 in {where}.image"):
        rendered(tmp_path / "b", replace(hardware, extra_values={where: on[where]}))
    given = {where: {**on[where], "image": "example.org/python:3"}}
    text = json.dumps(list(rendered(tmp_path / "c", replace(hardware, extra_values=given)).values()))
    assert '"example.org/python:3"' in text and '["python3", "-I", "-S", "-B", "-c"' in text
