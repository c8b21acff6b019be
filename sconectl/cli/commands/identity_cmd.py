"""`sconectl identity …`: the key by which CASes and colleagues know you.

In: the cas-config directory. Out: key hash, file and age of the identity on stdout.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from sconectl.cli.commands.identity_rotate_cmd import rotate
from sconectl.cli.options.groups import Only, grouped
from sconectl.cli.output.console import result
from sconectl.cli.session.session_access import Access, Config, Format, one_of
from sconectl.errors import Refused, UsageError

if TYPE_CHECKING:
    from sconectl.cas.client.identity import ClientIdentity

identity_app = typer.Typer(no_args_is_help=True, help="See, make and replace the key by which CASes know you.")
identity_app.command("rotate")(rotate)


@identity_app.command("show")
@grouped
def show(access: Annotated[Access, Only("cas_config identity")], output: Format = "text") -> None:
    """Print the key hash of your identity, the file with its key, and since when you have it.

    Access policies, and `access` in a mesh, name you by the key hash. The old
    key is shown while `identity rotate` is not finished.
    """
    one_of("--output", output, ("text", "json"))
    config = access.config()
    found = config.existing()
    if found is None:
        raise UsageError(
            f"there is no identity in {config.directory}", hint="`sconectl identity new` makes one, or the first use"
        )
    _print(found, output, config.old_identity() if access.identity is None else None)


@identity_app.command("new")
def new(cas_config: Config = None, output: Format = "text") -> None:
    """Make an identity where there is none; an existing one is never replaced."""
    one_of("--output", output, ("text", "json"))
    config = Access(cas_config=cas_config).config()
    if (existing := config.existing()) is not None:
        raise Refused(
            f"there is an identity already: {existing.key_hash} in {existing.file}",
            hint="it owns your sessions; --cas-config names another directory for another identity",
        )
    _print(config.identity(), output)


def _print(identity: ClientIdentity, output: str, old: ClientIdentity | None = None) -> None:
    shown = {"key hash": identity.key_hash, "file": str(identity.file), "since": f"{identity.since:%Y-%m-%dT%H:%M:%SZ}"}
    if old is not None:
        shown["old key"] = old.key_hash
    if output == "json":
        result(json.dumps({name.replace(" ", "_"): value for name, value in shown.items()}, indent=2))
    else:
        result("\n".join(f"{name + ':':9} {value}" for name, value in shown.items()))
