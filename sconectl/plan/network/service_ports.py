"""The TCP ports of one service: what it says itself, then what its image shows, then what the mesh says about it.

In: a service with its image and values. Out: its ports, each with the reason, or what is wrong with one. The first of
the sources below that says anything decides; docs/chart.md has the same table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count

from sconectl.manifest.model.mesh import MeshService
from sconectl.manifest.model.ports import Port, port_number
from sconectl.plan.facts.image_facts import ImageFacts
from sconectl.plan.facts.naming import without_tag
from sconectl.plan.network.addresses import Addresses, host_stems, plain, port_stem

APP_PORT = "APP_SERVICE_PORT"
_PROGRAM_PORT = "PYTHON_SERVICE_PORT"
WELL_KNOWN = {"mariadb": 3306, "memcached": 11211, "nginx": 443, "redis": 6379}
"""The ports of images with these names, as curated images have them."""


@dataclass(frozen=True)
class ServicePort:
    """A TCP port that the program of a service listens on, and so one of its Service object."""

    name: str
    """Its name there: at most 15 lower-case letters, digits and inner hyphens (IANA service name)."""

    number: int
    reason: str = ""
    """What says that it is one: "REDIS_PORT", "EXPOSE of the image" ..."""

    assumed: bool = False
    """Nothing says so but a variable that all services have: the program may not listen there, so wait for nothing."""


Found = Sequence[tuple[str | None, int, str]]
"""Ports with their names, if they have any, and what says so."""


@dataclass(frozen=True)
class PortClues:
    """What tells the ports of a service.

    `environment` are the variables of its program, `text` gives what a name stands for, `bound` fills in a text, and
    `section` gives the section of env that gives the service a variable, or "". `wrong` is told of each variable, or
    other source, whose value is no port.
    """

    service: MeshService
    facts: ImageFacts
    environment: Mapping[str, str]
    text: Callable[[str], str | None]
    bound: Callable[[str], str]
    section: Callable[[str], str]
    wrong: Callable[[str], None]
    addresses: Addresses

    def ports(self) -> tuple[ServicePort, ...]:
        """Return the ports of the service."""
        app_port = self._app_port()
        if app_port is None and not self.service.ports and self.section(APP_PORT) == self.service.name:
            return ()  # its section says that it has none
        sources: tuple[Callable[[], Found], ...] = (
            lambda: self._declared(self.service.ports, "ports of the service in the mesh"),
            lambda: self._declared(self.facts.ports, "build.ports of the image"),
            lambda: self._own_app_port(app_port),
            self._own_variables,
            lambda: [(None, number, "EXPOSE of the image") for number in self.facts.exposed],
            self._variables_of_the_mesh,
            self._well_known,
        )
        if found := next(filter(None, (source() for source in sources)), None):
            return tuple(_named(found))
        if app_port is None:
            return ()
        return (ServicePort("api", app_port, f"{APP_PORT} of all services", assumed=True),)

    def _declared(self, ports: Iterable[Port], reason: str) -> Found:
        found = []
        for port in ports:
            number = port_number(self.bound(str(port.number)))
            if number is None:
                self.wrong(reason)
            else:
                found.append((port.name, number, reason))
        return found

    def _app_port(self) -> int | None:
        own = {variable.name for variable in self.facts.environment.local}
        text = (self.environment[APP_PORT] if APP_PORT in own else self.text(APP_PORT) or "").strip()
        number = port_number(text)
        if text and number is None:
            self.wrong(APP_PORT)
        return number

    def _own_app_port(self, number: int | None) -> Found:
        if number is None:
            return ()
        variables = self.facts.environment
        if any(variable.name == APP_PORT for variable in variables.local):
            return [(None, number, f"{APP_PORT} of the image")]
        if self.section(APP_PORT) == self.service.name:
            return [(None, number, f"{APP_PORT} in its section of env")]
        texts = (
            *(variable.value or "" for variable in variables.local),
            *(file.content for file in self.facts.injection_files),
            "" if self.facts.literal_command else self.facts.command,
        )
        declared = any(variable.name == APP_PORT for variable in variables.global_)
        if declared or any(APP_PORT in text for text in texts):
            return [(None, number, f"{APP_PORT}, which the image uses")]
        return ()

    @property
    def _names(self) -> tuple[str, ...]:
        """How the service is called in names of variables."""
        image = without_tag(self.service.image).rpartition("/")[2]
        return tuple(map(plain, (self.service.name, self.facts.name, image)))

    def _own_variables(self) -> Found:
        """Return the port in a variable that the image declares: by its name, or beside one with the own host."""
        variables = self.facts.environment
        declared = [*(v.name for v in variables.local), *(v.name for v in variables.global_)]
        ports = {name: number for name in declared if (number := port_number(self.environment.get(name, "")))}
        if _PROGRAM_PORT in ports:
            return [(None, ports[_PROGRAM_PORT], f"{_PROGRAM_PORT} of the image")]
        by_stem = {stem: name for name in ports if (stem := port_stem(name))}
        own = self._names
        if named := next((name for stem, name in by_stem.items() if stem in own), ""):
            return [(None, ports[named], f"{named} of the image")]
        hosts = self.addresses.hosts
        for name in declared if by_stem else ():
            beside = next((by_stem[stem] for stem in host_stems(name) if stem in by_stem), "")
            if beside and any(
                each.alone and each.service == self.service.name
                for each in hosts.named_in(self.environment.get(name, ""))
            ):
                return [(None, ports[beside], f"{beside} beside {name}, both of the image")]
        return ()

    def _variables_of_the_mesh(self) -> Found:
        name = self.addresses.port_variable(self._names, self.service.name)
        if name and (number := port_number(self.text(name) or "")):
            return [(None, number, name)]
        return [(None, number, reason) for number, reason in self.addresses.pairs.get(self.service.name, {}).items()]

    def _well_known(self) -> Found:
        name = without_tag(self.service.image).rpartition("/")[2]
        return [(None, WELL_KNOWN[name], f"usual for {name}")] if name in WELL_KNOWN else ()


def _named(ports: Found) -> Iterator[ServicePort]:
    """Yield each port once, with a name that no other one has."""
    taken = {name for name, _, _ in ports if name}
    seen: set[int] = set()
    for given, number, reason in ports:
        if number in seen:
            continue
        usual = (*(("api",) if not seen else ()), f"port-{number}")
        free = (name for name in chain(usual, (f"p{n}-{number}" for n in count())) if name not in taken)
        name = given or next(free)
        taken.add(name)
        seen.add(number)
        yield ServicePort(name, number, reason)
