"""`image_policy`: a session, or parts of one, that a mesh puts over the session that would be written for a service.

In: the text of the file and a lookup of names. Out: a template, and sessions with the template laid over them.
Mappings are merged key by key, entries of lists that have a name by their name; everything else takes the place of what
was there, and null removes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sconectl.errors import InvalidInput
from sconectl.manifest.model.faults import did_you_mean
from sconectl.plan.facts.toolchain_traits import ToolchainTraits
from sconectl.plan.mesh.attestation import false_mode
from sconectl.plan.values.scalars import typed_values
from sconectl.plan.values.templates import Lookup, bind_yaml
from sconectl.text.findings import Finding
from sconectl.text.yaml_tree import Document, Path, texts_in

SECTIONS = ("access_policy", "images", "secret_config", "secrets", "security", "services", "version", "volumes")
_OURS = {
    "creator": "who uploads the session is its creator",
    "predecessor": "the upload names the version that is replaced",
    "namespace_hash": "the upload decides what is created and what is updated",
}
_TEXTS = frozenset({"environment", "command", "value", "content", "version"})
"""Fields whose values are texts, whatever they look like."""


@dataclass(frozen=True)
class PolicyTemplate:
    """What a file says: the sections to lay over a session, and the secrets that the service defines in it."""

    sections: Mapping[str, Any] = field(repr=False)
    secrets: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)

    def texts(self) -> Iterator[str]:
        """Yield every text in which a secret may be used."""
        for section in ("services", "images"):
            yield from (text for _, text in texts_in(self.sections.get(section)))

    def mounts(self) -> Iterator[tuple[str, str, str | None]]:
        """Yield each volume that an image of the template mounts: name of the image and of the volume, and path."""
        for image in _mappings(self.sections.get("images")):
            for mount in _mappings(image.get("volumes")):
                path = mount.get("path")
                yield str(image.get("name")), str(mount.get("name")), None if path is None else str(path)

    def over(self, session: Mapping[str, Any]) -> dict[str, Any]:
        """Return a session with the template laid over it; secrets are merged before."""
        return _merged(session, self.sections)


def _mappings(entries: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list) else []


def read_policy_template(
    raw: bytes, file: str, lookup: Lookup, session: str, toolchain: ToolchainTraits
) -> PolicyTemplate:
    """Return the template in `raw` for the session of this name, of an image of `toolchain`. Raises `InvalidInput`."""
    document = bind_yaml(raw, file, lookup, dollars=True)
    if not isinstance(document.value, dict):
        raise InvalidInput([_fault(document, (), "expected a mapping: a session, or sections of one")])
    faults = list(_faults(document, document.value, session))
    if false := false_mode(document.value, toolchain):
        faults.append(_fault(document, ("security", "attestation", "mode"), *false))
    if faults:
        raise InvalidInput(faults)
    sections = _typed(document.value, document, ())
    sections.pop("name", None)
    secrets = sections.pop("secrets", None) or []
    return PolicyTemplate(sections, tuple(secrets))


def _faults(document: Document, value: Mapping[str, Any], session: str) -> Iterator[Finding]:
    for key, item in value.items():
        if key in _OURS:
            yield _fault(document, (key,), "this field cannot be given here", _OURS[key])
        elif key == "name":
            if item != session:
                hint = "remove it, or write {{session}}"
                yield _fault(document, (key,), "the session is called after namespace and service", hint)
        elif key not in SECTIONS:
            hint = did_you_mean(key, SECTIONS) or f"known are {', '.join(SECTIONS)}"
            yield _fault(document, (key,), "this is no section of a session", hint)
        elif key in ("images", "secrets", "services", "volumes"):
            yield from _unnamed(document, key, item)


def _unnamed(document: Document, key: str, entries: Any) -> Iterator[Finding]:
    if not isinstance(entries, list):
        if entries is not None:
            yield _fault(document, (key,), "expected a list")
        return
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            yield _fault(document, (key, number), "expected an entry with a name", "add name: …")


def _fault(document: Document, path: Path, message: str, hint: str = "") -> Finding:
    return document.finding("error", "SC2015", path, message, hint, at_key=True)


def _typed(value: Any, document: Document, path: Path) -> Any:
    if path and path[-1] in _TEXTS:
        return value
    if isinstance(value, dict):
        return {key: _typed(item, document, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_typed(item, document, (*path, number)) for number, item in enumerate(value)]
    found = typed_values(value, document.is_plain, path)
    return value if isinstance(found, float) else found  # sessions have no such numbers


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, item in over.items():
        below = result.get(key)
        if item is None:
            result.pop(key, None)
        elif isinstance(item, Mapping) and isinstance(below, Mapping):
            result[key] = _merged(below, item)
        elif isinstance(below, list) and _is_named(item) and _is_named(below):
            result[key] = _by_name(below, item)
        else:
            result[key] = item
    return result


def _is_named(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, Mapping) and "name" in item for item in value)


def _by_name(base: list[Mapping[str, Any]], over: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    entries = {str(entry["name"]): entry for entry in base}
    for entry in over:
        entries[str(entry["name"])] = _merged(entries.get(str(entry["name"]), {}), entry)
    return list(entries.values())
