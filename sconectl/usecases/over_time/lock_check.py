"""Whether manifests say what they said when they were applied, by the lock.

In: manifests and a lock. Out: findings. Reads the files that a mesh names, and asks nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sconectl.apply.lock.lock_file import Lock
from sconectl.apply.lock.manifest_digest import manifest_digest
from sconectl.apply.sources.service_files import read_service_files
from sconectl.manifest.model.mesh import Mesh
from sconectl.manifest.reading.reader import Manifest
from sconectl.plan.facts.naming import with_tag
from sconectl.text.findings import Finding

DISAGREES = "SC2023"


def disagreements(manifests: Sequence[Manifest], lock: Lock) -> Iterator[Finding]:
    """Find manifests that do not say what they said when they were applied. Reads the files that a mesh names.

    Raises `PlanImpossible` for such a file that cannot be read.
    """
    for manifest in manifests:
        model = manifest.model
        if model.kind == "genservice":
            yield from _image(manifest, with_tag(model.build.to), lock)
        else:
            yield from _mesh(manifest, model, lock)


def _image(manifest: Manifest, image: str, lock: Lock) -> Iterator[Finding]:
    entry = lock.images.get(image)
    if entry is None:
        yield _finding(manifest, ("build", "to"), f"the image {image} is not in the lock")
    elif entry.manifest != manifest_digest(manifest):
        yield _finding(manifest, (), f"this manifest has changed since the image {image} was made")


def _mesh(manifest: Manifest, mesh: Mesh, lock: Lock) -> Iterator[Finding]:
    entry = lock.meshes.get(mesh.policy.namespace)
    if entry is None:
        yield _finding(manifest, ("policy", "namespace"), f"the mesh {mesh.policy.namespace} is not in the lock")
        return
    files = read_service_files(mesh, manifest.document, manifest.directory)
    if entry.manifest != manifest_digest(manifest, files):
        yield _finding(manifest, (), "this manifest, or a file that it names, has changed since it was applied")
    for number, service in enumerate(mesh.services):
        image = with_tag(service.image)
        if entry.services.get(service.name) != image:
            message = f"the lock knows service {service.name} with another image, or not at all"
            yield _finding(manifest, ("services", number, "image"), message)


def _finding(manifest: Manifest, path: tuple[str | int, ...], message: str) -> Finding:
    return manifest.document.finding("error", DISAGREES, path, message, "apply it, and commit the lock with it")
