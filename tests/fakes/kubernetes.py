"""A Kubernetes API server as far as the operator needs one: real HTTP, lists in pages, watches, status, a token."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "t0ken-of-the-account"
_PREFIX = "/apis/cas.scone.cloud/v1beta1"
_KINDS = {"signedpolicies": "SignedPolicy", "encryptedpolicies": "EncryptedPolicy"}


@dataclass
class Cluster:
    """Objects by plural, namespace and name. `gone` lets so many watches begin with 410, and ends those that run.

    `answer` is another status.
    """

    address: str = ""
    objects: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    patches: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    gone: int = 0
    answer: int = 200
    version: int = 0
    deleted: list[dict[str, Any]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)
    closing: bool = False

    def put(self, resource: dict[str, Any], namespace: str = "apps", *, recreate: bool = False) -> None:
        """Do what `kubectl apply` does, or what a hook of Helm does: delete the object, and make a new one."""
        plural = next(name for name, kind in _KINDS.items() if kind == resource["kind"])
        name = resource["metadata"]["name"]
        with self.changed:
            before = None if recreate else self.objects.get((plural, namespace, name))
            self.version += 1
            meta = {**resource["metadata"], "namespace": namespace, "resourceVersion": str(self.version)}
            if before:
                same = before["spec"] == resource["spec"]
                meta |= {"uid": before["metadata"]["uid"]}
                meta |= {"generation": before["metadata"]["generation"] + (not same)}
            else:
                meta |= {"uid": f"uid-{self.version}", "generation": 1}
            status = {"status": before["status"]} if before and "status" in before else {}
            self.objects[plural, namespace, name] = {**resource, "metadata": meta, **status}
            self.changed.notify_all()

    def delete(self, name: str, *, told: bool = True) -> None:
        """Delete an object, and tell those who watch."""
        with self.changed:
            [key] = [key for key in self.objects if key[2] == name]
            item = self.objects.pop(key)
            self.version += 1
            meta = {**item["metadata"], "resourceVersion": str(self.version)}
            if told:
                self.deleted.append({**item, "metadata": meta})
            self.changed.notify_all()

    def status(self, name: str) -> dict[str, Any]:
        """Return the condition of an object, with the hash of its session."""
        [item] = [item for (_, _, key), item in self.objects.items() if key == name]
        found: dict[str, Any] = item.get("status") or {"conditions": [{}]}
        return {**found["conditions"][0], "hash": found.get("sessionHash", "")}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cluster: Cluster

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        found = self._place(parts.path)
        if found is None:
            return
        plural, namespace, _ = found
        if "watch" in query:
            self._watch(plural, namespace, int(query["resourceVersion"]))
            return
        items = self._items(plural, namespace)
        start, limit = int(query.get("continue", 0)), int(query.get("limit", 500))
        page = [{key: value for key, value in item.items() if key != "kind"} for item in items[start : start + limit]]
        more = {"continue": str(start + limit)} if start + limit < len(items) else {}
        self._answer(200, {"items": page, "metadata": {"resourceVersion": str(self.cluster.version), **more}})

    def do_PATCH(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        found = self._place(urlsplit(self.path).path)
        if found is None:
            return
        plural, namespace, rest = found
        name, _, subresource = rest.partition("/")
        assert subresource == "status" and set(body) == {"status"}
        assert self.headers["Content-Type"] == "application/merge-patch+json"
        cluster = self.cluster
        with cluster.changed:
            item = cluster.objects.get((plural, namespace, name))
            if item is None:
                self._answer(404, {})
                return
            cluster.version += 1
            item["status"] = {**item.get("status", {}), **body["status"]}
            item["metadata"]["resourceVersion"] = str(cluster.version)
            cluster.patches.append((name, body["status"]))
            cluster.changed.notify_all()
        self._answer(200, item)

    def _place(self, path: str) -> tuple[str, str, str] | None:
        self.cluster.requests.append(f"{self.command} {path}")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, {})
            return None
        if self.cluster.answer != 200 or not path.startswith(_PREFIX):
            self._answer(self.cluster.answer if self.cluster.answer != 200 else 404, {})
            return None
        words = path.removeprefix(_PREFIX).strip("/").split("/")
        namespace = ""
        if words[0] == "namespaces":
            namespace, words = words[1], words[2:]
        return words[0], namespace, "/".join(words[1:])

    def _items(self, plural: str, namespace: str) -> list[dict[str, Any]]:
        with self.cluster.changed:
            return [
                item
                for (kind, place, _), item in sorted(self.cluster.objects.items())
                if kind == plural and namespace in ("", place)
            ]

    def _watch(self, plural: str, namespace: str, version: int) -> None:
        cluster = self.cluster
        if cluster.gone:
            cluster.gone -= 1
            self._answer(410, {})
            return
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while not (cluster.closing or cluster.gone):
            deleted = [item for item in cluster.deleted if _KINDS[plural] == item["kind"]]
            events = [("MODIFIED", item) for item in self._items(plural, namespace)]
            events += [("DELETED", item) for item in deleted if namespace in ("", item["metadata"]["namespace"])]
            new = [(int(item["metadata"]["resourceVersion"]), event, item) for event, item in events]
            for number, event, item in sorted((each for each in new if each[0] > version), key=lambda each: each[0]):
                version = number
                line = json.dumps({"type": event, "object": item}).encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            with cluster.changed:
                cluster.changed.wait(0.2)
        self.wfile.write(b"0\r\n\r\n")

    def _answer(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_arguments: object) -> None:
        pass  # clients that hang up


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Run an API server."""
    cluster = Cluster()
    handler = type("Handler", (_Handler,), {"cluster": cluster})
    server = _Server(("127.0.0.1", 0), handler)
    cluster.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield cluster
    finally:
        cluster.closing = True
        server.shutdown()
        server.server_close()
