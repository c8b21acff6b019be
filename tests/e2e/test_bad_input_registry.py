"""Registries that refuse or break off: the message names registry, image and what to do, and the next run goes on."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, urlsplit

import pytest

from .bad_inputs import PROGRAM, Bench, bench_of, refused
from .registry import running_registry
from .world import Outcome, World, must

CODES = {401: "UNAUTHORIZED", 403: "DENIED", 413: "SIZE_INVALID", 429: "TOOMANYREQUESTS"}


@dataclass
class Registry:
    """A registry that takes pushes up to a fault: `fault` is (method, part of the path, HTTP status or 0 to die)."""

    address: str = ""
    fault: tuple[str, str, int] | None = None
    plain: bool = False
    """Refuse with a page instead of JSON, as a proxy does."""
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def faulty(self, method: str, path: str) -> int | None:
        self.requests.append(f"{method} {path}")
        if self.fault and self.fault[0] == method and self.fault[1] in path:
            return self.fault[2]
        return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: Registry

    def log_message(self, *_args: object) -> None:
        return

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def content(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def act(self) -> None:
        registry, url = self.registry, urlsplit(self.path)
        status = registry.faulty(self.command, url.path)
        if status == 0:
            self.rfile.read(1 if self.command == "PATCH" else 0)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        body = self.content() if self.command in ("POST", "PUT", "PATCH") else b""
        if status:
            page = b"<html>refused</html>" if registry.plain else b'{"errors":[{"code":"%s","message":"refused"}]}'
            challenge = {"WWW_Authenticate": 'Basic realm="here"'} if status == 401 else {}
            return self.answer(status, page.replace(b"%s", CODES.get(status, "UNKNOWN").encode()), **challenge)
        place = url.path.rpartition("/")[2]
        if "/manifests/" in url.path:
            self._manifest(place, body)
        elif "/uploads/" in url.path:
            self._upload(url, body)
        elif "/blobs/" in url.path:
            found = registry.blobs.get(place)
            self.answer(404 if found is None else 200, found or b"", Docker_Content_Digest=place)
        else:
            self.answer(200, b"{}", Docker_Distribution_Api_Version="registry/2.0")

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = act

    def _manifest(self, tag: str, body: bytes) -> None:
        if self.command == "PUT":
            self.registry.manifests[tag] = body
            return self.answer(201, Docker_Content_Digest=f"sha256:{hashlib.sha256(body).hexdigest()}")
        found = self.registry.manifests.get(tag)
        self.answer(404 if found is None else 200, found or b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')

    def _upload(self, url: SplitResult, body: bytes) -> None:
        uploads = self.registry.uploads
        place = f"{url.path}{len(uploads)}" if self.command == "POST" else url.path
        uploads[place] = uploads.get(place, b"") + body
        if self.command == "PUT":
            [digest] = parse_qs(url.query)["digest"]
            self.registry.blobs[digest] = uploads[place]
            return self.answer(201, Docker_Content_Digest=digest)
        end = max(len(uploads[place]) - 1, 0)
        self.answer(202, Location=place, Range=f"0-{end}", Docker_Upload_UUID="1")


@contextmanager
def playing_registry() -> Iterator[Registry]:
    registry = Registry()
    handler = type("_Handler", (Handler,), {"registry": registry})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        registry.address = f"127.0.0.1:{server.server_address[1]}"
        yield registry
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def serving() -> Iterator[Registry]:
    with playing_registry() as registry:
        yield registry


@pytest.fixture
def registry(serving: Registry) -> Iterator[Registry]:
    yield serving
    serving.fault, serving.plain = None, False
    serving.blobs.clear()
    serving.manifests.clear()
    serving.requests.clear()


UNAUTHORISED = ("`docker login {registry}`",)
FORBIDDEN = ("the account of `docker login {registry}` has no right",)
TOO_LARGE = ("{registry} or a proxy before it limits the size of an upload",)
TOO_MANY = ("{registry} limits how often it is asked", "`docker login {registry}`")
BROKEN = ("{registry} has a problem of its own: try again later",)
CUT_OFF = ("does {registry} run, and can the engine reach it?",)

PULLS = [
    *((401, False, UNAUTHORISED), (403, False, FORBIDDEN), (403, True, FORBIDDEN), (429, False, TOO_MANY)),
    *(
        (429, True, TOO_MANY),
        (500, True, BROKEN),
        (503, False, BROKEN),
        (0, False, CUT_OFF),
        (None, False, ("unknown",)),
    ),
]


@pytest.mark.parametrize(("status", "plain", "texts"), PULLS)
def test_a_base_image_that_the_registry_does_not_give(
    bench: Bench, registry: Registry, status: int | None, plain: bool, texts: tuple[str, ...]
) -> None:
    registry.fault = None if status is None else ("GET", "/manifests/", status)
    registry.plain = plain
    image = f"{registry.address}/team/base:1"
    file = bench.manifest(**{"from": image})
    with bench.nothing_left():
        texts = tuple(text.format(registry=registry.address) for text in texts)
        refused(bench.apply(file, "-n"), 5, f"pulling {image}", "--base-image", *texts)


PUSHES: list[tuple[str, str, int, bool, tuple[str, ...]]] = [
    ("POST", "/uploads/", 401, False, UNAUTHORISED),
    ("POST", "/uploads/", 403, False, FORBIDDEN),
    ("POST", "/uploads/", 429, False, TOO_MANY),
    ("POST", "/uploads/", 429, True, TOO_MANY),
    ("PATCH", "/uploads/", 413, True, TOO_LARGE),
    ("PUT", "/manifests/", 403, True, FORBIDDEN),
    ("PUT", "/manifests/", 500, False, BROKEN),
    ("PUT", "/manifests/", 503, True, BROKEN),
    ("PUT", "/manifests/", 0, False, CUT_OFF),
]


def converted(bench: Bench, image: str, source: str = "pushed") -> Path:
    """Return the manifest of a small service that is pushed as `image`."""
    bench.made.append(image)
    return bench.convert(bench.image(source, [PROGRAM], 'ENTRYPOINT ["/app/program"]'), to=image)


def test_a_registry_that_refuses_pushes(bench: Bench, registry: Registry) -> None:
    """The image is built once; every run after a refusal only pushes, and the one that may push succeeds."""
    image = f"{registry.address}/team/app:1"
    file = converted(bench, image)
    must(bench.apply(file, "-n"))
    state = bench.engine.state()
    for method, path, status, plain, texts in PUSHES:
        registry.fault, registry.plain = (method, path, status), plain
        texts = tuple(text.format(registry=registry.address) for text in texts)
        refused(bench.apply(file), 5, f"{image} could not be pushed", "the next run only pushes it", *texts)
        assert bench.engine.state() == state
        assert [*bench.temporary.iterdir()] == [] and not registry.manifests
    registry.fault = None
    assert ", pushed" in must(bench.apply(file)).out
    assert registry.manifests
    registry.requests.clear()
    assert "unchanged" in must(bench.apply(file)).out
    assert registry.requests == []


MESH = """\
apiVersion: scone/5.8
kind: mesh
cas: [{name: cas, alias: [image], cas_url: local}]
policy: {namespace: bad-input}
env: []
services: [{name: bad, image: IMAGE}]
"""


@pytest.mark.parametrize(
    ("status", "texts"),
    [
        (401, ("answers 401 (Unauthorized)", "`docker login {registry}`")),
        (403, ("answers 403 (Forbidden)",)),
        (429, ("answers 429 (Too Many Requests)",)),
        (500, ("answers 500 (Internal Server Error)",)),
        (0, ("does not answer",)),
    ],
)
def test_a_mesh_that_cannot_ask_the_registry(
    bench: Bench, registry: Registry, status: int, texts: tuple[str, ...]
) -> None:
    registry.fault = ("GET", "/manifests/", status)
    file = bench.world.root / "mesh.yaml"
    file.write_text(MESH.replace("IMAGE", f"{registry.address}/team/app:1"))
    with bench.nothing_left():
        done = bench.sconectl("apply", "-f", file, "--release", "bad")
        refused(
            done, 4, "SC2008", f"{registry.address}/team/app:1", *(t.format(registry=registry.address) for t in texts)
        )


ACCOUNT = "me:hunter2"
PASSWORDS = "me:$2b$04$ETwqhDpefF/Qca4Ddas3MeHn/Xosha7RJz4kn0VOeXmlFoiA9DRRe\n"


def test_a_real_registry_that_wants_a_login(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "passwords").write_text(PASSWORDS)
    login = bench.world.root / ".docker" / "config.json"
    login.parent.mkdir()
    options = f"auth: {{htpasswd: {{realm: here, path: {tmp_path}/passwords}}}}\n"
    with running_registry(tmp_path, options) as real:
        address = real.address
        image = f"{address}/team/app:1"
        file = converted(bench, image)
        try:
            refused(bench.apply(file), 5, f"{image} could not be pushed", f"`docker login {address}`")
            for account, code in (("me:wrong", 5), (ACCOUNT, 0)):
                auth = base64.b64encode(account.encode()).decode()
                login.write_text(json.dumps({"auths": {address: {"auth": auth}}}))
                done = bench.apply(file)
                assert done.code == code, done.text
                assert "hunter2" not in done.text and "Traceback" not in done.text
        finally:
            shutil.rmtree(login.parent)


@dataclass(frozen=True)
class CutOff:
    bench: Bench
    registry: Registry
    file: Path
    outcome: Future[Outcome]


@pytest.fixture(scope="module", autouse=True)
def cut_off(bench_machine: Bench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CutOff]:
    """A push to a registry that dies: the engine tries for nearly a minute, so this goes on beside the other tests."""
    first = bench_machine.world
    world = World(tmp_path_factory.mktemp("cut_off"), first.base_image, first.ca_bundle, cache=first.cache)
    bench = bench_of(bench_machine.engine, world)
    with playing_registry() as registry, ThreadPoolExecutor() as pool:
        file = converted(bench, f"{registry.address}/team/app:1", "cut-off")
        must(bench.apply(file, "-n"))
        registry.fault = ("PATCH", "/uploads/", 0)
        yield CutOff(bench, registry, file, pool.submit(bench.apply, file))
    bench.clean()


def test_a_registry_that_dies_in_the_middle_of_an_upload(cut_off: CutOff) -> None:
    bench, registry = cut_off.bench, cut_off.registry
    outcome = cut_off.outcome.result(120)
    texts = [text.format(registry=registry.address) for text in CUT_OFF]
    refused(outcome, 5, f"{registry.address}/team/app:1 could not be pushed", *texts)
    assert not registry.manifests and [*bench.temporary.iterdir()] == []
    registry.fault = None
    assert ", pushed" in must(bench.apply(cut_off.file)).out
