"""The commands: a table, so that a module is imported only when one of its commands is called or looked at."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperGroup

import sconectl


class Place(NamedTuple):
    """Where a command or a group of commands is, and what the list of all commands says about it."""

    module: str
    name: str
    help: str


COMMANDS = {
    "init": Place(
        "commands.init_cmd", "init", "Write service.yaml and mesh.yaml for a program, with comments, valid as they are."
    ),
    "validate": Place(
        "commands.validate_cmd", "validate", "Check manifests, and say everything that is wrong at once."
    ),
    "explain": Place(
        "commands.explain_cmd", "explain", "Explain a code of a message, or a field of a manifest or session."
    ),
    "schema": Place(
        "commands.schema_cmd", "schema", "Print the JSON Schema (2020-12) of a kind of manifest, or of sessions."
    ),
    "plan": Place("commands.plan_cmd", "plan", "Show what `apply` would do, and build, write and upload nothing."),
    "apply": Place(
        "commands.apply_cmd",
        "apply_command",
        "Apply a manifest: a service becomes an image, a mesh becomes policies and a chart.",
    ),
    "up": Place(
        "local.up_cmd",
        "up_command",
        "Run a mesh on this machine: build what is missing, apply, start, and wait until every service works.",
    ),
    "down": Place("local.down_cmd", "down", "End a mesh on this machine: its containers and its network are removed."),
    "ps": Place("local.ps_cmd", "ps", "Show the services that run on this machine: how they are, and where."),
    "logs": Place(
        "local.logs_cmd", "logs", "Show what services on this machine print, each line behind the name of its service."
    ),
    "push": Place("publish.push_cmd", "push", "Push the images of a mesh to their registries, and its chart to one."),
    "rollback": Place(
        "over_time.rollback_cmd",
        "rollback",
        "Take back the last rolling update: sessions are what they were before it.",
    ),
    "lock": Place("over_time.lock_cmd", "lock", "Compare manifests with sconectl.lock, which `apply` writes; offline."),
    "audit": Place(
        "over_time.audit_cmd",
        "audit",
        "Name the commit behind each version of the sessions of a mesh, and what no commit explains.",
    ),
    "inspect": Place(
        "commands.inspect_cmd",
        "inspect",
        "Show what a confidential image says about itself: measurement, signer, paths.",
    ),
    "measure": Place(
        "commands.measure_cmd",
        "measure",
        "Measure an image's files, and compare with what the image says about itself.",
    ),
    "sconify-image": Place(
        "commands.sconify_cmd", "sconify_image", "Convert an existing image: protect it, and put its policy into a CAS."
    ),
    "curated": Place(
        "commands.curated_cmd", "curated_app", "Curated services: name one by its image in a mesh, and it is built."
    ),
    "cas": Place(
        "cas.cas_cmd",
        "cas_app",
        "Run the embedded CAS (a simulation for development and tests), and trust a CAS by its key.",
    ),
    "session": Place(
        "session.session_cmd",
        "session_app",
        "Check, upload, list, read, compare, retire, sign and encrypt sessions (policies).",
    ),
    "fspf": Place(
        "commands.fspf_cmd", "fspf_app", "Protect directories: encrypt them, or notice whether they were changed."
    ),
    "volume": Place(
        "volume.volume_cmd", "volume_app", "Look at volumes, back them up, restore them, and move data in and out."
    ),
    "identity": Place(
        "commands.identity_cmd", "identity_app", "See, make and replace the key by which CASes know you."
    ),
    "self": Place("commands.self_cmd", "self_app", "Show your client identity and signing key; made on first use."),
    "cert": Place("commands.self_cmd", "cert_app", "Look at certificates."),
    "signer": Place("commands.signer_cmd", "signer_app", "Who signs confidential images."),
}


class Group(TyperGroup):
    """A group whose list of commands shortens no sentence; what typer gives its methods has no public types."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.get_short_help_str(200)) for name, command in self.commands.items()])


class LazyCommands(Group):
    """The group of all commands."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = dict.fromkeys(COMMANDS)  # type: ignore[assignment]  # for typer's "did you mean"

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, or None if there is none of this name."""
        return load(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, place.help) for name, place in COMMANDS.items()])


def load(name: str) -> Any:
    """Import a command and return it as typer runs it."""
    place = COMMANDS[name]
    found = getattr(import_module(f"sconectl.cli.{place.module}"), place.name)
    holder = typer.Typer(rich_markup_mode=None)
    if isinstance(found, typer.Typer):
        holder.add_typer(found, name=name, cls=Group)
    else:
        holder.command(name)(found)
    return typer.main.get_group(holder).commands[name]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sconectl {sconectl.__version__}")
        raise typer.Exit


app = typer.Typer(
    name="sconectl",
    cls=LazyCommands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich takes longer to load than most commands to run
    context_settings={"max_content_width": 80, "help_option_names": ["--help"]},
)


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


def single(name: str, program: str) -> typer.Typer:
    """Return one command as a program of its own."""
    place = COMMANDS[name]
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    names = {"help_option_names": ["-h", "--help"]}
    app.command(program, context_settings=names)(getattr(import_module(f"sconectl.cli.{place.module}"), place.name))
    return app
