"""`sconectl volume show`, `verify`, `backup`, `restore`, `extract`, `create`: what lies on the storage of a volume.

In: directories, and for what is plain in the end a key. Out: states on stdout, what was done on stderr. A key that the
CAS has drawn is told to nobody, so data get into such a volume, or out of it, through a program that mounts it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sconectl.cli.options.groups import grouped
from sconectl.cli.options.key_argument import file_key
from sconectl.cli.output.console import note, result
from sconectl.cli.output.printable import shown
from sconectl.cli.session.session_access import Access, Format, one_of
from sconectl.cli.volume.volume_state_cmd import owned_volume, state_argument
from sconectl.errors import Refused, UsageError

if TYPE_CHECKING:
    from sconectl.apply.volumes.backup import Copied
    from sconectl.apply.volumes.claimed import Claimed

Storage = Annotated[Path, typer.Argument(metavar="DIR", help="The storage of the volume.")]
Key = Annotated[str, typer.Option("--key", metavar="KEY", help="Its key: 64 hex digits, @FILE, or - for stdin.")]
State = Annotated[
    str, typer.Option("--state", metavar="STATE", help="The state that it must have, or extend; any without it.")
]
Of = Annotated[str, typer.Option("--of", metavar="SESSION/VOLUME", help="Compare with what the CAS knows of it.")]


@grouped
def show(directory: Storage, access: Access, of: Of = "", output: Format = "text") -> None:
    """Show what the storage says about itself. Needs no key, and nothing vouches for it.

    With --of, it is compared with the state that the CAS knows.
    """
    from sconectl.apply.volumes.claimed import claimed
    from sconectl.apply.volumes.opened_storage import kept_still, opened_storage

    one_of("--output", output, ("text", "json"))
    with opened_storage(directory) as storage:
        found = claimed(storage)
        with kept_still(storage) as still:
            in_use = not still
    known = _known(access, of)
    files = "encrypted" if found.encrypted else "authenticated-only"
    if output == "json":
        plain = {"state": found.newest.hex(), "files": files, "journals": found.journals, "in_use": in_use}
        result(json.dumps(plain | ({"cas": known, "holds_it": _holds(found, known)} if of else {}), indent=2))
        return
    result(f"state {found.newest.hex()}")
    result(f"files {files}, {found.journals} journals, {'in use' if in_use else 'not in use'}")
    if of:
        result(_compared(found, known))


@grouped
def verify(directory: Storage, key: Key = "", state: State = "") -> None:
    """Open everything on the storage, write nothing, and print the state.

    Ends with exit code 7 if a file was changed or is missing, or if the storage
    is older than STATE.
    """
    from sconectl.apply.volumes.moving_data import verify as verified

    found = verified(directory, _needed(key), state_argument(state))
    result(found.state.hex())
    note(f"{found.files} files with {found.size} bytes are as they were written")


@grouped
def backup(
    directory: Storage,
    target: Annotated[Path, typer.Argument(metavar="BACKUP", help="A new or empty directory.")],
    access: Access,
    of: Of = "",
) -> None:
    """Copy the storage as it is at one moment, and print the state to note.

    Also while a program uses it. The copy is encrypted as the storage is. With
    --of, the state is that of the CAS, which the copy has to hold; otherwise it is
    what the storage claims. Keep it where nobody changes it: `volume accept`
    needs it.
    """
    from sconectl.apply.volumes.backup import back_up

    known = _known(access, of)  # first: the copy is newer, if anything
    copied = back_up(directory, target)
    _say(copied, target)
    if not of:
        result(copied.claimed.newest.hex())
        note("nothing vouches for this state; give --of to compare it with the CAS")
    elif known is None or not _holds(copied.claimed, known):
        raise Refused(
            _compared(copied.claimed, known),
            hint=f"the copy is in {target}; if a program uses the volume, repeat the backup: it may have moved on",
        )
    else:
        result(known)


@grouped
def restore(
    backup: Annotated[Path, typer.Argument(metavar="BACKUP", help="What `volume backup` has written.")],
    directory: Storage,
    *,
    replace: Annotated[bool, typer.Option("--replace", help="Remove what is there.")] = False,
) -> None:
    """Put a backup onto the storage, and print the state that it claims.

    Programs refuse it, as a rollback, until you accept the state that you noted:
    see `volume accept`.
    """
    from sconectl.apply.volumes.backup import restore as restored

    copied = restored(backup, directory, replace=replace)
    _say(copied, directory)
    result(copied.claimed.newest.hex())


@grouped
def extract(
    directory: Storage,
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="A new or empty directory, for plain files.")],
    key: Key = "",
    state: State = "",
) -> None:
    """Write the plain files of a volume to a directory of yours: all, or none."""
    from sconectl.apply.volumes.moving_data import extract as extracted

    found = extracted(directory, _needed(key), state_argument(state), target)
    result(found.state.hex())
    note(f"{found.files} files with {found.size} bytes are in {shown(str(target))}, readable for whoever reads that")


@grouped
def create(
    directory: Storage,
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="The plain files to put into it.")],
    *,
    key: Key = "",
    files: Annotated[
        str, typer.Option("--files", metavar="HOW", help="encrypted or authenticated-only.")
    ] = "encrypted",
) -> None:
    """Make a volume with the files of a directory on an empty storage.

    Prints what the session needs to know of it: fspf_tag, and fspf_key unless you
    gave a KEY. The files of SOURCE stay where they are.
    """
    import secrets

    from sconectl.apply.volumes.moving_data import create as created

    one_of("--files", files, ("encrypted", "authenticated-only"))
    used = file_key(key) if key else secrets.token_bytes(32)
    found, left_out = created(directory, source, used, encrypted=files == "encrypted")
    for path in left_out:
        note(f"left out {shown(path)}, which cannot be in a volume")
    if not key:
        result(f"fspf_key: {used.hex()}")
    result(f"fspf_tag: {found.state.hex()}")
    note(f"{found.files} files with {found.size} bytes are in the volume; name these values in its session")


def _needed(key: str) -> bytes:
    if not key:
        raise UsageError(
            "this needs the key of the volume, --key KEY",
            hint="a key that the CAS has drawn is told to nobody: let a program that mounts the volume copy its files",
        )
    return file_key(key)


def _known(access: Access, of: str) -> str | None:
    if not of:
        return None
    session, _, volume = of.rpartition("/")
    if not session or not volume:
        raise UsageError(f"--of {of} names no volume", hint="write SESSION/VOLUME, as in shop/db/data")
    return owned_volume(access.store(), session, volume).tag


def _holds(found: Claimed, known: str | None) -> bool:
    return known is not None and bytes.fromhex(known) in found.states


def _compared(found: Claimed, known: str | None) -> str:
    if known is None:
        return "the CAS says that the volume was never written"
    if not _holds(found, known):
        return f"the CAS knows state {known}, which this storage does not show"
    more = "" if found.newest.hex() == known else ", and newer ones"
    return f"the CAS knows state {known}, which this storage holds{more}"


def _say(copied: Copied, target: Path) -> None:
    for place in copied.left_out:
        note(f"left out {shown(place.decode(errors='surrogateescape'))}, which is no file of a volume")
    note(f"{copied.files} files with {copied.size} bytes in all are in {shown(str(target))}")
