"""Who may do what with a session.

In: the principals that a policy names, the session's creator, and what a client has proved: the key of its TLS
certificate, or the keys whose signatures a signed session carries. Out: yes or no. Clients are compared by public
key; a renewed certificate for the same key is the same client.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sconectl.key_hash import hash_of_certificate, is_key_hash, normal_certificate
from sconectl.policy.reading import Principal as Entry
from sconectl.policy.reading import Rule, Session, Signer
from sconectl.policy.resolved_sections import Resolve, principals_of


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


@dataclass(frozen=True)
class Client:
    """On whose behalf a request is made: a TLS client, or the signers of a signed session (never both)."""

    principal: Principal | None = None
    signers: frozenset[str] = frozenset()

    def __str__(self) -> str:
        if self.signers:
            return f"the {len(self.signers)} signers of the session" if len(self.signers) > 1 else "its signer"
        return self.principal.key_hash if self.principal else "a client without certificate"


@dataclass(frozen=True)
class Grant:
    """The answer to one question, with the references of the policy that had to be ignored."""

    allowed: bool
    ignored: tuple[str, ...] = ()


def grants(session: Session, operation: str, client: Client, resolve: Resolve) -> Grant:
    """Say whether `session` grants `operation` to `client`; `resolve` reads the secrets that its policy refers to."""
    entries, ignored = principals_of(session, operation, resolve)
    return Grant(any(_matches(entry, session, client) for entry in entries), ignored)


def _matches(entry: Entry, session: Session, client: Client) -> bool:
    if isinstance(entry, Rule):
        return sum(_matches(part, session, client) for part in entry.of) >= entry.needed
    if isinstance(entry, Signer):
        return entry.signer in client.signers
    if entry == "ANY":
        return True
    if entry == "NONE":
        return False
    if entry == "CREATOR":
        return session.creator is not None and is_creator(session.creator, client)
    if client.principal is None:
        return False
    key = entry if is_key_hash(entry) else hash_of_certificate(entry.encode())
    return key == client.principal.key_hash


def is_creator(creator: str | Signer, client: Client) -> bool:
    """Say whether `client` is the creator that the session names."""
    if isinstance(creator, Signer):
        return creator.signer in client.signers
    return client.principal is not None and hash_of_certificate(creator.encode()) == client.principal.key_hash
