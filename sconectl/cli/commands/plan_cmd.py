"""`sconectl plan`: what `apply` would do and what would come of it, before anything is built or written.

In: the options of the command line. Out: a table, Markdown or JSON on stdout, findings on stderr. What is wrong is
raised after the plan is shown: errors as `InvalidInput`, what --fail-on names as `Refused`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sconectl.cli.options.apply_options import ApplyOptions, check_toolchain
from sconectl.cli.options.groups import Only, grouped
from sconectl.cli.output.console import Console, note, result, show_findings
from sconectl.errors import InvalidInput, Refused, SconectlError
from sconectl.text.findings import Finding, errors_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from sconectl.cli.wiring import Wiring
    from sconectl.plan.facts.image_facts import ImageFacts
    from sconectl.usecases.apply_mesh import MeshResult
    from sconectl.usecases.check_mesh import MeshCheck
    from sconectl.usecases.check_service import ServiceCheck
    from sconectl.usecases.plan_report import PlanReport


@grouped
def plan(
    options: Annotated[
        ApplyOptions,
        Only(
            "files target output dry_run no_push mode base_image release chart_version policy_namespace facts set_ "
            "set_version env_file toolchain cas_config lock allow_secret_loss rolling release_version finish prune "
            "prune_session helm_template signing_url signing_k8scontext signing_online max_size",
            target="Where `apply` puts results.",
            dry_run="Plan for `apply --dry-run`.",
            no_push="Service: plan for `apply --no-push`.",
            facts="Mesh: image facts (file or directory).",
        ),
    ],
    output: Annotated[str, typer.Option("--output", metavar="FORM", help="text, markdown or json.")] = "text",
    fail_on: Annotated[
        str,
        typer.Option(metavar="WHAT", help="Exit with 7 if a mesh would do any of this: secret-loss, weakens, orphans."),
    ] = "",
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 2 if anything would change, 0 if nothing.")
    ] = False,
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="List every path.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Show what `apply` would do, and build, write and upload nothing.

    Service: steps, every path with its class and why, what is measured, what an
    operator of the machine will be able to read. Mesh: sessions and files.
    """
    from sconectl.cli.output.finding_json import as_json, plain
    from sconectl.cli.session.session_access import one_of
    from sconectl.report.mesh_document import is_changed

    one_of("--output", output, ("text", "markdown", "json"))
    gates = tuple(filter(None, fail_on.split(",")))
    for gate in gates:
        one_of("--fail-on", gate, GATES)
    one_of("--mode", options.mode, ("production", "debug"))
    options.check()
    check_toolchain(options.toolchain)
    console = Console(-1 if quiet else 0)
    try:
        plans = _plans(options, console)
    except SconectlError as error:
        if output == "json" and error.findings:
            result(as_json(error.findings))
        raise
    documents, findings = plans.documents, plans.findings
    if output == "json":
        document = documents[0] if len(documents) == 1 else {"plans": documents}
        result(json.dumps({**document, "findings": [plain(finding) for finding in findings]}, indent=2))
    elif output == "markdown":
        from sconectl.report.plan_markdown import as_markdown

        result(as_markdown(documents).rstrip("\n"))
    else:
        result("\n".join(plans.lines(every=verbose > 0)))
    show_findings(finding for finding in findings if finding.severity != "error")  # errors are shown when raised
    for text in plans.notes:
        note(text)
    if errors_of(findings):
        raise InvalidInput(errors_of(findings))
    plans.refuse(gates, options.allow_secret_loss or ())
    if detailed_exitcode and is_changed(documents):
        raise typer.Exit(2)


GATES = ("secret-loss", "weakens", "orphans")


@dataclass
class _Plans:
    """The plans of a run: each as plain values, those of services as reports, and what comes of meshes.

    `orphans` are the findings about sessions that are left behind.
    """

    documents: list[dict[str, Any]] = field(default_factory=list)
    reports: dict[int, PlanReport] = field(default_factory=dict)
    meshes: list[tuple[MeshCheck, MeshResult]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    orphans: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def lines(self, *, every: bool) -> Iterator[str]:
        """Yield the text; with every path, and every secret."""
        from sconectl.cli.output.plan_table import mesh_lines, table_lines

        for number, document in enumerate(self.documents):
            if number:
                yield ""
            report = self.reports.get(number)
            yield from table_lines(report, all_paths=every) if report else mesh_lines(document, all_secrets=every)

    def refuse(self, gates: Collection[str], allowed: Collection[str]) -> None:
        """Raise `Refused` with everything that the gates are about."""
        from sconectl.cli.wiring import today
        from sconectl.usecases.over_time.session_changes import losses
        from sconectl.usecases.over_time.trust_changes import weakenings

        found: list[Finding] = []
        for check, done in self.meshes:
            if "secret-loss" in gates:
                found += losses(check.manifest, allowed, done.all_updates)
            if "weakens" in gates:
                found += weakenings(check.manifest, done.updates, today())
        if "orphans" in gates:
            found += (replace(finding, severity="error") for finding in self.orphans)
        if found:
            raise Refused(f"this plan would do what --fail-on {','.join(gates)} forbids", findings=found)


def _plans(options: ApplyOptions, console: Console) -> _Plans:
    """Return the plans. Several manifests are planned as one run of `apply` would go through them."""
    from sconectl.cli.options.manifest_files import read_all
    from sconectl.cli.output.apply_result import namespace_notes
    from sconectl.cli.output.printable import shown
    from sconectl.cli.runs.chart_templates import check_chart_template
    from sconectl.cli.runs.curated import needed
    from sconectl.cli.runs.worlds import Rehearsal, learner, mesh_world, pruning, terms_of, witness
    from sconectl.cli.wiring import today
    from sconectl.plan.mesh.availability import remarks
    from sconectl.report.left_behind import orphan_documents
    from sconectl.report.mesh_document import mesh_document
    from sconectl.report.plan_words import as_document
    from sconectl.usecases.apply_mesh import apply_mesh
    from sconectl.usecases.check_run import check_run
    from sconectl.usecases.over_time.accepted_states import accepted_states
    from sconectl.usecases.over_time.session_changes import losses, roll_out, unfinished
    from sconectl.usecases.security_advice import advice_on

    manifests = read_all(options)
    built_here = check_chart_template(options, manifests)
    wiring = Rehearsal(options.target, options.cas_config, options.lock, options.config.reached)
    plans = _Plans()
    built: dict[str, ImageFacts] = {}
    with console.working():
        curated = needed(manifests, options, wiring, console)
        every = [*curated.manifests, *manifests]
        run = check_run(every, terms_of(options, built=built_here), learner(options, wiring, console))
        findings = curated.without(advice_on(every, today(), mode=options.mode))
        for manifest in manifests:
            findings += [*manifest.warnings, *remarks(manifest.model, manifest.document)]
        for check in run.services:
            if curated.of(check):
                facts = curated.built(check, options)
                built |= {facts.image: facts} if facts else {}
                continue
            report, earlier = _service(check, options, wiring, console)
            built |= {earlier.image: earlier} if earlier else {}
            findings += [*check.limits, *check.uses, *report.findings]
            plans.reports[len(plans.documents)] = report
            plans.documents.append(as_document(report))
        for mesh in run.meshes:
            findings += [*mesh.advice, *mesh.limits]
            plan = run.mesh_plan(mesh, built)
            world = mesh_world(options, wiring, console, mesh, plan)
            seen = witness(mesh, plan, wiring)
            seen.require_upload(pruning(options), plan)
            look = partial(seen.look, pruning(options))
            rolling = partial(roll_out, mesh.manifest, options.wish)
            done = apply_mesh(plan, world, roll_out=rolling, look_around=look)
            sessions = {address: store.outcomes for address, store in wiring.stores.items()}
            files = wiring.workspace.outcomes
            orphans = orphan_documents(done.left, seen.renames(done.left, done.updates)) if done.left else []
            plans.documents.append(mesh_document(mesh, plan, sessions, done.updates, files, done.rollouts, orphans))
            plans.meshes.append((mesh, done))
            plans.orphans += seen.remarks(done.left, done.updates) if done.left else ()
            plans.notes += namespace_notes(done.left, mesh.mesh.policy.namespace)
            plans.notes += map(shown, accepted_states(world.store, done.updates)) if world.store else ()
            found = losses(mesh.manifest, options.allow_secret_loss or (), done.all_updates)
            findings += [
                *(replace(finding, severity="warning") for finding in found),
                *unfinished(mesh.manifest, done.rollouts),
            ]
    plans.findings = sorted([*findings, *plans.orphans], key=lambda finding: finding.position)
    return plans


def _service(
    check: ServiceCheck, options: ApplyOptions, wiring: Wiring, console: Console
) -> tuple[PlanReport, ImageFacts | None]:
    """Return the plan of a service, and the facts of its image if there is nothing to build."""
    from sconectl.apply.image_findings import needs_contents
    from sconectl.apply.local_layers import local_files
    from sconectl.cli.runs.worlds import service_world
    from sconectl.usecases.apply_service import earlier_runs
    from sconectl.usecases.plan_report import PlanWorld, report_plan

    plan, sources = check.ready()
    service = service_world(options, wiring, console, None)
    console.step("looking at the image")
    world = PlanWorld(
        engine=service.engine,
        registry=lambda: wiring.registry,
        files=lambda name, info: local_files(
            service.engine, name, info, service.cache, contents=needs_contents(plan, info), secret=plan.sealed
        ),
        earlier=earlier_runs(plan, sources, service),
        push=service.push,
        session=not options.dry_run,
    )
    return report_plan(plan, sources, check.manifest.document, world), world.earlier.facts
