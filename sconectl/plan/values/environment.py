"""Which value a variable has for a service, and why.

Lowest to highest: default in the service's image, mesh `global`, mesh `helm`, the mesh's section for the service.
A variable without any of them may take the default that another service of the mesh gives. Local variables of an
image are never overridden.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from sconectl.text.yaml_tree import Path

if TYPE_CHECKING:
    from sconectl.manifest.model.mesh import Mesh
    from sconectl.plan.facts.image_facts import ImageFacts

SHARED_SECTIONS = ("global", "helm")
_PASTED = re.compile(r" *\|([+-]?) *\n(?=(?:[ ]*\n)*[ ]+\S)")


class MeshValues:
    """The values of a mesh, worked out once for all of its services."""

    def __init__(self, mesh: Mesh, facts: Mapping[str, ImageFacts]) -> None:
        self._mesh = mesh
        self._facts = facts
        self._sections: dict[str, dict[str, str]] = {}
        for section in mesh.env:
            values = self._sections.setdefault(section.service, {})
            for variable in section.env:
                values[variable.name] = unpasted(variable.value)
        self._shared: dict[str, str] = {}
        for image in facts.values():
            for name, value in _defaults(image).items():
                self._shared.setdefault(name, value)

    def of(self, service: str) -> ChainMap[str, str]:
        """Return every value that `{{name}}` may stand for in `service`, without the built-in names."""
        sections = (self._sections.get(section, {}) for section in (service, *reversed(SHARED_SECTIONS)))
        own = self._facts.get(service)
        return ChainMap(*sections, _defaults(own) if own else {}, self._shared)

    def given(self, service: str, name: str) -> tuple[str, Path] | None:
        """Return the section that gives `service` the variable, and where; None if the mesh does not."""
        for section in (service, *reversed(SHARED_SECTIONS)):
            if (section, name) in self._places:
                return section, self._places[section, name]
        return None

    def lender(self, name: str) -> str:
        """Return the service whose default is taken by services that have none; empty if no service has one."""
        return self._lenders.get(name, "")

    @cached_property
    def _lenders(self) -> dict[str, str]:
        return {name: service for service, image in reversed(list(self._facts.items())) for name in _defaults(image)}

    @cached_property
    def _places(self) -> dict[tuple[str, str], Path]:
        return {
            (section.service, variable.name): ("env", number, "env", entry, "value")
            for number, section in enumerate(self._mesh.env)
            for entry, variable in enumerate(section.env)
        }


def _defaults(image: ImageFacts) -> dict[str, str]:
    return {variable.name: variable.value for variable in image.environment.global_ if variable.value is not None}


def unpasted(value: str) -> str:
    """Return a value as its service sees it.

    Upstream's compiler pastes values into YAML, so manifests in use write long ones with a block mark of their own:
    a line ` |`, and everything below it indented. Of these the mark and the indentation are taken away.
    """
    match = _PASTED.match(value) if "|" in value[:80] else None
    if match is None:
        return value
    lines = value[match.end() :].split("\n")
    margin = min(len(line) - len(line.lstrip(" ")) for line in lines if line.strip())
    text = "\n".join(line[margin:] for line in lines)
    return text if match[1] == "+" else text.rstrip("\n") + ("" if match[1] == "-" else "\n")


def missing_globals(facts: ImageFacts, values: Mapping[str, str]) -> tuple[str, ...]:
    """Return the global variables of an image that have no value."""
    return tuple(variable.name for variable in facts.environment.global_ if variable.name not in values)
