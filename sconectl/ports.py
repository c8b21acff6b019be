"""The outside world as the pure stages see it: one narrow Protocol for each foreign system."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Literal, Protocol


@dataclass(frozen=True)
class StoredSession:
    """A session as a CAS holds it: its YAML text (read-back form) and its hash (64 hex digits)."""

    text: str
    hash: str


@dataclass(frozen=True)
class ListedSession:
    """A session as a list of its namespace names it; `hash` is None unless everybody may know it."""

    name: str
    hash: str | None = None


@dataclass(frozen=True)
class Receipt:
    """What a CAS says of an upload: the hash of the version that is active now, and what became of the session.

    `stored` is what a CAS says that does not tell whether there was a version before.
    """

    hash: str
    outcome: Literal["created", "updated", "unchanged", "stored"]


@dataclass(frozen=True)
class VolumeState:
    """What a CAS knows of a volume: its tag (32 hex digits, None before anything was written), and who writes to it.

    `in_use` is the host that writes now, and until when; `accepted` the owner (key hash) who has moved the tag to where
    it still is, and when.
    """

    name: str
    tag: str | None
    in_use: tuple[str, str] | None = None
    accepted: tuple[str, str] | None = None


class SessionStore(Protocol):
    """A CAS, remote or embedded, as the owner of one client identity sees it."""

    @property
    def address(self) -> str:
        """The name of this CAS in messages, like `127.0.0.1:8081` or `local`."""

    def read(self, name: str, hash_: str | None = None) -> StoredSession | None:
        """Return the active session called `name`, or its version with this hash; None if there is none.

        The active version decides who may read. Raises `CasRefused` if the identity may not, and other `CasError`s.
        """

    def list_sessions(self, namespace: str = "/") -> tuple[ListedSession, ...]:
        """Return the sessions right in a namespace, sorted by name; `/` is the top level.

        Raises `CasRefused` (no such namespace, not permitted) and other `CasError`s.
        """

    def put(self, text: str) -> str:
        """Create the session in `text`, or update it if `predecessor` names the active version; return its hash.

        `text` is YAML, or a signed or encrypted session as JSON. The CAS either takes the session whole or leaves
        everything as it was; so it does with a session that says what the active version says already. Raises
        `CasRefused` (invalid, not permitted, name taken, stale predecessor) and other `CasError`s.
        """

    def upload(self, text: str) -> Receipt:
        """Do what `put` does, and tell what that was."""

    def hash_of(self, name: str) -> str | None:
        """Return the hash of the active session, or None; anybody may know that of a session with a salt.

        Raises `CasRefused` if the identity may not know it, and other `CasError`s.
        """

    def volumes(self, session: str) -> tuple[VolumeState, ...]:
        """Return the volumes that a session owns, in its order; none if the CAS cannot tell.

        Raises `CasRefused` (no such session, not permitted to read it) and other `CasError`s.
        """

    def accept(self, session: str, volume: str, old: str | None, new: str | None) -> None:
        """Make `new` the tag of a volume instead of `old`; None: nothing was written.

        Raises `CasRefused` (not permitted to update the session, `old` is not the tag, in use) and other `CasError`s.
        """

    def encryption_key(self) -> str:
        """Return the public key (64 hex digits) to which sessions for this CAS are encrypted."""


@dataclass(frozen=True)
class ImageInfo:
    """The facts about an image from an engine or a registry; `config` is its OCI configuration (`Env`, `User`, …).

    `layers` are the digests of the uncompressed layers (`sha256:…`), the lowest first; `created` is RFC 3339 text.
    """

    id: str
    architecture: str
    config: Mapping[str, Any]
    layers: tuple[str, ...] = ()
    created: str = ""

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels of the image."""
        return dict(self.config.get("Labels") or {})


Progress = Callable[[str], None]
"""Gets words for the user about the work that is being done; called often."""

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
"""The type of manifests in registries."""

BASE_ARGUMENT = "SCONECTL_BASE"
"""The build argument that a Dockerfile of ours takes its base image from."""


class ImageEngine(Protocol):
    """A container engine.

    Its answers tell the results of its work, as ids and digests. A name is no answer: somebody else can give it to
    another image at any time, also between two calls. So `inspect` and `pull` are the only operations that take a name
    to learn what it means; everything after that goes by the id that they return.
    """

    def inspect(self, reference: str) -> ImageInfo | None:
        """Return the local image, or None. Raises `EngineUnreachable`."""

    def pull(self, reference: str, progress: Progress) -> ImageInfo:
        """Fetch an image from its registry. Raises `BuildFailed`."""

    def build(self, context: BinaryIO, base: ImageInfo, progress: Progress, *, name: str = "") -> str:
        """Build the tar `context` on the image `base` and return the id of the new image.

        The Dockerfile of the context begins with `FROM ${SCONECTL_BASE}`, see `BASE_ARGUMENT`. With a `name`, the image
        stays, and the name keeps it as the engine's cache. Without, it is temporary: the caller removes it, and if that
        fails, `sweep` of a later run does. Raises `BuildFailed` with the output of the failing step.
        """

    def save(self, image: str) -> AbstractContextManager[BinaryIO]:
        """Stream an image with all layers: `manifest.json`, the configuration, and layers as tars, in any order.

        That is the docker-archive form, or the OCI layout of newer engines with a `manifest.json` beside it; layers
        may be compressed. Raises `BuildFailed`.
        """

    def read_directory(self, image: str, path: str) -> AbstractContextManager[BinaryIO]:
        """Stream one directory of an image as a tar whose names begin with its last part. Raises `BuildFailed`."""

    def run(
        self,
        image: str,
        command: Sequence[str],
        files: Sequence[BinaryIO],
        *,
        capabilities: Sequence[str],
        seconds: int,
        progress: Progress,
    ) -> bytes:
        """Run `command` in a container of an image to its end, at most `seconds`; return its stdout.

        `files` are tars that are unpacked into the container before it starts. `progress` gets its stderr.
        The container is removed in any case. Raises `BuildFailed`.
        """

    def load(self, archive: Iterator[bytes]) -> str:
        """Load one image in the docker-archive form and return its id; it gets no name. Raises `BuildFailed`."""

    def tag(self, image: str, name: str) -> None:
        """Give an image (its id) a name, which another image may lose by that. Raises `BuildFailed`."""

    def remove(self, image: str) -> None:
        """Remove an image (its id) with all its names; nothing happens if it does not exist."""

    def sweep(self) -> int:
        """Remove containers and images that interrupted runs of ours left behind; return how many."""

    def push(self, image: str, reference: str, progress: Progress) -> str:
        """Push an image (its id) as `reference` and return the digest that the registry gave it.

        Raises `BuildFailed`, also if the name was given to other images again and again meanwhile.
        """


@dataclass(frozen=True)
class ContainerState:
    """A container as the engine sees it: `status` and `health` are those of Docker, `started` is RFC 3339 text.

    `health_said`: what the newest failed check printed. `ports`: places of this machine by ports of the container.
    """

    id: str
    name: str
    labels: Mapping[str, str]
    status: str
    exit_code: int = 0
    restarts: int = 0
    health: str = ""
    health_said: str = ""
    health_command: tuple[str, ...] = ()
    started: str = ""
    ports: Mapping[int, str] = field(default_factory=dict)


class Containers(Protocol):
    """A container engine that runs containers for as long as their users want.

    Everything is made with labels, and found by them. All methods raise `BuildFailed`.
    """

    def find(self, labels: Mapping[str, str | None]) -> tuple[ContainerState, ...]:
        """Return the containers with these labels, sorted by name; None stands for any value."""

    def create(self, name: str, config: Mapping[str, Any]) -> str:
        """Create a container as the engine's interface describes it, and return its id."""

    def start(self, container: str) -> None:
        """Start a container; nothing happens if it runs."""

    def remove(self, container: str) -> None:
        """Stop a container in its own time, and remove it; nothing happens if it is gone."""

    def execute(self, container: str, command: Sequence[str]) -> int:
        """Run a command in a container that runs; return its exit code, 1 if that is not possible or takes long."""

    def processes(self, container: str) -> tuple[str, ...]:
        """Return the command lines of the processes in a container; none if it does not run, or nobody can tell."""

    def log(self, container: str, *, since: str = "", last: int | None = None, follow: bool = False) -> Iterator[str]:
        """Yield the lines of a log, each behind its time (RFC 3339) and a space.

        Those from `since` on (such a time), at most the `last` ones; `follow` waits for more while the container runs.
        """

    def ensure_network(self, name: str, labels: Mapping[str, str]) -> None:
        """Create a network, if there is none of this name."""

    def ensure_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """Create a volume, if there is none of this name."""

    def networks(self, labels: Mapping[str, str | None]) -> tuple[str, ...]:
        """Return the names of the networks with these labels."""

    def volumes(self, labels: Mapping[str, str | None]) -> Mapping[str, Mapping[str, str]]:
        """Return all labels of the volumes with these labels, by name."""

    def remove_network(self, name: str) -> None:
        """Remove a network; nothing happens if it is gone."""

    def remove_volume(self, name: str) -> None:
        """Remove a volume with its content; nothing happens if it is gone."""

    def host_address(self) -> str:
        """Return the address at which containers reach this machine."""

    def free_port(self, preferred: int, taken: Collection[int]) -> int:
        """Return a port of this machine that nobody listens on: the preferred one if it can be, and none of `taken`."""


@dataclass(frozen=True)
class Artifact:
    """What a registry keeps beside images, like a chart: a configuration and one content, each with its type."""

    config: bytes
    config_type: str
    content: bytes
    content_type: str

    @property
    def manifest(self) -> bytes:
        """The manifest of the artifact; the same artifact gives the same bytes."""

        def described(content: bytes, media_type: str) -> dict[str, Any]:
            digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
            return {"mediaType": media_type, "digest": digest, "size": len(content)}

        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": described(self.config, self.config_type),
            "layers": [described(self.content, self.content_type)],
        }
        return json.dumps(document, separators=(",", ":")).encode()

    @property
    def digest(self) -> str:
        """The digest of the manifest."""
        return f"sha256:{hashlib.sha256(self.manifest).hexdigest()}"


class Registry(Protocol):
    """Image registries: what they have, and artifacts about it."""

    def inspect(self, reference: str) -> ImageInfo | None:
        """Return the registry's facts about an image, or None. Raises `BuildFailed`."""

    def attach(self, reference: str, digest: str, content: bytes, media_type: str) -> None:
        """Put an artifact beside the image that has this digest in the repository of `reference`.

        Nothing happens if it is there already. Raises `BuildFailed`.
        """

    def artifact_digest(self, reference: str) -> str | None:
        """Return the digest of what a tag names, or None if it names nothing. Raises `BuildFailed`."""

    def publish(self, reference: str, artifact: Artifact) -> None:
        """Put an artifact under a tag. Raises `BuildFailed`."""


class ImageSigner(Protocol):
    """A program that signs images."""

    def sign(self, image: str) -> None:
        """Sign `NAME@sha256:…`. Raises `BuildFailed`."""


class Workspace(Protocol):
    """The target directory."""

    def read(self, path: str) -> bytes | None:
        """Return the content of a file, or None."""

    def files(self, folder: str) -> tuple[str, ...]:
        """Return the paths of all files below `folder`, sorted."""

    def write(self, files: Mapping[str, bytes], *, replaces: tuple[str, ...] = (), private: bool = False) -> int:
        """Write changed files, remove other files below `replaces`, return how many files changed."""


class LockFile(Protocol):
    """The file sconectl.lock."""

    @property
    def name(self) -> str:
        """What messages call the file."""

    def read(self) -> bytes | None:
        """Return the content, or None if there is no file. Raises `BuildFailed`."""

    def update(self, change: Callable[[bytes | None], bytes]) -> bool:
        """Replace the content by what `change` makes of it; nobody else changes it meanwhile. Say if it differs."""


@dataclass(frozen=True)
class Commit:
    """A commit: its id, the first line of its message, its author, and the date when it was written (YYYY-MM-DD)."""

    id: str
    subject: str
    author: str
    date: str


class FileHistory(Protocol):
    """One file, in the commits of the repository that it lies in.

    Each method raises `PlanImpossible` if there is no repository, or it cannot be read.
    """

    def start(self, revision: str) -> Commit:
        """Return the commit that a user named. Raises `UsageError` unless it came before HEAD, or is it."""

    def at(self, revision: str) -> bytes | None:
        """Return the file in a commit (an id, or `HEAD`), or None if it is not there."""

    def changes(self, since: str = "") -> Iterator[tuple[Commit, bytes]]:
        """Yield the file from each commit reachable from HEAD that changed it, merges included, parents first.

        With `since`, the id of a commit, only from those that are not reachable from that.
        """

    def is_cut(self) -> bool:
        """Say whether this copy of the repository has only the youngest commits."""


class Keys(Protocol):
    """The local key store."""

    def image_key(self, image_name: str) -> bytes:
        """Return the 32-byte key of an image, drawing it once."""

    def signing_key(self) -> bytes:
        """Return the enclave signing key (PEM, RSA-3072 with exponent 3), drawing it once."""
