"""The changes between two versions of a session, in words for reviewers who have to approve them.

In: the old session (None: there is none yet) and the new one. Out: a list of `Change`, each of which weakens or
strengthens the protection or does neither, as text or plain values. Values of secrets, variables, arguments and files
are never shown; they have changed or not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from sconectl.errors import Refused
from sconectl.policy.diff import diff_access, diff_attestation, diff_making, diff_secrets, diff_services, diff_volumes
from sconectl.policy.diff.change import Change, neutral, weakens
from sconectl.policy.diff.fates import VOLUME_KEY, fates
from sconectl.policy.reading import Session
from sconectl.policy.serialized.canonical import same_content

__all__ = ["GROUPS", "SIGN", "Change", "as_text", "differences", "refuse_what_weakens", "to_json"]

GROUPS = {
    "session": "the session itself",
    "attestation": "which enclaves are trusted",
    "configuration": "what the services get",
    "sharing": "who may have the secrets",
    "making": "what secrets are made from",
    "values": "values of secrets after the update",
    "access": "who may read and change the session",
    "volumes": "volumes and file systems",
}
"""The groups of changes, in the order in which they are shown, with their headings."""

_KEYS = ("group", "severity", "code", "subject", "message")
SIGN = {"weakens": "!", "strengthens": "+", "neutral": " "}
"""How each severity is marked in text."""


def differences(old: Session | None, new: Session) -> list[Change]:
    """Return the changes from `old` to `new`, ordered as `GROUPS`; none if only predecessor or creator differ.

    Without an old session everything is new, and nothing is weakened or strengthened by it.
    """
    if old is None:
        empty = Session(name=new.name, version=new.version)
        changes = [change for change in _all(empty, new) if change.group != "access"]
        described = [*changes, *diff_access.granted(new)]
        return _ordered([replace(change, severity="neutral", code="") for change in described])
    if same_content(old, new):
        return []
    return _ordered([*_all(old, new), *diff_access.access(old, new)])


def as_text(changes: Sequence[Change]) -> str:
    """Return changes as lines of text below a heading for each group: `!` weakens (with its code), `+` strengthens."""
    lines: list[str] = []
    for group, heading in GROUPS.items():
        members = [change for change in changes if change.group == group]
        if members:
            lines.append(f"{heading}:")
            lines.extend(map(_line, members))
    return "".join(f"{line}\n" for line in lines)


def _line(change: Change) -> str:
    code = f" [{change.code}]" if change.code else ""
    return f"  {SIGN[change.severity]} {change.subject}: {change.message}{code}"


def to_json(changes: Sequence[Change]) -> list[dict[str, str]]:
    """Return changes as plain values: group, severity, code (empty unless it weakens), subject and message."""
    return [{key: getattr(change, key) for key in _KEYS} for change in changes]


def refuse_what_weakens(changes: Sequence[Change]) -> None:
    """Raise `Refused` if any of the changes weakens the protection."""
    codes = sorted({change.code for change in changes if change.severity == "weakens"})
    if codes:
        count = sum(change.severity == "weakens" for change in changes)
        raise Refused(
            f"{count} {'change weakens' if count == 1 else 'changes weaken'} the protection: {', '.join(codes)}",
            hint=f"`sconectl explain {codes[0]}` says why, and how to do it safer",
        )


def _ordered(changes: list[Change]) -> list[Change]:
    order = list(GROUPS)
    return sorted(changes, key=lambda change: order.index(change.group))


def _all(old: Session, new: Session) -> Iterator[Change]:
    yield from _head(old, new)
    yield from diff_attestation.security(old, new)
    yield from diff_services.services(old, new)
    yield from diff_volumes.volumes(old, new)
    yield from diff_secrets.sharing(old, new)
    yield from diff_making.making(old, new)
    yield from _values(old, new)


def _values(old: Session, new: Session) -> Iterator[Change]:
    for fate in fates(old, new):
        if fate.kind != VOLUME_KEY:
            yield neutral("values", f"secret {fate.name}", f"{fate.fate}: {fate.rule}")


def _head(old: Session, new: Session) -> Iterator[Change]:
    if old.name != new.name:
        yield neutral("session", "name", f"was {old.name}, is {new.name}")
    if old.version != new.version:
        yield neutral("session", "version", f"was {old.version}, is {new.version}")
    if old.salt is not None and new.salt is None:
        text = "is removed; anybody may still ask for the hash, and can now try which content has it"
        yield weakens("session", "salt", text, "SC5066")
    elif old.salt != new.salt:
        text = "changed" if old.salt else "anybody may ask for the hash of the session from now on"
        yield neutral("session", "salt", text)
    if old.namespace_hash != new.namespace_hash:
        yield neutral("session", "namespace_hash", "changed; it counts only when the session is created")
    if old.secret_config != new.secret_config:
        yield neutral("session", "secret_config", f"secrets are kept in {new.secret_config.store}")
