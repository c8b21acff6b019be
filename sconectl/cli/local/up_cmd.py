"""`sconectl up`: a mesh on this machine, from manifests to services that work."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from sconectl.cli.options.apply_options import ApplyOptions
from sconectl.cli.options.groups import Only, grouped
from sconectl.cli.output.console import Console, note, result
from sconectl.errors import PlanImpossible, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sconectl.artefacts.local.containers import LocalContainer, LocalMesh
    from sconectl.artefacts.local.pods import LocalCas
    from sconectl.cli.wiring import Wiring
    from sconectl.plan.mesh.chart_plan import ChartPlan
    from sconectl.ports import ImageInfo
    from sconectl.usecases.check_run import RunCheck
    from sconectl.usecases.local.health import Condition

_OPTIONS = Only(
    "files target release mode base_image cas lock policy_namespace facts set_ env_file set_version toolchain "
    "cas_config maa allow_secret_loss rolling release_version finish prune prune_session chart_version max_size",
    files="The mesh; service manifests beside it are found. A directory, a pattern, or - for stdin. Repeatable.",
    release="What names begin with on this machine.  [the chart's name]",
)
_PATIENCE = 300


@grouped
def up_command(
    options: Annotated[ApplyOptions, _OPTIONS],
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="FORM", help="compose: write target/compose.yaml, and start nothing."),
    ] = "",
    wait: Annotated[
        int | None,
        typer.Option(
            metavar="SECONDS", min=1, help="How long services may take to work.", show_default="their probes'"
        ),
    ] = None,
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="Show what tools print.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Run a mesh on this machine: build what is missing, apply, start, and wait until every service works.

    Containers are what the chart would make: the same names, users, rights, volumes
    and probes. What has not changed goes on running. `sconectl down` ends it.
    """
    options.check()
    if output not in ("", "compose"):
        raise UsageError(f"{output} is not a form of output", hint="give -o compose, or leave it out to start the mesh")
    _Run(options, Console(-1 if quiet else verbose)).up(compose=bool(output), seconds=wait)


class _Run:
    """One run of `up`."""

    def __init__(self, options: ApplyOptions, console: Console) -> None:
        from sconectl.cli.options.manifest_files import files_beside, read_mesh
        from sconectl.cli.wiring import Wiring
        from sconectl.plan.mesh.mesh import umbrella_name

        manifest, mesh = read_mesh(options)
        self._options = replace(
            options,
            files=[*options.files, *files_beside(options, manifest)],
            release=options.release or umbrella_name(mesh.policy.namespace),
            no_push=True,
        )
        self._options.check_words()
        self._console = console
        self._wiring = Wiring(options.target, options.cas_config, options.lock)
        self._cas: LocalCas | None = None

    def up(self, *, compose: bool, seconds: int | None) -> None:
        from sconectl.cli.runs.applied import apply_all

        [applied] = apply_all(self._options, self._console, self._ready)
        with self._console.working():
            images = _images(applied.done.helm, self._wiring, self._console)
        mesh = self._mesh(applied.done.helm, images)
        for name in mesh.skipped:
            note(f"note: {name} is a CronJob, and nothing on this machine starts it at its time: it is left out")
        if compose:
            self._write_compose(mesh, images)
        else:
            self._start(mesh, images, seconds)

    def _ready(self, run: RunCheck) -> None:
        """Refuse what cannot run here before anything is built, and see to the CAS."""
        from sconectl.artefacts.local.pods import LocalCas, local_mesh
        from sconectl.cas.for_containers import find_or_start
        from sconectl.cli.wiring import cas_directory

        [check] = run.meshes
        plan = run.mesh_plan(check, {})
        if not plan.upload:
            raise PlanImpossible(
                f"the sessions of this mesh are not uploaded (mode {plan.mode}), so no service could start",
                hint="leave out `mode` of the CAS for a run on this machine",
            )
        local_mesh(plan.chart, self._options.release, LocalCas(plan.cas.cas_url, "", ""), {})
        self._console.step("looking for the CAS")
        place = find_or_start(cas_directory(), plan.cas.cas_url, self._wiring.containers.host_address())
        if place.started:
            note(f"note: the embedded CAS was started at {place.address}; `sconectl down` ends it with the last mesh")
        self._cas = LocalCas(plan.cas.cas_url, place.address, place.key)

    def _mesh(self, plan: ChartPlan, images: Mapping[str, ImageInfo]) -> LocalMesh:
        from sconectl.artefacts.local.pods import local_mesh

        assert self._cas is not None  # noqa: S101 - `_ready` was called
        checks = {image: check for image, info in images.items() if (check := _health_check(info))}
        return local_mesh(plan, self._options.release, self._cas, checks)

    def _write_compose(self, mesh: LocalMesh, images: Mapping[str, ImageInfo]) -> None:
        from sconectl.artefacts.local.compose import FILE, compose_files

        ids = {image: info.id for image, info in images.items()}
        changed = self._wiring.workspace.write(compose_files(mesh, ids))
        path = self._options.target / FILE
        result(f"{path}: {'written' if changed else 'unchanged'}")
        note(f"start it with: docker compose -f {path} up")

    def _start(self, mesh: LocalMesh, images: Mapping[str, ImageInfo], seconds: int | None) -> None:
        from sconectl.usecases.local.up import LocalWorld, bring_up
        from sconectl.usecases.local.waiting import Clock, Waiting

        engine, console = self._wiring.containers, self._console
        with console.working():
            done = bring_up(mesh, LocalWorld(engine, images, console.step))
        deeds = {intent.name: intent.deed for intent in done}
        for intent in done:
            if intent.deed == "removed":
                result(f"{intent.name}: removed")

        def ready(container: LocalContainer, found: Condition, after: float) -> None:
            deed = deeds[container.name]
            took = "" if deed == "unchanged" else f" after {after:.1f} s"
            if not container.part:
                result(f"{container.name}: {deed}, {found.text}{took}")

        longest = max((each.health.start for each in mesh.containers if each.health), default=_PATIENCE)
        settled = [name for name, deed in deeds.items() if deed == "unchanged"]
        clock = Clock(time.monotonic, time.sleep)
        console.step("waiting until the services work")
        with console.working():
            Waiting(mesh, engine, clock, ready, settled).wait(seconds or max(longest, _PATIENCE))
        self._tell(mesh)

    def _tell(self, mesh: LocalMesh) -> None:
        from sconectl.artefacts.local.containers import RELEASE

        for state in self._wiring.containers.find({RELEASE: mesh.release}):
            for port, place in sorted(state.ports.items()):
                result(f"{state.name}: port {port} at {place}")
        note(f"look with: sconectl ps, sconectl logs -f; end it with: sconectl down --release {mesh.release}")


def _images(plan: ChartPlan, wiring: Wiring, console: Console) -> dict[str, ImageInfo]:
    """Return what the engine has under the names of the images; others are pulled."""
    found: dict[str, ImageInfo] = {}
    for image in dict.fromkeys(service.image for service in plan.services):
        info = wiring.engine.inspect(image)
        if info is None:
            console.step(f"pulling {image}")
            info = wiring.engine.pull(image, console.detail)
        found[image] = info
    return found


def _health_check(info: ImageInfo) -> tuple[str, ...]:
    """Return the health command of an image, none if it has none."""
    kind, *words = (info.config.get("Healthcheck") or {}).get("Test") or ["NONE"]
    return {"CMD": tuple(words), "CMD-SHELL": ("/bin/sh", "-c", *words)}.get(kind, ())
