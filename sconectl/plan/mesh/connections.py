"""Who connects to which service of a mesh, and values that lead to a port or a service that is not there.

In: the services of a mesh with all values filled in, and its addresses. Out: callers by service; warnings at their
positions. A service that others than those of the mesh may call has no known callers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sconectl.manifest.model.faults import meaning, nearest
from sconectl.plan.facts.image_facts import NOT_MEASURED
from sconectl.plan.facts.naming import chart_name
from sconectl.plan.network.addresses import Addresses, Entry, Hosts, Reference, is_host

if TYPE_CHECKING:
    from sconectl.plan.mesh.mesh_input import MeshInput
    from sconectl.plan.mesh.mesh_service import BoundService
    from sconectl.text.findings import Finding

CODE = "SC2030"
_CERTIFICATES = ("x509", "x509-ca")
_OPEN_TYPES = ("NodePort", "LoadBalancer")
_FRONTS = ("ingress", "gateway")

Values = Mapping[str, Mapping[str, Any]]
"""The chart values of the manifest by service."""


def callers(
    services: Sequence[BoundService], secrets: Mapping[str, Sequence[Mapping[str, Any]]], hosts: Hosts, values: Values
) -> dict[str, tuple[str, ...] | None]:
    """Return who may connect to each service: those that it gives its secrets, and those whose values name its host.

    `secrets` are those of each session as they are wired. None stands for everybody: somebody outside of the mesh may
    be meant, or nobody says who calls.
    """
    names = {service.session_name: service.name for service in services}
    found: dict[str, dict[str, None]] = {service.name: {} for service in services}
    everybody = {service.name for service in services if _is_front(values.get(service.name, {}))}
    for service in services:
        for entry in secrets[service.name]:
            receivers = [names.get(session) for session in _receivers(entry)]
            found[service.name] |= dict.fromkeys(filter(None, receivers))
            if None in receivers:
                everybody.add(service.name)
        for text in _texts(service):
            for reference in hosts.named_in(text):
                if reference.service:
                    found[reference.service][service.name] = None
    return {
        name: None if name in everybody or not (others := _others(name, calling)) else others
        for name, calling in found.items()
    }


def _others(name: str, calling: Mapping[str, None]) -> tuple[str, ...]:
    return tuple(sorted(chart_name(caller) for caller in calling if caller != name))


def _texts(service: BoundService) -> Iterator[str]:
    yield from service.command
    yield from service.environment.values()
    yield from (file["content"] for file in service.injected)
    if service.template:
        yield from service.template.texts()


def _receivers(entry: Mapping[str, Any]) -> Iterator[str]:
    """Yield the sessions that a secret is exported to, and "" for others; who imports it is among them."""
    if entry.get("export_public") is True and entry.get("kind") in _CERTIFICATES:
        yield ""
    for target in entry.get("export") or ():
        yield str((target.get("session") if isinstance(target, Mapping) else target) or "").lstrip("/")


def _is_front(values: Mapping[str, Any]) -> bool:
    """Say whether the manifest opens the service to who is outside of the cluster."""
    service = values.get("service")
    kind = service.get("type") if isinstance(service, Mapping) else None
    fronts = (values.get(name) for name in _FRONTS)
    return kind in _OPEN_TYPES or any(isinstance(front, Mapping) and front.get("enabled") is True for front in fronts)


def wrong_addresses(
    given: MeshInput, services: Sequence[BoundService], addresses: Addresses, values: Values
) -> Iterator[Finding]:
    """Yield a warning for each value that names a port nobody offers, or a service that the mesh does not have."""
    offered = {service.name: _offered(service, values.get(service.name, {})) for service in services}
    known = [*addresses.hosts.services]
    for entry in addresses.entries:
        for reference in entry.references:
            yield from _of_entry(given, entry, reference, offered, known)
    said = {(each.host, each.port) for entry in addresses.entries for each in entry.references}
    for service in services:
        hosts = dict.fromkeys(each for text in _texts(service) for each in addresses.hosts.named_in(text))
        for reference in hosts:
            if (reference.host, reference.port) not in said and (problem := _problem(reference, offered)):
                message = f"service {service.name} calls {reference.host}:{reference.port}, but {problem[0]}"
                yield given.remark(service.place, CODE, message, problem[1])


def _of_entry(
    given: MeshInput,
    entry: Entry,
    reference: Reference,
    offered: Mapping[str, tuple[int, ...] | None],
    known: Sequence[str],
) -> Iterator[Finding]:
    address = reference.port is not None or entry.beside is not None
    if not reference.service and reference.certain and reference.alone and (address or is_host(entry.variable)):
        near = nearest(reference.host, known)
        hint = meaning(near) or f"services are reached at {', '.join(known[:10])}"
        message = f"{entry.variable} names {reference.host}, and no service of the mesh is reached there"
        yield given.remark(entry.path, CODE, message, hint)
    elif reference.port is not None:
        if problem := _problem(reference, offered):
            message = f"{entry.variable} names {reference.host} at port {reference.port}, but {problem[0]}"
            yield given.remark(entry.path, CODE, message, problem[1])
    elif entry.beside and reference.alone:
        name, number, path = entry.beside
        if problem := _problem(reference, offered, number):
            message = f"{name} is {number}, and {entry.variable} beside it names {reference.host}, but {problem[0]}"
            yield given.remark(path or entry.path, CODE, message, problem[1])


def _problem(
    reference: Reference, offered: Mapping[str, tuple[int, ...] | None], port: int | None = None
) -> tuple[str, str] | None:
    """Return what is wrong with the port of a reference, and a hint; None if nothing is, or if that is not known."""
    number = reference.port if port is None else port
    ports = offered.get(reference.service) if reference.service and reference.certain else None
    if number is None or ports is None or number in ports:
        return None
    name = reference.service
    there = f"offers {' and '.join(map(str, ports))}" if ports else "offers no port"
    listens = f"if {name} listens at {number}, add ports: [{number}] to it in the mesh, or to build of its manifest"
    return f"{name} {there}", f"write {ports[0]}, or, {listens}" if ports else listens


def _offered(service: BoundService, values: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Return the ports that clients find, or None if the manifest or an image that is not built decides about them."""
    open_yet = service.facts.measurement == NOT_MEASURED and all(port.assumed for port in service.ports)
    given = values.get("service")
    replaced = isinstance(given, Mapping) and not {"port", "ports", "enabled"}.isdisjoint(given)
    if service.chart_files or replaced or open_yet:
        return None
    return tuple(port.number for port in service.ports)
