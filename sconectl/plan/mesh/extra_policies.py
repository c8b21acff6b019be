"""`extra_policies`: sessions that are written by hand and brought into the CAS together with those of a mesh.

In: the files that the mesh names, already read. Out: one `SessionPlan` each, or findings at their places in the files.
`{{…}}` is filled in with the values for all services; who creates a session, and what it replaces, is for the upload.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from sconectl.errors import InvalidInput
from sconectl.plan.mesh.mesh_input import GivenFile, MeshInput, shared_names
from sconectl.plan.mesh.mesh_session import SessionPlan, with_version
from sconectl.plan.values.templates import bind_yaml
from sconectl.text.findings import Finding, errors_of

if TYPE_CHECKING:
    from sconectl.plan.values.environment import MeshValues
    from sconectl.policy.model.session import Session
    from sconectl.text.yaml_tree import Document

_OF_THE_UPLOAD = ("creator", "predecessor", "namespace_hash")
_SHARED = "global"
FILE_PREFIX = "extra."
"""Begins the names of their files below target/policies; no service is called so."""


def extra_sessions(
    given: MeshInput, values: MeshValues, taken: Collection[str], findings: list[Finding], *, signed: bool
) -> tuple[SessionPlan, ...]:
    """Return the sessions in the order of the manifest; what is wrong with them goes into `findings`.

    `taken` are the names of the mesh's own sessions.
    """
    from sconectl.plan.values.names import Names
    from sconectl.policy.signed_session import SignedError, creator_cannot_read

    names = Names(values.of(_SHARED), shared_names(given.mesh, given.release))
    found: list[SessionPlan] = []
    for number, file in given.extra:
        try:
            session = _session(file, names)
        except InvalidInput as error:
            findings += error.findings
            continue
        if signed:
            try:
                creator_cannot_read(session)
            except SignedError as error:
                findings.append(given.at(("extra_policies", number, "name"), "SC2015", error.message, error.hint))
                continue
        place = FILE_PREFIX + session.name.replace("/", ".")
        twin = next((one.name for one in found if one.file == place), session.name if session.name in taken else "")
        if twin:
            message = f"the session {twin} is one of this mesh already"
            message += f", and {session.name} would be in the same file" if twin != session.name else ""
            findings.append(given.at(("extra_policies", number, "name"), "SC2002", message, "give it another name"))
            continue
        found.append(SessionPlan(session.name, place, with_version(_document(session), signed=signed)))
    return tuple(found)


def _session(file: GivenFile, names: Any) -> Session:
    from sconectl.policy.reading import examine_document

    document = bind_yaml(file.content, file.name, names.text, dollars=True)
    faults = list(_faults(document))
    examined = examine_document(document, remarks=False)
    faults += errors_of(examined.findings)
    if faults or examined.session is None:
        raise InvalidInput(faults)
    return examined.session


def _faults(document: Document) -> Iterator[Finding]:
    for key in document.value if isinstance(document.value, dict) else ():
        if key in _OF_THE_UPLOAD:
            message, hint = "this field cannot be given here", "remove it: the upload says that"
            yield document.finding("error", "SC2015", (key,), message, hint, at_key=True)


def _document(session: Session) -> dict[str, Any]:
    """Return a session as the plain values of a document."""
    from sconectl.policy.serialized.yaml_writer import as_written

    document = {key: value for key, value in as_written(session).items() if key not in ("version", *_OF_THE_UPLOAD)}
    if "services" in document:  # without an artefact of how a session is read back
        document["services"] = [
            {key: value for key, value in service.items() if key != "persistency"} for service in document["services"]
        ]
    return document
