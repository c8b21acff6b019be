"""What a pod gets from the CAS, as a short text that changes when that changes, and from which nobody can guess it.

In: the sessions of a mesh, as plain values. Out: a mark for one of their services, an HMAC keyed with a private salt.
What counts is what `cas.attest.program_configuration` hands out, and how each secret in it comes about:
its declaration, and those of what it is made or imported from, in all sessions of the mesh. A value that the CAS draws
counts by its name and its parameters. Who may attest, read, change or import makes no difference.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sconectl.plan.values.literals import HOST_VARIABLE
from sconectl.policy.forms.durations import duration
from sconectl.policy.model.secret import DEFAULT_SIZE, without_effect
from sconectl.text.secret_placeholders import START, is_reference, placeholders

_DIGITS = 32
_OF_SERVICE = ("command", "environment", "pwd", "fspf_path", "fspf_key", "fspf_tag", "fspf_update_policy")
_OF_VOLUME = ("fspf_key", "fspf_tag", "files", "name")
_EPHEMERAL = "ephemeral"
_MADE_FROM = ("private_key", "issuer", "signer")
_LONGEST_COMMON_NAME = 64  # RFC 5280
_OF_OTHERS = frozenset({"name", "export", "export_public", "migrate"})
"""Parts of a secret's declaration that say nothing about its value."""
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "ascii": {"size": DEFAULT_SIZE},
    "binary": {"size": DEFAULT_SIZE},
    "private-key": {"key_type": "P-256"},
}
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))

_Entry = Mapping[str, Any]
_Place = tuple[str, str]  # a session, and the name of a secret in it


class Configurations:
    """What the services of these sessions get. Names of sessions in them are absolute."""

    def __init__(self, sessions: Iterable[_Entry]) -> None:
        self._sessions = {str(session["name"]): session for session in sessions}
        self._secrets: dict[str, Mapping[str, _Entry]] = {}

    def mark(self, session: str, service: str, salt: str) -> str:
        """Return the mark of a service: 32 hex digits, or nothing without a salt, since that could be guessed."""
        document = self._sessions.get(session, {})
        entry = _named(document, "services").get(service)
        if entry is None or not salt:
            return ""
        image = _named(document, "images").get(str(entry.get("image_name")), {})
        files = image.get("injection_files", ())
        own = {key: entry[key] for key in _OF_SERVICE if key in entry}
        own["environment"] = {
            name: "" if name.startswith(HOST_VARIABLE) else value  # the container gives the value
            for name, value in own.get("environment", {}).items()
        }
        texts = [*own.get("command", ()), *own["environment"].values(), str(own.get("fspf_key"))]
        texts += [str(file.get("content")) for file in files]
        wanted = {(session, name) for text in texts if START in text for name in self._used(session, text)}
        offered: list[str] = []  # a file of the image may name any of these
        if any("content" not in file for file in files):
            offered = sorted(map(str, image.get("provide_secrets", self._of(session))))
        wanted |= {(session, name) for name in offered}
        volumes = [self._volume(document, mount) for mount in image.get("volumes", ())]
        for owner, volume in volumes:
            wanted |= {(owner, name) for name in self._used(owner, str(volume.get("fspf_key")))}
        own = {"pwd": "/", **own}
        values = [session, service, own, files, offered, volumes, sorted(self._behind(wanted).items())]
        return hmac.digest(salt.encode(), _ENCODER.encode(values).encode(), "sha256").hex()[:_DIGITS]

    def _of(self, session: str) -> Mapping[str, _Entry]:
        """Return the secrets of a session by name."""
        if session not in self._secrets:
            self._secrets[session] = _named(self._sessions.get(session, {}), "secrets")
        return self._secrets[session]

    def _used(self, session: str, text: str) -> Iterator[str]:
        """Yield the secrets of a session that a text names, those with an old suffix (`.crt`) without it."""
        known = self._of(session)
        for found in filter(None, placeholders(text)):
            yield found.name if found.name in known else found.name.rpartition(".")[0]

    def _behind(self, wanted: set[_Place]) -> dict[_Place, _Entry]:
        """Return the declarations of secrets, and of all that they are made or imported from."""
        found: dict[_Place, _Entry] = {}
        while wanted:
            place = session, name = wanted.pop()
            secret = self._of(session).get(name)
            if secret is None or place in found:
                continue
            found[place] = _declaration(secret)
            if source := secret.get("import"):
                wanted.add((str(source["session"]), str(source["secret"])))
            wanted |= {(session, str(secret[key])) for key in _MADE_FROM if key in secret}
            for claim in (secret.get("payload") or {}).values():
                if is_reference(claim):
                    wanted |= {(session, used) for used in self._used(session, claim)}
        return found

    def _volume(self, document: _Entry, mount: _Entry) -> tuple[str, dict[str, Any]]:
        """Return the session that owns a mounted volume, and the volume on the terms of that session."""
        owner, policy = str(document["name"]), mount.get("update_policy")
        volume = _named(document, "volumes").get(str(mount["name"]), {})
        source = volume.get("import")
        if source:
            importer, owner, volume = owner, str(source["session"]), {}
            for shared, export in self._exports(owner, importer):
                if source["volume"] == (export.get("volume_alias") or shared["name"]):
                    volume = shared
                    policy = _EPHEMERAL if export.get("update_policy") == _EPHEMERAL else policy
        found = {key: volume[key] for key in _OF_VOLUME if key in volume}
        return owner, {**found, "as": mount["name"], "path": mount["path"], "policy": policy, "source": source}

    def _exports(self, owner: str, importer: str) -> Iterator[tuple[_Entry, _Entry]]:
        """Yield the volumes that a session gives to another one, each with the terms."""
        for volume in self._sessions.get(owner, {}).get("volumes", ()):
            for export in volume.get("export", ()):
                if export.get("session") == importer:
                    yield volume, export


def as_the_cas_reads(document: _Entry) -> _Entry:
    """Return a session that a user has written parts of in one spelling; it is empty if the CAS would refuse it."""
    from sconectl.policy.reading import examine_document
    from sconectl.policy.session_check import as_read

    session = examine_document(as_read(document, ""), remarks=False).session
    read = session.model_dump(by_alias=True, exclude_defaults=True) if session else {}
    return {**read, "name": document["name"]}


def _named(document: _Entry, section: str) -> dict[str, _Entry]:
    return {str(entry["name"]): entry for entry in document.get(section, ())}


def _declaration(secret: _Entry) -> dict[str, Any]:
    """Return how the value of a secret comes about, whatever way that is spelled."""
    if "import" in secret:
        return {"import": secret["import"]}
    left_out = (*_OF_OTHERS, *without_effect(secret))
    found = {key: value for key, value in secret.items() if key not in left_out and value is not None}
    if "value" not in found:
        found = {**_DEFAULTS.get(found.get("kind", ""), {}), **found}
    elif found.get("kind") == "binary":
        found["value"] = str(found["value"]).lower()
    if "valid_for" in found:
        found["valid_for"] = _seconds(str(found["valid_for"]))
    names = [*(f"dns:{name}" for name in _many(found.pop("dns", ()))), *_many(found.pop("san", ()))]
    if names:
        found["san"] = list(dict.fromkeys(names))
    if "common_name" in found:
        host = next((name.removeprefix("dns:") for name in names if name.startswith("dns:")), "")
        default = host if 0 < len(host) <= _LONGEST_COMMON_NAME else secret["name"]
        found = {key: value for key, value in found.items() if (key, value) != ("common_name", default)}
    return found


def _many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _seconds(text: str) -> float | str:
    try:
        return duration(text).total_seconds()
    except ValueError:
        return text  # the rules of the policy language say so
