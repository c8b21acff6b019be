"""The versions of a service in its session, told apart by their names: `python3`, `python3-v2`, `python3-v3`.

In: a session, or the document of one. Out: its versions by number; the document with the names of a version. The one
without a number is version 1. The first version in a session is the one that was applied last; another one is there
until the rollout is finished.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sconectl.policy.model.services import Service
from sconectl.policy.model.session import Session


@dataclass(frozen=True)
class Names:
    """What every version has of its own: its service, its image, and the secret with the key of the image's files.

    These are the names of version 1. The image tells which services are versions of each other: a new version may start
    another program.
    """

    service: str
    image: str
    key: str

    def version_of(self, service: Service) -> int | None:
        """Return the version that a service of the session is, or None if it is something else."""
        found = re.fullmatch(rf"{re.escape(self.image)}(?:-v([1-9][0-9]{{0,8}}))?", service.image_name or "")
        return int(found[1] or 1) if found else None


@dataclass(frozen=True)
class Fault:
    """Why versions cannot be in a session together: what is wrong with what, and what to do."""

    message: str
    hint: str = ""


def suffix(number: int) -> str:
    """Return what the names of a version end with."""
    return f"-v{number}" if number > 1 else ""


def versions_in(session: Session, names: Names) -> dict[int, tuple[Service, ...]]:
    """Return the versions in a session by number, in its order: mostly one service each."""
    found: dict[int, tuple[Service, ...]] = {}
    for service in session.services:
        number = names.version_of(service)
        if number is not None:
            found[number] = (*found.get(number, ()), service)
    return found


def versioned(document: Mapping[str, Any], names: Names, number: int) -> dict[str, Any]:
    """Return the document of a session with the names of a version in the place of those of version 1."""
    if number == 1:
        return dict(document)
    end = suffix(number)

    def renamed(section: str, name: str) -> list[dict[str, Any]]:
        entries = document.get(section, ())
        return [{**entry, "name": name + end} if entry["name"] == name else dict(entry) for entry in entries]

    services = []
    for entry in renamed("services", names.service):
        if entry.get("image_name") == names.image:
            entry["image_name"] = names.image + end
        if entry.get("fspf_key") == _reference(names.key):
            entry["fspf_key"] = _reference(names.key + end)
        services.append(entry)
    found = {**document, "services": services, "images": renamed("images", names.image)}
    return found | ({"secrets": renamed("secrets", names.key)} if "secrets" in document else {})


def is_same(wanted: Session, seen: Session, names: Names, number: int) -> bool:
    """Say whether version 1 of `wanted` and a version of `seen` are the same, but for their names."""
    services = [service for service in wanted.services if names.version_of(service) == 1]
    found = [as_first(service, names, number) for service in versions_in(seen, names)[number]]
    image = seen.image(names.image + suffix(number))
    before = image.model_copy(update={"name": names.image}) if image else None
    return found == services and before == wanted.image(names.image)


def as_first(service: Service, names: Names, number: int) -> Service:
    """Return the service of a version with the names of version 1."""
    end = suffix(number)
    change: dict[str, Any] = {"name": service.name.removesuffix(end), "image_name": names.image}
    if service.fspf_key == _reference(names.key + end):
        change["fspf_key"] = _reference(names.key)
    return service.model_copy(update=change)


def _reference(secret: str) -> str:
    return f"$$SCONE::{secret}$$"
