"""Signed and encrypted sessions: their JSON form, the signed bytes, and the signers.

In: the bytes that a user uploads, or session text and keys. Out: what kind of document it is, the signers whose
signatures are valid, or the decrypted document. Raises `SignedError`, whose messages hold neither text nor keys of the
session. The JSON form is that of upstream (API §6); what the signature covers and the cipher are our own choice.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from sconectl.errors import SconectlError
from sconectl.policy.reading import Session, Signer, parse_session

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.hpke import Suite

SIGNATURE_DOMAIN = b"sconectl signed session v1\0"
ENCRYPTION_DOMAIN = b"sconectl encrypted session v1"
MAX_DOCUMENT = 1 << 22
MAX_SIGNATURES = 64
_KEY = re.compile(r"[0-9a-fA-F]{64}\Z")
_RAW_ED25519_HEX = re.compile(r"[0-9a-fA-F]{128}\Z")
_SIGNED_KEYS = {"session", "signatures"}
_ENCRYPTED_KEYS = {"encrypted_session", "encryption_key"}


class SignedError(SconectlError):
    """A signed or encrypted session is malformed, its signature is not valid, or it cannot be decrypted."""

    exit_code = 3


@dataclass(frozen=True)
class Signature:
    """One signature: `signer` as written (PEM SPKI, or the older base58 form), `signature` raw.

    Raw means 64 bytes for Ed25519, and the DER form of ECDSA with SHA-384 for P-384.
    """

    signer: str
    signature: bytes


@dataclass(frozen=True)
class SignedSession:
    """The exact text of a session, with its signatures; it may hold explicit secrets."""

    session: str = field(repr=False)
    signatures: tuple[Signature, ...]

    def to_json(self) -> str:
        """Return the document as one line of JSON; signatures are in base64."""
        signatures = [
            {"signer": entry.signer, "signature": base64.b64encode(entry.signature).decode()}
            for entry in self.signatures
        ]
        return json.dumps({"session": self.session, "signatures": signatures}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> SignedSession:
        """Return the signed session in `text`; raises `SignedError` if it is none."""
        return _signed(_json_object(text))

    def with_signature(self, signer: Signer, signature: bytes) -> SignedSession:
        """Return the session with a signature more, or with another one of the same signer."""
        others = tuple(entry for entry in self.signatures if signer_from(entry.signer) != signer)
        return SignedSession(self.session, (*others, Signature(signer.signer, signature)))


@dataclass(frozen=True)
class EncryptedSession:
    """A document that only the CAS with the X25519 public key `encryption_key` (64 hex digits) can read."""

    ciphertext: bytes = field(repr=False)
    encryption_key: str

    def to_json(self) -> str:
        """Return the document as one line of JSON; the ciphertext is in base64."""
        document = {
            "encrypted_session": base64.b64encode(self.ciphertext).decode(),
            "encryption_key": self.encryption_key,
        }
        return json.dumps(document)

    @classmethod
    def from_json(cls, text: str | bytes) -> EncryptedSession:
        """Return the encrypted session in `text`; raises `SignedError` if it is none."""
        return _encrypted(_json_object(text))


def read_document(raw: bytes) -> str | SignedSession | EncryptedSession:
    """Return the document in `raw`: the YAML (or JSON) text of a session, or a signed or encrypted session.

    Raises `SignedError` if it is no UTF-8 text, too large, or a damaged signed or encrypted session.
    """
    if len(raw) > MAX_DOCUMENT:
        raise SignedError(f"the document has more than {MAX_DOCUMENT} bytes", hint="split the session")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SignedError("the document is not UTF-8 text", hint="save it in UTF-8") from error
    if not text.lstrip().startswith("{"):
        return text
    try:
        value = json.loads(text, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError):
        return text  # YAML in flow style also begins with a brace; its reader knows better what is wrong
    if "encrypted_session" in value:
        return _encrypted(value)
    return _signed(value) if "signatures" in value else text


def message_to_sign(session_text: str) -> bytes:
    r"""Return the bytes that a signer of `session_text` signs.

    They are the ASCII text ``sconectl signed session v1``, one NUL byte, and the session text in UTF-8, exactly as it
    stands in the JSON document. The prefix keeps a signature from meaning anything in another protocol. Ed25519 keys
    sign these bytes as they are (RFC 8032), P-384 keys with ECDSA and SHA-384 (``openssl dgst -sha384 -sign``).
    """
    return SIGNATURE_DOMAIN + session_text.encode()


def verify(signed: SignedSession, *, file: str = "session") -> tuple[Signer, ...]:
    """Return the distinct signers of `signed`, in order, after checking all rules for signed sessions.

    Every signature is valid, the creator is one of the signers, and the session does not let its creator read or list
    (a signer cannot: LANG §16), which includes leaving out `read`. Raises `SignedError`, and `InvalidInput` if the
    text is no valid session, with positions under the name `file`.
    """
    signers = valid_signers(signed)
    check_creator(parse_session(signed.session, file=file), signers)
    return signers


def valid_signers(signed: SignedSession) -> tuple[Signer, ...]:
    """Return the distinct signers of `signed`, in order; raises `SignedError` unless every signature is valid."""
    if not signed.signatures:
        raise SignedError("the session has no signature", hint="sign it with `sconectl session sign`")
    message = message_to_sign(signed.session)
    signers: dict[str, Signer] = {}
    for number, entry in enumerate(signed.signatures, 1):
        signer = signer_from(entry.signer)
        if not _is_valid(signer, entry.signature, message):
            raise SignedError(
                f"signature {number} of {len(signed.signatures)} is not valid for this session and signer",
                hint="sign the session again; a signature covers every byte of its text",
            )
        signers[signer.signer] = signer
    return tuple(signers.values())


def check_creator(session: Session, signers: tuple[Signer, ...]) -> None:
    """Check the rules of LANG §16 for a session that comes with `signers` instead of a client certificate."""
    if not isinstance(session.creator, Signer) or session.creator not in signers:
        raise SignedError(
            "the creator of a signed session has to be one of its signers",
            hint="let `sconectl session sign` set the creator, or add the creator's signature",
        )
    creator_cannot_read(session)


def creator_cannot_read(session: Session) -> None:
    """Raise `SignedError` if `session` lets its creator, who is to be a signer, read or list (LANG §16)."""
    if isinstance(session.access_policy, str):
        return
    for operation in ("read", "list_sessions"):
        if "CREATOR" in session.access_policy.allowed(operation):
            raise SignedError(
                f"in a signed session the creator is a signer, and a signer cannot {operation.replace('_', ' ')}",
                hint="say in access_policy who may read, for example read: [NONE]",
            )


def signer_of(public_key: Any) -> Signer:
    """Return a public key of `cryptography` as a signer; raises `SignedError` unless it is Ed25519 or P-384."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return signer_from(public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


def encrypt(document: bytes, key_hex: str) -> EncryptedSession:
    """Encrypt a document for the CAS with the X25519 public key `key_hex`; raises `SignedError` for no such key.

    HPKE (RFC 9180) in base mode: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM; the application information is
    ``sconectl encrypted session v1``; the ciphertext is the encapsulated key (32 bytes) followed by the sealed text.
    """
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

    key = encryption_key(key_hex)
    try:
        public = X25519PublicKey.from_public_bytes(bytes.fromhex(key))
        ciphertext = _suite().encrypt(document, public, info=ENCRYPTION_DOMAIN)
    except ValueError as error:
        raise SignedError("the session encryption key is not a usable X25519 key") from error
    return EncryptedSession(ciphertext, key)


def decrypt(encrypted: EncryptedSession, private_key: X25519PrivateKey) -> bytes:
    """Return the document in `encrypted`; raises `SignedError` if it is for another key, or was changed."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    own = private_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
    if encrypted.encryption_key != own:
        raise SignedError(
            "the session is encrypted for another CAS", hint="encrypt it with the key of this CAS, and upload it again"
        )
    try:
        return _suite().decrypt(encrypted.ciphertext, private_key, info=ENCRYPTION_DOMAIN)
    except (ValueError, InvalidTag) as error:
        raise SignedError(
            "the encrypted session cannot be decrypted: it was changed", hint="encrypt it again, and upload that"
        ) from error


def encryption_key(key_hex: str) -> str:
    """Return a session encryption key in normal spelling; raises `SignedError` unless it has 64 hex digits."""
    if not _KEY.match(key_hex):
        raise SignedError(
            "a session encryption key has 64 hex digits",
            hint="`sconectl cas show-identification --session-encryption-key CAS` prints it",
        )
    return key_hex.lower()


def _suite() -> Suite:
    from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

    return Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def signer_from(text: str) -> Signer:
    """Return the signer in `text` (PEM public key, or base58); raises `SignedError`."""
    try:
        return Signer.model_validate({"signer": text})
    except ValidationError as error:
        raise SignedError(
            "a signer is not an Ed25519 or P-384 public key", hint="give the public key as PEM (SubjectPublicKeyInfo)"
        ) from error


def _is_valid(signer: Signer, signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    key = serialization.load_pem_public_key(signer.signer.encode())
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, message)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, message, ec.ECDSA(hashes.SHA384()))
        else:  # pragma: no cover - the model takes these two types only
            return False
    except InvalidSignature:
        return False
    return True


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _json_object(text: str | bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(text, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise SignedError("this is no JSON document", hint="give the output of `sconectl session sign`") from error
    if not isinstance(value, dict):
        raise SignedError("this is no JSON object", hint="give the output of `sconectl session sign`")
    return value


def _signed(value: Mapping[str, Any]) -> SignedSession:
    entries = value.get("signatures")
    if set(value) != _SIGNED_KEYS or not isinstance(value["session"], str) or not isinstance(entries, list):
        raise SignedError('a signed session has the form {"session": TEXT, "signatures": [...]}')
    if len(entries) > MAX_SIGNATURES:
        raise SignedError(f"a session has at most {MAX_SIGNATURES} signatures")
    try:
        value["session"].encode()
    except UnicodeEncodeError as error:
        raise SignedError("the text of the signed session is not valid Unicode") from error
    return SignedSession(value["session"], tuple(_signature(entry) for entry in entries))


def _signature(entry: Any) -> Signature:
    if not isinstance(entry, dict) or set(entry) != {"signer", "signature"}:
        raise SignedError('a signature has the form {"signer": PEM, "signature": BASE64}')
    signer, text = entry["signer"], entry["signature"]
    if not isinstance(signer, str) or not isinstance(text, str):
        raise SignedError('a signature has the form {"signer": PEM, "signature": BASE64}')
    if _RAW_ED25519_HEX.match(text):
        return Signature(signer, bytes.fromhex(text))
    return Signature(signer, _base64(text, "a signature"))


def _encrypted(value: Mapping[str, Any]) -> EncryptedSession:
    text, key = value.get("encrypted_session"), value.get("encryption_key")
    if set(value) != _ENCRYPTED_KEYS or not isinstance(text, str) or not isinstance(key, str):
        raise SignedError('an encrypted session has the form {"encrypted_session": BASE64, "encryption_key": HEX}')
    return EncryptedSession(_base64(text, "the encrypted session"), encryption_key(key))


def _base64(text: str, what: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise SignedError(f"{what} is not base64") from error
