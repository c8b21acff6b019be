"""`sconectl self …` and `sconectl cert …`: who you are towards a CAS, and by which hash policies name a key.

In: the cas-config directory, or a certificate file. Out: PEM or key hashes on stdout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sconectl.cli.options.groups import Only, grouped
from sconectl.cli.output.console import result
from sconectl.cli.session.session_access import Access, Config, read_bytes
from sconectl.errors import UsageError

if TYPE_CHECKING:
    from sconectl.cas.client.identity import CasConfig

self_app = typer.Typer(no_args_is_help=True, help="Show your client identity and signing key; made on first use.")
_Own = Annotated[Access, Only("cas_config identity")]

cert_app = typer.Typer(no_args_is_help=True, help="Look at certificates.")


@self_app.command("show")
@grouped
def show(access: _Own) -> None:
    """Print your certificate, its key hash, and the public key that signs sessions."""
    config = access.config()
    result(config.identity().certificate_pem.rstrip())
    result(f"key hash: {config.identity().key_hash}")
    result(f"session signing key:\n{_signing_key(config)}")


@self_app.command("show-certificate")
@grouped
def show_certificate(access: _Own) -> None:
    """Print your client certificate as PEM."""
    result(access.config().identity().certificate_pem.rstrip())


@self_app.command("show-key-hash")
@grouped
def show_key_hash(access: _Own) -> None:
    """Print the key hash by which access policies name you."""
    result(access.config().identity().key_hash)


@self_app.command("show-session-signing-key")
def show_session_signing_key(cas_config: Config = None) -> None:
    """Print the public key that signs your sessions, by which policies name you as signer."""
    result(_signing_key(Access(cas_config=cas_config).config()))


@cert_app.command("show-key-hash")
def show_key_hash_of(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A certificate in PEM or DER form.")],
) -> None:
    """Print the key hash of a certificate, by which access policies name its owner."""
    from sconectl.key_hash import hash_of_certificate

    try:
        result(hash_of_certificate(read_bytes(file)))
    except ValueError as error:
        raise UsageError(
            f"{file} holds no certificate", hint="give one X.509 certificate in PEM or DER form"
        ) from error


def _signing_key(config: CasConfig) -> str:
    from sconectl.policy.signed_session import signer_of

    return signer_of(config.signing_key().public_key()).signer.rstrip()
