"""`sconectl volume list` and `accept`: the states of volumes in a CAS, and the deliberate way back to an older one.

In: names of sessions and volumes, a state. Out: a line for each volume on stdout, or JSON; what was done on stderr.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated

import typer

from sconectl.cli.options.groups import grouped
from sconectl.cli.output.console import note, result
from sconectl.cli.output.printable import shown
from sconectl.cli.session.session_access import Access, Format, one_of, stored_session
from sconectl.errors import CasError, UsageError

if TYPE_CHECKING:
    from sconectl.ports import SessionStore, VolumeState

Session = Annotated[str, typer.Argument(metavar="SESSION", help="The session that owns the volume.")]
_STATE = re.compile("[0-9a-f]{32}")
_NOTHING = "-"


@grouped
def list_volumes(session: Session, access: Access, output: Format = "text") -> None:
    """List the volumes that a session owns: name, state, and what is to know of it.

    The state is 32 hex digits: what the storage must have, or extend. It is - if
    nothing was written yet. Whoever reads the session may see this.
    """
    one_of("--output", output, ("text", "json"))
    store = access.store()
    stored_session(store, session)
    found = store.volumes(session)
    if output == "json":
        result(json.dumps({"session": session, "volumes": [_plain(volume) for volume in found]}, indent=2))
        return
    width = max((len(volume.name) for volume in found), default=0)
    for volume in found:
        result(f"{shown(volume.name):{width}}  {volume.tag or _NOTHING:32}{_more(volume)}")


@grouped
def accept(
    session: Session,
    volume: Annotated[str, typer.Argument(metavar="VOLUME", help="The name of the volume in that session.")],
    state: Annotated[
        str, typer.Argument(metavar="[STATE]", help="The state to accept, as `volume backup` printed it.")
    ] = "",
    *,
    access: Access,
    empty: Annotated[bool, typer.Option("--empty", help="Accept an empty storage: everything is lost.")] = False,
) -> None:
    """Let programs start from an older state of a volume: one that was restored.

    Until then they refuse it, because an attacker may have put it there. Name the
    state as you noted it when the backup was made, not as the storage shows it
    now. No program may use the volume. The audit log records it, and `plan` says
    it until a program writes again. Needs the right to update the session.
    """
    if empty == bool(state):
        raise UsageError("give the STATE to accept, or --empty", hint="`sconectl volume backup` prints the state")
    state_argument(state)
    store = access.store()
    stored_session(store, session)
    before = owned_volume(store, session, volume)
    wanted = state or None
    if before.tag == wanted:
        note(f"{state or 'no state'} is the state of volume {shown(volume)} already; nothing was changed")
        return
    store.accept(session, volume, before.tag, wanted)
    after = owned_volume(store, session, volume).tag
    note(f"volume {shown(volume)} of session {session}: the state was {before.tag or 'none'}, and is {after or 'none'}")


def state_argument(state: str) -> bytes | None:
    """Return a state as bytes, None if none was given; raises `UsageError`."""
    if state and not _STATE.fullmatch(state):
        raise UsageError(
            f"{state} is no state of a volume",
            hint="those are 32 lower case hex digits: see `sconectl volume list`",
        )
    return bytes.fromhex(state) or None


def owned_volume(store: SessionStore, session: str, name: str) -> VolumeState:
    """Return a volume that a session owns; raises `CasError` if there is none."""
    for volume in store.volumes(session):
        if volume.name == name:
            return volume
    raise CasError(
        f"session {session} owns no volume {shown(name)} that the CAS {store.address} tells of",
        hint="`sconectl volume list` shows those that it owns; imported ones belong to another session",
    )


def _more(volume: VolumeState) -> str:
    text = f"  in use by {volume.in_use[0]} until {volume.in_use[1]}" if volume.in_use else ""
    return text + (f"  accepted by {volume.accepted[0]} at {volume.accepted[1]}" if volume.accepted else "")


def _plain(volume: VolumeState) -> dict[str, object]:
    return {
        "name": volume.name,
        "state": volume.tag,
        "in_use": {"by": volume.in_use[0], "until": volume.in_use[1]} if volume.in_use else None,
        "accepted": {"by": volume.accepted[0], "at": volume.accepted[1]} if volume.accepted else None,
    }
