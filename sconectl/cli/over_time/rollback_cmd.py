"""`sconectl rollback`: the sessions of a mesh are again what they were before the last rollout.

In: the mesh, to know its CAS and its services. Out: what changes, on stdout; how the chart gets back, on stderr. The
lock gets the new versions of the sessions, each at once; everything else in it stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sconectl.cli.options.apply_options import ApplyOptions
from sconectl.cli.options.groups import Only, grouped
from sconectl.cli.output.console import Console, note, result
from sconectl.errors import PlanImpossible, UsageError
from sconectl.manifest.model.faults import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sconectl.apply.rolling.rollback import Back, Return
    from sconectl.apply.sessions import Update
    from sconectl.manifest.model.mesh import Mesh

_DIGITS = 64
_CHART = (
    "target/helm is still the chart of the version that was taken back: `helm rollback` brings back the one before; or "
    "check out its manifests and `sconectl apply` them, which changes no session then"
)


@grouped
def rollback(
    options: Annotated[
        ApplyOptions,
        Only(
            "files target lock policy_namespace set_ env_file cas_config allow_secret_loss max_size",
            files="The mesh manifest (repeatable; a directory, a pattern, or -).",
            target="The lock is beside this directory.",
        ),
    ],
    service: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Take back this service only. Repeatable.", show_default="the last rollout"),
    ] = None,
    to: Annotated[str, typer.Option("--to", metavar="HASH", help="Take one session back to this version of it.")] = "",
    finish: Annotated[
        bool, typer.Option("--finish", help="At once refuse pods of the version that is taken back.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Take back the last rolling update: sessions are what they were before it.

    Pods of the version before start again, and those of the version that is taken
    back do until `sconectl apply --finish`. Generated secrets keep their values.
    """
    from sconectl.apply.lock.lock_file import read_lock
    from sconectl.apply.rolling.rollback import look_back
    from sconectl.apply.sessions import put, salt_of
    from sconectl.cli.options.manifest_files import read_mesh
    from sconectl.cli.output.apply_result import lock_line
    from sconectl.cli.wiring import Wiring
    from sconectl.plan.facts.naming import session_name
    from sconectl.plan.mesh.mesh_input import main_cas
    from sconectl.usecases.over_time.locked_session import lock_session
    from sconectl.usecases.over_time.session_changes import clashes, refuse_losses, require_upload

    manifest, mesh = read_mesh(options)
    back = _back(mesh, service or [], to, finish=finish)
    cas = main_cas(mesh)
    require_upload(manifest, cas)
    console = Console(-1 if quiet else 0)
    wiring, namespace = (
        Wiring(options.target, options.cas_config, options.lock, options.config.reached),
        mesh.policy.namespace,
    )
    locked = namespace in read_lock(wiring.lock.read(), wiring.lock.name).meshes  # raises before anything is done
    with console.working():
        store = wiring.store(cas.cas_url, cas.cas_key, cas.tolerance)
        console.step("looking at the history of the sessions")
        found = look_back(store, [session_name(namespace, each.session) for each in mesh.services], back)
        salt = salt_of(store, namespace) if locked else ""
    if found.missing:
        raise PlanImpossible("this cannot be taken back alone", findings=clashes(manifest, found.missing))
    refuse_losses(manifest, options.allow_secret_loss or (), found.updates)
    changed = False
    for update in found.updates:
        for line in _lines(update, found, planned=dry_run):
            result(line)
        if not dry_run:
            done = put(store, update)
            changed = (locked and lock_session(wiring.lock, namespace, update, done.hash, salt)) or changed
    if locked and not dry_run:
        result(lock_line(wiring.lock, changed))
    for text in (*_remarks(found), *(() if dry_run else (_CHART,))):
        note(text)


def _back(mesh: Mesh, services: list[str], to: str, *, finish: bool) -> Back:
    from sconectl.apply.rolling.rollback import Back
    from sconectl.plan.facts.naming import session_name

    names = {each.session: each.session for each in mesh.services} | {each.name: each.session for each in mesh.services}
    for service in services:
        if service not in names:
            hint = did_you_mean(service, names) or f"its services are {', '.join(each.name for each in mesh.services)}"
            raise UsageError(f"--service {service}: the mesh has no such service", hint=hint)
    if to and (len(to) != _DIGITS or not set(to) <= set("0123456789abcdef")):
        raise UsageError(
            "--to is not the hash of a session", hint="`sconectl session history NAME` shows 64 hex digits"
        )
    if to and services:
        raise UsageError("--to names a version of one session already", hint="leave out --service")
    return Back(tuple(session_name(mesh.policy.namespace, names[each]) for each in services), to, finish)


def _lines(update: Update, found: Return, *, planned: bool) -> Iterator[str]:
    """Yield what becomes of a session, and what changes in it, the fates of secrets included."""
    from sconectl.policy.diff.diff import as_text

    would = "would be " if planned else ""
    if update.outcome == "unchanged":
        yield f"session {update.name}: unchanged"
        return
    goal = found.hashes.get(update.name)
    what = f"taken back to {goal}{_numbers(update)}" if goal else "changed, to share what others import"
    yield f"session {update.name}: {would}{what}"
    yield from (f"  {line}" for line in as_text(update.changes).splitlines())


def _numbers(update: Update) -> str:
    """Return which version takes the place of which one, where they have numbers."""
    from sconectl.apply.rolling.rollouts import names_in
    from sconectl.policy.rolling.versions import versions_in

    sessions = [session for session in (update.seen, update.wanted) if session is not None]
    first = [next(iter(versions_in(session, names_in(update.name))), 1) for session in sessions]
    return f", from v{first[0]} to v{first[-1]}" if first[0] != first[-1] else ""


def _remarks(found: Return) -> Iterator[str]:
    for name, fault in found.faults:
        yield f"note: session {name}: pods of the version that is taken back start no more: {fault.message}"
    if found.kept:
        yield (
            f"note: pods of the version that is taken back start, too ({', '.join(found.kept)}); when none is left, "
            "`sconectl apply --finish` with the earlier manifests"
        )
