"""What a manifest may ask for but this version does not do yet: planned, and refused by apply; never silently dropped.

In: a validated manifest. Out: warnings. `refuse` raises `PlanImpossible` with them as errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sconectl.errors import PlanImpossible
from sconectl.plan.mesh.mesh_input import ENCRYPTED_MODES, SIGNED_MODE, main_cas
from sconectl.plan.secrets.short_lived import holds, is_short
from sconectl.plan.values.parameters import unusual_sizes
from sconectl.text.findings import Finding
from sconectl.text.yaml_tree import Document, Path

if TYPE_CHECKING:
    from sconectl.manifest.model.genservice import GenService
    from sconectl.manifest.model.mesh import Mesh
    from sconectl.plan.facts.toolchain_traits import ToolchainTraits


def unavailable_in_service(model: GenService, document: Document, toolchain: ToolchainTraits) -> list[Finding]:
    """Return a warning for every part of a service manifest that apply refuses in this version, with `toolchain`."""
    return _warnings(_of_service(model, toolchain), document)


def unavailable_in_mesh(model: Mesh, document: Document) -> list[Finding]:
    """Return a warning for every part of a mesh that apply refuses in this version."""
    return _warnings(_of_mesh(model), document)


def _warnings(missing: Iterator[tuple[Path, str, str]], document: Document) -> list[Finding]:
    return [
        document.finding("warning", "SC2001", path, f"{what} is not available yet", hint)
        for path, what, hint in missing
    ]


def refuse(limits: Sequence[Finding]) -> None:
    """Raise `PlanImpossible` if there is anything in `limits`, which may have been said as warnings before."""
    if limits:
        findings = [replace(limit, severity="error") for limit in limits]
        raise PlanImpossible("the manifest asks for something that this version does not do yet", findings=findings)


def remarks(model: GenService | Mesh, document: Document) -> list[Finding]:
    """Return warnings: fields without an effect with the toolchain and CAS of today, and values that are unusual."""
    found: list[tuple[str, Path, str]] = []
    if model.kind == "genservice":
        found += [("SC2010", path, f"has no effect: {why}") for path, why in _unused_in_service(model)]
        found += [("SC1010", path, why) for path, why in _unusual(model)]
        found += [("SC2033", path, why) for path, why in _short_lived(model)]
    else:
        found += [("SC2010", path, f"has no effect: {why}") for path, why in _unused_in_mesh(model)]
        found += _revealed(model)
    return [document.finding("warning", code, path, text) for code, path, text in found]


def _unusual(model: GenService) -> Iterator[tuple[Path, str]]:
    local = model.environment.local
    remarks = unusual_sizes(local)
    for number, variable in enumerate(local):
        if variable.name in remarks:
            yield ("environment", "local", number, "value"), remarks[variable.name]


def _short_lived(model: GenService) -> Iterator[tuple[Path, str]]:
    for number, secret in enumerate(model.secrets.global_):
        if not is_short(secret.valid_for):
            continue
        if model.build.reload is None:
            message = f"a program keeps the {secret.name} of its start, which may end after a third of this time"
            yield ("secrets", "global", number, "valid_for"), message
        for path, text in _started_with(model):
            if holds([text], secret.name):
                yield path, f"a program keeps the {secret.name} of its start here; only files are renewed"


def _started_with(model: GenService) -> Iterator[tuple[Path, str]]:
    """Yield what a program gets at its start, and never again."""
    yield ("build", "command"), model.build.command
    for number, own in enumerate(model.environment.local):
        yield ("environment", "local", number, "value"), own.value
    for number, given in enumerate(model.environment.global_):
        yield ("environment", "global", number, "value"), given.value or ""


def _unused_in_service(model: GenService) -> Iterator[tuple[Path, str]]:
    signature = model.build.signature
    if signature and signature.key and not signature.sign:
        yield ("build", "signature", "key"), "with sign: false the image is not signed"


def _unused_in_mesh(model: Mesh) -> Iterator[tuple[Path, str]]:
    main = main_cas(model)
    for number, cas in enumerate(model.cas):
        if cas is not main and cas.mode not in (None, "Upload"):
            yield ("cas", number, "mode"), "no session of this mesh goes to this CAS"
        if cas.cas_encryption_key and (cas is not main or cas.mode not in ENCRYPTED_MODES):
            yield ("cas", number, "cas_encryption_key"), "sessions are encrypted in modes that begin with Encrypted"
    if model.policy.image_policy_namespace:
        yield ("policy", "image_policy_namespace"), "image sessions are named after their images"
    by = "security_policy_name" if model.policy.security_policy_name else "attestation_policy_name"
    if getattr(model.policy, by):
        for name in ("attestation_policy_name", "tolerate", "ignore_advisories", "maa"):
            if name != by and getattr(model.policy, name):
                yield ("policy", name), f"the fragment of {by} decides about that"
    if model.repo and model.repo.push is False:
        yield ("repo",), "with push: false the images stay where they are"
    elif model.repo and model.repo.strip:
        yield ("repo", "strip"), "/scone holds what starts and attests the program, and stays"


def _revealed(model: Mesh) -> Iterator[tuple[str, Path, str]]:
    main = main_cas(model)
    if main.mode == SIGNED_MODE:
        message = "everybody who sees the chart can read the commands, variables and files in signed sessions"
        yield "SC2019", ("cas", model.cas.index(main), "mode"), message


def _of_service(model: GenService, toolchain: ToolchainTraits) -> Iterator[tuple[Path, str, str]]:
    build = model.build
    if build.volumes and not toolchain.volumes:
        yield (
            ("build", "volumes"),
            "protecting volumes",
            f"keep data in `dirs`, or in memory, while the toolchain is {toolchain.name}",
        )
    if build.gen_policy:
        hint = (
            "an image brings no session along, the mesh writes it: name the file in image_policy of the service there"
        )
        yield ("build", "gen_policy"), "replacing the policy template", hint


def _of_mesh(model: Mesh) -> Iterator[tuple[Path, str, str]]:
    main = main_cas(model)
    if main.mode == "SignOnline":
        hint = "use mode SignedManifest, or NoUpload and `sconectl session sign`"
        yield ("cas", model.cas.index(main), "mode"), "a signing service (mode SignOnline)", hint
    if model.repo and model.repo.config_id and model.repo.push is not False:
        yield ("repo", "config_id"), "signing with a confidential cosign", "remove it: key_file alone signs the copies"
