"""The little of the Kubernetes API that the operator needs: list, watch, and patch of a status.

In: where the API server is, and with which token. Out: objects and events as plain values. Raises `ApiFault`.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from sconectl.cas.operator.resources import GROUP, PLURALS, VERSION
from sconectl.errors import SconectlError, UsageError

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_SILENCE = 30.0
_WATCH_SECONDS = 240
_PAGE = 200
_GONE = 410
_MAX_LINE = 8 << 20  # bytes of one event; etcd keeps no object of more than 1.5 MiB


class ApiFault(SconectlError):
    """The API server does not answer as it should; it is asked again."""

    exit_code = 6


class Gone(ApiFault):
    """The server no longer knows the version of a list to watch from: list again."""


class KubernetesApi:
    """One API server. The token is read again for each request, since the kubelet renews it."""

    def __init__(self, url: str, token: Path | None, authority: Path | None) -> None:
        self._token = token
        verify: ssl.SSLContext | bool = True
        if authority is not None:
            try:
                verify = ssl.create_default_context(cafile=str(authority))
            except (OSError, ssl.SSLError) as error:
                raise UsageError(f"{authority} holds no certificates", hint="name the CA of the API server") from error
        try:
            self._client = httpx.Client(base_url=url, verify=verify, timeout=_SILENCE, trust_env=False)
        except httpx.InvalidURL as error:
            hint = "give it like https://kubernetes.example.org:6443"
            raise UsageError(f"{url!r} is no address of an API server", hint=hint) from error

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    @classmethod
    def in_cluster(cls) -> KubernetesApi:
        """Return the API server of the cluster that this pod runs in. Raises `UsageError` outside of one."""
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        if not host:
            raise UsageError("this is no pod of a cluster", hint="give the address of the API server with --api URL")
        host = f"[{host}]" if ":" in host else host
        return cls(f"https://{host}:{port}", _ACCOUNT / "token", _ACCOUNT / "ca.crt")

    def list(self, kind: str, namespace: str) -> tuple[list[dict[str, Any]], str]:
        """Return all objects of a kind, in one namespace or ("") in all, and the version of the list."""
        found: list[dict[str, Any]] = []
        more, version = "", ""
        while True:
            parameters = {"limit": str(_PAGE), **({"continue": more} if more else {})}
            answer = self._json("GET", _path(kind, namespace), params=parameters)
            meta = answer.get("metadata") or {}
            version = str(meta.get("resourceVersion", ""))
            # The items of a list have no kind of their own.
            found += [{**item, "kind": kind} for item in answer.get("items") or () if isinstance(item, dict)]
            more = str(meta.get("continue") or "")
            if not more:
                return found, version

    def watch(self, kind: str, namespace: str, version: str) -> Iterator[dict[str, Any]]:
        """Yield objects that were added, changed or deleted since `version`, until the server ends this.

        Each has its `event` beside what it is. Raises `Gone`.
        """
        parameters = {
            "watch": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(_WATCH_SECONDS),
            "allowWatchBookmarks": "true",
        }
        timeout = httpx.Timeout(_SILENCE, read=_WATCH_SECONDS + _SILENCE)
        try:
            with self._client.stream(
                "GET", _path(kind, namespace), params=parameters, headers=self._headers(), timeout=timeout
            ) as answer:
                if answer.status_code == _GONE:
                    raise Gone("the list is too old to be watched")
                if not answer.is_success:
                    raise _refused("GET", answer)
                for line in answer.iter_lines():
                    event = json.loads(line) if line and len(line) <= _MAX_LINE else {}
                    item = event.get("object") or {}
                    if event.get("type") == "ERROR":
                        raise Gone(str(item.get("message", "the watch ended")))
                    if event.get("type") in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK"):
                        yield {**item, "kind": kind, "event": event["type"]}
        except (httpx.HTTPError, ValueError, AttributeError) as error:
            raise _broken(error) from error

    def patch_status(self, kind: str, namespace: str, name: str, status: Mapping[str, Any]) -> None:
        """Give an object a status; nothing happens if it is gone."""
        path = f"{_path(kind, namespace)}/{quote(name, safe='')}/status"
        headers = {"Content-Type": "application/merge-patch+json"}
        self._json("PATCH", path, content=json.dumps({"status": status}), headers=headers, missing=True)

    def _json(self, method: str, path: str, *, missing: bool = False, **options: Any) -> dict[str, Any]:
        headers = {**self._headers(), **options.pop("headers", {})}
        try:
            answer = self._client.request(method, path, headers=headers, **options)
            if missing and answer.status_code == httpx.codes.NOT_FOUND:
                return {}
            if not answer.is_success:
                raise _refused(method, answer)
            document = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise _broken(error) from error
        if not isinstance(document, dict):
            raise _broken(TypeError(type(document).__name__))
        return document

    def _headers(self) -> dict[str, str]:
        try:
            token = self._token.read_text().strip() if self._token else ""
        except OSError as error:
            raise ApiFault(f"the token {self._token} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ApiFault(f"{self._token} holds no token") from error
        return {"Accept": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}


def _path(kind: str, namespace: str) -> str:
    where = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
    return f"/apis/{GROUP}/{VERSION}{where}/{PLURALS[kind]}"


def _refused(method: str, answer: httpx.Response) -> ApiFault:
    hints = {
        401: "the token of the service account is not accepted",
        403: "the service account needs the rights of the chart's ClusterRole",
        404: "install the custom resource definitions: they are in the chart",
    }
    what = f"the API server answers {answer.status_code} to {method} {answer.request.url.path}"
    return ApiFault(what, hint=hints.get(answer.status_code, ""))


def _broken(error: Exception) -> ApiFault:
    return ApiFault(f"the API server does not answer as it should: {type(error).__name__}")
