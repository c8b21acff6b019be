"""`sconectl volume …`: what the owners of volumes do with them besides running programs."""

from __future__ import annotations

import typer

from sconectl.cli.volume.volume_files_cmd import backup, create, extract, restore, show, verify
from sconectl.cli.volume.volume_state_cmd import accept, list_volumes

volume_app = typer.Typer(
    no_args_is_help=True, help="Look at volumes, back them up, restore them, and move data in and out."
)
volume_app.command("list")(list_volumes)
volume_app.command("accept")(accept)
volume_app.command("show")(show)
volume_app.command("verify")(verify)
volume_app.command("backup")(backup)
volume_app.command("restore")(restore)
volume_app.command("extract")(extract)
volume_app.command("create")(create)
