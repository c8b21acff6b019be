"""The sessions of a mesh: that of the namespace, and one for each service.

In: services with all names resolved, and their secrets. Out: session documents as plain values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from sconectl.manifest.model.mesh import Access
from sconectl.plan.mesh.attestation import Fragments, attestation, with_mode
from sconectl.plan.mesh.mesh_service import BoundService
from sconectl.plan.mesh.mesh_volumes import Owners, mounts, session_volumes
from sconectl.plan.values.literals import literal_secrets
from sconectl.text.yaml_tree import with_texts

FSPF_SECRET = "sconectl-fspf-key"  # noqa: S105 - a name
IMAGE_KEY_SECRET = "fspf-key"  # noqa: S105
NAMESPACE_FILE = "namespace"


@dataclass(frozen=True)
class SessionPlan:
    """One session: its full name, the file below target/policies, and its content.

    That of a service also knows the service's name in it, and measurements of earlier images that stay valid.
    """

    name: str
    file: str
    document: Mapping[str, Any] = field(repr=False)
    program: str = ""
    stable: tuple[str, ...] = ()


def with_version(document: Mapping[str, Any], *, signed: bool = False) -> dict[str, Any]:
    """Return a session document that declares, behind its name, the lowest language version that it needs.

    The creator of a `signed` session is a signer, which comes in when it is signed.
    """
    from sconectl.policy.serialized.features import lowest_version

    complete = {**document, "creator": {"signer": ""}} if signed else document
    return {"name": document["name"], "version": lowest_version(complete), **document}


def namespace_session(name: str, access: Access, *, signed: bool) -> SessionPlan:
    """Return the session that only its creator and the owners may change, and create sessions in."""
    owners = _several("CREATOR", *access.owners)
    policy = {**_granted(access, signed=signed), "update": owners, "create_sessions": owners}
    return SessionPlan(name, NAMESPACE_FILE, with_version({"name": name, "access_policy": policy}, signed=signed))


def _granted(access: Access, *, signed: bool) -> dict[str, list[str]]:
    changing = [*access.owners, *access.updaters]
    reading = _several(*changing, *access.readers)
    # The creator of a signed session is a signer, and a signer cannot read.
    return {
        "read": reading or ["NONE"] if signed else _several("CREATOR", *reading),
        "update": _several("CREATOR", *changing),
    }


def _several(*principals: str) -> list[str]:
    return list(dict.fromkeys(principals))


def service_session(
    service: BoundService,
    secrets: Sequence[Mapping[str, Any]],
    fragments: Fragments,
    owners: Owners,
    *,
    signed: bool,
) -> SessionPlan:
    """Return the session of a service; `signed` if it is shipped with signatures instead of uploaded.

    `owners` are the services from which it may have volumes.
    """
    literals = [*service.literal_command, *service.literal_environment.values()]
    facts, found = service.facts, [*secrets, *service.foreign, *fragments.secrets, *literal_secrets(literals)]
    entry: dict[str, Any] = {
        "name": service.program,
        "image_name": service.service.session,
        "attestation": [{"mrenclave": list(dict.fromkeys([facts.measurement, *facts.stable]))}],
        "command": [*service.command, *service.literal_command],
        "pwd": facts.pwd,
        "environment": dict(sorted({**service.literal_environment, **service.environment}.items())),
    }
    if facts.fspf:
        entry |= {
            "fspf_path": facts.fspf.path,
            "fspf_key": f"$$SCONE::{FSPF_SECRET}$$",
            "fspf_tag": facts.fspf.tag,
        }
        key = {"session": facts.image_session, "secret": IMAGE_KEY_SECRET}
        found.append({"name": FSPF_SECRET, "kind": "binary", "import": key})
    image: dict[str, Any] = {"name": service.service.session}
    if service.injected:
        image["injection_files"] = service.injected
    if service.volumes.declared:
        image["volumes"] = mounts(service.volumes, owners)
    document: dict[str, Any] = {
        "name": service.session_name,
        "access_policy": fragments.references.get("access")
        or _granted(service.given.mesh.policy.access or Access(), signed=signed),
        "security": _security(service, fragments),
        "services": [entry],
        "images": [image],
    }
    if found:
        document["secrets"] = found
    if service.volumes.declared:
        document["volumes"] = session_volumes(service.volumes)
    if service.template:
        document = with_mode(service.template.over(document), service.toolchain)
    complete, stable = with_version(document, signed=signed), tuple(m for m in facts.stable if m != facts.measurement)
    return SessionPlan(service.session_name, service.name, complete, service.program, stable)


def _security(service: BoundService, fragments: Fragments) -> Any:
    if "security" in fragments.references:
        return fragments.references["security"]
    debug = service.facts.parameters.get("mode") == "debug"
    written = attestation(service.given.mesh, toolchain=service.toolchain, debug=debug)
    return {"attestation": fragments.references.get("attestation") or written}


def with_measurements(sessions: Sequence[SessionPlan], services: Sequence[BoundService]) -> Iterator[SessionPlan]:
    """Yield the sessions with the measurements of their services where policy templates name them."""
    marks = {s.name: (s.measurement_mark, s.facts.measurement) for s in services if s.template}
    for session in sessions:
        if mark := marks.get(session.file):
            session = replace(session, document=with_texts(session.document, partial(_with_measurement, *mark)))
        yield session


def _with_measurement(mark: str, measurement: str, text: str) -> str:
    return text.replace(mark, measurement)
