"""Which value a variable has for a service, and why.

Lowest to highest: default in the service's image, mesh `global`, mesh `helm`, the mesh's section for the service.
A variable without any of them may take the default that another service of the mesh gives. Local variables of an
image are never overridden.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sconectl.manifest.mesh import Mesh
from sconectl.plan.facts import ImageFacts

SHARED_SECTIONS = ("global", "helm")


def mesh_values(mesh: Mesh, service: str) -> dict[str, str]:
    """Return the values that the mesh gives to `service`; later sections of one name override earlier ones."""
    values: dict[str, str] = {}
    for section in (*SHARED_SECTIONS, service):
        for entry in mesh.env:
            if entry.service == section:
                values.update({variable.name: variable.value for variable in entry.env})
    return values


def service_values(mesh: Mesh, service: str, facts: ImageFacts, others: Iterable[ImageFacts]) -> dict[str, str]:
    """Return every value that `{{name}}` may stand for in `service`, without the built-in names."""
    values: dict[str, str] = {}
    for other in others:
        for variable in other.environment.global_:
            if variable.value is not None:
                values.setdefault(variable.name, variable.value)
    values.update({v.name: v.value for v in facts.environment.global_ if v.value is not None})
    values.update(mesh_values(mesh, service))
    return values


def missing_globals(facts: ImageFacts, values: Mapping[str, str]) -> tuple[str, ...]:
    """Return the global variables of an image that have no value."""
    return tuple(variable.name for variable in facts.environment.global_ if variable.name not in values)
