"""From the options of `apply`, `plan` and `validate` to the terms and the outside world of their use cases."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from sconectl.cli.options.option_values import attestation_flags
from sconectl.cli.output.console import Console, show_findings
from sconectl.cli.wiring import Wiring, cache_directory, today, toolchains_of
from sconectl.usecases.check_run import LearnFacts
from sconectl.usecases.rehearsal import RehearsalStore, RehearsalWorkspace
from sconectl.usecases.terms import Terms

if TYPE_CHECKING:
    from sconectl.apply.copies.copied_images import Copying
    from sconectl.apply.lock.lock_file import Lock, LockedMesh
    from sconectl.apply.retiring.orphans import Prune
    from sconectl.cli.options.apply_options import ApplyOptions
    from sconectl.manifest.model.mesh import Cas, Mesh
    from sconectl.plan.facts.image_facts import ImageFacts
    from sconectl.plan.mesh.mesh import MeshPlan
    from sconectl.ports import SessionStore
    from sconectl.text.yaml_tree import Document
    from sconectl.usecases.apply_mesh import MeshWorld
    from sconectl.usecases.apply_service import ServiceWorld
    from sconectl.usecases.check_mesh import MeshCheck
    from sconectl.usecases.over_time.left_behind import Witness


class Rehearsal(Wiring):
    """The adapters of a run that changes nothing."""

    @cached_property
    def stores(self) -> dict[str, RehearsalStore]:
        """The connections that were asked for, by address."""
        return {}

    @cached_property
    def workspace(self) -> RehearsalWorkspace:
        """The target directory, in which nothing is written."""
        return RehearsalWorkspace(super().workspace)

    def store(self, cas_url: str, cas_key: str | None = None, tolerance: str | None = None) -> SessionStore:
        """Return a connection to a CAS that writes nothing there."""
        if cas_url not in self.stores:
            self.stores[cas_url] = RehearsalStore(super().store(cas_url, cas_key, tolerance))
        return self.stores[cas_url]


def terms_of(options: ApplyOptions, *, refused: Collection[str] = (), built: Collection[str] = ()) -> Terms:
    """Return the terms of a run; manifests of the `refused` kinds may not ask for what this version does not do.

    `built` are the names of the images that the run builds (`build.name`) from manifests that were given.
    """
    from sconectl.cli.options.manifest_files import private_paths
    from sconectl.cli.runs.chart_templates import chart_templates

    return Terms(
        mode=options.mode,
        today=today(),
        parse_flags=attestation_flags,
        bases=options.bases,
        toolchains=toolchains_of(options.toolchain),
        release=options.release,
        private=private_paths(options),
        refused=refused,
        as_manifests=options.output == "yaml",
        chart_template=chart_templates(options, built),
    )


def learner(options: ApplyOptions, wiring: Wiring, console: Console) -> LearnFacts:
    """Return a function that finds the facts of images: first those of --facts, then those of planned images."""

    def learn(mesh: Mesh, document: Document, planned: Mapping[str, ImageFacts]) -> Mapping[str, ImageFacts]:
        from sconectl.apply.gather import FactSources, gather_facts
        from sconectl.apply.lock.lock_file import read_lock
        from sconectl.apply.records import read_records
        from sconectl.plan.mesh.mesh import image_cas

        console.step("learning the facts of the images")
        images = options.target / "images"
        lock = read_lock(wiring.lock.read(), wiring.lock.name)
        sources = FactSources(
            given={**planned, **{record.facts.image: record.facts for record in reversed(options.given)}},
            built=read_records(images) if images.is_dir() else (),
            engine=lambda: wiring.engine,
            registry=lambda: wiring.registry,
            image_store=lambda: _store_of(image_cas(mesh), wiring),
            locked={name: image.facts for name, image in lock.images.items() if image.facts},
            folder=str(images),
            signers=options.config.signers,
            remark=lambda finding: show_findings([finding]),
        )
        return gather_facts(mesh, document, sources)

    return learn


def facts_store(options: ApplyOptions, wiring: Wiring, image: str, meshes: Iterable[Mesh]) -> SessionStore:
    """Return the CAS that keeps the facts of an image.

    It is the one that is asked for, else the one in which the first mesh of this run that uses the image and uploads
    its sessions looks for them.
    """
    from sconectl.plan.facts.naming import with_tag
    from sconectl.plan.mesh.mesh import image_cas, main_cas

    given = options.cas or options.config.image_cas
    for mesh in () if given else meshes:
        used = {with_tag(service.image) for service in mesh.services}
        if image in used and main_cas(mesh).mode in (None, "Upload"):
            return _store_of(image_cas(mesh), wiring)
    return wiring.store(given or "local")


def service_world(options: ApplyOptions, wiring: Wiring, console: Console, store: SessionStore | None) -> ServiceWorld:
    """Return the outside world of a service manifest."""
    return wiring.service_world(
        console,
        store,
        toolchain=options.toolchain,
        push=not (options.no_push or options.dry_run),
        ca_bundle=options.config.ca_bundle,
        launcher_base=options.config.launcher_base or options.bases.get("python", ""),
    )


def mesh_world(options: ApplyOptions, wiring: Wiring, console: Console, check: MeshCheck, plan: MeshPlan) -> MeshWorld:
    """Return the outside world of a mesh: CASes only where something is to be written to them."""
    from sconectl.apply.lock.lock_file import read_lock
    from sconectl.plan.mesh.mesh import image_cas
    from sconectl.usecases.apply_mesh import MeshWorld

    mesh = check.mesh
    lock = read_lock(wiring.lock.read(), wiring.lock.name)
    last = lock.meshes.get(mesh.policy.namespace)
    upload = plan.upload and not options.dry_run
    shares = plan.shares and not options.dry_run and (plan.upload or plan.installed)
    copies = plan.copies and not options.dry_run and not isinstance(wiring, Rehearsal)
    return MeshWorld(
        store=_store_of(plan.cas, wiring) if upload else None,
        image_store=_store_of(image_cas(mesh), wiring) if shares else None,
        keys=wiring.keys,
        workspace=wiring.workspace,
        progress=console.step,
        signing_key=lambda: wiring.signing_key,
        encryption_key=lambda: _store_of(plan.cas, wiring).encryption_key(),
        active_hash=lambda name: _store_of(plan.cas, wiring).hash_of(name),
        receipts=last.receipts if last else {},
        release=(options.release or plan.chart.name) if options.output == "yaml" else "",
        chart_version=options.chart_version,
        last_chart=last.chart if last else None,
        copying=_copying(options, wiring, console, check, last) if copies else None,
        pushed=_pushed(options, lock),
    )


def _pushed(options: ApplyOptions, lock: Lock) -> dict[tuple[str, str], str]:
    """Return the digests of pushed images: those that the lock knows, and those that this machine pushed last."""
    from sconectl.apply.records import read_records

    images = options.target / "images"
    digests = {(name, one.label.measurement): one.image for name, one in lock.images.items() if one.pushed}
    for record in read_records(images) if images.is_dir() else ():
        if record.pushed:
            digests[record.facts.image, record.facts.measurement] = record.pushed
    return digests


def _copying(
    options: ApplyOptions, wiring: Wiring, console: Console, check: MeshCheck, last: LockedMesh | None
) -> Copying:
    """Return what copies the images. Raises `BuildFailed` if there is no program that signs them."""
    from sconectl.apply.copies.copied_images import Copying
    from sconectl.apply.sources.service_files import signing_key_of

    key = signing_key_of(check.mesh, check.manifest.directory)
    signer = wiring.image_signer(options.config.sign_command, key, console.detail) if key else None
    return Copying(
        engine=wiring.engine,
        registry=wiring.registry,
        cache=cache_directory(),
        progress=console.step,
        detail=console.detail,
        sign=signer.sign if signer else None,
        made=last.copies if last else None,
    )


def pruning(options: ApplyOptions) -> Prune:
    """Return what is to be retired."""
    from sconectl.apply.retiring.orphans import Prune

    return Prune(options.prune, tuple(options.prune_session or ()))


def witness(check: MeshCheck, plan: MeshPlan, wiring: Wiring) -> Witness:
    """Return what the lock says now about a mesh."""
    from sconectl.apply.lock.lock_file import read_lock
    from sconectl.usecases.over_time.left_behind import Witness

    return Witness(check, read_lock(wiring.lock.read(), wiring.lock.name), wiring.lock.name, plan.cas.cas_url)


def _store_of(cas: Cas, wiring: Wiring) -> SessionStore:
    return wiring.store(cas.cas_url, cas.cas_key, cas.tolerance)
