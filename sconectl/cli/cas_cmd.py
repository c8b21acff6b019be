"""`sconectl cas …`: run the embedded CAS, and see by which key a CAS is trusted.

In: command line options. Out: results on stdout, everything else on stderr. Failures are raised as `SconectlError`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sconectl.cli.wiring import data_directory, default_cas_config
from sconectl.errors import CasUnreachable, UsageError

if TYPE_CHECKING:
    from sconectl.cas.service import EmbeddedCas

DEFAULT_LISTEN = "127.0.0.1:8081"

cas_app = typer.Typer(
    no_args_is_help=True,
    help="Run the embedded CAS (a simulation for development and tests), and trust a CAS by its key.",
)


def default_directory() -> Path:
    """Return where the embedded CAS lives unless told otherwise."""
    return data_directory() / "cas"


Directory = Annotated[
    Path | None,
    typer.Option(
        "--dir", metavar="DIR", help="The directory of the embedded CAS.", show_default="~/.local/share/sconectl/cas"
    ),
]
Config = Annotated[
    Path | None,
    typer.Option("--cas-config", metavar="DIR", help="Your client identity and known CAS keys.", show_default="~/.cas"),
]
Cas = Annotated[str, typer.Argument(metavar="CAS", help="local, HOST or HOST:PORT.")]


@cas_app.command("serve")
def serve(
    directory: Directory = None,
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where to listen.")] = DEFAULT_LISTEN,
    detach: Annotated[bool, typer.Option("--detach", help="Return once the server answers; it runs on.")] = False,
) -> None:
    """Serve the embedded CAS over HTTPS until it is stopped.

    It speaks the REST interface of a CAS and keeps everything in one directory,
    which only you can read. There is no confidential hardware behind it.
    """
    from sconectl.cas import daemon

    host, port = _host_and_port(listen)
    where = directory or default_directory()
    if not detach:
        daemon.serve(where, host, port, _announce)
        return
    from sconectl.cas.service import EmbeddedCas

    running = daemon.start_detached(where, host, port)
    _announce(EmbeddedCas(where), running.address)
    typer.echo(f"  stop it with: sconectl cas stop --dir {where}", err=True)
    typer.echo(running.address)


@cas_app.command("status")
def status(directory: Directory = None) -> None:
    """Say whether the embedded CAS is being served, and where.

    Ends with exit code 6 if it is not.
    """
    from sconectl.cas import daemon

    where = directory or default_directory()
    running = daemon.status(where)
    if running is None:
        raise CasUnreachable(f"no CAS is running on {where}", hint="start one with `sconectl cas serve --detach`")
    typer.echo(f"running at {running.address} (process {running.pid}, simulation)")


@cas_app.command("stop")
def stop(directory: Directory = None) -> None:
    """Stop the server of the embedded CAS; what it stores stays."""
    from sconectl.cas import daemon

    running = daemon.stop(directory or default_directory())
    typer.echo(f"stopped the CAS at {running.address} (process {running.pid})", err=True)


@cas_app.command("show-certificate")
def show_certificate(cas: Cas = "local", directory: Directory = None, cas_config: Config = None) -> None:
    """Print the certificate chain of a CAS as PEM, as curl's --cacert takes it."""
    typer.echo(_chain(cas, directory, cas_config), nl=False)


@cas_app.command("show-identification")
def show_identification(
    cas: Cas = "local",
    key: Annotated[bool, typer.Option("-c", help="The key hash of the CAS (default).")] = False,
    software: Annotated[bool, typer.Option("-s", help="The key hash of its software.")] = False,
    chain: Annotated[bool, typer.Option("-T", help="The certificate chain as PEM.")] = False,
    directory: Directory = None,
    cas_config: Config = None,
) -> None:
    """Print what identifies a CAS: the hash of its key, by which clients and policies trust it."""
    if key + software + chain > 1:
        raise UsageError("-c, -s and -T exclude each other", hint="give one of them")
    pem = _chain(cas, directory, cas_config)
    if chain:
        typer.echo(pem, nl=False)
        return
    from cryptography import x509

    from sconectl.key_hash import key_hash

    certificates = x509.load_pem_x509_certificates(pem.encode())
    typer.echo(key_hash(certificates[0 if software else -1].public_key()))


def _chain(cas: str, directory: Path | None, cas_config: Path | None) -> str:
    if cas == "local":
        from sconectl.cas.keys import load_or_create

        return load_or_create(directory or default_directory()).chain_pem
    from sconectl.cas.client import HttpCas
    from sconectl.cas.identity import CasConfig

    config = CasConfig(cas_config or default_cas_config())
    return HttpCas(cas, config, notify=lambda line: typer.echo(line, err=True)).chain_pem


def _host_and_port(listen: str) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"--listen {listen!r} is not HOST:PORT", hint=f"write for example {DEFAULT_LISTEN}")
    return host, int(port)


def _announce(cas: EmbeddedCas, address: str) -> None:
    typer.echo(
        f"SIMULATION: this CAS runs without confidential hardware. Use it for development and tests only.\n"
        f"  address:      https://{address}\n"
        f"  CAS key hash: {cas.keys.cas_key_hash}\n"
        f"  directory:    {cas.directory}",
        err=True,
    )
