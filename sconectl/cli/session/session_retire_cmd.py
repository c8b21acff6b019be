"""`sconectl session retire`: what nobody needs any more gives nothing to anybody any more.

In: names of sessions. Out: their hashes on stdout; who loses what, and which values are lost, on stderr.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from sconectl.cli.options.groups import grouped
from sconectl.cli.output.console import note, result
from sconectl.cli.session.session_access import Access, stored_session
from sconectl.errors import Refused

if TYPE_CHECKING:
    from sconectl.apply.sessions import Update
    from sconectl.policy.diff.fates import SecretFate
    from sconectl.ports import SessionStore


@dataclass(frozen=True)
class _Retiring:
    """One session that is to be retired, and the values that are lost by that."""

    hash: str
    update: Update
    lost: tuple[SecretFate, ...]


@grouped
def retire(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="The names of the sessions.")],
    *,
    access: Access,
    destroy_secrets: Annotated[bool, typer.Option("--destroy-secrets", help="Keep no generated value either.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Go on although values are lost for good.")] = False,
) -> None:
    """Replace sessions by ones that give nothing to anybody, and print their hashes.

    Programs are attested no longer, and other sessions import nothing from them.
    Generated values stay in them, for nobody, so that an older version can be
    put back: see `session history`.
    """
    store = access.store()
    found = {name: _looked_at(store, name, keep=not destroy_secrets) for name in dict.fromkeys(names)}
    for name, retiring in found.items():
        _tell(name, retiring)
    lost = sum(len(retiring.lost) for retiring in found.values())
    if dry_run:
        return
    if lost and not yes:
        raise Refused(
            f"{lost} generated {'value' if lost == 1 else 'values'} would be lost for good, as said above",
            hint="give --yes if nobody needs them any more"
            + ("; without --destroy-secrets, what can be kept is kept" if destroy_secrets else ""),
        )
    for name, retiring in found.items():
        result(_retired(store, name, retiring))


def _looked_at(store: SessionStore, name: str, *, keep: bool) -> _Retiring:
    from sconectl.apply.sessions import document_of, with_content
    from sconectl.policy.reading import parse_session
    from sconectl.policy.retired import retired

    stored = stored_session(store, name)
    before = parse_session(stored.text, file=name)
    update = with_content(document_of(retired(before, keep_secrets=keep)), stored, before)
    return _Retiring(stored.hash, update, tuple(each for each in update.fates if each.fate in ("lost", "drawn anew")))


def _tell(name: str, retiring: _Retiring) -> None:
    from sconectl.policy.diff.diff import as_text

    changes = as_text(retiring.update.changes).rstrip()
    if changes:
        note(f"session {name}:\n{changes}")
    for fate in retiring.lost:
        note(f"lost for good: {fate.name} of {name} ({fate.kind}): {fate.rule}")


def _retired(store: SessionStore, name: str, retiring: _Retiring) -> str:
    """Retire a session unless it is retired, say so, and return the hash of its active version."""
    from sconectl.apply.sessions import put

    done = put(store, retiring.update)
    if done.outcome == "unchanged":
        note(f"session {name} is retired already; it is unchanged")
    else:
        note(f"session {name} is retired; to put back what it was: version {retiring.hash}")
    return done.hash
