"""Image registries over HTTP (OCI distribution specification 1.1): configuration of an image, never a layer."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any

import httpx
from docker import auth as docker_auth
from docker.errors import DockerException

from sconectl.errors import BuildFailed
from sconectl.ports import ImageInfo

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


class HttpRegistry:
    """Implements `ports.Registry` with the credentials of the docker configuration."""

    def inspect(self, reference: str) -> ImageInfo | None:
        """Return what the registry says about an image, or None if it has none of that name.

        Raises `BuildFailed` if the registry cannot be reached or refuses.
        """
        registry, name, version = split_reference(reference)
        local = registry.split(":")[0] in ("localhost", "127.0.0.1", "[::1]")
        base = f"{'http' if local else 'https'}://{registry}/v2/{name}"
        try:
            with httpx.Client(timeout=20, follow_redirects=True, trust_env=not local) as client:
                manifest = self._get(client, f"{base}/manifests/{version}", registry, name)
                if manifest is not None and "manifests" in manifest:
                    digest = _for_linux(manifest["manifests"])
                    manifest = self._get(client, f"{base}/manifests/{digest}", registry, name)
                if manifest is None:
                    return None
                digest = str(manifest["config"]["digest"])
                config = self._get(client, f"{base}/blobs/{digest}", registry, name) or {}
                return _image(digest, config)
        except httpx.HTTPError as error:
            raise BuildFailed(f"the registry {registry} does not answer: {error}") from error
        except DockerException as error:
            hint = "correct the docker configuration (~/.docker/config.json)"
            raise BuildFailed(f"there are no credentials for the registry {registry}: {error}", hint=hint) from error
        except (LookupError, TypeError, AttributeError, ValueError, RecursionError, httpx.InvalidURL) as error:
            raise BuildFailed(f"the registry {registry} answers with something unexpected about {name}") from error

    def _get(self, client: httpx.Client, url: str, registry: str, name: str) -> dict[str, Any] | None:
        headers = {"Accept": _MANIFESTS}
        answer = client.get(url, headers=headers)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            challenge = answer.headers.get("WWW-Authenticate", "")
            answer = client.get(url, headers={**headers, **self._authorise(client, challenge, registry, name)})
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        if answer.status_code != httpx.codes.OK:
            raise BuildFailed(
                f"the registry {registry} answers {answer.status_code} for {name}",
                hint=f"`docker login {registry}`, and check that the image exists",
            )
        document: dict[str, Any] = answer.json()
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
        answer = client.get(fields["realm"], params={"service": fields.get("service", ""), "scope": scope}, auth=basic)
        token = answer.json().get("token") or answer.json().get("access_token") if answer.is_success else None
        return {"Authorization": f"Bearer {token}"} if token else {}


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
    """Return what a configuration blob says. Raises one of the exceptions of a wrong shape."""
    config = dict(document.get("config") or {})
    config["Labels"] = {str(name): str(value) for name, value in (config.get("Labels") or {}).items()}
    return ImageInfo(digest, str(document.get("architecture", "")), config)


def _for_linux(manifests: list[dict[str, Any]]) -> str:
    chosen = [m for m in manifests if m.get("platform", {}).get("os") == "linux"] or manifests
    return str(chosen[0]["digest"])
