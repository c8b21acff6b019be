"""What a mesh is compiled from, and who plays which role in it.

In: a validated mesh, the facts of its images, the files it names (already read). Out: names and CASes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sconectl.manifest.model.mesh import Cas, Mesh, MeshService
from sconectl.plan.facts.naming import copied_name, program_name, session_name
from sconectl.text.findings import Cause, Finding
from sconectl.text.yaml_tree import Document, Path

if TYPE_CHECKING:
    from sconectl.manifest.model.secrets import Secret
    from sconectl.plan.facts.image_facts import ImageFacts
    from sconectl.plan.facts.toolchain_traits import ToolchainTraits

SIGNED_MODE, ENCRYPTED_MODE, ENCRYPTED_ONLY = "SignedManifest", "EncryptedManifest", "EncryptedOnly"
ENCRYPTED_MODES = (ENCRYPTED_MODE, ENCRYPTED_ONLY)
"""Modes in which sessions are made for one CAS; together with SIGNED_MODE those in which they are signed."""


@dataclass(frozen=True)
class GivenFile:
    """A file that a mesh names: what messages call it, and what is in it."""

    name: str
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class ServiceFiles:
    """The files that a mesh puts in the place of what an image brings for a service.

    `policy` is laid over the session, `secrets` and `variables` take the place of those of the image, and `chart` (the
    files of the directory `chart_directory`) that of the service's chart.
    """

    policy: GivenFile | None = None
    secrets: GivenFile | None = None
    variables: GivenFile | None = None
    chart: Mapping[str, bytes] | None = field(default=None, repr=False)
    chart_directory: str = ""


@dataclass(frozen=True)
class MeshInput:
    """What a mesh is compiled from: `files` and `facts` by service.

    `replaced_secrets` are secrets that are bound already, beside those of files.
    """

    mesh: Mesh
    document: Document
    facts: Mapping[str, ImageFacts]
    replaced_secrets: Mapping[str, Sequence[Secret]]
    release: str
    version: str
    service_name: str = ""
    """What services are called inside their sessions; the file name of the program if empty."""
    files: Mapping[str, ServiceFiles] = field(default_factory=dict)
    extra: Sequence[tuple[int, GivenFile]] = ()
    """The files of `extra_policies` that are for this mode, with their places in the list."""
    toolchains: Mapping[str, ToolchainTraits] = field(kw_only=True)
    """The toolchains, by name, whose images a mesh may have."""

    def at(self, path: Path, code: str, message: str, hint: str = "", cause: Cause | None = None) -> Finding:
        """Return an error about a place in the manifest."""
        return self.document.finding("error", code, path, message, hint, cause)

    def remark(self, path: Path, code: str, message: str, hint: str = "") -> Finding:
        """Return a warning about a place in the manifest."""
        return self.document.finding("warning", code, path, message, hint)


def role_cas(mesh: Mesh, role: str) -> Cas | None:
    """Return the CAS that plays a role, or None if none is said to."""
    return next((cas for cas in mesh.cas if cas.name == role or role in cas.alias), None)


def main_cas(mesh: Mesh) -> Cas:
    """Return the CAS that holds the sessions of the mesh."""
    return role_cas(mesh, "cas") or mesh.cas[0]


def image_cas(mesh: Mesh) -> Cas:
    """Return the CAS that holds the image sessions."""
    return role_cas(mesh, "image") or main_cas(mesh)


def is_signed(cas: Cas) -> bool:
    """Say whether the sessions for a CAS are written as signed or encrypted documents, instead of being uploaded."""
    return cas.mode == SIGNED_MODE or cas.mode in ENCRYPTED_MODES


def cas_host(cas: Cas) -> str:
    """Return the address of a CAS as the chart and other sessions name it."""
    return "cas" if cas.cas_url == "local" else cas.cas_url.removeprefix("https://").rstrip("/")


def builtin_names(mesh: Mesh, release: str, service: MeshService, facts: ImageFacts) -> dict[str, str]:
    """Return the built-in names of `{{…}}` for a service."""
    namespace, program = mesh.policy.namespace, facts.command.words
    names = {
        "chartname": facts.name,
        "image_name": deployed_image(mesh, service.image),
        "session": session_name(namespace, service.session),
        "cas_service_name": program_name(program),
        "command": program[0],
        **shared_names(mesh, release),
    }
    if release:
        names["service_name"] = f"{release}-{service.name}"
    return names


def deployed_image(mesh: Mesh, image: str) -> str:
    """Return the image that the cluster runs: the one that the mesh names, or its copy."""
    repo = mesh.repo
    return image if repo is None or repo.push is False else copied_name(repo.destination, image)


def shared_names(mesh: Mesh, release: str) -> dict[str, str]:
    """Return the built-in names of `{{…}}` that mean the same for all services."""
    names = {"namespace": mesh.policy.namespace, **({"release": release} if release else {})}
    for cas in mesh.cas:
        for role in (cas.name, *cas.alias):
            names |= {f"cas.{role}.cas_url": cas.cas_url, f"cas_{role}_cas_url": cas.cas_url}
    names["cas_cas_cas_url"] = main_cas(mesh).cas_url
    return names
