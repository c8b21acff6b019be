"""The changes between two versions of a session, in words for reviewers who have to approve them.

In: the old session (None: there is none yet) and the new one. Out: a list of `Change`, each of which weakens or
strengthens the protection or does neither, as text or plain values. Values of secrets, variables, arguments and files
are never shown; they have changed or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from sconectl.key_hash import hash_of_certificate
from sconectl.policy.diff import diff_secrets, diff_services
from sconectl.policy.diff.change import Change, gained_and_lost, neutral, strengthens, weakens
from sconectl.policy.forms.tolerations import HARDWARE, SIMULATION
from sconectl.policy.reading import AccessPolicy, Attestation, Principal, Rule, Security, Session, Signer
from sconectl.policy.serialized.canonical import same_content

__all__ = ["GROUPS", "Change", "as_text", "differences", "to_json"]

GROUPS = {
    "session": "the session itself",
    "attestation": "which enclaves are trusted",
    "configuration": "what the services get",
    "sharing": "who may have the secrets",
    "values": "values of secrets after the update",
    "access": "who may read and change the session",
    "volumes": "volumes and file systems",
}
"""The groups of changes, in the order in which they are shown, with their headings."""

_OPERATIONS = ("read", "update", "create_sessions", "list_sessions")
_SIGN = {"weakens": "!", "strengthens": "+", "neutral": " "}


def differences(old: Session | None, new: Session) -> list[Change]:
    """Return the changes from `old` to `new`, ordered as `GROUPS`; none if only predecessor or creator differ.

    Without an old session everything is new, and nothing is weakened or strengthened by it.
    """
    if old is None:
        empty = Session(name=new.name, version=new.version)
        changes = [change for change in _all(empty, new) if change.group != "access"]
        described = [*changes, *_granted(new)]
        return _ordered([replace(change, severity="neutral") for change in described])
    if same_content(old, new):
        return []
    return _ordered([*_all(old, new), *_access(old, new)])


def as_text(changes: Sequence[Change]) -> str:
    """Return changes as lines of text below a heading for each group: `!` weakens, `+` strengthens."""
    lines: list[str] = []
    for group, heading in GROUPS.items():
        members = [change for change in changes if change.group == group]
        if members:
            lines.append(f"{heading}:")
            lines.extend(f"  {_SIGN[change.severity]} {change.subject}: {change.message}" for change in members)
    return "".join(f"{line}\n" for line in lines)


def to_json(changes: Sequence[Change]) -> list[dict[str, str]]:
    """Return changes as plain values with the keys group, severity, subject and message."""
    return [
        {"group": change.group, "severity": change.severity, "subject": change.subject, "message": change.message}
        for change in changes
    ]


def _ordered(changes: list[Change]) -> list[Change]:
    order = list(GROUPS)
    return sorted(changes, key=lambda change: order.index(change.group))


def _all(old: Session, new: Session) -> Iterator[Change]:
    yield from _head(old, new)
    yield from _security(old, new)
    yield from diff_services.services(old, new)
    yield from diff_services.volumes(old, new)
    yield from diff_secrets.sharing(old, new)
    yield from diff_secrets.values(old, new)


def _head(old: Session, new: Session) -> Iterator[Change]:
    if old.name != new.name:
        yield neutral("session", "name", f"was {old.name}, is {new.name}")
    if old.version != new.version:
        yield neutral("session", "version", f"was {old.version}, is {new.version}")
    if old.salt is None and new.salt is not None:
        yield neutral("session", "salt", "anybody may ask for the hash of the session from now on")
    if old.secret_config != new.secret_config:
        yield neutral("session", "secret_config", f"secrets are kept in {new.secret_config.store}")


# --- security ---------------------------------------------------------------------------------------------------------


def _security(old: Session, new: Session) -> Iterator[Change]:
    before, after = old.security, new.security
    if before == after:
        return
    if isinstance(before, str) or isinstance(after, str):
        yield delegated("attestation", "security", after)
        return
    yield from _token(before, after)
    if before.singleton_enclaves != after.singleton_enclaves:
        change = strengthens if after.singleton_enclaves else weakens
        text = "is required" if after.singleton_enclaves else "is not required any more"
        yield change("attestation", "singleton_enclaves", text)
    first, second = before.attestation, after.attestation
    if first == second:
        return
    if isinstance(first, str) or isinstance(second, str):
        yield delegated("attestation", "security.attestation", second)
        return
    yield from _attestation(first, second)


def delegated(group: str, subject: str, after: Any) -> Change:
    """Return the change of a section that is a reference to a secret before or after the update."""
    if isinstance(after, str):
        return weakens(group, subject, f"is decided by the secret in {after}")
    return neutral(group, subject, "is not decided by a secret any more; look at it as a whole")


def _token(before: Security, after: Security) -> Iterator[Change]:
    yield from required("service_access_token", before.service_access_token, after.service_access_token)


def required(subject: str, before: str | None, after: str | None) -> Iterator[Change]:
    """Yield the change of a shared secret that services have to show; its values are only compared."""
    if before is None and after is not None:
        yield strengthens("attestation", subject, "is needed")
    elif before is not None and after is None:
        yield weakens("attestation", subject, "is not needed any more")
    elif before != after:
        yield neutral("attestation", subject, "changed")


_STRENGTH = {"none": 0, SIMULATION: 1, "maa": 2, HARDWARE: 2}
_MEANING = {"none": "; any program may act as any service", SIMULATION: "; no hardware vouches for a program"}


def _attestation(before: Attestation, after: Attestation) -> Iterator[Change]:
    if before.mode != after.mode:
        change: Callable[[str, str, str], Change] = neutral
        was, now = _STRENGTH.get(before.mode), _STRENGTH.get(after.mode)
        if was is not None and now is not None and was != now:
            change = weakens if now < was else strengthens
        meaning = _MEANING.get(after.mode, "")
        yield change("attestation", "mode", f"was {before.mode}, is {after.mode}{meaning}")
    for subject, words, first, second in (
        ("tolerate", "{} is tolerated", before.tolerate, after.tolerate),
        ("ignore_advisories", "{} is ignored", before.ignore_advisories, after.ignore_advisories),
        (
            "trusted_scone_qe_pubkeys",
            "quotes by {} are trusted",
            before.trusted_scone_qe_pubkeys,
            after.trusted_scone_qe_pubkeys,
        ),
    ):
        yield from gained_and_lost("attestation", subject, first, second, words, f"{words} no longer")
    for subject in ("url", "certificates", "must_be_sgx_local", "min_rsa_signing_key_size"):
        if getattr(before, subject) != getattr(after, subject):
            yield neutral("attestation", subject, "changed")
    otp = "one_time_password_shared_secret"
    yield from required(otp, before.one_time_password_shared_secret, after.one_time_password_shared_secret)


# --- access -----------------------------------------------------------------------------------------------------------


def _access(old: Session, new: Session) -> Iterator[Change]:
    before, after = old.access_policy, new.access_policy
    if isinstance(before, str) or isinstance(after, str):
        if before != after:
            yield delegated("access", "access_policy", after)
        return
    for operation in _OPERATIONS:
        yield from _operation(operation, before, after)


def _operation(operation: str, before: AccessPolicy, after: AccessPolicy) -> Iterator[Change]:
    first = _named(before.allowed(operation))
    second = _named(after.allowed(operation))
    if first == second:
        return
    if "ANY" in second:
        yield weakens("access", operation, "everybody may")
    elif "ANY" in first:
        yield strengthens("access", operation, f"no longer everybody, only {', '.join(second) or 'nobody'}")
    else:
        yield from gained_and_lost("access", operation, first, second, "{} may", "{} may no longer")


def _granted(new: Session) -> Iterator[Change]:
    if isinstance(new.access_policy, str):
        yield delegated("access", "access_policy", new.access_policy)
        return
    for operation in _OPERATIONS:
        names = _named(new.access_policy.allowed(operation))
        yield neutral("access", operation, "everybody may" if "ANY" in names else f"{', '.join(names) or 'nobody'} may")


def _named(principals: Sequence[Principal]) -> list[str]:
    return [principal_name(principal) for principal in principals if principal != "NONE"]


def principal_name(principal: Principal) -> str:
    """Return a short name for a principal: a keyword, a key hash, or the words of a rule."""
    if isinstance(principal, Signer):
        return f"the signer {_key_hash(principal.signer)}"
    if isinstance(principal, Rule):
        rule = "all" if principal.at_least is None else f"at least {principal.at_least}"
        return f"{rule} of ({', '.join(principal_name(child) for child in principal.of)})"
    if principal.startswith("-----BEGIN"):
        return f"the key {hash_of_certificate(principal.encode())}"
    return principal


def _key_hash(pem: str) -> str:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    from sconectl.key_hash import key_hash

    return key_hash(load_pem_public_key(pem.encode()))
