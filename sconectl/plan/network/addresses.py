"""The services of a mesh in the values that name them: which value names which service, and at which port.

In: a mesh with its values, and texts. Out: references to services, and the ports that pairs of variables give them.
A service is reached at RELEASE-SERVICE, so without a release nobody is named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from sconectl.manifest.model.mesh import Mesh
from sconectl.manifest.model.ports import port_number
from sconectl.plan.facts.naming import chart_name
from sconectl.plan.values.environment import SHARED_SECTIONS, MeshValues, unpasted
from sconectl.plan.values.names import Names
from sconectl.text.yaml_tree import Path

_SCHEMES = {"http": 80, "https": 443}
_HOST_ENDINGS = ("_hostname", "_host", "_server", "_address", "_addr", "_url", "_uri", "_endpoint")
_POD = re.compile(r"-[0-9]+\Z")  # of a StatefulSet


def plain(name: str) -> str:
    """Return a name without what spellings differ in: upper case, hyphens and dots."""
    return name.lower().replace("-", "_").replace(".", "_")


def port_stem(variable: str) -> str:
    """Return whose port a variable is by its name: `redis` of REDIS_PORT; empty for other variables."""
    name = plain(variable)
    return name.removesuffix("_port") if name.endswith("_port") else ""


def host_stems(variable: str) -> tuple[str, ...]:
    """Return whose host a variable may be by its name, the closest first; the port of the same stem belongs to it."""
    found = [name := plain(variable)]
    if name.endswith("_name"):
        found.append(name := name.removesuffix("_name"))
    if ending := next(filter(name.endswith, _HOST_ENDINGS), ""):
        found.append(name.removesuffix(ending))
    return tuple(filter(None, found))


def is_host(variable: str) -> bool:
    """Say whether a variable is one for a host by its name."""
    name = plain(variable)
    return any(name.endswith((ending, f"{ending}_name")) for ending in _HOST_ENDINGS)


@dataclass(frozen=True)
class Reference:
    """A host in a text that is called like a service of the release.

    `service` is empty if the mesh has no such service. `port` is the one behind the host, or of the scheme before it.
    Without `certain` it may be a host elsewhere. `alone` says that the text is nothing but the host.
    """

    host: str
    service: str
    port: int | None
    certain: bool
    alone: bool


class Hosts:
    """Finds the hosts of a release in texts."""

    def __init__(self, services: Iterable[str], release: str) -> None:
        self._begin = f"{release}-" if release else ""
        self.services = {f"{self._begin}{chart_name(name)}": name for name in services}

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        name = rf"{re.escape(self._begin)}[a-z0-9]+(?:-+[a-z0-9]+)*"
        return re.compile(
            rf"(?<![\w.-])(?:(https?)://(?:[^/@\s]*@)?)?({name})((?:\.[A-Za-z0-9-]+)*)(?::([0-9]{{1,5}}))?(?![\w-])"
        )

    def named_in(self, text: str) -> Iterator[Reference]:
        """Yield what a text names."""
        if not self._begin or self._begin not in text:
            return
        for match in self._pattern.finditer(text):
            scheme, host, domain, port = match.groups()
            service = self.services.get(host) or self.services.get(_POD.sub("", host), "")
            yield Reference(
                host,
                service,
                port_number(port) if port else _SCHEMES.get(scheme or ""),
                not domain or ".svc" in f"{domain}.",
                match[0] == text.strip(),
            )


@dataclass(frozen=True)
class Entry:
    """A value of the mesh that names a host of the release: the variable, and where its value stands.

    `beside` is the variable with the port of that host, with the number and where it stands, if it has one.
    """

    variable: str
    path: Path
    references: tuple[Reference, ...]
    beside: tuple[str, int, Path | None] | None


class Addresses:
    """The values of a mesh that name its services, found once for all of them."""

    def __init__(self, mesh: Mesh, values: MeshValues, release: str) -> None:
        self.hosts = Hosts((service.name for service in mesh.services), release)
        self._mesh, self._values, self._release = mesh, values, release

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """Every value of env that names a host of the release, in the order of the manifest."""
        return tuple(self._entries()) if self._release else ()

    @cached_property
    def pairs(self) -> Mapping[str, Mapping[int, str]]:
        """For each service the ports at which a pair of variables names it, with what the variables are called."""
        found: dict[str, dict[int, str]] = {}
        for entry in self.entries:
            for reference in entry.references if entry.beside else ():
                if reference.alone and reference.service and entry.beside:
                    name, number, _ = entry.beside
                    found.setdefault(reference.service, {}).setdefault(number, f"{name} beside {entry.variable}")
        return found

    def port_variable(self, stems: Iterable[str], section: str = "") -> str:
        """Return the variable of a section, or of all services, that is the port of one of the stems; else ""."""
        own = self._own_ports.get(section, {})
        return next((name for stem in stems if (name := own.get(stem) or self._shared_ports.get(stem))), "")

    @cached_property
    def _shared_ports(self) -> dict[str, str]:
        return _by_stem(self._values.of(""))

    @cached_property
    def _own_ports(self) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        for section in self._mesh.env:
            if section.service not in SHARED_SECTIONS:
                found.setdefault(section.service, {}).update(_by_stem(variable.name for variable in section.env))
        return found

    def _entries(self) -> Iterator[Entry]:
        names: dict[str, Names] = {}
        for number, section in enumerate(self._mesh.env):
            owner = "" if section.service in SHARED_SECTIONS else section.service
            for index, variable in enumerate(section.env):
                if "{{" not in variable.value and f"{self._release}-" not in variable.value:
                    continue
                if owner not in names:
                    names[owner] = self._names(owner)
                path: Path = ("env", number, "env", index, "value")
                given = self._values.given(section.service, variable.name)
                text = names[owner].value(variable.name) if given and given[1] == path else unpasted(variable.value)
                if references := tuple(self.hosts.named_in(text or "")):
                    yield Entry(variable.name, path, references, self._beside(variable.name, owner, names[owner]))

    def _names(self, owner: str) -> Names:
        builtin = {"release": self._release, "namespace": self._mesh.policy.namespace}
        if owner:
            builtin["service_name"] = f"{self._release}-{owner}"
        return Names(self._values.of(owner), builtin)

    def _beside(self, variable: str, owner: str, names: Names) -> tuple[str, int, Path | None] | None:
        name = self.port_variable(host_stems(variable), owner)
        number = port_number(names.value(name) or "") if name else None
        if number is None:
            return None
        given = self._values.given(owner, name)
        return name, number, given[1] if given else None


def _by_stem(variables: Iterable[str]) -> dict[str, str]:
    return {stem: name for name in variables if (stem := port_stem(name))}
