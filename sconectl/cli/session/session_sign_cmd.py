"""`sconectl session sign` and `encrypt`: sessions that say themselves who is behind them, or hide what they say.

In: session files, public keys, signatures. Out: JSON documents, or the bytes that a signer signs, on stdout.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from sconectl.cli.options.groups import Only, grouped
from sconectl.cli.session.session_access import (
    Access,
    Config,
    File,
    Output,
    Templating,
    deliver,
)
from sconectl.errors import UsageError

WITH_IDENTITY, MESSAGE, ADD = "sign-with-cli-identity", "generate-message-to-be-signed", "add-signature"
_ACTIONS = (WITH_IDENTITY, MESSAGE, ADD)


@grouped
def sign(
    file: File,
    action: Annotated[
        str, typer.Argument(metavar="[ACTION]", help=f"{WITH_IDENTITY}, {MESSAGE} or {ADD}.", show_default=False)
    ] = WITH_IDENTITY,
    signer: Annotated[
        Path | None, typer.Argument(metavar="[SIGNER]", help="Public key of the signer (PEM).", show_default=False)
    ] = None,
    signature: Annotated[
        str, typer.Argument(metavar="[BASE64]", help=f"{ADD}: the signature; else raw on stdin.", show_default=False)
    ] = "",
    *,
    filling: Templating,
    force: Annotated[bool, typer.Option("--force", "-f", help="Print the message to a terminal, too.")] = False,
    cas_config: Config = None,
    output_file: Output = None,
) -> None:
    """Sign a session, and print it as JSON; its signer becomes its creator.

    Without ACTION your own signing key signs. For a key that sconectl does not
    have, print the message, sign it elsewhere, and add the signature:

    sconectl session sign s.yaml generate-message-to-be-signed key.pem > m

    openssl dgst -sha384 -sign private.pem m | sconectl session sign s.yaml add-signature key.pem

    FILE may be signed already; then a signature is added and the text stays.
    """
    from sconectl.cli.session import session_signing as signing
    from sconectl.policy.signed_session import message_to_sign, valid_signers

    if action not in _ACTIONS:
        raise UsageError(f"{action} is nothing that sign can do", hint=f"give {', '.join(_ACTIONS)}")
    if file == "-" and action == ADD and not signature:
        raise UsageError("file and signature cannot both come from stdin", hint="give the signature in base64")
    given = signing.read(file, filling)
    if action == MESSAGE:
        unsigned = signing.to_sign(
            given, signing.public_key(signer) if signer else signing.named_creator(given, cas_config)
        )
        if output_file is None and sys.stdout.isatty() and not force:
            raise UsageError("the message is binary and stdout a terminal", hint="redirect it, or give -f")
        deliver(message_to_sign(unsigned.session), output_file)
        return
    if action == ADD:
        if signer is None:
            raise UsageError(f"{ADD} needs the public key of the signer", hint="give its PEM file")
        chosen = signing.public_key(signer)
        signed = signing.to_sign(given, chosen).with_signature(chosen, signing.given_signature(signature))
    else:
        if signer is not None:
            raise UsageError(f"{WITH_IDENTITY} takes no key", hint=f"for another key, see {MESSAGE}")
        signed = signing.signed_by(signing.signing_key(cas_config), given)
    valid_signers(signed)
    deliver(signed.to_json() + "\n", output_file)


@grouped
def encrypt(
    file: File,
    *,
    filling: Templating,
    cas: Annotated[
        str, typer.Option("--cas", "-c", metavar="CAS", help="The CAS that may read it.", show_default="local")
    ] = "",
    key: Annotated[
        str, typer.Option("--key", metavar="HEX", help="The encryption key of that CAS.", show_default=False)
    ] = "",
    access: Annotated[Access, Only("identity retries cas_config")],
    output_file: Output = None,
) -> None:
    """Encrypt a session for one CAS, and print it as JSON.

    It is signed with your own signing key first, unless FILE is signed already.
    """
    from sconectl.cli.session import session_signing as signing
    from sconectl.policy.signed_session import SignedSession, verify
    from sconectl.policy.signed_session import encrypt as encrypt_document

    if cas and key:
        raise UsageError("--cas and --key exclude each other", hint="give one of them")
    given = signing.read(file, filling)
    if isinstance(given, SignedSession):
        signed = given
    else:
        signed = signing.signed_by(signing.signing_key(access.cas_config), given)
    verify(signed, file=file)
    encryption_key = key or replace(access, cas=cas or "local").store().encryption_key()
    deliver(encrypt_document(signed.to_json().encode(), encryption_key).to_json() + "\n", output_file)
