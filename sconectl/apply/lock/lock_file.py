"""The content of sconectl.lock: which images, sessions and chart came of which manifests.

In: the file's bytes. Out: a `Lock`, and its canonical text: the same lock gives the same bytes, and each entry has
lines of its own, so that changes of different services merge. Raises `Refused` for a file that is no lock.

Whoever reads the lock learns no value: hashes of sessions are keyed with the salt of the namespace's session, which
the CAS shows only to who may read that session.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any, Literal

from pydantic import Field, ValidationError

from sconectl.errors import Refused
from sconectl.manifest.model.fields import LITERAL_PATHS, Part
from sconectl.plan.facts.image_facts import Hex32, ImageFacts
from sconectl.plan.facts.image_label import ImageLabel

FILE = "sconectl.lock"
_NOTE = "Written by `sconectl apply`. Commit this file; if a merge damages it, take either side and apply again."
_CONFLICT = b"<<<<<<< "


class LockedImage(Part):
    """An image that a service manifest gave.

    `manifest` is the digest of that manifest; `base` the base image with its id; `image` the digest that the registry
    gave the image, else its id, and `pushed` says which of the two. `facts` are all facts but their salt, where
    everything in them stands in the manifest.
    """

    manifest: Hex32
    base: str
    image: str
    pushed: bool = False
    label: ImageLabel
    facts: ImageFacts | None = None


class LockedSession(Part):
    """A session that the CAS has: its keyed hash, and that of the version which it replaced, if there was one."""

    hash: Hex32
    predecessor: Hex32 | None = None


class LockedPods(Part):
    """What the chart says of the pods of a service: what they ask the CAS for, and the mark of what they get.

    `offline` is that mark where no CAS is asked. While it stays the same, the others do.
    """

    offline: str
    config_id: str
    configuration: str


class LockedChart(Part):
    """The chart: its version, the digest of its content without versions, and its pods by service."""

    version: str
    content: Hex32
    pods: dict[str, LockedPods] = Field(default_factory=dict)


class LockedMesh(Part):
    """A mesh: its manifest's digest, the images of its services, its sessions and its chart.

    `receipts` are about sessions that are signed here and uploaded elsewhere (`signed_policies.Receipts`).
    `file` is the path of the manifest from the directory of the lock. `sessions` are all that applying it wrote and
    that still give something to somebody, those of services that it has no longer included. `copies` are those of
    images, with the digests that their registry gave them.
    """

    manifest: Hex32
    file: str = ""
    cas: str
    release: str = ""
    services: dict[str, str]
    sessions: dict[str, LockedSession] = Field(default_factory=dict)
    chart: LockedChart
    receipts: dict[str, dict[str, dict[str, str]]] = Field(default_factory=dict)
    copies: dict[str, str] = Field(default_factory=dict)


class Lock(Part):
    """Everything that was applied from a directory: images by reference, meshes by namespace."""

    about: str = _NOTE
    format: Literal[1] = 1
    images: dict[str, LockedImage] = Field(default_factory=dict)
    meshes: dict[str, LockedMesh] = Field(default_factory=dict)

    def with_image(self, reference: str, image: LockedImage) -> Lock:
        """Return a lock with this entry, too."""
        return self.model_copy(update={"images": {**self.images, reference: image}})

    def with_mesh(self, namespace: str, mesh: LockedMesh) -> Lock:
        """Return a lock with this entry, too."""
        return self.model_copy(update={"meshes": {**self.meshes, namespace: mesh}})

    def to_bytes(self) -> bytes:
        """Return the canonical text."""
        document = self.model_dump(by_alias=True, mode="json", exclude_defaults=True)
        complete = {"about": _NOTE, "format": self.format, "images": {}, "meshes": {}, **document}
        return (json.dumps(complete, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def read_lock(raw: bytes | None, name: str = FILE) -> Lock:
    """Return the lock in a file, an empty one if there is no file. Raises `Refused` for one that is damaged."""
    if raw is None:
        return Lock()
    try:
        document: Any = json.loads(raw)
        return Lock.model_validate(document, context={LITERAL_PATHS: True})
    except (ValueError, RecursionError, ValidationError) as error:
        what = "holds the marks of an unfinished merge" if _CONFLICT in raw else "is no lock of this version"
        raise Refused(
            f"{name} {what}", hint="take either side of the merge, or an older version from Git, and apply again"
        ) from error


def keyed(salt: str, session_hash: str) -> str:
    """Return what the lock says of a session's hash. Without the salt nobody can try what the session may say."""
    return hmac.digest(salt.encode(), b"session\0" + session_hash.encode(), "sha256").hex()


def text_digest(*parts: str | bytes) -> str:
    """Return the SHA-256 of texts, in which line breaks count the same on every system."""
    found = hashlib.sha256()
    for part in parts:
        raw = (part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part).replace(b"\r\n", b"\n")
        found.update(f"{len(raw)}\0".encode() + raw)
    return found.hexdigest()
