"""The plan of a mesh: the run of `apply` itself, in a world that remembers what would be written.

In: a manifest and options. Out: text or plain values. Raises what `apply` raises.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sconectl.cli.options.apply_options import ApplyOptions
from sconectl.cli.output.console import Console, note
from sconectl.cli.output.printable import shown
from sconectl.cli.runs.apply_mesh import run_mesh
from sconectl.cli.wiring import Wiring
from sconectl.usecases.rehearsal import RehearsalStore, RehearsalWorkspace

if TYPE_CHECKING:
    from sconectl.manifest.model.mesh import Mesh
    from sconectl.manifest.reading.reader import Manifest
    from sconectl.plan.facts.image_facts import BuildRecord
    from sconectl.ports import SessionStore


class _Rehearsal(Wiring):
    """The adapters of a run that changes nothing."""

    def __init__(self, options: ApplyOptions) -> None:
        super().__init__(target=options.target, cas_config=options.cas_config, notify=note)
        self.stores: dict[str, RehearsalStore] = {}

    @cached_property
    def workspace(self) -> RehearsalWorkspace:
        return RehearsalWorkspace(super().workspace)

    def store(self, cas_url: str, cas_key: str | None = None, tolerance: str | None = None) -> SessionStore:
        if cas_url not in self.stores:
            self.stores[cas_url] = RehearsalStore(super().store(cas_url, cas_key, tolerance))
        return self.stores[cas_url]


def plan_of_mesh(
    manifest: Manifest, mesh: Mesh, options: ApplyOptions, console: Console, planned: Sequence[BuildRecord] = ()
) -> dict[str, Any]:
    """Return what `apply` would do for a mesh, as plain values; `planned` are images that are still to be built."""
    world = _Rehearsal(options)
    run_mesh(manifest, options, world, console, rehearsed=True, planned=planned)
    return {
        "kind": "mesh",
        "namespace": options.namespace or mesh.policy.namespace,
        "services": [{"name": service.name, "image": service.image} for service in mesh.services],
        "sessions": [
            {"name": name, "cas": address, "state": state}
            for address, store in world.stores.items()
            for name, state in store.outcomes.items()
        ],
        "files": [{"path": path, "state": state} for path, state in sorted(world.workspace.outcomes.items())],
    }


def mesh_lines(document: dict[str, Any]) -> Iterator[str]:
    """Yield the plan of a mesh as text."""
    yield f"mesh in namespace {document['namespace']}"
    yield ""
    yield "SERVICES"
    for service in document["services"]:
        yield f"  {service['name']:<20} {service['image']}"
    yield ""
    yield "SESSIONS"
    for session in document["sessions"]:
        yield f"  {session['state']:<10} {shown(session['name'])} (CAS {session['cas']})"
    if not document["sessions"]:
        yield "  none is uploaded"
    yield ""
    yield "FILES"
    for file in document["files"]:
        yield f"  {file['state']:<10} {shown(file['path'])}"
    if not document["files"]:
        yield "  unchanged"
