"""How much a session may hold and make the CAS do; the rules of the language are `policy`'s.

In: a valid session. Out: nothing, or a refusal (413) that names everything that is too much.
"""

from __future__ import annotations

from collections.abc import Iterator

from sconectl.cas.bounds.limits import Limits
from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.policy.reading import Session

KEYS = frozenset({"private-key", "pgp-key"})
SIGNATURES = frozenset({"x509", "x509-ca", "jwt"})
_DRAWN = frozenset({"ascii", "binary"})


def check(session: Session, limits: Limits) -> None:
    """Raise `CasRefusal` 413 if `session` exceeds limits."""
    faults = tuple(_faults(session, limits))
    if faults:
        raise CasRefusal(413, "The session is too large for this CAS", *faults)


def _faults(session: Session, limits: Limits) -> Iterator[str]:
    made = [secret for secret in session.secrets if secret.value is None and not secret.imported]
    drawn = sum(secret.size for secret in made if secret.kind in _DRAWN)
    for count, most, what in (
        (len(session.secrets), limits.session_secrets, "secrets"),
        (sum(secret.kind in KEYS for secret in made), limits.session_keys, "keys that are drawn"),
        (sum(secret.kind in SIGNATURES for secret in made), limits.session_signatures, "certificates and tokens"),
        (drawn, limits.session_drawn_bytes, "bytes of values that are drawn"),
        (len(session.volumes), limits.session_secrets, "volumes"),
    ):
        if count > most:
            yield f"It has {count} {what}; at most {most} are allowed"


def is_costly(session: Session) -> bool:
    """Say whether making the values of `session` takes more than a moment."""
    return any(secret.kind in KEYS | SIGNATURES | {"public-key"} for secret in session.secrets)
