"""Names that are derived from other names, in one place."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

_SEGMENT_LIMIT, _LABEL_LIMIT = 128, 63


def session_name(namespace: str, service: str) -> str:
    """Return the name of a service's session."""
    return f"{namespace}/{service}"


def chart_name(service: str) -> str:
    """Return the name of a service's subchart: a DNS label, which names of services need not be."""
    return service.lower().replace("_", "-")


def volume_label(volume: str) -> str:
    """Return what a volume is called in charts: `volume` and its name, as a DNS label."""
    label = "volume" + re.sub(r"[^a-z0-9]+", "-", volume.lower()).strip("-")
    if len(label) <= _LABEL_LIMIT:
        return label
    return f"{label[: _LABEL_LIMIT - 9].strip('-')}-{hashlib.sha256(volume.encode()).hexdigest()[:8]}"


def image_session_name(image: str) -> str:
    """Return the name of the session that holds the facts of an image: the same for everybody who names it so.

    No two references share a name: `~` is not in a reference, and `/`, `:` and `@` never stand beside each other.
    """
    text = "image~" + image.replace("/", "~").replace(":", "~~").replace("@", "~~~")
    if len(text) <= _SEGMENT_LIMIT:
        return text
    digest = hashlib.sha256(image.encode()).hexdigest()[:16]
    return f"{text[: _SEGMENT_LIMIT - 17]}~{digest}"


def with_tag(image: str) -> str:
    """Return the reference with its tag spelled out."""
    last = image.rsplit("/", 1)[-1]
    return image if ":" in last or "@" in last else f"{image}:latest"


def without_tag(image: str) -> str:
    """Return the name of an image without tag and digest: keys belong to it."""
    name = image.split("@", 1)[0]
    head, colon, tail = name.rpartition(":")
    return head if colon and "/" not in tail else name


def copied_name(destination: str, image: str) -> str:
    """Return what the copy of an image in the repository `destination` is called: like the image, with its tag."""
    name, _, digest = image.partition("@")
    last = name.rsplit("/", 1)[-1]
    if ":" not in last:
        last += f":{digest.replace(':', '-') or 'latest'}"
    return f"{destination}/{last}"


def native_image_name(build_name: str) -> str:
    """Return the local name of the unprotected image that a build leaves as the engine's cache."""
    return f"sconectl-native/{re.sub(r'[^a-z0-9]+', '-', build_name.lower()).strip('-') or 'image'}:latest"


def program_name(words: Sequence[str]) -> str:
    """Return the name of the service inside a session: the program's file name."""
    return re.sub(r"[^A-Za-z0-9_.~-]", "-", words[0].rsplit("/", 1)[-1]) or "service"
