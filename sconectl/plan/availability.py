"""What a manifest may ask for but this version does not do yet: refused as a whole, never silently dropped.

In: a validated manifest. Out: nothing, or warnings. Raises `PlanImpossible` with a finding for each such part.
"""

from __future__ import annotations

from collections.abc import Iterator

from sconectl.errors import PlanImpossible
from sconectl.findings import Finding
from sconectl.manifest.genservice import GenService
from sconectl.manifest.mesh import Mesh
from sconectl.plan.parameters import unusual_sizes
from sconectl.yaml_tree import Document, Path, show_path

MODES = (None, "Upload", "NoUpload")


def require_available(model: GenService | Mesh, document: Document) -> None:
    """Raise `PlanImpossible` with a finding for every part of the manifest that has no effect yet."""
    missing = _of_service(model) if isinstance(model, GenService) else _of_mesh(model)
    findings = [
        Finding("error", "SC2001", document.position(path), show_path(path), f"{what} is not available in this version")
        for path, what in missing
    ]
    if findings:
        raise PlanImpossible("the manifest asks for something that this version does not do yet", findings=findings)


def remarks(model: GenService | Mesh, document: Document) -> list[Finding]:
    """Return warnings: fields without an effect with the toolchain and CAS of today, and values that are unusual."""
    unused: Iterator[tuple[Path, str]]
    unused = _unused_in_service(model) if isinstance(model, GenService) else _unused_in_mesh(model)
    found = [("SC2010", path, f"has no effect in this version: {why}") for path, why in unused]
    if isinstance(model, GenService):
        found += [("SC1010", path, why) for path, why in _unusual(model)]
    return [Finding("warning", code, document.position(path), show_path(path), text) for code, path, text in found]


def _unusual(model: GenService) -> Iterator[tuple[Path, str]]:
    local = model.environment.local
    remarks = unusual_sizes(local)
    for number, variable in enumerate(local):
        if variable.name in remarks:
            yield ("environment", "local", number, "value"), remarks[variable.name]


def _unused_in_service(model: GenService) -> Iterator[tuple[Path, str]]:
    signature = model.build.signature
    if signature and signature.key and not signature.sign:
        yield ("build", "signature", "key"), "with sign: false the image is not signed"


def _unused_in_mesh(model: Mesh) -> Iterator[tuple[Path, str]]:
    for number, cas in enumerate(model.cas):
        if cas.cas_encryption_key:
            yield ("cas", number, "cas_encryption_key"), "sessions are uploaded over TLS, not as encrypted files"
    if model.policy.image_policy_namespace:
        yield ("policy", "image_policy_namespace"), "image sessions are named after their images"


def _of_service(model: GenService) -> Iterator[tuple[Path, str]]:
    build = model.build
    if build.volumes:
        yield ("build", "volumes"), "protecting volumes"
    if build.gen_policy:
        yield ("build", "gen_policy"), "replacing the policy template"


def _of_mesh(model: Mesh) -> Iterator[tuple[Path, str]]:
    for number, cas in enumerate(model.cas):
        if cas.mode not in MODES:
            yield ("cas", number, "mode"), f"mode {cas.mode}"
    for field in ("maa", "access_policy_name", "attestation_policy_name", "security_policy_name"):
        if getattr(model.policy, field):
            yield ("policy", field), field
    for number, service in enumerate(model.services):
        for field in ("image_policy", "env", "helm_chart", "helm_extra_values"):
            if getattr(service, field):
                yield ("services", number, field), f"{field} of a service"
    if model.helm_extra_values:
        yield ("helm_extra_values",), "helm_extra_values"
    if model.repo:
        yield ("repo",), "copying the images to another repository"
    if model.extra_policies:
        yield ("extra_policies",), "extra_policies"
