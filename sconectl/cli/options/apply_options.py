"""The options that `apply`, `plan` and `validate` share, what they change in a mesh, and refused toolchains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sconectl.cli.options.config import ProjectConfig
from sconectl.cli.output.console import note
from sconectl.cli.wiring import DEFAULT_TOOLCHAIN, toolchain_traits, toolchains
from sconectl.errors import PlanImpossible, Refused, UsageError
from sconectl.text.yaml_tree import MAX_BYTES

if TYPE_CHECKING:
    from sconectl.manifest.reading.reader import Manifest

_NAMESPACE_HINT = "letters, digits and _ - . ~, parts separated by /"


@dataclass(frozen=True)
class ApplyOptions:
    """The options of `apply`, as given.

    `files` are files, directories, patterns, and - for stdin.
    `print_defaults` shows the variables instead of applying anything, `out` is the mesh file that comes of it; `maa`
    replaces `policy.maa`; `output` is `helm_chart` or `yaml`; `size_limit` is in bytes, for each manifest.
    """

    files: tuple[Path, ...]
    target: Path
    config: ProjectConfig
    variables: Mapping[str, str] = field(default_factory=dict)
    env_files: tuple[Path, ...] = ()
    dry_run: bool = False
    no_push: bool = False
    mode: str = "production"
    toolchain: str = DEFAULT_TOOLCHAIN
    release: str = ""
    namespace: str = ""
    facts: Path | None = None
    cas: str = ""
    cas_config: Path | None = None
    base_images: Mapping[str, str] = field(default_factory=dict)
    print_defaults: bool = False
    out: Path | None = None
    maa: str = ""
    output: str = "helm_chart"
    size_limit: int = MAX_BYTES


def check_toolchain(toolchain: str) -> None:
    """Refuse a toolchain that does not exist, or that SCONECTL_REQUIRE forbids."""
    from sconectl.cas.connect import requires_hardware

    known = toolchain_traits()
    if toolchain not in known:
        raise UsageError(f"{toolchain} is not a toolchain", hint=f"known are {' and '.join(known)}")
    if requires_hardware() and known[toolchain].simulated:
        hint = "use a toolchain with hardware"
        raise Refused(f"SCONECTL_REQUIRE=hardware forbids the toolchain {toolchain}", hint=hint)
    if toolchain not in (ready := toolchains()):
        hint = f"use --toolchain {' or '.join(ready)}"
        raise PlanImpossible(f"the toolchain {toolchain} is not available in this version", hint=hint)


def warn_of_simulation(toolchain: str) -> None:
    """Say once in a run that nothing protects the images but software, if that is so."""
    if toolchains()[toolchain].traits.simulated:
        note(f"warning: toolchain {toolchain}: everything works, but no hardware protects it (docs/simulation.md)")


def with_options(manifest: Manifest, options: ApplyOptions) -> Manifest:
    """Return a mesh with what options put in the place of its policy; a service as it is. Raises `UsageError`."""
    given = {
        "namespace": (options.namespace, "--policy-namespace is not a CAS namespace", _NAMESPACE_HINT),
        "maa": (options.maa, "--maa is not the address of an attestation service", "it begins with https://"),
    }
    for name, (value, message, hint) in given.items():
        mesh = manifest.model
        if value and mesh.kind == "mesh":
            from pydantic import ValidationError

            try:
                policy = type(mesh.policy).model_validate({**mesh.policy.model_dump(), name: value})
            except ValidationError:
                raise UsageError(message, hint=hint) from None
            manifest = replace(manifest, model=mesh.model_copy(update={"policy": policy}))
    return manifest
