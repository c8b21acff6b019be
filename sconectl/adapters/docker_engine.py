"""The container engine, through the docker SDK. Every exception of the SDK is translated here."""

from __future__ import annotations

import io
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any, BinaryIO, cast

import docker
import requests
import urllib3
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from sconectl.adapters.docker_build import build
from sconectl.adapters.leftovers import LABEL, is_gone, mark
from sconectl.adapters.refusals import hint_for
from sconectl.adapters.registry import split_reference
from sconectl.errors import BuildFailed, EngineUnreachable
from sconectl.ports import ImageInfo, Progress

_TIMEOUT = 600
_CHUNK = 1 << 20
_BROKEN = (requests.RequestException, urllib3.exceptions.HTTPError)
_REMEDY = "start the engine (for example `systemctl start docker`), or set DOCKER_HOST to where it listens"


class _Stream(io.RawIOBase):
    """The chunks of an HTTP answer as a readable file."""

    def __init__(self, chunks: Iterator[bytes], doing: str) -> None:
        self._chunks = chunks
        self._doing = doing
        self._rest = memoryview(b"")

    def close(self) -> None:
        """Tell the engine to stop, if not everything was read."""
        if isinstance(self._chunks, Generator):
            self._chunks.close()
        super().close()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            try:
                self._rest = memoryview(next(self._chunks))
            except StopIteration:
                return 0
            except _BROKEN as error:
                raise _broken_off(self._doing) from error
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


@contextmanager
def _translated(doing: str, registry: str = "") -> Iterator[None]:
    """Turn the SDK's exceptions into ours; `doing` completes the sentence "… failed while …".

    `registry` is the one that the engine talks to.
    """
    try:
        yield
    except APIError as error:
        text = str(error.explanation or error).strip()
        raise BuildFailed(
            f"the container engine failed while {doing}: {text}", hint=hint_for(text, registry)
        ) from error
    except _BROKEN as error:
        raise _broken_off(doing) from error
    except DockerException as error:
        raise BuildFailed(f"the container engine answers with something unexpected while {doing}: {error}") from error


def _broken_off(doing: str) -> EngineUnreachable:
    hint = "see whether it still runs (`docker info`) and has disk space left (`docker system df`), then run this again"
    return EngineUnreachable(f"the container engine broke off while {doing}", hint=hint)


def _reader(ask: Callable[[], Iterator[bytes]], doing: str) -> BinaryIO:
    with _translated(doing):
        return cast(BinaryIO, io.BufferedReader(_Stream(iter(ask()), doing), _CHUNK))


class DockerEngine:
    """Implements `ports.ImageEngine` for Docker (and podman's Docker API)."""

    def __init__(self) -> None:
        try:
            self._client = docker.from_env(timeout=_TIMEOUT)
            self._client.ping()
        except (DockerException, *_BROKEN) as error:
            raise EngineUnreachable("no container engine can be reached", hint=_REMEDY) from error
        self._api: Any = self._client.api  # parts of the SDK are not typed

    def inspect(self, reference: str) -> ImageInfo | None:
        """Return the local image, or None."""
        with _translated(f"inspecting {reference}"):
            try:
                data = self._api.inspect_image(reference)
            except (ImageNotFound, NotFound):
                return None
        layers = (data.get("RootFS") or {}).get("Layers") or ()
        return ImageInfo(
            data["Id"], data.get("Architecture", ""), data.get("Config") or {}, tuple(layers), data.get("Created") or ""
        )

    def pull(self, reference: str, progress: Progress) -> ImageInfo:
        """Fetch an image from its registry."""
        repository, tag = _split(reference)
        registry = split_reference(reference)[0]
        with _translated(f"pulling {reference}", registry):
            records = self._api.pull(repository, tag=tag, stream=True, decode=True)
            failure = _follow(records, progress)
        if failure:
            raise BuildFailed(f"{reference} could not be pulled: {failure}", hint=hint_for(failure, registry))
        info = self.inspect(reference)
        if info is None:
            raise BuildFailed(f"{reference} was pulled but is not there")
        return info

    def build(self, context: BinaryIO, tag: str, progress: Progress, *, temporary: bool = False) -> str:
        """Build a context and return the image's id."""
        with _translated(f"building {tag}"):
            build(self._api, context, tag, {LABEL: mark()} if temporary else {}, progress)
        info = self.inspect(tag)
        if info is None:
            raise BuildFailed(f"the engine built {tag} but does not show it")
        return info.id

    @contextmanager
    def _container(self, reference: str) -> Iterator[str]:
        with _translated(f"creating a container of {reference}"):
            container = self._api.create_container(reference, command=["-"], entrypoint=["-"], labels={LABEL: mark()})[
                "Id"
            ]
        try:
            yield container
        finally:
            self._remove_container(container)

    def _remove_container(self, container: str) -> None:
        with suppress(APIError, *_BROKEN):  # `sweep` of a later run does it
            self._api.remove_container(container, force=True, v=True)

    @contextmanager
    def save(self, reference: str) -> Iterator[BinaryIO]:
        """Stream an image with all its layers in the docker-archive form."""
        with closing(_reader(lambda: self._api.get_image(reference, _CHUNK), f"saving {reference}")) as stream:
            yield stream

    @contextmanager
    def read_directory(self, reference: str, path: str) -> Iterator[BinaryIO]:
        """Stream one directory of an image as a tar."""
        with self._container(reference) as container:
            yield _reader(lambda: self._api.get_archive(container, path)[0], f"reading {path} of {reference}")

    def run(self, reference: str, *, capabilities: Sequence[str], seconds: int, progress: Progress) -> bytes:
        """Run a container of an image to its end and return what it wrote to stdout."""
        with _translated(f"running {reference}"):
            logs = {"Type": "json-file", "Config": {}}  # whatever the engine does by default
            limits = self._api.create_host_config(cap_add=list(capabilities), log_config=logs)
            container = self._api.create_container(reference, host_config=limits, labels={LABEL: mark()})["Id"]
            try:
                self._api.start(container)
                with suppress(requests.ReadTimeout, requests.ConnectionError):  # what it wrote until now counts
                    self._api.wait(container, timeout=seconds)
                for line in self._api.logs(container, stdout=False, stderr=True).splitlines():
                    progress(line.decode("utf-8", "replace"))
                output: bytes = self._api.logs(container, stdout=True, stderr=False)
                return output
            finally:
                self._remove_container(container)

    def load(self, archive: Iterator[bytes]) -> None:
        """Load images in the docker-archive form."""
        with _translated("loading an image"):
            failure = _follow(self._api.load_image(archive), lambda _text: None)
        if failure:
            raise BuildFailed(f"the engine did not take the image: {failure}", hint=hint_for(failure))

    def remove(self, reference: str) -> None:
        """Remove a tag, and the image if it was its last. If the engine is gone, this is left to `sweep`."""
        with _translated(f"removing {reference}"), suppress(ImageNotFound, NotFound, *_BROKEN):
            self._api.remove_image(reference, force=True)

    def sweep(self) -> int:
        """Remove containers and images that interrupted runs left behind; return how many."""
        local = str(self._api.base_url).startswith("http+docker://")
        with _translated("looking for what interrupted runs left behind"):
            marked = self._api.containers(all=True, filters={"label": LABEL})
            left = [item["Id"] for item in marked if is_gone(item["Labels"][LABEL], local=local)]
            stopped = self._api.containers(all=True, filters={"status": ["created", "exited", "dead"]})
            left += [item["Id"] for item in stopped if is_gone(self._builder(item["Id"]), local=local)]
            for container in left:
                self._remove_container(container)
            images = self._api.images(all=True, filters={"label": LABEL})
            old = [item["Id"] for item in images if is_gone(item["Labels"][LABEL], local=local)]
            for image in old:
                self.remove(image)
        return len(left) + len(old)

    def _builder(self, container: str) -> str:
        """Return the mark of the run whose build made a container, or nothing."""
        try:
            hosts = self._api.inspect_container(container)["HostConfig"].get("ExtraHosts") or ()
        except NotFound:
            return ""
        return next((name for name, _, _ in (host.rpartition(":") for host in hosts) if "/" in name), "")

    def push(self, reference: str, progress: Progress) -> str:
        """Push an image and return the digest that the registry gave it."""
        repository, tag = _split(reference)
        digest = ""
        registry = split_reference(reference)[0]
        with _translated(f"pushing {reference}", registry):
            failure = ""
            for record in self._api.push(repository, tag=tag, stream=True, decode=True):
                failure = failure or str(record.get("error", ""))
                digest = str((record.get("aux") or {}).get("Digest", digest))
                if record.get("status"):
                    progress(f"{record.get('id', '')} {record['status']}".strip())
        if failure:
            hint = hint_for(failure, registry)
            rest = "the image is built: the next run only pushes it, and --no-push keeps it local"
            raise BuildFailed(f"{reference} could not be pushed: {failure}", hint=f"{hint}; {rest}" if hint else rest)
        return digest


def _follow(records: Any, progress: Progress) -> str:
    """Read a stream of engine records to its end; return the error that it reported, or nothing."""
    failure = ""
    for record in records:
        failure = failure or str(record.get("error", ""))
        if text := str(record.get("status", "")):
            progress(f"{record.get('id', '')} {text}".strip())
    return failure


def _split(reference: str) -> tuple[str, str]:
    name, at, digest = reference.partition("@")
    if at:
        head, _, tag = name.rpartition(":")
        return (head if head and "/" not in tag else name), digest
    name, _, tag = reference.rpartition(":")
    return (name, tag) if name and "/" not in tag else (reference, "latest")
