"""Where things are in a native image: its volumes and working directory, as the container runtime will find them.

In: the configuration of an image, and its files. Out: absolute, normalised paths. Raises `PlanImpossible` for places
that a confidential image cannot have, and for images that cannot be built on.
"""

from __future__ import annotations

import posixpath
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from sconectl.errors import PlanImpossible
from sconectl.image.layers.root_tree import RootFiles
from sconectl.ports import ImageInfo
from sconectl.protect.index import is_below

MAX_LAYERS = 125
"""The most layers that an engine can stack (overlay2); one more is "max depth exceeded"."""

_OURS = 2
"""Layers that a confidential image has besides those of its native image: the launcher, and the measured index."""
_MAX_LINKS = 40


def normal_path(path: str) -> str:
    """Return a path of an image's configuration as container runtimes take it: from the root, without `.` and `..`."""
    return posixpath.normpath("/" + path.lstrip("/"))


def image_volumes(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the volumes that an image declares, sorted."""
    found = sorted({normal_path(path) for path in config.get("Volumes") or {}})
    if "/" in found:
        raise PlanImpossible(
            "the image declares its root directory as a volume, so nothing in it can be protected",
            hint="make the image again without this VOLUME",
        )
    for path in found:
        if any(unicodedata.category(sign) in ("Cc", "Cs") for sign in path):
            raise PlanImpossible(
                f"the image declares a volume at {path!a}: paths have no control characters, and are UTF-8",
                hint="make the image again with another VOLUME",
            )
    return tuple(found)


def mounted_volumes(root: RootFiles, config: Mapping[str, Any], own: Iterable[str]) -> tuple[str, ...]:
    """Return the volumes that an image declares and that stay: not those where the image gets `own`, encrypted ones."""
    paths = tuple(own)
    return tuple(path for path in image_volumes(config) if not is_below(_real(root, path), paths))


def image_pwd(config: Mapping[str, Any]) -> str:
    """Return the working directory of an image."""
    return normal_path(config.get("WorkingDir") or "/")


def real_paths(root: RootFiles, paths: Iterable[str]) -> tuple[str, ...]:
    """Return where each of `paths` is when links are followed: runtimes mount volumes there."""
    return tuple(sorted({_real(root, path) for path in paths}))


def _real(root: RootFiles, path: str) -> str:
    real, left, links = "/", path.split("/")[::-1], 0
    while left:
        name = left.pop()
        if name == "..":
            real = posixpath.dirname(real)
        if name in ("", ".", ".."):
            continue
        step = posixpath.join(real, name)
        found = root.member(step)
        if found is None or found.kind != "l":
            real = step
            continue
        links += 1
        if links > _MAX_LINKS:
            raise PlanImpossible(
                f"{path} cannot be a volume or left unprotected: its symbolic links lead nowhere, in a circle",
                hint="correct the links in the image, or name the directory itself",
            )
        real = "/" if found.target.startswith("/") else real
        left += found.target.split("/")[::-1]
    if real == "/":
        raise PlanImpossible(
            f"{path} cannot be a volume or left unprotected: it is a link to the root directory",
            hint="correct the link in the image, or name a directory",
        )
    return real


def require_buildable(reference: str, info: ImageInfo) -> None:
    """Refuse a base image whose triggers would run in our build, with files that are not meant for them."""
    triggers = [str(trigger) for trigger in info.config.get("OnBuild") or ()]
    if triggers:
        shown = "; ".join(triggers[:5]) + (f"; and {len(triggers) - 5} more" if len(triggers) > 5 else "")
        raise PlanImpossible(
            f"{reference} has ONBUILD triggers, which would run in the build: {shown}",
            hint="make an image FROM it with `docker build`, where they run with your files, and name that in `from`",
        )


def require_room(reference: str, layers: int) -> None:
    """Refuse an image with so many layers that an engine could not stack those of the confidential one."""
    if layers + _OURS > MAX_LAYERS:
        raise PlanImpossible(
            f"{reference} would have {layers + _OURS} layers as a confidential image, and engines stack at most "
            f"{MAX_LAYERS}",
            hint="make an image of fewer layers: FROM scratch, and COPY --from=<the image> / /",
        )
