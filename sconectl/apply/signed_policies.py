"""Sessions as signed or encrypted documents, for modes in which somebody else hands them to the CAS.

In: a plan, the key that signs, what was written before. Out: files below target/policies, and custom resources. An
unchanged session keeps its document byte by byte, so an encrypted one changes only if what is in it does.

Each version of a session names the one before it, so target/policies/receipts.json remembers, for each CAS, the hash
of the last one. It also holds a keyed digest of its text: without the key nobody learns anything from it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sconectl.artefacts.policy_resources import policy_resource
from sconectl.artefacts.session import session_text
from sconectl.errors import BuildFailed, CasError
from sconectl.plan.mesh.mesh import MeshPlan, SessionPlan
from sconectl.plan.mesh.mesh_input import ENCRYPTED_MODES, cas_host
from sconectl.policy.reading import parse_session
from sconectl.policy.serialized.canonical import session_hash
from sconectl.policy.signed_session import (
    EncryptedSession,
    SignedError,
    SignedSession,
    creator_cannot_read,
    encrypt,
    message_to_sign,
    signer_of,
)
from sconectl.ports import Workspace

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

RECEIPTS = "policies/receipts.json"


@dataclass(frozen=True)
class Shipped:
    """What becomes of the sessions of a mesh: files, custom resources by file name, and the sessions that changed."""

    files: Mapping[str, bytes]
    resources: Mapping[str, Mapping[str, Any]]
    changed: tuple[str, ...]


NOTHING = Shipped({}, {}, ())


def ship(
    plan: MeshPlan, signing_key: Ed25519PrivateKey, encryption_key: Callable[[], str], workspace: Workspace
) -> Shipped:
    """Return the sessions of `plan` as signed or encrypted documents.

    `encryption_key` is asked only if the manifest does not name the key of the CAS. Raises `SignedError`, and what
    `encryption_key` raises.
    """
    key = ""
    if plan.mode in ENCRYPTED_MODES:
        key = (plan.cas.cas_encryption_key or _asked(encryption_key)).lower()
    shipper = _Shipper(signing_key, key, workspace, cas_host(plan.cas))
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
    def __init__(self, signing_key: Ed25519PrivateKey, encryption_key: str, workspace: Workspace, cas: str) -> None:
        self._key = signing_key
        self._signer = signer_of(signing_key.public_key())
        self._encryption_key = encryption_key
        self._workspace = workspace
        self._cas = cas
        self._secret = hashlib.sha256(b"sconectl receipts\0" + signing_key.private_bytes_raw()).digest()
        self._all_receipts = _read_receipts(workspace)
        self._receipts = self._all_receipts.get(cas, {})
        self._files: dict[str, bytes] = {}
        self._resources: dict[str, dict[str, Any]] = {}
        self._changed: list[str] = []
        self._written: dict[str, dict[str, str]] = {}

    def add(self, session: SessionPlan) -> None:
        """Sign a session, and encrypt it if there is a key for that, unless it is there already."""
        document = {**session.document, "creator": {"signer": self._signer.signer}}
        digest = hmac.new(self._secret, session_text(document).encode(), hashlib.sha256).hexdigest()
        path = f"policies/{session.file}.json"
        last = self._receipts.get(session.name, {})
        same = last.get("text") == digest
        signed, receipt = self._signed(document, last.get("predecessor" if same else "hash", ""))
        self._written[session.name] = {"text": digest, **receipt}
        before = self._workspace.read(path)
        kept = _encrypted_before(before, self._encryption_key) if same else None
        shipped = kept or self._encrypted(signed)
        content = (shipped.to_json() + "\n").encode()
        if content != before:
            self._changed.append(session.name)
        self._files[path] = content
        self._resources[session.file] = policy_resource(session.name, self._cas, shipped)

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
        here = {**self._receipts, **self._written}
        receipts = json.dumps({**self._all_receipts, self._cas: here}, indent=2, sort_keys=True) + "\n"
        return Shipped({**self._files, RECEIPTS: receipts.encode()}, self._resources, tuple(self._changed))


def _encrypted_before(raw: bytes | None, encryption_key: str) -> EncryptedSession | None:
    """Return the document that was written before, if it is encrypted for this key."""
    if raw is None or not encryption_key:
        return None
    try:
        found = EncryptedSession.from_json(raw)
    except SignedError:
        return None
    return found if found.encryption_key == encryption_key else None


def _read_receipts(workspace: Workspace) -> dict[str, dict[str, dict[str, str]]]:
    raw = workspace.read(RECEIPTS)
    if raw is None:
        return {}
    try:
        receipts = json.loads(raw)
        entries = [entry for sessions in receipts.values() for entry in sessions.values()]
        if all(isinstance(text, str) for entry in entries for text in entry.values()):
            return dict(receipts)
    except (ValueError, AttributeError):
        pass
    raise BuildFailed(
        f"target/{RECEIPTS} is damaged: it says which versions of the sessions were written last",
        hint="restore it, or remove it to begin anew with sessions that the CAS does not have yet",
    )
