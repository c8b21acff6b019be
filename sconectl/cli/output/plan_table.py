"""The plan of a service as a table that fits on 80 columns, and that of a mesh as lists.

In: a `PlanReport`; for a mesh, plain values. Out: text for people; paths of foreign images are shown with their control
characters escaped.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sconectl.cli.output.printable import shown
from sconectl.plan.service.protection import CONTAINER_RUNTIMES
from sconectl.policy.diff.diff import SIGN
from sconectl.report.left_behind import gift_lines, origin_of
from sconectl.report.mesh_document import service_lines
from sconectl.report.plan_words import Amount, amounts, measured, readable, size_text
from sconectl.report.secret_fates import fate_line
from sconectl.report.volumes import service_volumes, storage_lines, volume_line
from sconectl.usecases.plan_report import PathRow, PlanReport

_WIDTH = 80
_PATH = 26
_KINDS = {"f": "file", "d": "directory", "l": "link", "c": "device", "b": "device", "p": "FIFO"}


def table_lines(report: PlanReport, *, all_paths: bool) -> Iterator[str]:
    """Yield the plan as text; `all_paths` adds a line for every path."""
    plan, base = report.plan, report.base
    yield f"{plan.build.name} (kind {plan.build.kind}): {plan.image}"
    said = ": SIMULATION, no hardware protects the result" if plan.toolchain.simulated else ""
    yield f"toolchain {plan.toolchain.name}{said}"
    yield f"base image {shown(base.reference)}"
    yield f"  {shown(base.digest)}" if base.digest else "  digest not known"
    if base.missing:
        yield f"  {shown(base.missing)}"
    yield ""
    yield "STEPS"
    for step in report.steps:
        yield from _wrapped(f"{step.state:<10} {step.name:<13}", step.what)
    yield ""
    yield f"{'PATH':<{_PATH}} {'CLASS':<16} {'FILES':>7} {'SIZE':>6}  WHY"
    usual = [entry for entry in amounts(report) if entry[0].why == CONTAINER_RUNTIMES]
    for rule, found in amounts(report):
        if (rule, found) not in usual:
            yield from _row(rule.path, rule.protection, found, rule.why)
    total = Amount(sum(found.files for _, found in usual), size=sum(found.size for _, found in usual))
    yield from _row(f"/tmp and {len(usual) - 1} others", "runtime-provided", total, CONTAINER_RUNTIMES)  # noqa: S108
    for text in report.unknown:
        yield from _wrapped("?", text)
    if all_paths:
        yield ""
        yield "ALL PATHS"
        for path in report.paths:
            yield from _path(path)
    if volumes := service_volumes(report.plan):
        yield from _section("VOLUMES", map(volume_line, volumes))
    yield from _section("MEASURED", measured(report))
    yield from _section("WHAT AN OPERATOR OF THE MACHINE SEES", readable(report))


def _row(path: str, protection: str, found: Amount, why: str) -> Iterator[str]:
    name = shown(path)
    if len(name) > _PATH:
        yield name
        name = ""
    files, size = (str(found.files), size_text(found.size)) if found.files else ("-", "-")
    yield f"{name:<{_PATH}} {protection:<16} {files:>7} {size:>6}  {why}"


def _path(row: PathRow) -> Iterator[str]:
    size = size_text(row.size) if row.kind == "f" else "-"
    yield f"{row.rule.protection:<16} {_KINDS.get(row.kind, row.kind):<9} {row.mode:04o} {size:>6}  {shown(row.path)}"


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield ""
    yield title
    for line in lines:
        yield from _wrapped("-", line)


def _wrapped(mark: str, text: str) -> list[str]:
    first = f"  {mark} "
    rest = " " * len(first)
    return textwrap.wrap(shown(text), _WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)


def mesh_lines(document: Mapping[str, Any], *, all_secrets: bool) -> Iterator[str]:
    """Yield the plan of a mesh, given as plain values, as text; `all_secrets` adds those of unchanged sessions."""
    yield f"mesh in namespace {document['namespace']}"
    yield ""
    yield "SERVICES"
    for service in document["services"]:
        yield f"  {service['name']:<20} {service['image']}"
        for line in service_lines(service):
            yield from _wrapped("  -", line)
    if volumes := document["volumes"]:
        yield from _section("VOLUMES", (f"{volume['service']}: {volume_line(volume)}" for volume in volumes))
        yield from _section("WHAT WHOEVER HAS THE STORAGE SEES", storage_lines(volumes))
    yield ""
    yield "SESSIONS"
    for session in document["sessions"]:
        rollout = session.get("rollout")
        both = f", v{rollout['from']} and v{rollout['to']} start" if rollout else ""
        yield f"  {session['state']:<10} {shown(session['name'])} (CAS {session['cas']}){both}"
    if not document["sessions"]:
        yield "  none is uploaded"
    yield from _secrets(document["sessions"], every=all_secrets)
    yield from _changes(document["sessions"])
    yield from _orphans(document["orphans"])
    if copies := document.get("copies"):
        yield from _section("COPIES OF IMAGES", (f"{copy['image']} is copied to {copy['to']}" for copy in copies))
    yield ""
    yield "FILES"
    for file in document["files"]:
        yield f"  {file['state']:<10} {shown(file['path'])}"
    if not document["files"]:
        yield "  unchanged"


def _orphans(orphans: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the sessions that no service owns, whose they are, and what each gives to whom."""
    for number, orphan in enumerate(orphans):
        if not number:
            yield ""
            yield "LEFT BEHIND"
        yield f"  {orphan['state']:<10} {shown(orphan['name'])}: {origin_of(orphan)}"
        for line in gift_lines(orphan):
            yield from _wrapped("  -", line)


def _secrets(sessions: Iterable[Mapping[str, Any]], *, every: bool) -> Iterator[str]:
    """Yield the fates of secrets, those that are in use and would be lost with a mark."""
    quiet = 0
    lines: list[str] = []
    for session in sessions:
        found = session.get("secrets", [])
        if session["state"] == "unchanged" and not every:
            quiet += len(found)
            continue
        for fate in found:
            lines += _wrapped("!" if fate["loss"] else "-", f"{session['name']} {fate_line(fate)}")
    if lines or quiet:
        yield ""
        yield "SECRETS"
        yield from lines
    if quiet:
        yield f"  {quiet} of unchanged sessions are kept"


def _changes(sessions: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what changes in sessions that the CAS has: `!` weakens them (with a code), `+` strengthens them."""
    lines: list[str] = []
    for session in sessions:
        if session["state"] == "update":
            for change in session.get("changes", ()):
                code = f" [{change['code']}]" if change["code"] else ""
                text = f"{session['name']} {change['subject']}: {change['message']}{code}"
                lines += _wrapped(SIGN[change["severity"]], text)
    if lines:
        yield ""
        yield "CHANGES"
        yield from lines
