"""One run of `up`: what is read, applied and started, in this order.

In: the options of the command line. Out: a mesh that works on this machine, or a file that starts it; lines on stdout.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sconectl.artefacts.local.containers import RELEASE, LocalContainer, LocalMesh
from sconectl.artefacts.local.pods import LocalCas, local_mesh
from sconectl.cli.options.apply_options import ApplyOptions
from sconectl.cli.output.console import Console, note, result
from sconectl.cli.wiring import Wiring, cas_directory
from sconectl.errors import PlanImpossible, UsageError

if TYPE_CHECKING:
    from sconectl.manifest.reading.reader import Manifest
    from sconectl.plan.mesh.chart_plan import ChartPlan
    from sconectl.ports import ImageInfo
    from sconectl.usecases.check_run import RunCheck
    from sconectl.usecases.local.health import Condition

_PATIENCE = 300


class UpRun:
    """A mesh, with the service manifests that are given or lie beside it, and the options for all of them."""

    def __init__(self, options: ApplyOptions, console: Console) -> None:
        from sconectl.cli.options.manifest_files import files_beside, read_all
        from sconectl.plan.batch import in_order
        from sconectl.plan.mesh.mesh import umbrella_name

        given = read_all(options)
        meshes = [each for each in given if each.model.kind == "mesh"]
        if len(meshes) != 1:
            raise UsageError(f"{len(meshes)} mesh manifests are given, and one is needed", hint="give -f mesh.yaml")
        [mesh] = meshes
        beside = files_beside(options, mesh)
        more = read_all(replace(options, files=beside)) if beside else []
        assert mesh.model.kind == "mesh"  # noqa: S101 - narrows the type
        self.manifests: Sequence[Manifest] = in_order([*given, *more])
        self.options = replace(
            options,
            files=[*options.files, *beside],
            release=options.release or umbrella_name(mesh.model.policy.namespace),
            no_push=True,
        )
        self.options.check_words()
        self._console = console
        self._wiring = Wiring(options.target, options.cas_config, options.lock)
        self._cas: LocalCas | None = None

    def up(self, *, compose: bool, seconds: int | None) -> None:
        """Apply everything, then start the mesh and wait for it, or write the file for Compose."""
        from sconectl.cli.runs.applied import apply_all

        [applied] = apply_all(self.options, self._console, self._ready, self.manifests)
        plan = applied.done.helm
        with self._console.working():
            images = _images(plan, self._wiring, self._console)
        assert self._cas is not None  # noqa: S101 - `_ready` was called
        mesh = local_mesh(plan, self.options.release, self._cas, checks_of(images))
        for name in mesh.skipped:
            note(f"note: {name} is a CronJob, and nothing on this machine starts it at its time: it is left out")
        if compose:
            self._write_compose(mesh, images)
        else:
            self._start(mesh, images, seconds)

    def _ready(self, run: RunCheck) -> None:
        """Refuse what cannot run here before anything is built, and see to the CAS."""
        from sconectl.cas.for_containers import find, start

        [check] = run.meshes
        plan = run.mesh_plan(check, {})
        require_upload(plan.upload, plan.mode)
        local_mesh(plan.chart, self.options.release, LocalCas(plan.cas.cas_url, "", ""), {})
        self._console.step("looking for the CAS")
        place = find(cas_directory(), plan.cas.cas_url, self._wiring.containers.host_address())
        if not place.runs:
            place = start(cas_directory(), place, anywhere=plan.cas.cas_url == "local")
            note(f"note: the embedded CAS was started at {place.address}; `sconectl down` ends it with the last mesh")
        self._cas = LocalCas(plan.cas.cas_url, place.address, place.key)

    def _write_compose(self, mesh: LocalMesh, images: Mapping[str, ImageInfo]) -> None:
        from sconectl.artefacts.local.compose import FILE, compose_files

        ids = {image: info.id for image, info in images.items()}
        changed = self._wiring.workspace.write(compose_files(mesh, ids))
        path = self.options.target / FILE
        result(f"{path}: {'written' if changed else 'unchanged'}")
        note(f"start it with: docker compose -f {path} up")

    def _start(self, mesh: LocalMesh, images: Mapping[str, ImageInfo], seconds: int | None) -> None:
        from sconectl.usecases.local.up import LocalWorld, bring_up
        from sconectl.usecases.local.waiting import Clock, Waiting

        engine, console = self._wiring.containers, self._console
        with console.working():
            done = bring_up(mesh, LocalWorld(engine, images, console.step))
        deeds = {intent.name: intent.deed for intent in done}
        for name in (intent.name for intent in done if intent.deed == "removed"):
            result(f"{name}: removed")

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
        for state in self._wiring.containers.find({RELEASE: mesh.release}):
            for port, place in sorted(state.ports.items()):
                result(f"{state.name}: port {port} at {place}")
        note(f"look with: sconectl ps, sconectl logs -f; end it with: sconectl down --release {mesh.release}")


def require_upload(uploaded: bool, mode: str) -> None:
    """Refuse a mesh whose sessions reach the CAS in another way. Raises `PlanImpossible`."""
    if not uploaded:
        raise PlanImpossible(
            f"the sessions of this mesh are not uploaded (mode {mode}), so no service could start",
            hint="leave out `mode` of the CAS for a run on this machine",
        )


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


def checks_of(images: Mapping[str, ImageInfo]) -> dict[str, tuple[str, ...]]:
    """Return the health commands that images bring, by image."""
    found: dict[str, tuple[str, ...]] = {}
    for image, info in images.items():
        kind, *words = (info.config.get("Healthcheck") or {}).get("Test") or ["NONE"]
        if check := {"CMD": tuple(words), "CMD-SHELL": ("/bin/sh", "-c", *words)}.get(kind, ()):
            found[image] = check
    return found
