"""Image registries over HTTP (OCI distribution specification 1.1): configuration of an image, never a layer.

Beside an image that is there, an artifact can be put that is about it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sconectl.adapters.registry_connection import HUB, MANIFESTS, Connection, connection
from sconectl.errors import BuildFailed
from sconectl.ports import OCI_MANIFEST, Artifact, ImageInfo

_MANIFEST, _, _INDEX, _ = MANIFESTS
_EMPTY = "application/vnd.oci.empty.v1+json"


class HttpRegistry:
    """Implements `ports.Registry` with the credentials of the docker configuration.

    Nothing that a registry says by digest is believed without checking the digest.
    """

    def inspect(self, reference: str) -> ImageInfo | None:
        """Return the registry's facts about an image, or None if it has none of that name.

        Raises `BuildFailed` if the registry cannot be reached or refuses.
        """
        registry, name, version = split_reference(reference)
        with connection(registry, name) as repository:
            manifest = repository.get(f"manifests/{version}", version if ":" in version else "")
            if manifest is not None and "manifests" in manifest:
                digest = _for_linux(manifest["manifests"])
                manifest = repository.get(f"manifests/{digest}", digest)
            if manifest is None:
                return None
            digest = str(manifest["config"]["digest"])
            config = repository.get(f"blobs/{digest}", digest)
            if config is None:
                raise BuildFailed(
                    f"the registry {registry} has {name} without its configuration",
                    hint="push the image again: its upload was not finished",
                )
            return _image(digest, config)

    def attach(self, reference: str, digest: str, content: bytes, media_type: str) -> None:
        """Put an artifact beside the image that has this digest in the repository of `reference`.

        A registry that lists no referrers gets the list that the specification describes for it: a tag with an index.
        """
        registry, name, _ = split_reference(reference)
        with connection(registry, name) as repository:
            subject = repository.get_bytes(f"manifests/{digest}", digest)
            if subject is None:
                raise BuildFailed(f"the registry {registry} no longer has {name}@{digest}", hint="push the image again")
            about = {
                "mediaType": str(json.loads(subject).get("mediaType") or _MANIFEST),
                "digest": digest,
                "size": len(subject),
            }
            artifact = _json(
                {
                    "schemaVersion": 2,
                    "mediaType": _MANIFEST,
                    "artifactType": media_type,
                    "config": {"mediaType": _EMPTY, **repository.put_blob(b"{}")},
                    "layers": [{"mediaType": media_type, **repository.put_blob(content)}],
                    "subject": about,
                }
            )
            answer = repository.put_manifest(artifact, _MANIFEST)
            if "OCI-Subject" not in answer.headers:
                _list(repository, digest, artifact, media_type)

    def artifact_digest(self, reference: str) -> str | None:
        """Return the digest of what a tag names, or None if it names nothing."""
        registry, name, version = split_reference(reference)
        with connection(registry, name) as repository:
            found = repository.get_bytes(f"manifests/{version}")
        return None if found is None else f"sha256:{hashlib.sha256(found).hexdigest()}"

    def publish(self, reference: str, artifact: Artifact) -> None:
        """Put an artifact under a tag."""
        registry, name, version = split_reference(reference)
        with connection(registry, name) as repository:
            repository.put_blob(artifact.config)
            repository.put_blob(artifact.content)
            repository.put_manifest(artifact.manifest, OCI_MANIFEST, version)


def _list(repository: Connection, subject: str, artifact: bytes, media_type: str) -> None:
    """Enter an artifact into the tag that lists what is about `subject`; an older one of its type is replaced."""
    tag = subject.replace(":", "-", 1)
    index = repository.get(f"manifests/{tag}") or {}
    entry = {
        "mediaType": _MANIFEST,
        "digest": f"sha256:{hashlib.sha256(artifact).hexdigest()}",
        "size": len(artifact),
        "artifactType": media_type,
    }
    others = [each for each in index.get("manifests") or () if each.get("artifactType") != media_type]
    listed = _json({"schemaVersion": 2, "mediaType": _INDEX, "manifests": [*others, entry]})
    repository.put_manifest(listed, _INDEX, tag)


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


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
    return HUB, name if slash else f"library/{name}", digest if at else tag


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
