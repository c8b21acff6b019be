"""What changes in who may read and change a session (LANG §16).

In: the old and the new session. Out: changes, in which principals have short names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sconectl.key_hash import hash_of_certificate
from sconectl.policy.diff.change import Change, delegated, neutral, strengthens, weakens, written_out
from sconectl.policy.diff.gains import gained_and_lost
from sconectl.policy.reading import AccessPolicy, Principal, Rule, Session, Signer

_GROUP = "access"
_READING = ("read", "list_sessions")
_OPERATIONS = ("read", "update", "create_sessions", "list_sessions")


def access(old: Session, new: Session) -> Iterator[Change]:
    """Yield the changes of the section `access_policy`."""
    before, after = old.access_policy, new.access_policy
    if before == after:
        return
    if isinstance(after, str):
        yield delegated(_GROUP, "access_policy", after)
    elif isinstance(before, str):
        yield from written_out(_GROUP, "access_policy", _operations(AccessPolicy(), after))
    else:
        yield from _operations(before, after)


def granted(new: Session) -> Iterator[Change]:
    """Yield who may do what with a session that nobody has had before."""
    if isinstance(new.access_policy, str):
        yield delegated(_GROUP, "access_policy", new.access_policy)
        return
    for operation in _OPERATIONS:
        entries = _somebody(new.access_policy.allowed(operation))
        yield neutral(_GROUP, operation, "everybody may" if "ANY" in entries else f"{_names(entries)} may")


def covers(wide: Principal, narrow: Principal) -> bool:
    """Say whether everybody who fulfils `narrow` also fulfils `wide`; governance rules count who has to agree.

    At least so many of those who are needed for `narrow` are needed for `wide`, too, whoever of them agree.
    """
    if wide == narrow:
        return True
    others, known = list(_members(wide)), 0
    members = _members(narrow)
    for member in members:
        match = next((other for other in others if other == member), None)
        if match is None and isinstance(member, Rule):
            match = next((other for other in others if covers(other, member)), None)
        if match is not None:
            others.remove(match)
            known += 1
    return _needed(narrow) - (len(members) - known) >= _needed(wide)


def _members(principal: Principal) -> tuple[Principal, ...]:
    return principal.of if isinstance(principal, Rule) else (principal,)


def _needed(principal: Principal) -> int:
    return principal.needed if isinstance(principal, Rule) else 1


def _operations(before: AccessPolicy, after: AccessPolicy) -> Iterator[Change]:
    for operation in _OPERATIONS:
        yield from _operation(operation, before, after)


def _operation(operation: str, before: AccessPolicy, after: AccessPolicy) -> Iterator[Change]:
    first, second = _somebody(before.allowed(operation)), _somebody(after.allowed(operation))
    if first == second:
        return
    reading = operation in _READING

    def code(entry: Principal, covered: Sequence[Principal]) -> str:
        if any(isinstance(other, Rule) and _needed(entry) < other.needed for other in covered):
            return "SC5065"
        return "SC5062" if reading else "SC5064"

    if "ANY" in second:
        yield weakens(_GROUP, operation, "everybody may", "SC5061" if reading else "SC5063")
    elif "ANY" in first:
        yield strengthens(_GROUP, operation, f"no longer everybody, only {_names(second)}")
    else:
        yield from gained_and_lost(
            _GROUP,
            operation,
            first,
            second,
            "{} may",
            "{} may no longer",
            code,
            covers=covers,
            within=lambda _: ("",),
            words=principal_name,
        )


def _somebody(principals: Sequence[Principal]) -> list[Principal]:
    return [principal for principal in principals if principal != "NONE"]


def _names(principals: Sequence[Principal]) -> str:
    return ", ".join(map(principal_name, principals)) or "nobody"


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
