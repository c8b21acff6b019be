"""The commands, and the one boundary where errors become messages and exit codes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import sconectl
from sconectl.cli.apply_cmd import apply_command
from sconectl.cli.cas_cmd import cas_app
from sconectl.cli.console import note, show_error
from sconectl.cli.fspf_cmd import fspf_app
from sconectl.cli.inspect_cmd import inspect
from sconectl.cli.measure_cmd import measure
from sconectl.cli.plan_cmd import plan
from sconectl.cli.sconify_cmd import sconify_image
from sconectl.cli.self_cmd import cert_app, self_app
from sconectl.cli.session_cmd import session_app
from sconectl.cli.signer_cmd import signer_app
from sconectl.errors import BuildFailed, SconectlError

app = typer.Typer(
    name="sconectl",
    help="Turns two manifests into confidential images, CAS policies and a Helm chart.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"max_content_width": 80, "help_option_names": ["--help"]},
)
app.add_typer(cas_app, name="cas")
app.add_typer(session_app, name="session")
app.add_typer(fspf_app, name="fspf")
app.add_typer(self_app, name="self")
app.add_typer(cert_app, name="cert")
app.add_typer(signer_app, name="signer")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sconectl {sconectl.__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Turn two manifests into confidential images, CAS policies and a Helm chart.

    sconectl apply -f service.yaml   builds one confidential image

    sconectl apply -f mesh.yaml      one policy per service, and target/helm
    """


app.command("apply")(apply_command)
app.command("plan")(plan)
app.command("inspect")(inspect)
app.command("measure")(measure)
app.command("sconify-image")(sconify_image)


def run() -> None:
    """Run the command line; exit with the code of the error, if there is one."""
    _bounded(app)


def run_sconify_image() -> None:
    """Run `sconify_image`: the one command as a program of its own."""
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    names = {"help_option_names": ["-h", "--help"]}
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    single.command("sconify_image", context_settings=names)(sconify_image)
    _bounded(single)


def _bounded(command: typer.Typer) -> None:
    try:
        command()
    except SconectlError as error:
        show_error(error)
        sys.exit(error.exit_code)
    except OSError as error:  # a full disk, missing rights: nothing that a traceback would explain better
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        show_error(BuildFailed(what, hint="check free space and rights, then run the command again to finish"))
        sys.exit(BuildFailed.exit_code)
    except KeyboardInterrupt:
        note("interrupted; run the command again to finish")
        sys.exit(130)


if __name__ == "__main__":
    run()
