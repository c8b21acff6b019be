"""What signing a session takes: the text with its creator, the keys, and signatures made elsewhere.

In: session files, key files, signatures as given. Out: signed sessions. Raises `UsageError`, `InvalidInput` and
`SignedError`.
"""

from __future__ import annotations

import base64
import binascii
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sconectl.cli.output.console import note
from sconectl.cli.session.session_access import Access, Templating, accept, read_bytes
from sconectl.cli.session.session_file import SessionFile, read_file
from sconectl.errors import UsageError
from sconectl.policy.reading import Signer
from sconectl.policy.signed_session import (
    EncryptedSession,
    SignedError,
    SignedSession,
    creator_cannot_read,
    message_to_sign,
    signer_from,
    signer_of,
    verify,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_MAX_SIGNATURE = 4096


def read(file: str, filling: Templating) -> SessionFile | SignedSession:
    """Return the session that is to be signed, checked unless it is signed already; raises `UsageError` and others."""
    given = read_file(file, filling)
    if isinstance(given, EncryptedSession):
        raise UsageError(f"{file} is encrypted; it can neither be read nor changed", hint="give the original file")
    if isinstance(given, SessionFile):
        accept(given.examined.findings, filling.fail_on_warning)
    else:
        verify(given, file=file)  # nobody adds a signature to what was changed since the first
    return given


def to_sign(given: SessionFile | SignedSession, signer: Signer) -> SignedSession:
    """Return the session to sign: the one that is signed already, or a valid one with `signer` as its creator."""
    if isinstance(given, SignedSession):
        return given
    if given.session().creator not in (None, signer):
        note("the creator that the file names is replaced by the signer")
    complete = given.with_field("creator", {"signer": signer.signer})
    creator_cannot_read(complete.session())
    return SignedSession(complete.text, ())


def signed_by(key: Ed25519PrivateKey, given: SessionFile | SignedSession) -> SignedSession:
    """Return the session with a signature by `key`."""
    signer = signer_of(key.public_key())
    unsigned = to_sign(given, signer)
    return unsigned.with_signature(signer, key.sign(message_to_sign(unsigned.session)))


def named_creator(given: SessionFile | SignedSession, cas_config: Path | None) -> Signer:
    """Return the signer that the file names as its creator, or else the one of the user's own signing key."""
    creator = given.session().creator if isinstance(given, SessionFile) else None
    return creator if isinstance(creator, Signer) else signer_of(signing_key(cas_config).public_key())


def signing_key(cas_config: Path | None) -> Ed25519PrivateKey:
    """Return the user's own signing key, made on first use; raises `CasError`."""
    return Access(cas_config=cas_config).config().signing_key()


def public_key(file: Path) -> Signer:
    """Return the signer whose public key a file holds; raises `UsageError`."""
    try:
        return signer_from(read_bytes(str(file)).decode("utf-8", "replace"))
    except SignedError as error:
        raise UsageError(f"{file} holds no Ed25519 or P-384 public key in PEM form", hint=error.hint) from error


def given_signature(text: str) -> bytes:
    """Return the signature in base64 text, or raw from stdin if there is none; raises `UsageError`."""
    if not text:
        return sys.stdin.buffer.read(_MAX_SIGNATURE)
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise UsageError("the signature is not base64", hint="give base64, or the raw signature on stdin") from error
