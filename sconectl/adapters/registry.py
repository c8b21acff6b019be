"""Image registries over HTTP (OCI distribution specification 1.1): configuration of an image, never a layer."""

from __future__ import annotations

import hashlib
import json
import re
import time
import warnings
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
from docker import auth as docker_auth
from docker.errors import DockerException

from sconectl.adapters.refusals import hint_for_status
from sconectl.errors import BuildFailed
from sconectl.ports import ImageInfo
from sconectl.proxies import proxy_for

_MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    )
)
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_HUB = "registry-1.docker.io"
_SILENCE = 20.0
_PATIENCE = 60
_SIZE = 4 << 20
"""Of manifests and configurations; registries take no larger manifests either."""


class HttpRegistry:
    """Implements `ports.Registry` with the credentials of the docker configuration.

    Nothing that a registry says by digest is believed without checking the digest.
    """

    def inspect(self, reference: str) -> ImageInfo | None:
        """Return the registry's facts about an image, or None if it has none of that name.

        Raises `BuildFailed` if the registry cannot be reached or refuses.
        """
        registry, name, version = split_reference(reference)
        local = registry.split(":")[0] in ("localhost", "127.0.0.1", "[::1]")
        base = f"{'http' if local else 'https'}://{registry}/v2/{name}"
        try:
            with httpx.Client(
                timeout=_SILENCE, follow_redirects=True, trust_env=not local, mounts=_direct(registry)
            ) as client:
                manifest = self._get(
                    client, f"{base}/manifests/{version}", registry, name, version if ":" in version else ""
                )
                if manifest is not None and "manifests" in manifest:
                    digest = _for_linux(manifest["manifests"])
                    manifest = self._get(client, f"{base}/manifests/{digest}", registry, name, digest)
                if manifest is None:
                    return None
                digest = str(manifest["config"]["digest"])
                config = self._get(client, f"{base}/blobs/{digest}", registry, name, digest)
                if config is None:
                    raise BuildFailed(
                        f"the registry {registry} has {name} without its configuration",
                        hint="push the image again: its upload was not finished",
                    )
                return _image(digest, config)
        except httpx.HTTPError as error:
            words = f"{type(error).__name__}: {error}".rstrip(": ")
            hint = hint_for_status(0, registry)
            raise BuildFailed(f"the registry {registry} does not answer about {name}: {words}", hint=hint) from error
        except DockerException as error:
            hint = "correct the docker configuration (~/.docker/config.json)"
            raise BuildFailed(f"there are no credentials for the registry {registry}: {error}", hint=hint) from error
        except (LookupError, TypeError, AttributeError, ValueError, RecursionError, httpx.InvalidURL) as error:
            raise BuildFailed(f"the registry {registry} answers with something unexpected about {name}") from error

    def _get(self, client: httpx.Client, url: str, registry: str, name: str, digest: str) -> dict[str, Any] | None:
        """Return a JSON document, or None if there is none. It is checked against `digest`, unless that is empty."""
        headers = {"Accept": _MANIFESTS}
        answer, body = _read(client, url, headers=headers)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            challenge = answer.headers.get("WWW-Authenticate", "")
            headers |= self._authorise(client, challenge, registry, name)
            answer, body = _read(client, url, headers=headers)
        status = answer.status_code
        if status == httpx.codes.NOT_FOUND:
            return None
        if status != httpx.codes.OK:
            raise BuildFailed(
                f"the registry {registry} answers {status} ({_reason(answer)}) for {name}",
                hint=hint_for_status(status, registry) or "check the name of the image",
            )
        if digest and not _has_digest(body, digest):
            raise BuildFailed(
                f"the registry {registry} answers with other content than was asked for: it does not have the "
                f"digest {digest}",
                hint="somebody between this machine and the registry, or the registry itself, changes what is sent",
            )
        document: dict[str, Any] = json.loads(body)
        if not isinstance(document, dict):
            raise TypeError(f"a {type(document).__name__} is neither a manifest nor a configuration")
        return document

    def _authorise(self, client: httpx.Client, challenge: str, registry: str, name: str) -> dict[str, str]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a missing credential helper is an error of ours
            login = docker_auth.load_config().resolve_authconfig("" if registry == _HUB else registry) or {}
        basic = httpx.BasicAuth(login["username"], login["password"]) if login.get("username") else None
        if challenge.lower().startswith("basic"):
            if basic is None:
                return {}
            request = next(basic.auth_flow(client.build_request("GET", f"https://{registry}/")))
            return {"Authorization": request.headers["Authorization"]}
        fields: Mapping[str, str] = dict(_CHALLENGE.findall(challenge))
        if "realm" not in fields:
            return {}
        scope = fields.get("scope", f"repository:{name}:pull")
        parameters = {"service": fields.get("service", ""), "scope": scope}
        answer, body = _read(client, fields["realm"], params=parameters, auth=basic)
        document = json.loads(body) if answer.is_success else {}
        token = document.get("token") or document.get("access_token")
        return {"Authorization": f"Bearer {token}"} if token else {}


def _direct(registry: str) -> dict[str, None]:
    """Return the `mounts` that keep httpx from using a proxy for the registry: it ignores networks in NO_PROXY."""
    parts = urlsplit(f"https://{registry}")
    host = parts.hostname or ""
    if proxy_for(host, parts.port or 443) is not None:
        return {}
    return {f"all://[{host}]" if ":" in host else f"all://{host}": None}


def _read(client: httpx.Client, url: str, **options: Any) -> tuple[httpx.Response, bytes]:
    """Return an answer and its content, of limited size and in limited time."""
    deadline = time.monotonic() + _PATIENCE
    body = b""
    with client.stream("GET", url, **options) as answer:
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


def split_reference(reference: str) -> tuple[str, str, str]:
    """Return registry host, repository and tag or digest of an image reference."""
    name, at, digest = reference.partition("@")
    head, colon, tail = name.rpartition(":")
    tag = "latest"
    if colon and "/" not in tail:
        name, tag = head, tail
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first, rest, digest if at else tag
    return _HUB, name if slash else f"library/{name}", digest if at else tag


def _image(digest: str, document: dict[str, Any]) -> ImageInfo:
    """Return the facts in a configuration blob. Raises one of the exceptions of a wrong shape."""
    config = dict(document.get("config") or {})
    config["Labels"] = {str(name): str(value) for name, value in (config.get("Labels") or {}).items()}
    layers = tuple(str(layer) for layer in (document.get("rootfs") or {}).get("diff_ids") or ())
    return ImageInfo(digest, str(document.get("architecture", "")), config, layers, str(document.get("created", "")))


def _for_linux(manifests: list[dict[str, Any]]) -> str:
    """Return the digest of the manifest for linux/amd64, else of the first that may do."""

    def fits(manifest: dict[str, Any]) -> tuple[bool, bool]:
        platform = manifest.get("platform", {})
        return platform.get("os") == "linux", platform.get("architecture") == "amd64"

    return str(max(manifests, key=fits)["digest"])
