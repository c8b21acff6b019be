"""What applying a service manifest would do and give, found out without building or writing anything.

In: a plan, its sources, and the files of the image it begins with, as far as they are at hand. Out: a `PlanReport`.
Raises `BuildFailed` if there is no such image.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Literal

from sconectl.apply.image_findings import image_findings, setuid_paths
from sconectl.apply.native import NativeSources
from sconectl.errors import BuildFailed
from sconectl.image.layers.root_tree import RootTree
from sconectl.image.program.program_check import describe
from sconectl.image.settings.native_places import image_volumes, real_paths, require_buildable, require_room
from sconectl.plan.facts.naming import image_session_name
from sconectl.plan.service.protection import Rule, rule_for, rules
from sconectl.plan.service.service import ServicePlan
from sconectl.ports import ImageEngine, ImageInfo, Registry
from sconectl.text.findings import Finding
from sconectl.text.yaml_tree import Document
from sconectl.usecases.apply_service import EarlierRuns


@dataclass(frozen=True)
class Base:
    """The image that the build begins with; `digest` is its id, `missing` says why its files are not at hand."""

    reference: str
    digest: str
    missing: str = ""


@dataclass(frozen=True)
class Step:
    """One step of `apply`; `checked` is what a run looks at before it decides."""

    name: str
    what: str
    state: Literal["to do", "unchanged", "checked"]


@dataclass(frozen=True)
class PathRow:
    """One path of the result: `kind` as in `Member`, `origin` is image, copy or policy, `rule` decides about it."""

    path: str
    kind: str
    mode: int
    size: int
    origin: str
    rule: Rule


@dataclass(frozen=True)
class PlanReport:
    """Everything that there is to see before a build. `paths` are sorted; `unknown` says what is not among them."""

    plan: ServicePlan
    base: Base
    steps: tuple[Step, ...]
    rules: Mapping[str, Rule]
    paths: tuple[PathRow, ...]
    unknown: tuple[str, ...]
    setuid: tuple[str, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class PlanWorld:
    """The outside world of a report: `files` gives the files of a local image, `earlier` results of earlier runs.

    `push` and `session` say whether `apply` would push the image and write its session.
    """

    engine: ImageEngine
    registry: Callable[[], Registry]
    files: Callable[[str, ImageInfo], AbstractContextManager[RootTree]]
    earlier: EarlierRuns = field(default_factory=EarlierRuns)
    push: bool = True
    session: bool = True


def report_plan(plan: ServicePlan, sources: NativeSources, document: Document, world: PlanWorld) -> PlanReport:
    """Return the report of what `apply` would do. Raises `BuildFailed` and `EngineUnreachable`."""
    reference = plan.native or plan.base
    info, missing = _find(reference, world, native=bool(plan.native))
    if info is not None:
        require_room(reference, len(info.layers))
        if plan.base:
            require_buildable(reference, info)
    volumes = image_volumes(info.config) if info else ()
    known = rules(plan.model, volumes)
    findings: list[Finding] = []
    setuid: tuple[str, ...] = ()
    if info is None or missing:
        rows = _rows(plan, sources, known, None)
    else:
        with world.files(reference, info) as tree:
            known = rules(plan.model, real_paths(tree, volumes))
            rows = _rows(plan, sources, known, tree)
            if plan.native:  # only then the contents are at hand, and the program is one of the image
                rows = _explained(rows, describe(plan, info, tree))
            findings = image_findings(plan, document, known, (info, tree), sources)
            setuid = setuid_paths(tree.members, known)
    return PlanReport(
        plan=plan,
        base=Base(reference, info.id if info else "", missing),
        steps=tuple(_steps(plan, sources, missing, world)),
        rules=known,
        paths=tuple(rows),
        unknown=tuple(_unknown(plan, sources, missing)),
        setuid=setuid,
        findings=tuple(findings),
    )


def _find(reference: str, world: PlanWorld, *, native: bool) -> tuple[ImageInfo | None, str]:
    """Return the description of an image if engine or registry have it, and the reason if its files are not at hand."""
    found = world.engine.inspect(reference)
    if found is not None:
        return found, ""
    try:
        found = world.registry().inspect(reference)
    except BuildFailed as error:
        return None, f"has to be pulled; its registry did not tell about it: {error.message}"
    if found is None:
        raise BuildFailed(
            f"there is no image {reference}, neither in the container engine nor in its registry",
            hint="correct `from`"
            + ("" if native else ", or give another image with --base-image KIND=IMAGE or in sconectl.toml"),
        )
    return found, "has to be pulled"


def _unknown(plan: ServicePlan, sources: NativeSources, missing: str) -> Iterator[str]:
    if missing:
        yield f"in {plan.native or plan.base}: not known before it is pulled"
    if plan.build.requirements:
        yield "made by requirements: not known before the build"
    if sources.java:
        yield "made by compile: not known before the build"
    for step in plan.run:
        yield f"made by run ({step}): not known before the build"


def _rows(plan: ServicePlan, sources: NativeSources, known: Mapping[str, Rule], tree: RootTree | None) -> list[PathRow]:
    rows = {
        path: PathRow(path, member.kind, member.mode, member.size, "image", rule_for(known, path))
        for path, member in (tree.members if tree else {}).items()
    }
    for file in sources.files:
        kind, size = ("f", file.source.stat().st_size) if file.source else ("l" if file.link else "d", 0)
        rows[file.path] = PathRow(file.path, kind, file.mode, size, "copy", rule_for(known, file.path))
    for injected in plan.injected:
        rows[injected] = PathRow(injected, "l", 0o777, 0, "policy", known[injected])
    for path in list(rows):
        while (path := posixpath.dirname(path)) not in rows:
            rows[path] = PathRow(path, "d", 0o755, 0, "build", rule_for(known, path))
    return [rows[path] for path in sorted(rows) if path != "/"]


def _explained(rows: list[PathRow], reasons: Mapping[str, str]) -> list[PathRow]:
    """Add to the rules of the program's files the reason for which the program needs each of them."""
    return [
        replace(row, rule=replace(row.rule, why=f"{row.rule.why}; {reasons[row.path]}")) if row.path in reasons else row
        for row in rows
    ]


def _steps(plan: ServicePlan, sources: NativeSources, missing: str, world: PlanWorld) -> Iterator[Step]:
    state: Literal["to do", "unchanged"] = "unchanged" if world.earlier.unchanged else "to do"
    yield Step("image", f"{'pull ' if missing else ''}{plan.native or plan.base}", "to do" if missing else "unchanged")
    if plan.build.requirements:
        yield Step("requirements", f"install {plan.build.requirements}", state)
    if sources.files:
        yield Step("copy", f"files below {plan.build.pwd}: {sum(bool(file.source) for file in sources.files)}", state)
    if sources.java:
        yield Step("compile", f"Java sources: {len(sources.java)}", state)
    for step in plan.run:
        yield Step("run", step, state)
    yield Step("launcher", "once per version and base image", "unchanged" if world.earlier.launcher else state)
    yield Step("protect", f"{'encrypt and ' if plan.sealed else ''}measure", state)
    if plan.signed:
        key = plan.signing_key or "the key of the local key store"
        yield Step("sign", f"for {plan.parameters['mode']}, with {key}", state)
    yield Step("load", plan.image, state)
    if world.push:
        yield Step("push", plan.image, state if not world.earlier.unchanged or world.earlier.pushed else "to do")
    if world.session:
        yield Step("session", image_session_name(plan.image), "checked")
