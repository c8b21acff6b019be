"""The container engine, through the docker SDK. Every exception of the SDK is translated here."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from sconectl.errors import BuildFailed, EngineUnreachable
from sconectl.ports import ImageInfo, Progress

_TIMEOUT = 600
_REMEDY = "start the engine (for example `systemctl start docker`), or set DOCKER_HOST to where it listens"


class _Stream(io.RawIOBase):
    """The chunks of an HTTP answer as a readable file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            try:
                self._rest = next(self._chunks)
            except StopIteration:
                return 0
            except requests.RequestException as error:
                raise BuildFailed(f"the engine broke off: {error}") from error
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    """Turn the SDK's exceptions into ours; `doing` completes the sentence "… failed while …"."""
    try:
        yield
    except APIError as error:
        raise BuildFailed(f"the container engine failed while {doing}: {error.explanation or error}") from error
    except (DockerException, requests.RequestException) as error:
        raise EngineUnreachable(f"the container engine does not answer while {doing}: {error}", hint=_REMEDY) from error


class DockerEngine:
    """Implements `ports.ImageEngine` for Docker (and podman's Docker API)."""

    def __init__(self) -> None:
        try:
            self._client = docker.from_env(timeout=_TIMEOUT)
            self._client.ping()
        except (DockerException, requests.RequestException) as error:
            raise EngineUnreachable("no container engine can be reached", hint=_REMEDY) from error
        self._api: Any = self._client.api  # parts of the SDK are not typed

    def inspect(self, reference: str) -> ImageInfo | None:
        """Return the local image, or None."""
        with _translated(f"inspecting {reference}"):
            try:
                data = self._api.inspect_image(reference)
            except (ImageNotFound, NotFound):
                return None
        return ImageInfo(data["Id"], data.get("Architecture", ""), data.get("Config") or {})

    def pull(self, reference: str, progress: Progress) -> ImageInfo:
        """Fetch an image from its registry."""
        repository, tag = _split(reference)
        with _translated(f"pulling {reference}"):
            records = self._api.pull(repository, tag=tag, stream=True, decode=True)
            failure = _follow(records, progress)
        if failure:
            raise BuildFailed(f"{reference} could not be pulled: {failure}")
        info = self.inspect(reference)
        if info is None:
            raise BuildFailed(f"{reference} was pulled but is not there")
        return info

    def build(self, context: BinaryIO, tag: str, progress: Progress) -> str:
        """Build a context and return the image's id."""
        output: list[str] = []
        failure = ""
        with _translated(f"building {tag}"):
            records = self._api.build(
                fileobj=context, custom_context=True, tag=tag, rm=True, forcerm=True, decode=True, encoding=None
            )
            for record in records:
                if "error" in record:
                    failure = str(record["error"])
                elif text := str(record.get("stream", "")):
                    output.append(text)
                    if text.strip():
                        progress(text.strip())
        if failure:
            hint = "correct `requirements` or `run`; -v shows the whole build"
            raise BuildFailed(f"a build step failed: {failure}", hint=hint, output=_last_step("".join(output)))
        info = self.inspect(tag)
        if info is None:
            raise BuildFailed(f"the engine built {tag} but does not show it")
        return info.id

    @contextmanager
    def _container(self, reference: str) -> Iterator[str]:
        with _translated(f"creating a container of {reference}"):
            container = self._api.create_container(reference, command=["-"], entrypoint=["-"])["Id"]
        try:
            yield container
        finally:
            with _translated("removing a container"):
                self._api.remove_container(container, force=True, v=True)

    @contextmanager
    def export(self, reference: str) -> Iterator[BinaryIO]:
        """Stream the flat root file system of an image as a tar."""
        with self._container(reference) as container:
            with _translated(f"exporting {reference}"):
                chunks = iter(self._api.export(container))
            yield cast(BinaryIO, io.BufferedReader(_Stream(chunks), 1 << 20))

    @contextmanager
    def read_directory(self, reference: str, path: str) -> Iterator[BinaryIO]:
        """Stream one directory of an image as a tar."""
        with self._container(reference) as container:
            with _translated(f"reading {path} of {reference}"):
                chunks, _status = self._api.get_archive(container, path)
            yield cast(BinaryIO, io.BufferedReader(_Stream(iter(chunks)), 1 << 20))

    def load(self, archive: Iterator[bytes]) -> None:
        """Load images in the docker-archive form."""
        with _translated("loading an image"):
            failure = _follow(self._api.load_image(archive), lambda _text: None)
        if failure:
            raise BuildFailed(f"the engine did not take the image: {failure}")

    def remove(self, reference: str) -> None:
        """Remove a tag, and the image if it was its last."""
        with _translated(f"removing {reference}"):
            try:
                self._api.remove_image(reference, force=True)
            except (ImageNotFound, NotFound):
                return

    def push(self, reference: str, progress: Progress) -> str:
        """Push an image and return the digest that the registry gave it."""
        repository, tag = _split(reference)
        digest = ""
        with _translated(f"pushing {reference}"):
            failure = ""
            for record in self._api.push(repository, tag=tag, stream=True, decode=True):
                failure = failure or str(record.get("error", ""))
                digest = str((record.get("aux") or {}).get("Digest", digest))
                if record.get("status"):
                    progress(f"{record.get('id', '')} {record['status']}".strip())
        if failure:
            raise BuildFailed(
                f"{reference} could not be pushed: {failure}",
                hint=f"`docker login` to the registry of {repository}, or use --no-push to keep the image local",
            )
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


def _last_step(output: str) -> str:
    start = output.rfind("\nStep ")
    return output[start + 1 :] if start >= 0 else output
