"""The curated services that a run needs: found by the images of its meshes, and built before these.

In: manifests, and the options of the command line. Out: their manifests beside those that were given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sconectl.cli.output.console import Console, note
from sconectl.cli.output.printable import shown
from sconectl.plan.facts.naming import with_tag

if TYPE_CHECKING:
    from sconectl.apply.curated.catalogue import CuratedService
    from sconectl.cli.options.apply_options import ApplyOptions
    from sconectl.cli.wiring import Wiring
    from sconectl.manifest.reading.reader import Manifest
    from sconectl.plan.facts.image_facts import ImageFacts
    from sconectl.ports import ImageInfo
    from sconectl.text.findings import Finding
    from sconectl.usecases.apply_service import ServiceWorld
    from sconectl.usecases.check_service import ServiceCheck
    from sconectl.usecases.terms import Terms


def known_services(options: ApplyOptions) -> dict[str, CuratedService]:
    """Return the curated services of the project, and ours, by name."""
    from sconectl import assets
    from sconectl.apply.curated.catalogue import catalogue

    return catalogue([*options.config.curated, assets.folder("curated")])


def curated_facts(known: Mapping[str, CuratedService], terms: Terms, image: str) -> ImageFacts | None:
    """Return the facts that an image will have if it becomes a curated service; None if its name is that of none."""
    from sconectl.apply.curated.catalogue import meant

    service = meant(image, known)
    if service is None:
        return None
    from sconectl.usecases.check_service import check_service

    return check_service(
        service.manifest(image), mode=terms.mode, bases=terms.bases, toolchain=terms.toolchains.chosen
    ).facts


@dataclass(frozen=True)
class Needed:
    """The curated services of a run, by the file of their manifests."""

    services: Mapping[str, CuratedService] = field(default_factory=dict)
    manifests: tuple[Manifest, ...] = ()

    def without(self, findings: Iterable[Finding]) -> list[Finding]:
        """Return what is said about other manifests: nobody has written those of curated services for this mesh."""
        return [finding for finding in findings if finding.position.file not in self.services]

    def built(self, check: ServiceCheck, options: ApplyOptions) -> ImageFacts | None:
        """Return the facts of the image as an earlier run has built it."""
        model = check.manifest.model
        assert model.kind == "genservice"  # noqa: S101 - narrows the type
        return _built(with_tag(model.build.to), model.build.name, options)

    def of(self, check: ServiceCheck) -> CuratedService | None:
        """Return the curated service that a manifest belongs to, or None."""
        return self.services.get(check.manifest.document.file)


def needed(manifests: Sequence[Manifest], options: ApplyOptions, wiring: Wiring, console: Console) -> Needed:
    """Return the curated services whose images a mesh of the run names, and nobody else knows.

    An image is known if its facts are given, if the run builds it, or if engine or registry have it; one that was built
    here from the same curated service is looked at again, as its recipe may have changed.
    """
    from sconectl.apply.curated.catalogue import meant

    images = [
        with_tag(service.image)
        for manifest in manifests
        if manifest.model.kind == "mesh"
        for service in manifest.model.services
    ]
    if not images:
        return Needed()
    known = known_services(options)
    found: dict[str, CuratedService] = {}
    for image in dict.fromkeys(images):
        service = meant(image, known)
        if service is not None:
            found[image] = service
    made = {with_tag(manifest.model.build.to) for manifest in manifests if manifest.model.kind == "genservice"} | {
        record.facts.image for record in options.given
    }
    services: dict[str, CuratedService] = {}
    more: list[Manifest] = []
    for image, service in found.items():
        if image in made:
            continue
        manifest = service.manifest(image)
        assert manifest.model.kind == "genservice"  # noqa: S101 - narrows the type
        console.step(f"looking for {image}")
        if _is_elsewhere(image, manifest.model.build.name, options, wiring):
            continue
        note(f"note: {shown(image)}: the curated service {service.name}, from {shown(str(service.folder))}")
        services[manifest.document.file] = service
        more.append(manifest)
    return Needed(services, tuple(more))


def build_native(service: CuratedService, options: ApplyOptions, world: ServiceWorld) -> ImageInfo | None:
    """Build what a curated service converts, if it has a recipe for that. Raises `BuildFailed`."""
    if service.recipe is None:
        return None
    from sconectl.apply.curated.native_image import build_recipe, recipe_base
    from sconectl.plan.service.base_images import recipe_base_image

    reference = recipe_base_image(recipe_base(service), options.bases)
    base = world.engine.inspect(reference)
    if base is None:
        world.progress(f"pulling {reference}")
        base = world.engine.pull(reference, world.detail)
    return build_recipe(
        service, base, engine=world.engine, environment=world.environment, progress=world.progress, detail=world.detail
    )


def _is_elsewhere(image: str, name: str, options: ApplyOptions, wiring: Wiring) -> bool:
    """Say whether an image exists that was not built here as the service `name`."""
    from sconectl.apply.inspect import find_image
    from sconectl.errors import BuildFailed

    if _built(image, name, options):
        return False
    try:
        find_image(image, engine=lambda: wiring.engine, registry=lambda: wiring.registry)
    except BuildFailed:
        return False
    return True


def _built(image: str, name: str, options: ApplyOptions) -> ImageFacts | None:
    from sconectl.apply.records import read_records

    record = options.target / "images" / f"{name}.json"
    found = read_records(record) if record.is_file() else ()
    return next((each.facts for each in found if each.facts.image == image), None)
