"""One build in a Docker engine: with BuildKit where the engine prefers it, with the classic builder otherwise.

In: the engine's API, a context and a base image. Out: the id of the image that the builder says it made, or
`BuildFailed` with the failing step's output. No name is ever asked what was built: others may build under the same one.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

from docker.errors import APIError, DockerException, ImageNotFound
from urllib3.exceptions import HTTPError

from sconectl.adapters.build_trace import BuildTrace
from sconectl.adapters.leftovers import mark, temporary_name
from sconectl.adapters.refusals import hint_for
from sconectl.errors import BuildFailed
from sconectl.ports import BASE_ARGUMENT, ImageInfo, Progress

_HINT = "correct `requirements` or `run`; -v shows the whole build"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
"""The classic builder marks what a step writes to stderr."""
_ID = re.compile(r"sha256:[0-9a-f]{64}")
_MADE = re.compile(r" ---> ([0-9a-f]{12})\s*")


def prefers_buildkit(api: Any) -> bool:
    """Tell which builder to use: DOCKER_BUILDKIT as for Docker's own command, else what the engine recommends."""
    wish = os.environ.get("DOCKER_BUILDKIT", "")
    if wish:
        return wish.lower() not in ("0", "false")
    answer = api._get(api._url("/_ping", versioned_api=False))
    return str(answer.headers.get("Builder-Version", "")) == "2"


def build(
    api: Any, context: BinaryIO, base: ImageInfo, labels: Mapping[str, str], progress: Progress, *, name: str = ""
) -> str:
    """Build the tar `context` on `base`; return the id of the new image, which gets `name` unless that is empty.

    Raises `BuildFailed`, and the exceptions of the SDK. The SDK knows the classic builder only. BuildKit is asked for
    with `version=2`; it needs no session here, because contexts are sent whole and base images are there before.
    """
    parameters: dict[str, Any] = {"rm": "1", "forcerm": "1"}
    if name:
        parameters["t"] = name
    if labels:
        parameters["labels"] = json.dumps(dict(labels))
    if prefers_buildkit(api):
        parameters["version"] = "2"
    else:
        # The classic builder's containers take no label; if the engine dies, this tells which run made them.
        parameters["extrahosts"] = f"{mark()}:127.0.0.1"
    with _base_reference(api, base, "version" in parameters) as reference:
        parameters["buildargs"] = json.dumps({BASE_ARGUMENT: reference})
        made = _run(api, context, parameters, progress)
    if tuple(made["RootFS"].get("Layers") or ())[: len(base.layers)] != base.layers:
        raise BuildFailed(
            "the engine built on another image than it was told",
            hint="somebody else changes its images at the same time: apply again",
        )
    return str(made["Id"])


@contextmanager
def _base_reference(api: Any, base: ImageInfo, buildkit: bool) -> Iterator[str]:
    """Give a reference to the base image for a build: its id, or for BuildKit, which takes none, a temporary name."""
    if not buildkit:
        yield base.id
        return
    name = temporary_name()
    api.tag(base.id, *name.split(":"), force=True)
    try:
        yield name
    finally:
        with suppress(DockerException, OSError, HTTPError):  # `sweep` of a later run does it
            if len(api.inspect_image(name).get("RepoTags") or ()) > 1:  # else the image would go with it
                api.remove_image(name, noprune=True)


def _run(api: Any, context: BinaryIO, parameters: Mapping[str, Any], progress: Progress) -> Mapping[str, Any]:
    """Send a build, follow it to its end, and return the engine's description of the image with the id that it told."""
    build = _Build(progress)
    try:
        answer = api._post(
            api._url("/build"),
            params=parameters,
            data=context,
            headers={"Content-Type": "application/x-tar"},
            stream=True,
            timeout=None,
        )
        api._raise_for_status(answer)
        for record in api._stream_helper(answer, decode=True):
            build.take(record)
        return build.finish(api)
    except BaseException:
        build.discard(api)
        raise


class _Build:
    """The state of a build, as read from the engine's records."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._trace = BuildTrace()
        self._output: list[str] = []
        self._made: list[str] = []
        self._failure = ""
        self._id = ""

    def take(self, record: Mapping[str, Any]) -> None:
        """Read one record of either builder."""
        if "error" in record:
            self._failure = str(record["error"])
        elif isinstance(aux := record.get("aux"), Mapping):
            self._id = str(aux.get("ID", self._id))  # of each stage; the last one counts
        elif record.get("id") == "moby.buildkit.trace":
            for line in self._trace.take(str(record.get("aux", ""))):
                self._progress(line)
        elif text := _COLOUR.sub("", str(record.get("stream", ""))):
            if (made := _MADE.fullmatch(text)) and not self._output[-1].startswith((" ---> Using cache", "Step 1/")):
                self._made.append(made[1])
            self._output.append(text)
            if text.strip():
                self._progress(text.strip())

    def finish(self, api: Any) -> Mapping[str, Any]:
        """Return the image that was made. Raises `BuildFailed` if the engine reported a failure."""
        if self._failure:
            output = self._trace.failing_step() or _last_step("".join(self._output))
            hint = hint_for(self._failure) or _HINT
            raise BuildFailed(f"a build step failed: {self._failure}", hint=hint, output=output)
        # A line like "Successfully built …" is not believed: a step of the build can print it, too.
        if not _ID.fullmatch(self._id):
            raise BuildFailed("the engine does not tell what it built", hint="see whether it is one of those supported")
        found: Mapping[str, Any] = api.inspect_image(self._id)
        return found

    def discard(self, api: Any) -> None:
        """Remove the images of the steps before the one that failed, the last one first.

        They would stay as images without a name, with the user's files in them.
        """
        for image in reversed(self._made):
            try:
                found = api.inspect_image(image)
                if not found.get("RepoTags") and not found.get("RepoDigests"):
                    api.remove_image(found["Id"], noprune=True)
            except (APIError, ImageNotFound):
                continue  # in use by another build, which began with the same steps
            except (DockerException, OSError, HTTPError):
                return  # the engine is gone: the next build goes on from these images


def _last_step(output: str) -> str:
    start = output.rfind("\nStep ")
    return output[start + 1 :] if start >= 0 else output
