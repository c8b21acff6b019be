"""`sconectl session list` and `history`: which sessions there are, and how each of them came about.

In: the name of a namespace or session. Out: a line for each session or version on stdout, or JSON.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sconectl.cli.options.groups import grouped
from sconectl.cli.output.console import note, result
from sconectl.cli.session.session_access import Access, Format, one_of
from sconectl.errors import CasError

if TYPE_CHECKING:
    from sconectl.apply.session_history import PastVersion
    from sconectl.cas.client.session_tree import FoundSession

_NO_HASH = "-"


@grouped
def list_sessions(
    namespace: Annotated[
        str, typer.Argument(metavar="[NAMESPACE]", help="The namespace; / is the top level.", show_default=False)
    ] = "/",
    *,
    access: Access,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Also the sessions in each of them.")] = False,
    output: Format = "text",
) -> None:
    """List the sessions in a namespace: name, hash, and what may be known of it.

    A session is active or retired; unreadable if you may not read it. Its hash
    is - if you may not know it.
    """
    from sconectl.cas.client.session_tree import sessions_below

    one_of("--output", output, ("text", "json"))
    found = list(sessions_below(access.store(), namespace, recursive=recursive))
    if output == "json":
        result(json.dumps({"sessions": [_plain(session) for session in found]}, indent=2))
    else:
        width = max((len(session.name) for session in found), default=0)
        for session in found:
            result(f"{session.name:{width}}  {session.hash or _NO_HASH:64}  {_state(session)}")
    closed = sum(session.closed for session in found)
    if closed:
        note(f"what is in {closed} of them is not listed, because you may not list it")


def _state(session: FoundSession) -> str:
    from sconectl.policy.retired import is_retired

    if session.session is None:
        return "unreadable"
    return "retired" if is_retired(session.session) else "active"


def _plain(session: FoundSession) -> dict[str, Any]:
    return {"name": session.name, "hash": session.hash, "state": _state(session)}


@grouped
def show_history(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the session.")],
    access: Access,
    output: Format = "text",
) -> None:
    """Show all versions of a session, the active one first, and what each changed.

    Of the changes, it says how many weaken the protection and how many
    strengthen it, and which values the CAS drew anew. `session read --hash`
    prints a version, `session diff` compares two.
    """
    from sconectl.apply.session_history import history

    one_of("--output", output, ("text", "json"))
    store = access.store()
    versions = history(store, name)
    if not versions:
        raise CasError(f"CAS {store.address} has no session {name}", hint="check the name, and which CAS has it")
    if output == "json":
        result(json.dumps({"session": name, "versions": [_version(version) for version in versions]}, indent=2))
        return
    width = len(str(versions[0].number))
    for version in versions:
        result(f"{version.number:{width}}  {version.hash}  {_changes(version)}")


def _changes(version: PastVersion) -> str:
    from sconectl.policy.retired import is_retired

    if version.number == 1:
        return "created"
    text = f"{version.count('weakens')} weaken, {version.count('strengthens')} strengthen"
    if version.drawn_anew:
        text += f"; drawn anew: {', '.join(version.drawn_anew)}"
    return f"{text}; retired" if is_retired(version.session) else text


def _version(version: PastVersion) -> dict[str, Any]:
    from sconectl.policy.retired import is_retired

    return {
        "number": version.number,
        "hash": version.hash,
        "predecessor": version.session.predecessor,
        "retired": is_retired(version.session),
        "weakens": version.count("weakens"),
        "strengthens": version.count("strengthens"),
        "drawn_anew": list(version.drawn_anew),
    }
