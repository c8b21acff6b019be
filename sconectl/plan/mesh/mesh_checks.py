"""What can be wrong with a mesh beside the values of its services: names, roles, upload modes, what nothing runs yet.

In: a mesh and its services. Out: findings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sconectl.manifest.model.faults import meaning, nearest
from sconectl.plan.facts.naming import chart_name, with_tag
from sconectl.plan.mesh.mesh_input import ENCRYPTED_MODES, SIGNED_MODE, MeshInput, deployed_image, image_cas, main_cas
from sconectl.plan.mesh.mesh_service import BoundService
from sconectl.plan.mesh.mesh_session import NAMESPACE_FILE
from sconectl.plan.mesh.mesh_volumes import volume_faults
from sconectl.plan.secrets.short_lived import Given, kept_certificates
from sconectl.plan.values.environment import SHARED_SECTIONS
from sconectl.text.findings import Cause, Finding, Name
from sconectl.text.yaml_tree import Path

RESERVED_NAMES = frozenset({*SHARED_SECTIONS, NAMESPACE_FILE})
"""Sections of env, and the file of the namespace session: a service of this name would be mixed up with them."""
_OPEN_KINDS = frozenset({"x509", "x509-ca", "public-key", "config-fragment"})
"""Kinds of secrets whose values are no secrets."""
_KEY = re.compile(r"[0-9a-fA-F]{64}\Z")


def name_faults(given: MeshInput) -> Iterator[Finding]:
    """Yield what is wrong with the names of services, and with sections of env for nobody."""
    names = [service.name for service in given.mesh.services]
    seen: dict[str, str] = {}
    for number, name in enumerate(names):
        path: Path = ("services", number, "name")
        label = chart_name(name)
        if label in seen:
            same = seen[label] == name
            message = (
                "two services have this name" if same else f"in the chart this name and {seen[label]} are the same"
            )
            yield given.at(path, "SC2002", message, "" if same else "give one of them another name")
        seen.setdefault(label, name)
        if label in RESERVED_NAMES:
            yield given.at(path, "SC2002", "this name is reserved", "give the service another name")
    yield from _shared_sessions(given)
    known = {*names, *SHARED_SECTIONS}
    for number, section in enumerate(given.mesh.env):
        if section.service not in known:
            near = nearest(section.service, known)
            owner = given.facts[near].image if near in given.facts else ""
            gives = tuple(Name("variable", owner, variable.name) for variable in section.env)
            cause = Cause(Name("service", "", section.service), meant=gives)
            yield given.at(("env", number, "service"), "SC2003", "no service has this name", meaning(near), cause)


def copy_faults(given: MeshInput) -> Iterator[Finding]:
    """Yield images whose copies would have the same name."""
    copies: dict[str, str] = {}
    for number, service in enumerate(given.mesh.services):
        image = with_tag(service.image)
        other = copies.setdefault(deployed_image(given.mesh, image), image)
        if other != image:
            message = f"its copy and that of {other} would both be called {deployed_image(given.mesh, image)}"
            path: Path = ("services", number, "image")
            yield given.at(path, "SC2032", message, "give one of them another name or tag")


def _shared_sessions(given: MeshInput) -> Iterator[Finding]:
    """Yield services that would have the session of another one, because that is named in renamed_from."""
    owners: dict[str, str] = {}
    for number, service in enumerate(given.mesh.services):
        first = owners.setdefault(service.session, service.name)
        if first != service.name:
            path: Path = ("services", number, "renamed_from" if service.renamed_from else "name")
            message = f"service {first} has the session {service.session} already"
            yield given.at(path, "SC2002", message, "give it another name, or correct renamed_from")


def key_faults(given: MeshInput) -> Iterator[Finding]:
    """Find services whose key would have to come from another CAS: sessions import from their own CAS only."""
    if image_cas(given.mesh).cas_url == main_cas(given.mesh).cas_url:
        return
    message = "its image has encrypted directories, so the roles cas and image have to be played by one CAS"
    for number, service in enumerate(given.mesh.services):
        if given.facts[service.name].fspf:
            yield given.at(("services", number, "image"), "SC2009", message, "give both roles to one entry of cas")


def volumes_faults(given: MeshInput, services: Sequence[BoundService]) -> Iterator[Finding]:
    """Yield what is wrong with the volumes of services."""
    numbers = {service.name: service.number for service in reversed(services)}
    for name, message, hint in volume_faults({service.name: service.volumes for service in services}):
        yield given.at(("services", numbers[name]), "SC2018", message, hint)
    for service in services:
        built = {volume["name"]: volume["path"] for volume in service.volumes.declared}
        for image, name, path in service.template.mounts() if service.template else ():
            there = built.get(name)
            if image == service.service.session and (there is None or path not in (None, there)):
                message = f"image_policy mounts the volume {name} at {path}, and the image was not built for that"
                hint = f"its path in the image is {there}" if there else "name it in build.volumes of its manifest"
                yield given.at((*service.place, "image_policy"), "SC2018", message, hint)


def mode_faults(given: MeshInput, secrets: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[Finding]:
    """Yield what is wrong with how the sessions get into the CAS; `secrets` are those of each service's session."""
    cas = main_cas(given.mesh)
    path: Path = ("cas", given.mesh.cas.index(cas))
    if cas.mode in ENCRYPTED_MODES and cas.cas_encryption_key and not _KEY.match(cas.cas_encryption_key):
        hint = "`sconectl cas show-identification --session-encryption-key CAS` prints it"
        yield given.at((*path, "cas_encryption_key"), "SC2017", "a session encryption key has 64 hex digits", hint)
    if cas.mode != SIGNED_MODE:
        return
    for service, entries in secrets.items():
        names = [str(entry["name"]) for entry in entries if _holds_secret(entry)]
        if names:
            message = (
                f"signed sessions can be read by everybody who sees the chart, and that of {service} would hold "
                f"the value of {', '.join(names)}"
            )
            yield given.at((*path, "mode"), "SC2017", message, "use mode EncryptedManifest, or let the CAS generate it")


def _holds_secret(entry: Mapping[str, Any]) -> bool:
    return "application_secret" in entry or ("value" in entry and entry.get("kind") not in _OPEN_KINDS)


def toolchain_faults(given: MeshInput) -> Iterator[Finding]:
    """Yield a fault for each image whose toolchain is not known here."""
    for number, service in enumerate(given.mesh.services):
        if (name := given.facts[service.name].toolchain) not in given.toolchains:
            message = (
                f"the image of {service.name} was made with the toolchain {name}, which this version does not know"
            )
            yield given.at(("services", number, "image"), "SC2001", message, "use the version of sconectl that made it")


def image_limits(given: MeshInput, services: Sequence[BoundService]) -> Iterator[Finding]:
    """Yield a warning for each thing that the images cannot do when they run; apply refuses these."""
    simulated = sorted({service.toolchain.name for service in services if service.toolchain.simulated})
    if given.mesh.policy.maa and simulated:
        names = " and ".join(simulated)
        message = f"Azure attests hardware, and the images are protected by the toolchain {names}"
        yield given.remark(("policy", "maa"), "SC2001", message, f"leave it out while the toolchain is {names}")
    for service in services:
        if service.volumes.declared and not service.toolchain.volumes:
            message = (
                f"the image of {service.name} has volumes, which the toolchain {service.toolchain.name} cannot protect "
                "in this version"
            )
            yield given.remark((*service.place, "image"), "SC2001", message, "remove build.volumes from its manifest")


def short_lived_certificates(given: MeshInput, services: Sequence[BoundService]) -> Iterator[Finding]:
    """Yield a warning for each certificate that ends while a program keeps it, if no service manifest says that."""
    places = {service.name: service.place for service in services}
    found = {
        service.name: Given(
            service.secrets,
            [file["content"] for file in service.injected],
            [*service.command, *service.environment.values()],
            "reload" in service.facts.parameters,
            {
                secret.name
                for secret in service.facts.secrets.global_
                if service.secrets.defined.get(secret.name, {}).get("valid_for") == secret.valid_for
            },
        )
        for service in services
    }
    for service, message, hint in kept_certificates(found):
        yield given.remark(places[service], "SC2033", message, hint)
