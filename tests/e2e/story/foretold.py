"""What `sconectl plan` foretells, and whether it came true in pods.

In: the plan of a mesh as JSON, and the digests of the secrets that pods of each session had before, and have now.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Digests = Mapping[str, Mapping[str, str]]
"""The SHA-256 of each secret, by session and name of the secret."""
_CERTIFICATES = ("x509", "x509-ca")


@dataclass(frozen=True)
class Foretold:
    """The plan of a mesh."""

    sessions: Mapping[str, Mapping[str, Any]]

    @classmethod
    def read(cls, document: Any) -> Foretold:
        (mesh,) = (plan for plan in document["plans"] if plan["kind"] == "mesh")
        return cls({session["name"].rpartition("/")[2]: session for session in mesh["sessions"]})

    def fate(self, session: str, secret: str) -> Mapping[str, Any]:
        (found,) = (each for each in self.sessions[session]["secrets"] if each["name"] == secret)
        return dict(found)

    @property
    def losses(self) -> list[str]:
        return [f"{session}/{fate['name']}" for session, fate in self._fates() if fate["loss"]]

    @property
    def weakens(self) -> set[str]:
        """The codes of the changes that weaken the protection."""
        changes = (change for session in self.sessions.values() for change in session["changes"])
        return {change["code"] for change in changes if change["severity"] == "weakens"}

    @property
    def certificates(self) -> set[str]:
        """What may be issued anew at any time, for the same key: nobody has to have the latest one."""
        return {fate["name"] for _, fate in self._fates() if fate["kind"] in _CERTIFICATES}

    def came_true(self, before: Digests, after: Digests) -> None:
        """Assert that each secret became what was foretold, and that those have it who were to have it."""
        was, now = _values(before), _values(after)
        for session, fate in self._fates():
            name = fate["name"]
            if fate["kind"] == "imported":  # its value has a fate where it is made
                had, has = name in before.get(session, ()), name in after.get(session, ())
                expected = {"new": (False, True), "imported": (True, True), "removed": (True, False)}[fate["fate"]]
                assert (had, has) == expected, (session, fate)
            else:
                assert _as_foretold(fate["fate"], was.get(name), now.get(name)), (session, fate)
            for who in fate["gains"]:
                assert _has(after, session, who, name) and not _has(before, session, who, name), (who, fate)
            for who in fate["loses"]:
                assert _has(before, session, who, name) and not _has(after, session, who, name), (who, fate)

    def _fates(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for name, session in self.sessions.items():
            for fate in session["secrets"]:
                yield name, fate


def _values(digests: Digests) -> dict[str, str]:
    """Return the digest of each secret: whoever has it has the same value."""
    found: dict[str, str] = {}
    for of_session in digests.values():
        for name, digest in of_session.items():
            assert found.setdefault(name, digest) == digest, name
    return found


def _as_foretold(fate: str, was: str | None, now: str | None) -> bool:
    if fate in ("drawn anew", "issued anew", "replaced"):
        return was is not None and now is not None and was != now
    return {"new": was is None, "kept": was == now, "lost": now is None, "removed": now is None}[fate]


def _has(digests: Digests, session: str, who: str, secret: str) -> bool:
    """Say whether somebody has a secret: another session, or the service of this one."""
    kind, _, name = who.partition(" ")
    return secret in digests.get(name.rpartition("/")[2] if kind == "session" else session, ())
