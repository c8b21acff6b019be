"""What changes in how the secrets of a session come about: how strong and long-lived they are, who decides on them.

In: the old and the new session. Out: changes. Values are compared and never shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from sconectl.policy.diff.change import Change, neutral, ranked, strengthens, weakens
from sconectl.policy.diff.gains import gained_and_lost
from sconectl.policy.forms.durations import duration
from sconectl.policy.reading import AkvImport, Import, Secret, Session, VolumeImport
from sconectl.text.secret_placeholders import is_reference, placeholders
from sconectl.text.yaml_tree import texts_in

_GROUP = "making"
_BITS = {"RSA-2048": 112, "P-256": 128, "Ed25519": 128, "RSA-3072": 128, "P-384": 192}
"""The strength of a key as that of a symmetric cipher (NIST SP 800-57)."""
_CONFIDENTIAL = frozenset({"ascii", "binary", "private-key"})
_TRUST = {"attestation", "platforms"}
_SHARED = frozenset({"one_time_password_shared_secret", "service_access_token"})
"""Texts of `security` that are values themselves, and decide nothing."""
_OTHERS = (
    "migrate", "private_key", "issuer", "common_name", "tenant_id", "client_id", "application_secret",
    "certificate_thumbprint", "signer", "alg", "payload",
)  # fmt: skip
"""Fields whose change is told, and says nothing about the protection."""

Elsewhere = Import | VolumeImport | AkvImport


def making(old: Session, new: Session) -> Iterator[Change]:
    """Yield the changes of the parameters of each secret that both sessions have."""
    first, deciding = {secret.name: secret for secret in old.secrets}, _deciding(new)
    for after in new.secrets:
        if (before := first.get(after.name)) is not None:
            yield from _secret(f"secret {after.name}", before, after, decides=after.name in deciding)


def _deciding(session: Session) -> set[str]:
    """Return the secrets that stand for a part of `security`, `access_policy` or the attestation of a service."""
    parts = session.model_dump(include={"security": True, "access_policy": True, "services": {"__all__": _TRUST}})
    texts = (text for path, text in texts_in(parts) if path[-1] not in _SHARED)
    return {found.name for text in texts if is_reference(text) for found in placeholders(text) if found}


def elsewhere(
    group: str, subject: str, what: str, before: Elsewhere | None, after: Elsewhere | None
) -> Iterator[Change]:
    """Yield the change of the place outside of the session that something comes from."""
    if before == after:
        return
    if before is None or after is None or _place(before) != _place(after):
        if after is not None:
            yield weakens(group, subject, f"{what} comes from {_place(after)}", "SC5054")
        if before is not None:
            yield strengthens(group, subject, f"{what} no longer comes from {_place(before)}")
        return
    for key, code, without, with_it in (
        ("session_hash", "SC5055", f"any version of {_place(after)} counts", "only one version of it counts"),
        ("decryption_key", "SC5056", "it is not encrypted there", "it is encrypted there"),
        ("token", "", "the token for it changed", "the token for it changed"),
    ):
        was, now = getattr(before, key, None), getattr(after, key, None)
        if was != now:
            text = f"{what}: {with_it if now else without}"
            yield ranked(group, subject, text, code, bool(was and code), bool(now and code))


def _place(source: Elsewhere) -> str:
    if isinstance(source, AkvImport):
        return f"key vault {source.vault} (secret {source.secret_name or 'of the same name'})"
    thing = f"volume {source.volume}" if isinstance(source, VolumeImport) else f"secret {source.secret}"
    place = f"session {source.session} ({thing})"
    if isinstance(source, Import) and source.cas_url:
        place += f" of CAS {source.cas_url} ({source.cas_key or source.cas_software_key})"
    return place


def _secret(subject: str, before: Secret, after: Secret, *, decides: bool) -> Iterator[Change]:
    yield from _source(subject, before, after)
    if before.kind != after.kind:
        yield neutral(_GROUP, subject, f"kind: was {before.kind or 'not given'}, is {after.kind or 'not given'}")
        return
    yield from _value(subject, before, after, decides=decides)
    yield from _strength(subject, before, after)
    if before.kind == "x509":
        yield from _certificate(subject, before, after)
    for key in _OTHERS:
        if getattr(before, key) != getattr(after, key):
            yield neutral(_GROUP, subject, f"{key}: changed")


def _source(subject: str, before: Secret, after: Secret) -> Iterator[Change]:
    one, other = before.import_ or before.import_akv, after.import_ or after.import_akv
    yield from elsewhere(_GROUP, subject, "its value", one, other)


def _value(subject: str, before: Secret, after: Secret, *, decides: bool) -> Iterator[Change]:
    if before.imported or after.imported or before.value == after.value:
        return
    if decides and after.value is not None:
        yield weakens(_GROUP, subject, "value: changed, and it decides who is trusted; look at it as a whole", "SC5010")
        return
    first, second = before.value is None, after.value is None
    text = f"value: {'changed' if not (first or second) else 'made by the CAS' if second else 'written in the session'}"
    if after.kind in _CONFIDENTIAL:
        yield ranked(_GROUP, subject, text, "SC5053", first, second)
    else:
        yield neutral(_GROUP, subject, text)


def _strength(subject: str, before: Secret, after: Secret) -> Iterator[Change]:
    if not before.generated or not after.generated:
        return
    if before.size != after.size:
        text = f"size: was {before.size}, is {after.size}"
        yield ranked(_GROUP, subject, text, "SC5051", before.size, after.size)
    if before.key_type != after.key_type:
        text = f"key_type: was {before.key_type}, is {after.key_type}"
        yield ranked(_GROUP, subject, text, "SC5052", _BITS[before.key_type], _BITS[after.key_type])
    tokens = [secret.validity.for_ if secret.validity else None for secret in (before, after)]
    for key, was, now in (("valid_for", before.valid_for, after.valid_for), ("validity", *tokens)):
        if was != now:
            text = f"{key}: was {was or 'unlimited'}, is {now or 'unlimited'}"
            yield ranked(_GROUP, subject, text, "SC5057", -_seconds(was), -_seconds(now))


def _seconds(lifetime: str | None) -> float:
    return inf if lifetime is None else duration(lifetime).total_seconds()


def _certificate(subject: str, before: Secret, after: Secret) -> Iterator[Change]:
    yield from gained_and_lost(
        _GROUP,
        subject,
        _names(before),
        _names(after),
        "is valid for {}",
        "is no longer valid for {}",
        "SC5058",
        covers=_stands_for,
        within=lambda name: (name, _wildcard(name)),
    )
    yield from gained_and_lost(
        _GROUP,
        subject,
        _ends(before),
        _ends(after),
        "may be used as {}",
        "may no longer be used as {}",
        "SC5059",
    )
    if (before.dns, before.san) != (after.dns, after.san) and sorted(_names(before)) == sorted(_names(after)):
        yield neutral(_GROUP, subject, "its names are written differently")


def _names(secret: Secret) -> list[str]:
    return list(dict.fromkeys([*(f"dns:{name}" for name in secret.dns), *secret.san]))


def _ends(secret: Secret) -> list[str]:
    if not secret.generated:
        return []
    return [secret.endpoint] if secret.endpoint else ["server", "client"]


def _stands_for(wide: str, narrow: str) -> bool:
    """Say whether the name `wide` is `narrow`, or a wildcard that stands for it."""
    return wide in (narrow, _wildcard(narrow))


def _wildcard(name: str) -> str:
    return f"dns:*.{name.partition('.')[2]}" if name.startswith("dns:") else name
