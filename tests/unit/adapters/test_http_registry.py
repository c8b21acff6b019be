"""Asking registries: a small real server that answers as registries do, and as they should not."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from sconectl.adapters import registry_connection
from sconectl.adapters.registry import HttpRegistry
from sconectl.errors import BuildFailed
from sconectl.ports import Artifact

pytestmark = pytest.mark.sockets

CONFIG = {
    "architecture": "amd64",
    "created": "2026-01-02T03:04:05Z",
    "config": {"Labels": {"a": "b"}, "User": "1000"},
    "rootfs": {"diff_ids": ["sha256:1", "sha256:2"]},
}


def encoded(document: object) -> bytes:
    return document if isinstance(document, bytes) else json.dumps(document).encode()


def digest_of(document: object) -> str:
    return f"sha256:{hashlib.sha256(encoded(document)).hexdigest()}"


C0 = digest_of(CONFIG)
MANIFEST = {"schemaVersion": 2, "config": {"digest": C0}, "layers": [{"digest": "sha256:layer"}]}
M0 = digest_of(MANIFEST)
INDEX = {
    "manifests": [
        {"digest": "sha256:att", "platform": {"os": "unknown", "architecture": "unknown"}},
        {"digest": "sha256:arm", "platform": {"os": "linux", "architecture": "arm64"}},
        {"digest": M0, "platform": {"os": "linux", "architecture": "amd64"}},
    ]
}


@dataclass
class Server:
    """Answers from `files`; `authorise` may demand something of a request: it returns a challenge or nothing."""

    address: str = ""
    files: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    authorise: Callable[[str], str] = lambda _header: ""
    requests: list[tuple[str, str]] = field(default_factory=list)
    location: str = ""
    """Where uploads are sent to."""

    def answer(self, path: str, header: str) -> tuple[int, dict[str, str], bytes]:
        self.requests.append((path, header))
        url = urlsplit(path)
        if url.path == "/token":
            document: Any = {"token": "T-" + parse_qs(url.query)["scope"][0]}
            if "/token" in self.files:
                document = self.files["/token"]
            return 200, {}, json.dumps(document).encode()
        if challenge := self.authorise(header):
            return 401, {"WWW-Authenticate": challenge}, b"{}"
        if url.path.endswith("/blobs/uploads/"):
            return 202, {"Location": self.location}, b""
        if url.path not in self.files:
            return 404, {}, b'{"errors": []}'
        return self.status, {}, encoded(self.files[url.path])


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = state.answer(self.path, self.headers.get("Authorization", ""))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_POST = do_GET

        def log_message(self, *_args: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        state.address = f"127.0.0.1:{http.server_address[1]}"
        state.files = {"/v2/me/app/manifests/1": MANIFEST, f"/v2/me/app/blobs/{C0}": CONFIG}
        yield state
        http.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def docker_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # nobody is there, and nobody may be asked
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    return tmp_path / "config.json"


def login(file: Path, server: Server, text: str = "me:hunter2") -> None:
    auth = base64.b64encode(text.encode()).decode()
    file.write_text(json.dumps({"auths": {server.address: {"auth": auth}}}))


def failure(server: Server, name: str = "me/app:1") -> BuildFailed:
    with pytest.raises(BuildFailed) as caught:
        HttpRegistry().inspect(f"{server.address}/{name}")
    assert caught.value.exit_code == 5
    assert "hunter2" not in caught.value.message + caught.value.hint
    return caught.value


def test_a_manifest(server: Server) -> None:
    info = HttpRegistry().inspect(f"{server.address}/me/app:1")
    assert info is not None
    assert (info.id, info.architecture, info.labels, info.config["User"]) == (C0, "amd64", {"a": "b"}, "1000")
    assert (info.layers, info.created) == (("sha256:1", "sha256:2"), "2026-01-02T03:04:05Z")


def test_an_index_leads_to_the_image_for_linux(server: Server) -> None:
    server.files["/v2/me/app/manifests/1"] = INDEX
    server.files[f"/v2/me/app/manifests/{M0}"] = MANIFEST
    info = HttpRegistry().inspect(f"{server.address}/me/app:1")
    assert info is not None
    assert info.id == C0


def test_a_digest_is_asked_for_as_such(server: Server) -> None:
    server.files[f"/v2/me/app/manifests/{M0}"] = MANIFEST
    assert HttpRegistry().inspect(f"{server.address}/me/app:1@{M0}") is not None


def test_content_of_another_digest_is_refused(server: Server) -> None:
    wrong = "sha256:" + "1" * 64
    server.files[f"/v2/me/app/manifests/{wrong}"] = MANIFEST
    assert wrong in failure(server, f"me/app@{wrong}").message
    server.files[f"/v2/me/app/blobs/{C0}"] = {**CONFIG, "architecture": "arm64"}
    error = failure(server)
    assert "other content than was asked for" in error.message and C0 in error.message
    for weak in (f"md5:{hashlib.md5(encoded(CONFIG)).hexdigest()}", "md6:12", "config"):
        server.files["/v2/me/app/manifests/1"] = {"config": {"digest": weak}}
        server.files[f"/v2/me/app/blobs/{weak}"] = CONFIG
        assert "unexpected" in failure(server).message


def test_a_configuration_that_is_missing(server: Server) -> None:
    del server.files[f"/v2/me/app/blobs/{C0}"]
    error = failure(server)
    assert "without its configuration" in error.message and "push the image again" in error.hint


def test_an_answer_without_an_end(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["/v2/me/app/manifests/1"] = b" " * (4 << 20) + encoded(MANIFEST)
    assert "unexpected" in failure(server).message
    server.files["/v2/me/app/manifests/1"] = MANIFEST
    monkeypatch.setattr(registry_connection, "_PATIENCE", -1)
    assert "not finished within" in failure(server).message


def test_no_layer_is_ever_asked_for(server: Server) -> None:
    HttpRegistry().inspect(f"{server.address}/me/app:1")
    assert not any("layer" in path for path, _ in server.requests)


def test_an_unknown_image_is_nothing(server: Server) -> None:
    assert HttpRegistry().inspect(f"{server.address}/me/gone:1") is None
    server.files["/v2/me/app/manifests/1"] = INDEX
    assert HttpRegistry().inspect(f"{server.address}/me/app:1") is None


def test_the_token_flow(server: Server, docker_config: Path) -> None:
    login(docker_config, server)

    def demand(header: str) -> str:
        right = "Bearer T-repository:me/app:pull"
        return (
            ""
            if header == right
            else f'Bearer realm="http://{server.address}/token",service="s",scope="repository:me/app:pull"'
        )

    server.authorise = demand
    assert HttpRegistry().inspect(f"{server.address}/me/app:1") is not None
    asked = [(path, header) for path, header in server.requests if path.startswith("/token")]
    assert asked
    assert "service=s" in asked[0][0]
    assert asked[0][1] == "Basic " + base64.b64encode(b"me:hunter2").decode()
    assert "hunter2" not in asked[0][0]


def test_the_token_flow_without_credentials(server: Server) -> None:
    server.authorise = lambda h: "" if h.startswith("Bearer T-") else f'Bearer realm="http://{server.address}/token"'
    assert HttpRegistry().inspect(f"{server.address}/me/app:1") is not None
    assert next(header for path, header in server.requests if path.startswith("/token")) == ""


def test_basic_credentials(server: Server, docker_config: Path) -> None:
    right = "Basic " + base64.b64encode(b"me:hunter2").decode()
    server.authorise = lambda header: "" if header == right else 'Basic realm="x"'
    assert "401" in failure(server).message
    login(docker_config, server)
    assert HttpRegistry().inspect(f"{server.address}/me/app:1") is not None
    login(docker_config, server, "me:wrong")
    assert "docker login" in failure(server).hint


def test_credentials_of_another_registry_are_not_sent(server: Server, docker_config: Path) -> None:
    auth = base64.b64encode(b"me:hunter2").decode()
    docker_config.write_text(json.dumps({"auths": {"other.example.org": {"auth": auth}}}))
    server.authorise = lambda _header: 'Basic realm="x"'
    failure(server)
    assert {header for _, header in server.requests} == {""}


def test_credentials_stay_where_they_belong(server: Server, docker_config: Path) -> None:
    """Uploads may go to another host, which gets no token, and no password for the asking."""
    login(docker_config, server)
    seen: list[str | None] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as other:

        class Elsewhere(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                seen.append(self.headers.get("Authorization"))
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="x"')
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_args: object) -> None:
                return

        other.RequestHandlerClass = Elsewhere
        threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        right = "Basic " + base64.b64encode(b"me:hunter2").decode()
        server.authorise = lambda header: "" if header == right else 'Basic realm="x"'
        server.location = f"http://127.0.0.1:{other.server_address[1]}/upload"
        with pytest.raises(BuildFailed, match="401"):
            HttpRegistry().publish(f"{server.address}/me/chart:1", Artifact(b"{}", "a/b", b"x", "c/d"))
        other.shutdown()
    assert seen == [None]
    assert ("/v2/me/chart/blobs/uploads/", right) in server.requests


@pytest.mark.parametrize(
    "challenge",
    ["", "Bearer", 'Bearer realm=""', 'Bearer realm="http://["', 'Bearer realm="relative"', "Negotiate", "é"],
)
def test_challenges_that_lead_nowhere(server: Server, challenge: str) -> None:
    server.authorise = lambda _header: challenge or "-"
    failure(server)


@pytest.mark.parametrize("answer", [[], "x", {}, None, {"token": None}])
def test_tokens_that_are_none(server: Server, answer: object) -> None:
    server.files["/token"] = answer
    server.authorise = lambda _header: f'Bearer realm="http://{server.address}/token"'
    failure(server)


@pytest.mark.parametrize(
    ("status", "words", "advice"),
    [
        (400, "Bad Request", "check the name"),
        (401, "Unauthorized", "docker login"),
        (403, "Forbidden", "has no right"),
        (413, "Request Entity Too Large", "limits the size"),
        (429, "Too Many Requests", "wait and try again"),
        (500, "Internal Server Error", "try again later"),
        (503, "Service Unavailable", "try again later"),
        (599, "unknown status", "try again later"),
    ],
)
def test_refusals(server: Server, status: int, words: str, advice: str) -> None:
    server.status = status
    error = failure(server)
    assert f"the registry {server.address} answers {status} ({words}) for me/app" == error.message
    assert advice in error.hint and (status == 400 or server.address in error.hint)


@pytest.mark.parametrize(
    "garbage",
    [
        *(b"", b"\xff\xfe", b"<html>", b"[" * 100_000, b"[]", b'"manifests"', b"5", b"{}"),
        *({"manifests": []}, {"manifests": 5}, {"manifests": [5]}, {"manifests": [{}]}, {"manifests": {"a": 1}}),
        *({"config": 5}, {"config": {}}, {"config": {"digest": None}}, {"config": []}),
    ],
)
def test_garbage_instead_of_a_manifest(server: Server, garbage: object) -> None:
    server.files["/v2/me/app/manifests/1"] = garbage
    try:
        info = HttpRegistry().inspect(f"{server.address}/me/app:1")
    except BuildFailed as error:
        assert "unexpected" in error.message or "without its configuration" in error.message
    else:
        assert info is None or info.labels == {}


def name_configuration(server: Server, document: object) -> None:
    server.files["/v2/me/app/manifests/1"] = {"config": {"digest": digest_of(document)}}
    server.files[f"/v2/me/app/blobs/{digest_of(document)}"] = document


@pytest.mark.parametrize(
    "garbage",
    [b"", b"[]", b"5", b"null", {"config": []}, {"config": "x"}, {"config": {"Labels": ["x"]}}, {"config": 7}],
)
def test_garbage_instead_of_a_configuration(server: Server, garbage: object) -> None:
    name_configuration(server, garbage)
    try:
        info = HttpRegistry().inspect(f"{server.address}/me/app:1")
    except BuildFailed as error:
        assert "unexpected" in error.message
    else:
        assert info is not None
        assert info.labels == {}


def test_labels_are_text(server: Server) -> None:
    name_configuration(server, {"config": {"Labels": {"a": 5, "b": None, "c": ["x"]}}})
    info = HttpRegistry().inspect(f"{server.address}/me/app:1")
    assert info is not None
    assert all(isinstance(value, str) for value in info.labels.values())


def test_no_registry_there(server: Server) -> None:
    server.address = "127.0.0.1:1"
    assert "does not answer" in failure(server).message


def test_a_docker_configuration_that_cannot_be_used(server: Server, docker_config: Path) -> None:
    docker_config.write_text(json.dumps({"credHelpers": {server.address: "not-installed"}}))
    server.authorise = lambda _header: 'Basic realm="x"'
    assert "docker configuration" in failure(server).hint
