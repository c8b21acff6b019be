"""The client of examples/secure-documents, with a server that answers as nginx does, and pauses that are counted."""

from __future__ import annotations

import importlib.util
import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[2] / "examples/secure-documents/client/client.py"
pytestmark = pytest.mark.sockets
Answer = Callable[[str, str, bytes], tuple[int, object]]


@pytest.fixture
def pauses() -> list[int]:
    return []


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, pauses: list[int]) -> ModuleType:
    spec = importlib.util.spec_from_file_location("documents_client", PROGRAM)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return module


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """Serve HTTP on loopback; `answer` gets method, path and body, and returns status and JSON."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, value = answer(self.command, self.path, body)
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class Documents:
    """What nginx and the API behind it answer: a request is refused when ten were made since the last long pause."""

    def __init__(self, pauses: list[int]) -> None:
        self.pauses, self.asked, self.kept = pauses, dict[int, int](), dict[str, str]()

    def __call__(self, method: str, path: str, body: bytes) -> tuple[int, object]:
        minute = self.pauses.count(70)
        self.asked[minute] = self.asked.get(minute, 0) + 1
        if self.asked[minute] > 10:
            return 429, {}
        if path == "/users/create_account":
            return 201, {}
        if method == "POST":
            document = json.loads(body)
            self.kept[f"/documents/{document['record_id']}"] = document["content"]
            return 200, document
        return 200, {"content": self.kept[path]}


@pytest.mark.shows("004.client")
def test_it_reads_what_it_wrote(client: ModuleType, pauses: list[int], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    documents = Documents(pauses)
    with serving(documents) as address:
        client.execution(address)
    said = [record.message for record in caplog.records if record.name == "client"]
    assert said[1] == "Creating documents" and "Reading written documents" in said
    assert list(documents.kept) == [f"/documents/{number}" for number in range(20)]
    assert said.count("ouch! rate limit caught us. Retrying in 70 seconds...") == pauses.count(70) == 4
    assert pauses.count(2) == 20
    assert not any(content in line for content in documents.kept.values() for line in said)


@pytest.mark.shows("004.client")
def test_an_account_that_is_not_made_is_said(client: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with serving(lambda *_: (409, {})) as address:
        client.execution(address)
    assert "could not create user account: status_code=409" in caplog.messages


def test_another_text_than_was_written_is_the_end(client: ModuleType, pauses: list[int]) -> None:
    documents = Documents(pauses)

    def lying(method: str, path: str, body: bytes) -> tuple[int, object]:
        status, value = documents(method, path, body)
        return (status, {"content": "another"}) if path == "/documents/3" and status == 200 else (status, value)

    with serving(lying) as address, pytest.raises(SystemExit, match="document 3 is not what was written"):
        client.execution(address)


@pytest.mark.shows("004.client")
def test_it_waits_for_nginx(
    client: ModuleType, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Any answer is one: it asks without credentials."""
    caplog.set_level(logging.INFO)
    with serving(lambda *_: (401, {})) as address:
        tried = iter(["http://127.0.0.1:1", "http://127.0.0.1:1", address])
        get = client.requests.get
        monkeypatch.setattr(
            client.requests, "get", lambda url, **more: get(url.replace("nowhere", next(tried)), **more)
        )
        client.wait_until_reachable("nowhere")
    assert caplog.messages.count("NGINX not available yet. Will try again in 10 seconds...") == 2
