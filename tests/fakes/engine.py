"""A container engine in memory: it builds, stores, saves, loads and pushes images by the rules of a real one."""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from sconectl.errors import BuildFailed, EngineUnreachable
from sconectl.ports import BASE_ARGUMENT, Artifact, ImageInfo, Progress

Root = dict[str, tuple[int, bytes | str | None]]
"""Path -> mode, and content of a file, target of a link, or None for a directory."""


def tar_of(root: Root) -> bytes:
    """Return a root file system as a tar, in a fixed order."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, (mode, content) in sorted(root.items()):
            member = tarfile.TarInfo(path.lstrip("/"))
            member.mode = mode
            if content is None:
                member.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
            else:
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return buffer.getvalue()


def with_parents(root: Root) -> Root:
    """Return the root file system with the directories that its paths need, as every engine makes them."""
    full = dict(root)
    for path in root:
        while (path := posixpath.dirname(path)) != "/":
            full.setdefault(path, (0o755, None))
    return full


def root_of(tar_file: bytes) -> Root:
    """Return the members of a tar by their normalised path."""
    root: Root = {}
    with tarfile.open(fileobj=io.BytesIO(tar_file)) as tar:
        for member in tar:
            path = posixpath.normpath("/" + member.name)
            if member.issym():
                root[path] = (member.mode, member.linkname)
            elif member.isdir():
                root[path] = (member.mode, None)
            else:
                reader = tar.extractfile(member)
                assert reader is not None
                root[path] = (member.mode, reader.read())
    return root


def _pushed_digest(reference: str, image: Image) -> str:
    """Return the digest that a registry gives an image."""
    return _digest(reference.encode() + image.info.id.encode())


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


CREATED = "2024-05-06T07:08:09.123456789Z"


@dataclass
class Image:
    """An image: what inspecting it shows, its flat root file system, its configuration, and its layers as tars."""

    info: ImageInfo
    root: Root
    blob: bytes = b""
    layers: tuple[bytes, ...] = ()

    @property
    def chain(self) -> list[tuple[str, ...]]:
        """What engines know layers by: their digests and those of all below."""
        return [self.info.layers[: number + 1] for number in range(len(self.layers))]


def of_layers(layers: Sequence[bytes], config: Mapping[str, Any], architecture: str = "amd64") -> Image:
    """Return an image of these layers; its id follows from its content."""
    document = {
        "architecture": architecture,
        "config": config,
        "created": CREATED,
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer) for layer in layers]},
    }
    return of_blob(json.dumps(document, sort_keys=True).encode(), layers)


def of_blob(blob: bytes, layers: Sequence[bytes]) -> Image:
    """Return the image with this configuration."""
    document = json.loads(blob)
    info = ImageInfo(
        _digest(blob),
        document["architecture"],
        document["config"],
        tuple(document["rootfs"]["diff_ids"]),
        document["created"],
    )
    return Image(info, merged(layers), blob, tuple(layers))


def merged(layers: Sequence[bytes]) -> Root:
    """Return the root file system that layers make."""
    root: Root = {}
    for layer in layers:
        for path, entry in root_of(layer).items():
            parent, name = posixpath.split(path)
            if name.startswith(".wh."):
                gone = posixpath.join(parent, name.removeprefix(".wh."))
                root = {p: e for p, e in root.items() if p != gone and not p.startswith(f"{gone}/")}
            else:
                root[path] = entry
    return root


def image(root: Mapping[str, bytes], *, env: tuple[str, ...] = (), **config: Any) -> Image:
    """Return an image with these files; its id follows from its content."""
    full: Root = {path: (0o755, content) for path, content in root.items()}
    return of_layers([tar_of(with_parents(full))], {"Env": list(env), **config})


PYTHON = image({"/usr/bin/python3": b"an interpreter", "/etc/os-release": b"ID=fake\n"}, env=("PATH=/usr/bin",))


@dataclass
class FakeEngine:
    """Implements `ports.ImageEngine`. `remote` are the images of its registries; `refuse_push` breaks those.

    `images` are those with a name, `nameless` those that were made here, by id. `meanwhile` is called after every call:
    what others do to the engine between two calls.
    """

    images: dict[str, Image] = field(default_factory=dict)
    nameless: dict[str, Image] = field(default_factory=dict)
    meanwhile: Callable[[], None] = lambda: None
    remote: dict[str, Image] = field(default_factory=dict)
    refuse_push: bool = False
    down: bool = False
    calls: list[str] = field(default_factory=list)
    archives: list[bytes] = field(default_factory=list)
    contexts: list[bytes] = field(default_factory=list)
    complete_only: bool = False
    """Whether it takes complete images only."""
    output: bytes = b""
    """What containers write to stdout."""

    @contextmanager
    def _call(self, what: str) -> Iterator[None]:
        self._called(what)
        yield
        self.meanwhile()

    def _called(self, what: str) -> None:
        self.calls.append(what)
        if self.down:
            raise EngineUnreachable("no container engine can be reached", hint="start it")

    def count(self, what: str) -> int:
        """Return how often an operation was asked for."""
        return sum(call.split()[0] == what for call in self.calls)

    def inspect(self, reference: str) -> ImageInfo | None:
        with self._call(f"inspect {reference}"):
            found = self._found(reference)
        return found.info if found else None

    def pull(self, reference: str, progress: Progress) -> ImageInfo:
        with self._call(f"pull {reference}"):
            if reference not in self.remote:
                raise BuildFailed(f"{reference} could not be pulled: not found")
            progress(f"pulled {reference}")
            found = self.images[reference] = self.remote[reference]
            self.nameless[found.info.id] = found
        return found.info

    def build(self, context: BinaryIO, base: ImageInfo, progress: Progress, *, name: str = "") -> str:
        with self._call(f"build {name}"):
            raw = context.read()
            self.contexts.append(raw)
            files = {path: content for path, (_, content) in root_of(raw).items() if isinstance(content, bytes)}
            below = self._existing(base.id)
            root, layers = dict(below.root), list(below.layers)
            for line in files["/Dockerfile"].decode().splitlines():
                word, _, rest = line.partition(" ")
                before = dict(root)
                if word == "FROM":
                    assert rest == f"${{{BASE_ARGUMENT}}}"
                elif word == "ADD":
                    root.update(root_of(files[f"/{rest.split()[0]}"]))
                elif word == "RUN":
                    _run(json.loads(rest), root, progress)
                if word in ("ADD", "RUN"):
                    root = with_parents(root)
                    layers.append(tar_of({path: entry for path, entry in root.items() if before.get(path) != entry}))
            return self._keep(of_layers(layers, below.info.config), name)

    def _keep(self, made: Image, name: str) -> str:
        self.nameless[made.info.id] = made
        if name:
            self.images[name] = made
        return made.info.id

    @contextmanager
    def save(self, image: str) -> Iterator[BinaryIO]:
        with self._call(f"save {image}"):
            found = self._existing(image)
        names = [f"{number}/layer.tar" for number in range(len(found.layers))]
        manifest = [{"Config": "config.json", "RepoTags": None, "Layers": names}]
        parts: dict[str, bytes] = dict(zip(names, found.layers, strict=True))
        parts |= {"config.json": found.blob, "manifest.json": json.dumps(manifest).encode()}
        yield io.BytesIO(tar_of({f"/{name}": (0o644, content) for name, content in parts.items()}))

    @contextmanager
    def read_directory(self, image: str, path: str) -> Iterator[BinaryIO]:
        with self._call(f"read_directory {image}"):
            found = self._existing(image)
        parent = posixpath.dirname(path)
        below = {
            name.removeprefix(parent): entry
            for name, entry in found.root.items()
            if name == path or name.startswith(path + "/")
        }
        if not below:
            raise BuildFailed(f"{path} is not in {image}")
        yield io.BytesIO(tar_of(below))

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
        with self._call(f"run {image}"):
            self._existing(image)
        return self.output

    def load(self, archive: Iterator[bytes]) -> str:
        with self._call("load"):
            raw = b"".join(archive)
            self.archives.append(raw)
            files = {path: content for path, (_, content) in root_of(raw).items() if isinstance(content, bytes)}
            known = {
                chain: layer
                for image in (*self.images.values(), *self.nameless.values())
                for chain, layer in zip(image.chain, image.layers, strict=True)
                if not self.complete_only
            }
            [entry] = json.loads(files["/manifest.json"])
            assert entry["RepoTags"] is None
            blob = files["/" + entry["Config"]]
            digests = json.loads(blob)["rootfs"]["diff_ids"]
            layers = []
            for number, name in enumerate(entry["Layers"]):
                layer = files.get(f"/{name}", known.get(tuple(digests[: number + 1])))
                if layer is None:
                    raise BuildFailed(f"the engine did not take the image: open {name}: no such file")
                layers.append(layer)
            assert digests == [_digest(layer) for layer in layers]
            return self._keep(of_blob(blob, layers), "")

    def tag(self, image: str, name: str) -> None:
        with self._call(f"tag {image} {name}"):
            self.rename(image, name)

    def rename(self, image: str, name: str) -> None:
        """Give an image a name, as somebody else does; the image that had it stays without one."""
        if before := self.images.get(name):
            self.nameless[before.info.id] = before
        self.images[name] = self._existing(image)

    def sweep(self) -> int:
        with self._call("sweep"):
            return 0

    def remove(self, image: str) -> None:
        with self._call(f"remove {image}"):
            self.nameless.pop(image, None)
            for name in [name for name, found in self.images.items() if found.info.id == image]:
                del self.images[name]

    def push(self, image: str, reference: str, progress: Progress) -> str:
        with self._call(f"push {reference}"):
            if self.refuse_push:
                raise BuildFailed(f"{reference} could not be pushed: denied", hint="`docker login`")
            found = self.images[reference] = self.remote[reference] = self._existing(image)
            progress(f"pushed {reference}")
        return _pushed_digest(reference, found)

    def _existing(self, reference: str) -> Image:
        found = self._found(reference)
        if found is None:
            raise BuildFailed(f"no such image: {reference}")
        return found

    def _found(self, reference: str) -> Image | None:
        """Return the image with this name or id."""
        by_id = (image for image in self.images.values() if image.info.id == reference)
        return self.images.get(reference) or self.nameless.get(reference) or next(by_id, None)


def _run(command: list[str], root: Root, progress: Progress) -> None:
    """Follow the few commands that tests need: `exit N`, `write PATH TEXT`, and the collector of the launcher."""
    if any(word.endswith("collect_launcher.py") for word in command):
        out = command[-1]
        root[out] = (0o755, None)
        root[f"{out}/runtime"] = (0o644, b"the launcher")
        root[f"{out}/python3"] = root["/usr/bin/python3"]
        return
    if command[:2] != ["/bin/sh", "-c"]:
        return
    words = command[2].split()
    progress(command[2])
    if words[0] == "exit":
        raise BuildFailed(f"a build step failed: it returned {words[1]}", output=f"Step: {command[2]}")
    if words[0] == "write":
        root[words[1]] = (0o644, " ".join(words[2:]).encode())


@dataclass
class FakeRegistry:
    """Implements `ports.Registry` over the images that an engine has pushed."""

    images: Mapping[str, Image]
    failure: Callable[[], BuildFailed] | None = None
    calls: list[str] = field(default_factory=list)
    attached: list[tuple[bytes, str]] = field(default_factory=list)
    artifacts: dict[str, Artifact] = field(default_factory=dict)

    def inspect(self, reference: str) -> ImageInfo | None:
        self.calls.append(reference)
        if self.failure is not None:
            raise self.failure()
        found = self.images.get(reference)
        return found.info if found else None

    def attach(self, reference: str, digest: str, content: bytes, media_type: str) -> None:
        self.calls.append(f"attach {reference}@{digest}")
        if self.failure is not None:
            raise self.failure()
        self.attached.append((content, media_type))

    def artifact_digest(self, reference: str) -> str | None:
        if image := self.images.get(reference):
            return _pushed_digest(reference, image)
        found = self.artifacts.get(reference)
        return found.digest if found else None

    def publish(self, reference: str, artifact: Artifact) -> None:
        self.artifacts[reference] = artifact
