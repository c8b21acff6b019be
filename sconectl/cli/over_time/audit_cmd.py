"""`sconectl audit`: which commit recorded each version of the sessions of a mesh.

In: a mesh, or its namespace and CAS, and the lock in the history of Git. Out: a line for each version on stdout, with
what it changed if no commit explains it, or JSON; remarks on stderr. Raises `Refused` if something is not explained.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sconectl.cli.options.apply_options import ApplyOptions
from sconectl.cli.options.groups import Only, grouped
from sconectl.cli.output.console import Console, note, result
from sconectl.cli.output.printable import shown
from sconectl.errors import PlanImpossible, Refused, UsageError

if TYPE_CHECKING:
    from sconectl.cli.wiring import Wiring
    from sconectl.ports import SessionStore
    from sconectl.usecases.over_time.audit import Audit, AuditedVersion, Remark

_SHOWN_DIGITS, _COMMIT_DIGITS = 12, 7
_OTHERS = {
    "working tree": "not committed yet",
    "before": "before the first lock",
    "retired": "retired, gives nothing to anybody",
    "nothing": "NO COMMIT",
}


@grouped
def audit(
    files: Annotated[
        list[Path] | None, typer.Option("--filename", "-f", metavar="FILE", help="The mesh manifest.")
    ] = None,
    namespace: Annotated[str, typer.Option("--namespace", metavar="NS", help="Without -f: the mesh's namespace.")] = "",
    cas: Annotated[str, typer.Option("--cas", "-c", metavar="CAS", help="With --namespace: its CAS.")] = "local",
    since: Annotated[
        str,
        typer.Option(
            "--since", metavar="REV", help="From this commit on, versions need one.", show_default="the first"
        ),
    ] = "",
    foreign: Annotated[
        list[str] | None,
        typer.Option(metavar="SESSION", help="This one in the namespace is not of the mesh. Repeatable."),
    ] = None,
    *,
    options: Annotated[
        ApplyOptions,
        Only(
            "target lock policy_namespace set_ env_file cas_config max_size",
            target="The lock is beside this directory.",
        ),
    ],
    output: Annotated[str, typer.Option("--output", metavar="FORM", help="text or json.")] = "text",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Name the commit behind each version of the sessions of a mesh, and what no commit explains.

    It is the first commit whose sconectl.lock holds that version. Exit code 7 if
    there is none, or if another version is active than the lock says.
    """
    from sconectl.apply.lock.past_locks import read_history
    from sconectl.cli.session.session_access import one_of
    from sconectl.cli.wiring import Wiring
    from sconectl.usecases.over_time.audit import audit as compare

    one_of("--output", output, ("text", "json"))
    if bool(files) == bool(namespace):
        raise UsageError("which mesh?", hint="give its manifest with -f, or --namespace and --cas")
    wiring = Wiring(options.target, options.cas_config, options.lock, options.config.reached)
    if files:
        namespace, store = _mesh(replace(options, files=files), wiring)
    else:
        store = wiring.store(cas)
    console = Console(-1 if quiet else 0)
    with console.working():
        console.step("reading the history of the lock")
        locks = read_history(namespace, wiring.lock, wiring.lock_history, since)
        console.step("reading the history of the sessions")
        found = compare(store, namespace, locks, foreign or ())
    if output == "json":
        result(json.dumps(_document(found, namespace, store), indent=2))
    else:
        for line in _lines(found, since):
            result(line)
        for remark in found.remarks:
            _say(remark)
    _refuse(found)


def _mesh(options: ApplyOptions, wiring: Wiring) -> tuple[str, SessionStore]:
    """Return namespace and CAS of the mesh. Raises `UsageError`, and `PlanImpossible` if others upload its sessions."""
    from sconectl.cli.options.manifest_files import read_mesh
    from sconectl.plan.mesh.mesh_input import is_signed, main_cas

    _, mesh = read_mesh(options)
    found = main_cas(mesh)
    if is_signed(found):
        message = (
            f"in mode {found.mode} the sessions are not uploaded here, so that the lock does not know their versions"
        )
        raise PlanImpossible(message, hint="use mode Upload")
    return mesh.policy.namespace, wiring.store(found.cas_url, found.cas_key, found.tolerance)


def _lines(found: Audit, since: str) -> Iterator[str]:
    from sconectl.policy.diff.diff import as_text

    width = max(map(len, found.sessions), default=0)
    numbers = max((len(str(each.number)) for versions in found.sessions.values() for each in versions), default=1)
    for name, versions in found.sessions.items():
        for version in versions:
            hash_ = f"{version.hash[:_SHOWN_DIGITS]:{_SHOWN_DIGITS}}"
            yield f"{name:{width}}  v{version.number:<{numbers}}  {hash_}  {_reason(version, since)}"
            yield from (f"  {shown(line)}" for line in as_text(version.changes).splitlines())


def _reason(version: AuditedVersion, since: str) -> str:
    commit = version.commit
    if commit is not None:
        return f'commit {commit.id[:_COMMIT_DIGITS]} "{shown(commit.subject)}" ({shown(commit.author)}, {commit.date})'
    if version.reason == "before" and since:
        return f"before {since}"
    if version.access_only:
        return "NO COMMIT; only who may read and change it, as `sconectl identity rotate` does"
    return _OTHERS[version.reason]


def _say(remark: Remark) -> None:
    note(f"{'error' if remark.alarm else 'warning'}: session {remark.session}: {shown(remark.message)}")
    if remark.hint:
        note(f"    hint: {shown(remark.hint)}")


def _document(found: Audit, namespace: str, store: SessionStore) -> dict[str, Any]:
    """Return everything as plain values; a hash is what the lock says of it."""
    from dataclasses import asdict

    from sconectl.policy.diff.diff import to_json

    return {
        "namespace": namespace,
        "cas": store.address,
        "sessions": [
            {
                "name": name,
                "versions": [
                    {
                        "number": each.number,
                        "hash": each.hash,
                        "reason": each.reason,
                        "commit": asdict(each.commit) if each.commit else None,
                        "access_only": each.access_only,
                        "changes": to_json(each.changes),
                    }
                    for each in versions
                ],
            }
            for name, versions in found.sessions.items()
        ],
        "remarks": [asdict(remark) for remark in found.remarks],
    }


def _refuse(found: Audit) -> None:
    """Raise `Refused` if something is not explained."""
    count, others = len(found.unexplained), len(found.alarms)
    parts = [f"{count} {'version is' if count == 1 else 'versions are'} in no commit"] if count else []
    parts += [f"{others} {'session is' if others == 1 else 'sessions are'} not as the lock says"] if others else []
    if parts:
        hint = "find out who did that; if it is all right, apply, commit the lock, and give --since with that commit"
        raise Refused(" and ".join(parts), hint=hint)
