"""What becomes of each secret of a session when a new version replaces the old one (LANG §13).

In: the old session (None: there is none yet) and the new one. Out: a `SecretFate` for each secret and each generated
key of a volume. `session diff`, `plan` and `apply` show it, and a test compares it with what the embedded CAS does.
Values are compared and never shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from sconectl.policy.diff.diff_secrets import recipients
from sconectl.policy.reading import Secret, Session, Volume
from sconectl.policy.serialized.canonical import same_content

Fate = Literal[
    "new", "kept", "replaced", "drawn anew", "issued anew", "made at use", "imported", "lost", "removed"
]  # fmt: skip

_CERTIFICATES = frozenset({"x509", "x509-ca"})
_AT_USE = frozenset({"jwt", "aad-token"})
VOLUME_KEY = "volume key"
"""The kind of the key of a volume, which is no secret of the session's text."""


@dataclass(frozen=True)
class SecretFate:
    """What becomes of one secret, and the rule behind it.

    `fate`: `new`; `kept`; `replaced` by what the session gives or imports; `drawn anew` by the CAS; `issued anew`, a
    certificate or public key for a private key that has a fate of its own; `made at use`; `imported` as before; `lost`,
    a generated value that nothing has any more; `removed`, one that was not generated.

    With `loss`, a value that was in use exists no longer. `gains` and `loses` name who may have it from now on, and who
    may no longer: services of the session, other sessions, namespaces, everybody.
    """

    name: str
    kind: str
    fate: Fate
    rule: str
    loss: bool = False
    gains: tuple[str, ...] = ()
    loses: tuple[str, ...] = ()


def fates(old: Session | None, new: Session) -> list[SecretFate]:
    """Return the fate of every secret of `new`, then of those that only `old` has, then of the keys of volumes."""
    if old is None:
        return list(_fates(Session(name=new.name, version=new.version), new))
    if same_content(old, new):  # then the CAS does nothing
        return [*map(_unchanged, new.secrets), *_volumes(old, new)]
    return [*_fates(old, new), *_gone(old, new), *_volumes(old, new)]


def is_kept(before: Secret, after: Secret, old: Session, new: Session) -> bool:
    """Say whether the generated value of `before` stays the value of `after` when `new` replaces `old`."""
    return not _why_drawn(before, after) and (after.kind != "public-key" or _same_key(before, after, old, new))


def _unchanged(secret: Secret) -> SecretFate:
    fate: Fate = "imported" if secret.imported else "made at use" if secret.kind in _AT_USE else "kept"
    return SecretFate(secret.name, _kind(secret), fate, "the session is unchanged")


def _fates(old: Session, new: Session) -> Iterator[SecretFate]:
    first, second = recipients(old), recipients(new)
    used = _in_use(old, first)
    for after in new.secrets:
        before = old.secret(after.name)
        fate, rule, loss = _fate(before, after, old, new)
        one, other = first.get(after.name, ()), second.get(after.name, ())
        gains = tuple(who for who in other if who not in one)
        loses = tuple(who for who in one if who not in other)
        loss = loss and after.name in used
        yield SecretFate(after.name, _kind(after), fate, rule, loss, gains, loses)


def _gone(old: Session, new: Session) -> Iterator[SecretFate]:
    had = recipients(old)
    used = _in_use(old, had)
    for secret in old.secrets:
        if new.secret(secret.name) is not None:
            continue
        fate: Fate = "lost" if _drawn(secret) else "removed"
        rule = "the session has it no longer" + ("" if secret.name in used else "; nothing used it")
        loss = fate == "lost" and secret.name in used
        yield SecretFate(secret.name, _kind(secret), fate, rule, loss, loses=tuple(had.get(secret.name, ())))


def _volumes(old: Session, new: Session) -> Iterator[SecretFate]:
    """Yield the fates of the keys that the CAS drew for volumes: without its key, what lies on a volume is lost."""
    for volume in old.volumes:
        if not _has_own_key(volume):
            continue
        after = new.volume(volume.name)
        if after is not None and _has_own_key(after):
            yield SecretFate(volume.name, VOLUME_KEY, "kept", "the volume has the same name")
        else:
            rule = "the volume is removed" if after is None else "the session gives or imports another key"
            yield SecretFate(volume.name, VOLUME_KEY, "lost", f"{rule}; what lies on it cannot be read any more", True)


def _fate(before: Secret | None, after: Secret, old: Session, new: Session) -> tuple[Fate, str, bool]:
    """Return fate, rule, and whether a value is lost that only the CAS had, or that was given before."""
    lost = before is not None and _drawn(before)
    if after.imported:
        if before is None:
            return "new", f"imported{_source(after)}", False
        if (before.import_, before.import_akv) == (after.import_, after.import_akv):
            return "imported", f"still{_source(after)}", False
        return "replaced", f"imported{_source(after)} from now on", lost
    if after.value is not None:
        if before is None:
            return "new", "the session gives its value", False
        if _given(before) == _given(after):
            return "kept", "the session gives the same value", False
        return "replaced", "the session gives another value", False
    if after.kind in _AT_USE:
        changed = before is not None and _made(before) != _made(after)
        return "made at use", "and made differently from now on" if changed else "whenever it is asked for", lost
    if before is None:
        return "new", "the CAS draws it" if _drawn(after) else "the CAS issues it", False
    if after.kind in _CERTIFICATES or after.kind == "public-key":
        return _issued(before, after, old, new, lost)
    why = _why_drawn(before, after)
    return ("drawn anew", why, True) if why else ("kept", _why_kept(after), False)


def _issued(before: Secret, after: Secret, old: Session, new: Session, lost: bool) -> tuple[Fate, str, bool]:
    if before.kind != after.kind:
        return "replaced", f"its kind was {before.kind or 'imported'}, and is {after.kind}", lost
    same = _same_key(before, after, old, new)
    if after.kind == "public-key" and same and before.generated:
        return "kept", "its private key stays", False
    return "issued anew", f"each update issues it, for {'the same' if same else 'another'} private key", False


def _same_key(before: Secret, after: Secret, old: Session, new: Session) -> bool:
    """Say whether a certificate or public key belongs to the same private key as before."""
    if not before.generated or before.private_key is None or before.private_key != after.private_key:
        return False
    first, second = old.secret(before.private_key), new.secret(before.private_key)
    if first is None or second is None:
        return False
    if first.imported or second.imported:
        return first.import_ is not None and (first.import_, first.import_akv) == (second.import_, second.import_akv)
    return is_kept(first, second, old, new) or (first.value is not None and _given(first) == _given(second))


def _why_drawn(before: Secret, after: Secret) -> str:
    """Return why the CAS does not keep the value of `before`, or ""."""
    if before.imported:
        return "it was imported before"
    if before.kind != after.kind:
        return f"its kind was {before.kind}, and is {after.kind}"
    if before.value is not None:
        return "the session gave its value, and gives none any more"
    if after.kind in {"ascii", "binary"} and before.size != after.size:
        return f"its size was {before.size}, and is {after.size}"
    if after.kind == "private-key" and before.key_type != after.key_type:
        return f"its key_type was {before.key_type}, and is {after.key_type}"
    if after.kind == "private-key" and not (before.migrate and after.migrate):
        old_and_new = [word for word, secret in (("old", before), ("new", after)) if not secret.migrate]
        return f"migrate: true is missing in the {' and the '.join(old_and_new)} version of the session"
    return ""


def _why_kept(secret: Secret) -> str:
    if secret.kind in {"ascii", "binary"}:
        return "kind and size are the same"
    return "both versions say migrate: true" if secret.kind == "private-key" else "its kind is the same"


def _in_use(session: Session, recipients: dict[str, list[str]]) -> set[str]:
    """Return the secrets that somebody may have, or that other secrets are made from."""
    made_from = (name for secret in session.secrets for name in (secret.private_key, secret.issuer, secret.signer))
    return {*(name for name, who in recipients.items() if who), *(name for name in made_from if name)}


def _drawn(secret: Secret) -> bool:
    """Say whether the CAS drew the value, so that nothing but the CAS has it."""
    return secret.generated and secret.kind not in (_AT_USE | _CERTIFICATES | {"public-key"})


def _has_own_key(volume: Volume) -> bool:
    return volume.import_ is None and volume.fspf_key is None


def _kind(secret: Secret) -> str:
    return str(secret.kind or "imported")


def _source(secret: Secret) -> str:
    if secret.import_ is None:
        return " from a key vault"
    return f" from session {secret.import_.session} (secret {secret.import_.secret})"


def _given(secret: Secret) -> tuple[Any, ...]:
    return secret.kind, secret.value


def _made(secret: Secret) -> dict[str, Any]:
    return secret.model_dump(exclude={"export", "export_public"})
