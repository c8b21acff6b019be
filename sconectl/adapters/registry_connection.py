"""A connection to one repository of an image registry (OCI distribution specification 1.1): requests with credentials.

In: a registry and a repository. Out: answers of limited size, with their content checked against digests. Raises
`BuildFailed` for a registry that does not answer, refuses, or answers with something else than the specification says.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
from docker import auth as docker_auth
from docker.errors import DockerException

from sconectl.adapters.refusals import hint_for_status
from sconectl.errors import BuildFailed
from sconectl.proxies import proxy_for

MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
HUB = "registry-1.docker.io"
_SILENCE = 20.0
_PATIENCE = 60
_SIZE = 4 << 20
"""Of manifests and configurations; registries take no larger manifests either."""
_TAKEN = (httpx.codes.CREATED, httpx.codes.ACCEPTED, httpx.codes.NO_CONTENT)


class Connection:
    """Requests about one repository, with the credentials of the docker configuration."""

    def __init__(self, client: httpx.Client, registry: str, name: str, base: str) -> None:
        self.registry, self.name = registry, name
        self._client, self._base = client, base
        self._authorization: dict[str, str] = {}

    def get(self, path: str, digest: str = "") -> dict[str, Any] | None:
        """Return a JSON document, or None if there is none. It is checked against `digest`, unless that is empty."""
        body = self.get_bytes(path, digest)
        if body is None:
            return None
        document: dict[str, Any] = json.loads(body)
        if not isinstance(document, dict):
            raise TypeError(f"a {type(document).__name__} is neither a manifest nor a configuration")
        return document

    def get_bytes(self, path: str, digest: str = "") -> bytes | None:
        """Return a content as it is, or None if there is none."""
        answer, body = self._ask("GET", f"{self._base}/{path}", headers={"Accept": ", ".join(MANIFESTS)})
        status = answer.status_code
        if status == httpx.codes.NOT_FOUND:
            return None
        if status != httpx.codes.OK:
            raise self._refused(status, answer, "check the name of the image")
        if digest and not _has_digest(body, digest):
            raise BuildFailed(
                f"the registry {self.registry} answers with other content than was asked for: it does not have the "
                f"digest {digest}",
                hint="somebody between this machine and the registry, or the registry itself, changes what is sent",
            )
        return body

    def put_blob(self, content: bytes) -> dict[str, Any]:
        """Upload a blob, unless it is there; return its digest and size as a descriptor has them."""
        descriptor = {"digest": f"sha256:{hashlib.sha256(content).hexdigest()}", "size": len(content)}
        if self._ask("HEAD", f"{self._base}/blobs/{descriptor['digest']}")[0].status_code == httpx.codes.OK:
            return descriptor
        place = self._taken(*self._ask("POST", f"{self._base}/blobs/uploads/")).headers["Location"]
        url = httpx.URL(urljoin(f"{self._base}/", place)).copy_merge_params({"digest": str(descriptor["digest"])})
        headers = {"Content-Type": "application/octet-stream"}
        self._taken(*self._ask("PUT", str(url), content=content, headers=headers))
        return descriptor

    def put_manifest(self, content: bytes, media_type: str, reference: str = "") -> httpx.Response:
        """Upload a manifest under a tag, else under its digest; return the answer of the registry."""
        where = reference or f"sha256:{hashlib.sha256(content).hexdigest()}"
        headers = {"Content-Type": media_type}
        return self._taken(*self._ask("PUT", f"{self._base}/manifests/{where}", content=content, headers=headers))

    def _taken(self, answer: httpx.Response, _body: bytes) -> httpx.Response:
        if answer.status_code not in _TAKEN:
            raise self._refused(answer.status_code, answer, "")
        return answer

    def _refused(self, status: int, answer: httpx.Response, hint: str) -> BuildFailed:
        return BuildFailed(
            f"the registry {self.registry} answers {status} ({_reason(answer)}) for {self.name}",
            hint=hint_for_status(status, self.registry) or hint,
        )

    def _ask(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, content: bytes | None = None
    ) -> tuple[httpx.Response, bytes]:
        ours = _origin(url) == _origin(self._base)  # uploads may go elsewhere, where credentials do not belong
        wanted = {**(headers or {}), **(self._authorization if ours else {})}
        answer, body = _read(self._client, url, method=method, headers=wanted, content=content)
        if ours and answer.status_code == httpx.codes.UNAUTHORIZED:
            right = "pull" if method in ("GET", "HEAD") else "pull,push"
            self._authorization = self._authorise(answer.headers.get("WWW-Authenticate", ""), right)
            wanted = {**(headers or {}), **self._authorization}
            answer, body = _read(self._client, url, method=method, headers=wanted, content=content)
        return answer, body

    def _authorise(self, challenge: str, right: str) -> dict[str, str]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a missing credential helper is an error of ours
            login = docker_auth.load_config().resolve_authconfig("" if self.registry == HUB else self.registry) or {}
        basic = httpx.BasicAuth(login["username"], login["password"]) if login.get("username") else None
        if challenge.lower().startswith("basic"):
            if basic is None:
                return {}
            request = next(basic.auth_flow(self._client.build_request("GET", f"https://{self.registry}/")))
            return {"Authorization": request.headers["Authorization"]}
        fields: Mapping[str, str] = dict(_CHALLENGE.findall(challenge))
        if "realm" not in fields:
            return {}
        scope = fields.get("scope", f"repository:{self.name}:{right}")
        parameters = {"service": fields.get("service", ""), "scope": scope}
        answer, body = _read(self._client, fields["realm"], method="GET", params=parameters, auth=basic)
        document = json.loads(body) if answer.is_success else {}
        token = document.get("token") or document.get("access_token")
        return {"Authorization": f"Bearer {token}"} if token else {}


@contextmanager
def connection(registry: str, name: str) -> Iterator[Connection]:
    """Give a connection, and turn everything that goes wrong with it into `BuildFailed`."""
    local = registry.split(":")[0] in ("localhost", "127.0.0.1", "[::1]")
    base = f"{'http' if local else 'https'}://{registry}/v2/{name}"
    try:
        with httpx.Client(
            timeout=_SILENCE, follow_redirects=True, trust_env=not local, mounts=_direct(registry)
        ) as client:
            yield Connection(client, registry, name, base)
    except httpx.HTTPError as error:
        words = f"{type(error).__name__}: {error}".rstrip(": ")
        hint = hint_for_status(0, registry)
        raise BuildFailed(f"the registry {registry} does not answer about {name}: {words}", hint=hint) from error
    except DockerException as error:
        hint = "correct the docker configuration (~/.docker/config.json)"
        raise BuildFailed(f"there are no credentials for the registry {registry}: {error}", hint=hint) from error
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError, httpx.InvalidURL) as error:
        raise BuildFailed(f"the registry {registry} answers with something unexpected about {name}") from error


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = httpx.URL(url)
    return parts.scheme, parts.host, parts.port


def _direct(registry: str) -> dict[str, None]:
    """Return the `mounts` that keep httpx from using a proxy for the registry: it ignores networks in NO_PROXY."""
    parts = urlsplit(f"https://{registry}")
    host = parts.hostname or ""
    if proxy_for(host, parts.port or 443) is not None:
        return {}
    return {f"all://[{host}]" if ":" in host else f"all://{host}": None}


def _read(client: httpx.Client, url: str, *, method: str, **options: Any) -> tuple[httpx.Response, bytes]:
    """Return an answer and its content, of limited size and in limited time."""
    deadline = time.monotonic() + _PATIENCE
    body = b""
    with client.stream(method, url, **options) as answer:
        for chunk in answer.iter_bytes():
            body += chunk
            if len(body) > _SIZE:
                raise ValueError("too long")
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout(f"the answer was not finished within {_PATIENCE} seconds")
    return answer, body


def _has_digest(content: bytes, digest: str) -> bool:
    """Tell whether content has this digest. Raises LookupError for an algorithm that OCI does not have."""
    algorithm, _, value = digest.partition(":")
    return {"sha256": hashlib.sha256, "sha512": hashlib.sha512}[algorithm](content).hexdigest() == value


def _reason(answer: httpx.Response) -> str:
    return httpx.codes.get_reason_phrase(answer.status_code) or "unknown status"
