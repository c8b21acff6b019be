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
from sconectl.adapters.engine_answers import follow
from sconectl.adapters.leftovers import LABEL, NAMES, is_gone, mark, mark_in
from sconectl.adapters.refusals import hint_for
from sconectl.adapters.registry import split_reference
from sconectl.errors import BuildFailed, EngineUnreachable
from sconectl.ports import ImageInfo, Progress

_TIMEOUT = 600
_CHUNK = 1 << 20
BROKEN = (requests.RequestException, urllib3.exceptions.HTTPError)
_PUSHES = 5
_STOPPED = ("created", "exited", "dead")
REMEDY = "start the engine (for example `systemctl start docker`), or set DOCKER_HOST to where it listens"


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
            except BROKEN as error:
                raise _broken_off(self._doing) from error
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


@contextmanager
def translated(doing: str, registry: str = "") -> Iterator[None]:
    """Turn the SDK's exceptions into ours; `doing` completes the sentence "… failed while …".

    `registry` is the registry that the engine talks to.
    """
    try:
        yield
    except APIError as error:
        text = str(error.explanation or error).strip()
        raise BuildFailed(
            f"the container engine failed while {doing}: {text}", hint=hint_for(text, registry)
        ) from error
    except BROKEN as error:
        raise _broken_off(doing) from error
    except DockerException as error:
        raise BuildFailed(f"the container engine answers with something unexpected while {doing}: {error}") from error


def _broken_off(doing: str) -> EngineUnreachable:
    hint = "see whether it still runs (`docker info`) and has disk space left (`docker system df`), then run this again"
    return EngineUnreachable(f"the container engine broke off while {doing}", hint=hint)


def _reader(ask: Callable[[], Iterator[bytes]], doing: str) -> BinaryIO:
    with translated(doing):
        return cast(BinaryIO, io.BufferedReader(_Stream(iter(ask()), doing), _CHUNK))


def connected() -> docker.DockerClient:
    """Return a connection to the engine that the environment names. Raises `EngineUnreachable`."""
    try:
        client = docker.from_env(timeout=_TIMEOUT)
        client.ping()
    except (DockerException, *BROKEN) as error:
        raise EngineUnreachable("no container engine can be reached", hint=REMEDY) from error
    return client


class DockerEngine:
    """Implements `ports.ImageEngine` for Docker."""

    def __init__(self) -> None:
        self._client = connected()
        self._api: Any = self._client.api  # parts of the SDK are not typed

    def inspect(self, reference: str) -> ImageInfo | None:
        """Return the local image, or None."""
        with translated(f"inspecting {reference}"):
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
        with translated(f"pulling {reference}", registry):
            records = self._api.pull(repository, tag=tag, stream=True, decode=True)
            answer = follow(records, progress)
        if answer.failure:
            raise BuildFailed(
                f"{reference} could not be pulled: {answer.failure}", hint=hint_for(answer.failure, registry)
            )
        if not answer.digest:
            raise BuildFailed(f"the engine does not tell what it pulled for {reference}", hint="pull it by digest")
        info = self.inspect(f"{repository}@{answer.digest}")
        if info is None:
            raise BuildFailed(f"{reference} was pulled but is not there", hint="somebody removed it: try again")
        return info

    def build(self, context: BinaryIO, base: ImageInfo, progress: Progress, *, name: str = "") -> str:
        """Build a context on a base image and return the id of the new image."""
        with translated(f"building {name or 'an image'}"):
            return build(self._api, context, base, {} if name else {LABEL: mark()}, progress, name=name)

    @contextmanager
    def _container(self, image: str, command: Sequence[str], **options: Any) -> Iterator[str]:
        """Give a container that was created and not started."""
        with translated(f"creating a container of {image}"):
            container = self._api.create_container(
                image, command=list(command[1:]), entrypoint=list(command[:1]), labels={LABEL: mark()}, **options
            )["Id"]
        try:
            yield container
        finally:
            self._remove_container(container)

    def _remove_container(self, container: str) -> None:
        with suppress(APIError, *BROKEN):  # `sweep` of a later run does it
            self._api.remove_container(container, force=True, v=True)

    @contextmanager
    def save(self, image: str) -> Iterator[BinaryIO]:
        """Stream an image with all its layers in the docker-archive form."""
        with closing(_reader(lambda: self._api.get_image(image, _CHUNK), f"saving {image}")) as stream:
            yield stream

    @contextmanager
    def read_directory(self, image: str, path: str) -> Iterator[BinaryIO]:
        """Stream one directory of an image as a tar."""
        with self._container(image, ["-"]) as container:
            yield _reader(lambda: self._api.get_archive(container, path)[0], f"reading {path} of {image}")

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
        """Run a command in a container of an image to its end and return what it wrote to stdout."""
        logs = {"Type": "json-file", "Config": {}}  # whatever the engine does by default
        limits = self._api.create_host_config(cap_add=list(capabilities), log_config=logs)
        with self._container(image, command, host_config=limits) as container, translated(f"running {image}"):
            for tar in files:
                self._api.put_archive(container, "/", tar)
            self._api.start(container)
            with suppress(requests.ReadTimeout, requests.ConnectionError):  # its output until now counts
                self._api.wait(container, timeout=seconds)
            for line in self._api.logs(container, stdout=False, stderr=True).splitlines():
                progress(line.decode("utf-8", "replace"))
            output: bytes = self._api.logs(container, stdout=True, stderr=False)
            return output

    def load(self, archive: Iterator[bytes]) -> str:
        """Load one image in the docker-archive form and return its id."""
        with translated("loading an image"):
            answer = follow(self._api.load_image(archive), lambda _text: None)
        if answer.failure:
            raise BuildFailed(f"the engine did not take the image: {answer.failure}", hint=hint_for(answer.failure))
        if not answer.loaded:
            raise BuildFailed("the engine does not tell which image it loaded")
        return answer.loaded

    def tag(self, image: str, name: str) -> None:
        """Give an image a name."""
        with translated(f"giving an image the name {name}"):
            self._api.tag(image, *_split(name), force=True)

    def remove(self, image: str) -> None:
        """Remove an image with all its names. If the engine is gone, this is left to `sweep`."""
        with translated(f"removing {image}"), suppress(ImageNotFound, NotFound, *BROKEN):
            self._api.remove_image(image, force=True)

    def sweep(self) -> int:
        """Remove containers and images that interrupted runs left behind; return how many."""
        local = str(self._api.base_url).startswith("http+docker://")
        with translated("looking for what interrupted runs left behind"):
            marked = self._api.containers(all=True, filters={"label": LABEL})
            left = [item["Id"] for item in marked if is_gone(item["Labels"][LABEL], local=local)]
            stopped = [item["Id"] for item in self._api.containers(all=True) if item["State"] in _STOPPED]
            left += [item for item in stopped if is_gone(self._builder(item), local=local)]
            for container in left:
                self._remove_container(container)
            images = self._api.images(all=True, filters={"label": LABEL})
            old = [item["Id"] for item in images if is_gone(item["Labels"][LABEL], local=local)]
            for image in old:
                self.remove(image)
            named = self._api.images(filters={"reference": f"{NAMES}/*"})
            for name in (name for item in named for name in item["RepoTags"] or ()):
                if is_gone(mark_in(name), local=local):
                    with suppress(ImageNotFound, NotFound):
                        self._api.remove_image(name, noprune=True)
        return len(left) + len(old)

    def _builder(self, container: str) -> str:
        """Return the mark of the run whose build made a container, or nothing."""
        try:
            hosts = self._api.inspect_container(container)["HostConfig"].get("ExtraHosts") or ()
        except NotFound:
            return ""
        return next((name for name, _, _ in (host.rpartition(":") for host in hosts) if "/" in name), "")

    def push(self, image: str, reference: str, progress: Progress) -> str:
        """Push an image under a name and return the digest that the registry gave it.

        Engines push names only, and a name may be another image's by then: the digest tells which image was pushed.
        """
        for _ in range(_PUSHES):
            self.tag(image, reference)
            digest = self._push(reference, progress)
            if self._has_digest(image, digest):
                return digest
        raise BuildFailed(
            f"other images are given the name {reference} again and again while it is pushed",
            hint="another run uses the same `to`: let it end, or give one of them another name",
        )

    def _push(self, reference: str, progress: Progress) -> str:
        """Push the image that has this name; return its digest."""
        repository, tag = _split(reference)
        registry = split_reference(reference)[0]
        with translated(f"pushing {reference}", registry):
            answer = follow(self._api.push(repository, tag=tag, stream=True, decode=True), progress)
        if answer.failure:
            hint = hint_for(answer.failure, registry)
            rest = "the image is built, and the next run only pushes it"
            message = f"{reference} could not be pushed: {answer.failure}"
            raise BuildFailed(message, hint=f"{hint}; {rest}" if hint else rest)
        return answer.digest

    def _has_digest(self, image: str, digest: str) -> bool:
        """Tell whether a manifest with this digest, which the engine pushed, is that of an image."""
        with translated(f"inspecting {image}"):
            known = self._api.inspect_image(image).get("RepoDigests") or ()
        return bool(digest) and (digest == image or any(entry.endswith(f"@{digest}") for entry in known))


def _split(reference: str) -> tuple[str, str]:
    name, at, digest = reference.partition("@")
    if at:
        head, _, tag = name.rpartition(":")
        return (head if head and "/" not in tag else name), digest
    name, _, tag = reference.rpartition(":")
    return (name, tag) if name and "/" not in tag else (reference, "latest")
