"""`sconectl cas operator`: brings the sessions that charts carry as custom resources into a CAS.

In: command line options; inside of a pod, the service account. Out: sessions in the CAS, a status for each object, and
lines on stderr. Runs until it is stopped, or with --once to the end.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sconectl.cli.cas.cas_boundary import explaining
from sconectl.cli.output.printable import shown
from sconectl.cli.session.session_access import Config
from sconectl.cli.wiring import cas_directory, default_cas_config
from sconectl.errors import CasError


@explaining
def operator(
    cas: Annotated[str, typer.Option(metavar="HOST:PORT", help="The CAS that gets the sessions.")],
    names: Annotated[
        list[str] | None,
        typer.Option("--name", metavar="HOST[:PORT]", help="What objects call this CAS, too. Repeatable."),
    ] = None,
    cas_key: Annotated[
        str, typer.Option(metavar="HASH", help="The key hash that the CAS must have.", show_default="the pinned one")
    ] = "",
    namespaces: Annotated[
        list[str] | None,
        typer.Option("--namespace", metavar="NS", help="Only in this namespace.  [all] Repeatable."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Look at all objects once, and end.")] = False,
    api: Annotated[
        str, typer.Option(metavar="URL", help="The API server.", show_default="that of the cluster of this pod")
    ] = "",
    token: Annotated[Path | None, typer.Option("--token-file", metavar="FILE", help="With --api: the token.")] = None,
    authority: Annotated[
        Path | None, typer.Option("--ca-file", metavar="FILE", help="With --api: its authority, PEM.")
    ] = None,
    cas_config: Config = None,
) -> None:
    """Bring SignedPolicy and EncryptedPolicy objects of a cluster into a CAS.

    Each gets a status that says what became of it. What the CAS has already is
    left alone. With --once, exit code 6 says that not every session is there.
    """
    import signal
    import threading

    from sconectl.cas.connect import connect
    from sconectl.cas.operator.controller import Controller
    from sconectl.cas.operator.kubernetes_api import KubernetesApi
    from sconectl.cas.operator.resources import addresses

    def say(text: str) -> None:
        typer.echo(shown(text), err=True)

    server = KubernetesApi(api, token, authority) if api else KubernetesApi.in_cluster()
    config = cas_config or default_cas_config()
    controller = Controller(
        server,
        lambda: connect(cas, config_dir=config, data_dir=cas_directory(), cas_key=cas_key or None, notify=say),
        addresses((cas, *(names or ()))),
        tuple(namespaces or ("",)),
        say,
    )
    if once:
        if not controller.once():
            raise CasError("not every session is in the CAS", hint="each object says in its status what is wrong")
        return
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    say(f"bringing sessions into the CAS {cas}")
    controller.run(stop)
