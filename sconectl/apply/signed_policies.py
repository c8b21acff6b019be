"""Sessions as signed or encrypted documents, for modes in which somebody else hands them to the CAS.

In: a plan, the key that signs, what was written before. Out: files below target/policies, and custom resources. An
unchanged session keeps its document byte by byte, so an encrypted one changes only if what is in it does.

Each version of a session names the one before it. Which one that is, the CAS knows; where it cannot be asked, the
receipts do, which the lock keeps: for each CAS and session, the hash of the last version that was written here, its
predecessor, a keyed digest of its text, and the encrypted document, which would have other bytes if it were encrypted
anew. Sessions carry a salt, so that their hashes reveal nothing, and so that the CAS tells them to everybody.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sconectl.artefacts.policy_resources import policy_resource
from sconectl.artefacts.session import session_text
from sconectl.errors import CasError, CasUnreachable
from sconectl.plan.mesh.mesh import MeshPlan, SessionPlan, with_version
from sconectl.plan.mesh.mesh_input import ENCRYPTED_MODES, cas_host
from sconectl.policy.reading import parse_session
from sconectl.policy.serialized.canonical import session_hash
from sconectl.policy.signed_session import (
    EncryptedSession,
    SignedSession,
    creator_cannot_read,
    encrypt,
    message_to_sign,
    signer_of,
)
from sconectl.ports import Workspace

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_SALT_DIGITS = 32

Receipts = Mapping[str, Mapping[str, Mapping[str, str]]]
"""By CAS and session: `hash`, `predecessor` (if there is one), `text` (the keyed digest of the session's text), and
if it is encrypted `document`, with a `seal` that vouches for it."""


@dataclass(frozen=True)
class Shipped:
    """What becomes of the sessions of a mesh: files, custom resources by file name, and the sessions that changed.

    `unknown` are sessions of which neither the CAS nor a receipt said whether there is a version before.
    """

    files: Mapping[str, bytes]
    resources: Mapping[str, Mapping[str, Any]]
    changed: tuple[str, ...]
    receipts: Receipts = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


NOTHING = Shipped({}, {}, ())


@dataclass(frozen=True)
class Signing:
    """Who signs, and what is known of the CAS: the public key for encryption, hashes of active sessions, receipts.

    The CAS is asked for its key and about versions only if the manifest does not name the key; and only about sessions
    that have changed. Both functions raise `CasError`.
    """

    key: Ed25519PrivateKey
    encryption_key: Callable[[], str]
    active: Callable[[str], str | None]
    receipts: Receipts = field(default_factory=dict)


def ship(plan: MeshPlan, signing: Signing, workspace: Workspace) -> Shipped:
    """Return the sessions of `plan` as signed or encrypted documents.

    Raises `SignedError`, and what `encryption_key` raises.
    """
    key = ""
    if plan.mode in ENCRYPTED_MODES:
        key = (plan.cas.cas_encryption_key or _asked(signing.encryption_key)).lower()
    shipper = _Shipper(signing, key, workspace, cas_host(plan.cas), asks=not plan.cas.cas_encryption_key)
    for session in plan.sessions:
        shipper.add(session)
    return shipper.done()


def _asked(encryption_key: Callable[[], str]) -> str:
    try:
        return encryption_key()
    except CasError as error:
        remedy = "or give the key of the CAS with cas_encryption_key"
        error.hint = f"{error.hint}; {remedy}" if error.hint else remedy
        raise


class _Shipper:
    def __init__(self, signing: Signing, encryption_key: str, workspace: Workspace, cas: str, *, asks: bool) -> None:
        self._key = signing.key
        self._signer = signer_of(signing.key.public_key())
        self._active = signing.active if asks else None
        self._encryption_key = encryption_key
        self._workspace = workspace
        self._cas = cas
        self._secret = hashlib.sha256(b"sconectl receipts\0" + signing.key.private_bytes_raw()).digest()
        self._all_receipts = signing.receipts
        self._receipts = self._all_receipts.get(cas, {})
        self._unknown: list[str] = []
        self._files: dict[str, bytes] = {}
        self._resources: dict[str, dict[str, Any]] = {}
        self._changed: list[str] = []
        self._written: dict[str, dict[str, str]] = {}

    def add(self, session: SessionPlan) -> None:
        """Sign a session, and encrypt it if there is a key for that, unless it is there already."""
        salt = hmac.new(self._secret, b"salt\0" + session.name.encode(), hashlib.sha256).hexdigest()[:_SALT_DIGITS]
        own = {key: value for key, value in session.document.items() if key != "version"}
        document = with_version({**own, "salt": salt, "creator": {"signer": self._signer.signer}})
        digest = hmac.new(self._secret, session_text(document).encode(), hashlib.sha256).hexdigest()
        path = f"policies/{session.file}.json"
        last = self._receipts.get(session.name, {})
        same = last.get("text") == digest
        signed, receipt = self._signed(document, self._predecessor(session.name, last, same=same))
        self._written[session.name] = {"text": digest, **receipt}
        before = self._workspace.read(path)
        kept = self._encrypted_before(last) if same else None
        shipped = kept or self._encrypted(signed)
        if isinstance(shipped, EncryptedSession):
            document_text = shipped.to_json()
            self._written[session.name] |= {"document": document_text, "seal": self._seal(digest, document_text)}
        content = (shipped.to_json() + "\n").encode()
        if content != before:
            self._changed.append(session.name)
        self._files[path] = content
        self._resources[session.file] = policy_resource(session.name, self._cas, shipped)

    def _seal(self, digest: str, document: str) -> str:
        """Return what vouches for an encrypted document in the lock: that we encrypted the text with this digest."""
        return hmac.new(self._secret, f"document\0{digest}\0{document}".encode(), hashlib.sha256).hexdigest()

    def _encrypted_before(self, last: Mapping[str, str]) -> EncryptedSession | None:
        """Return the document that was written before, if it is ours and encrypted for this key."""
        document, seal = last.get("document", ""), self._seal(last.get("text", ""), last.get("document", ""))
        if not self._encryption_key or not hmac.compare_digest(
            seal.encode(), last.get("seal", "").encode("utf-8", "replace")
        ):
            return None
        found = EncryptedSession.from_json(document)
        return found if found.encryption_key == self._encryption_key else None

    def _predecessor(self, name: str, last: Mapping[str, str], *, same: bool) -> str:
        """Return the hash of the version that a session replaces, or "" for the first."""
        if same:
            return last.get("predecessor", "")
        try:
            if self._active is not None:
                return self._active(name) or ""
        except CasUnreachable:
            self._active = None  # nor will it answer for the next one
        except CasError:
            pass  # it does not say: a session from before there were salts, or one of somebody else
        if not last:
            self._unknown.append(name)
        return last.get("hash", "")

    def _encrypted(self, signed: SignedSession) -> SignedSession | EncryptedSession:
        return encrypt(signed.to_json().encode(), self._encryption_key) if self._encryption_key else signed

    def _signed(self, document: Mapping[str, Any], predecessor: str) -> tuple[SignedSession, dict[str, str]]:
        text = session_text(document, predecessor=predecessor)
        session = parse_session(text)
        creator_cannot_read(session)
        signature = self._key.sign(message_to_sign(text))
        signed = SignedSession(text, ()).with_signature(self._signer, signature)
        return signed, {"hash": session_hash(session), **({"predecessor": predecessor} if predecessor else {})}

    def done(self) -> Shipped:
        """Return everything, with the receipts for the next run; sessions that left the mesh keep theirs."""
        receipts = {**self._all_receipts, self._cas: {**self._receipts, **self._written}}
        return Shipped(self._files, self._resources, tuple(self._changed), receipts, tuple(self._unknown))
