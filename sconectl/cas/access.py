"""Who may do what with a session.

In: an access policy, the session's creator, and the certificate a client proved to own. Out: yes or no. Clients are
compared by public key; a renewed certificate for the same key is the same client.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sconectl.key_hash import hash_of_certificate, is_key_hash, normal_certificate
from sconectl.policy.model import Session


@dataclass(frozen=True)
class Principal:
    """A client that has shown possession of the key in its certificate."""

    key_hash: str
    certificate_pem: str = field(repr=False)

    @classmethod
    def of(cls, certificate: bytes) -> Principal:
        """Return the principal behind a certificate (DER or PEM); raises `ValueError` if it is unusable."""
        if not certificate.lstrip().startswith(b"-----BEGIN"):
            import ssl

            certificate = ssl.DER_cert_to_PEM_cert(certificate).encode()
        return cls(hash_of_certificate(certificate), normal_certificate(certificate.decode()))


def permits(session: Session, operation: str, principal: Principal) -> bool:
    """Say whether `session` grants `operation` (a field of its access policy) to `principal`."""
    return any(_matches(entry, session, principal) for entry in session.access_policy.allowed(operation))


def _matches(entry: str, session: Session, principal: Principal) -> bool:
    if entry == "ANY":
        return True
    if entry == "NONE":
        return False
    if entry == "CREATOR":
        return session.creator is not None and is_creator(session.creator, principal)
    if is_key_hash(entry):
        return entry == principal.key_hash
    return hash_of_certificate(entry.encode()) == principal.key_hash


def is_creator(creator: str, principal: Principal) -> bool:
    """Say whether the `creator` certificate holds the key of `principal`."""
    return hash_of_certificate(creator.encode()) == principal.key_hash
