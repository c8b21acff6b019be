"""`sconectl cas …`: run the embedded CAS. What concerns trust in a CAS is in `cas_trust_cmd`.

In: command line options. Out: results on stdout, everything else on stderr. Failures are raised as `SconectlError`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sconectl.cli.cas import cas_keep_cmd, cas_trust_cmd
from sconectl.cli.cas.cas_boundary import explaining
from sconectl.cli.cas.cas_operator_cmd import operator
from sconectl.cli.wiring import cas_directory
from sconectl.errors import CasError, CasUnreachable, UsageError

if TYPE_CHECKING:
    from sconectl.cas.sessions.embedded import EmbeddedCas

DEFAULT_LISTEN = "127.0.0.1:8081"

cas_app = typer.Typer(
    no_args_is_help=True,
    help="Run the embedded CAS (a simulation for development and tests), and trust a CAS by its key.",
)


_WARNING = "warning: "
_HARDWARE = "policies for hardware are accepted here, and no hardware protects what they protect"


Directory = cas_trust_cmd.Directory


@cas_app.command("serve")
@explaining
def serve(
    directory: Directory = None,
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where to listen.")] = DEFAULT_LISTEN,
    detach: Annotated[bool, typer.Option("--detach", help="Return once the server answers; it runs on.")] = False,
    anchor: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What an older copy of the directory is noticed by; outside of it."),
    ] = None,
    detached: Annotated[bool, typer.Option("--detached", hidden=True)] = False,
    hardware_policies: Annotated[
        str,
        typer.Option(metavar="accept|refuse", help="What to do with policies for hardware, from now on.  [refuse]"),
    ] = "",
    import_from: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST:PORT", help="A CAS to import secrets from; any, none.  [any]"),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--limit", metavar="NAME=VALUE", help="What clients may cost (docs/cas.md lists all limits)."),
    ] = None,
) -> None:
    """Serve the embedded CAS over HTTPS until it is stopped.

    It speaks the REST interface of a CAS and keeps everything in one directory,
    which only you can read. There is no confidential hardware behind it.
    """
    from sconectl.cas import daemon
    from sconectl.cas.bounds.limits import chosen

    limits = chosen(settings or ())
    host, port = _host_and_port(listen)
    where = cas_directory(directory)
    _choose(where, hardware_policies, import_from or ())
    if not detach:
        daemon.serve(where, host, port, _announce, anchor=anchor, detached=detached, limits=limits)
        return
    from sconectl.cas.keys.cas_keys import load_or_create

    started = daemon.start_detached(where, host, port, anchor=anchor, settings=settings or ())
    address = started.running.address
    _announcement(load_or_create(where).cas_key_hash, where, address)
    for line in started.said.splitlines():
        _, warning, text = line.partition(_WARNING)
        if warning:
            typer.echo(f"{warning}{text}", err=True)
    typer.echo(f"  stop it with: sconectl cas stop --dir {where}", err=True)
    typer.echo(address)


@cas_app.command("status")
@explaining
def status(directory: Directory = None) -> None:
    """Say whether the embedded CAS is being served, and where, and whether it can.

    Ends with exit code 6 if it is not served, or cannot store anything.
    """
    from sconectl.cas import daemon

    where = cas_directory(directory)
    running = daemon.status(where)
    if running is None:
        raise CasUnreachable(f"no CAS is running on {where}", hint="start one with `sconectl cas serve --detach`")
    from sconectl.cas.keys.simulated_machine import load_machine

    allowed = ", accepts policies for hardware" if load_machine(where).accept_hardware_policies else ""
    typer.echo(f"running at {running.address} (process {running.pid}, simulation{allowed})")
    from sconectl.cas.bounds.limits import DEFAULT
    from sconectl.cas.store.quota import Room

    if (reason := daemon.why_not_ready(running.address)) is not None:
        raise CasError(
            f"it is not ready: {reason}", hint=f"look at the disk of {where}, and into its {daemon.LOG_FILE}"
        )
    if not Room(where, DEFAULT).is_there():
        typer.echo(f"{_WARNING}its disk is nearly full: uploads are refused, programs can still attest", err=True)


@cas_app.command("stop")
@explaining
def stop(directory: Directory = None) -> None:
    """Stop the server of the embedded CAS; what it stores stays."""
    from sconectl.cas import daemon

    running = daemon.stop(cas_directory(directory))
    typer.echo(f"stopped the CAS at {running.address} (process {running.pid})", err=True)


cas_trust_cmd.register(cas_app)
cas_keep_cmd.register(cas_app)
cas_app.command("operator")(operator)


def _choose(where: Path, hardware_policies: str, import_from: Sequence[str]) -> None:
    """Remember what the CAS may do. A server that runs would not notice, so it must not run."""
    changes: dict[str, Any] = {}
    if hardware_policies:
        if hardware_policies not in ("accept", "refuse"):
            raise UsageError(f"--hardware-policies {hardware_policies!r} is not known", hint="write accept or refuse")
        changes["accept_hardware_policies"] = hardware_policies == "accept"
    if import_from:
        changes["import_from"] = _targets(import_from)
    if not changes:
        return
    from sconectl.cas import daemon
    from sconectl.cas.keys.simulated_machine import load_machine

    if (running := daemon.status(where)) is not None:
        hint = f"stop it with `sconectl cas stop --dir {where}`, and start it again with these options"
        raise UsageError(f"the CAS in {where} is running at {running.address}", hint=hint)
    load_machine(where, **changes)


def _targets(given: Sequence[str]) -> tuple[str, ...] | None:
    """Return the CASes that may be asked, in normal form; None for all."""
    from sconectl.cas.client.http_cas import normal_address

    if "any" in given or "none" in given:
        if len(given) > 1:
            raise UsageError("--import-from any and none stand alone", hint="name CASes, or give any or none")
        return None if given[0] == "any" else ()
    return tuple(sorted({normal_address(target) for target in given}))


def _host_and_port(listen: str) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise UsageError(f"--listen {listen!r} is not HOST:PORT", hint=f"write for example {DEFAULT_LISTEN}")
    return host, int(port)


def _announce(cas: EmbeddedCas, address: str) -> None:
    _announcement(cas.keys.cas_key_hash, cas.directory, address)
    allowed = (_HARDWARE,) if cas.machine.accept_hardware_policies else ()
    for notice in (*allowed, *cas.notices):
        typer.echo(f"{_WARNING}{notice}", err=True)


def _announcement(key: str, directory: Path, address: str) -> None:
    typer.echo(
        f"SIMULATION: this CAS runs without confidential hardware. Use it for development and tests only.\n"
        f"  address:      https://{address}\n"
        f"  CAS key hash: {key}\n"
        f"  directory:    {directory}",
        err=True,
    )
