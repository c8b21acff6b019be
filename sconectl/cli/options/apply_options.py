"""The options that `apply`, `plan` and `validate` share, what they change in a mesh, and refused toolchains."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sconectl.artefacts.chart_version import is_version
from sconectl.cli.options.config import ProjectConfig, load_config
from sconectl.cli.options.option_values import pairs
from sconectl.cli.output.console import note
from sconectl.cli.wiring import DEFAULT_TOOLCHAIN, toolchain_traits, toolchains
from sconectl.errors import PlanImpossible, Refused, UsageError
from sconectl.plan.service.base_images import check_kinds
from sconectl.policy.rolling.wish import Wish

if TYPE_CHECKING:
    from sconectl.manifest.reading.reader import Manifest
    from sconectl.plan.facts.image_facts import BuildRecord

_LONGEST_RELEASE = 53
_MOST_RELEASES = 999_999_999
_RELEASE = re.compile(rf"(?=.{{1,{_LONGEST_RELEASE}}}\Z)[a-z]([-a-z0-9]*[a-z0-9])?")
"""Names of Service objects begin with it: no digit at the begin, and no dot."""
_NAMESPACE_HINT = "letters, digits and _ - . ~, parts separated by /"


@dataclass(frozen=True)
class ApplyOptions:
    """The options of `apply`, `plan` and `validate`, as given; each of these has some of them.

    What --set, --base-image and the project's configuration give is read when it is first asked for.
    """

    files: Annotated[
        list[Path],
        typer.Option(
            "--filename", "-f", metavar="FILE", help="Manifest, directory or pattern; - is stdin. Repeatable."
        ),
    ] = field(default_factory=list)
    target: Annotated[Path, typer.Option("--target-directory", "-t", metavar="DIR", help="Where results go.")] = Path(
        "target"
    )
    dry_run: Annotated[bool, typer.Option("--dry-run", "-d", help="Write results, but nothing to CAS or registry.")] = (
        False
    )
    no_push: Annotated[
        bool, typer.Option("--no-push", "-n", "--no-pull", help="Service: keep the image local, do not push it.")
    ] = False
    mode: Annotated[str, typer.Option(metavar="MODE", help="Service: production or debug.")] = "production"
    base_image: Annotated[
        list[str] | None, typer.Option(metavar="KIND=IMAGE", help="Service: base image of a kind, like python=IMAGE.")
    ] = None
    cas: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS", help="Service: CAS for the image session.", show_default="that of the mesh, or local"
        ),
    ] = ""
    lock: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The lock.", show_default="sconectl.lock beside DIR")
    ] = None
    release: Annotated[str, typer.Option(metavar="NAME", help="Mesh: name of the Helm release.")] = ""
    chart_version: Annotated[
        str,
        typer.Option(metavar="X.Y.Z", help="Mesh: version of the chart.", show_default="raised when the chart changes"),
    ] = ""
    policy_namespace: Annotated[str, typer.Option(metavar="NS", help="Mesh: replaces policy.namespace.")] = ""
    facts: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Mesh: image facts (file or directory), to compile offline.")
    ] = None
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="VAR=VALUE", help="Value of $VAR.")] = None
    env_file: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="File with VAR=VALUE lines.")] = None
    toolchain: Annotated[str, typer.Option(metavar="NAME", help="How images are protected.")] = DEFAULT_TOOLCHAIN
    cas_config: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Your client identity and known CAS keys.", show_default="~/.cas")
    ] = None
    print_defaults: Annotated[
        bool, typer.Option("--print-defaults", "-p", help="Show every variable and its value; apply nothing.")
    ] = False
    out: Annotated[
        Path | None, typer.Option("--file", metavar="OUT", help="Mesh, with -p: write it with all its variables.")
    ] = None
    maa: Annotated[str, typer.Option("--maa", "-m", metavar="URL", help="Mesh: replaces policy.maa.")] = ""
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FORM", help="Mesh: helm_chart, or yaml for manifests, too.")
    ] = "helm_chart"
    allow_secret_loss: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Mesh: this secret, or SERVICE/SECRET, may be lost. Repeatable."),
    ] = None
    rolling: Annotated[bool, typer.Option("--rolling", help="Mesh: pods of the version before still start.")] = False
    release_version: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=_MOST_RELEASES, help="Mesh: roll, and call this version N."),
    ] = None
    finish: Annotated[
        bool, typer.Option("--finish", help="Mesh: end the rollout, pods of the old version start no more.")
    ] = False
    prune: Annotated[bool, typer.Option("--prune", help="Mesh: retire sessions of services that it has no longer.")] = (
        False
    )
    prune_session: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Mesh: retire this session, though the lock does not say whose. Repeatable."),
    ] = None
    set_version: Annotated[str, typer.Option(metavar="V", help="Value of $VERSION, if no other option gives one.")] = ""
    helm_template: Annotated[
        Path | None,
        typer.Option("--helm-template", "-h", metavar="DIR", help="Templates of the charts of an image, or of a mesh."),
    ] = None
    signing_url: Annotated[
        str, typer.Option(metavar="URL", help="Address of a signing service; without effect in this version.")
    ] = ""
    signing_k8scontext: Annotated[
        str, typer.Option(metavar="CTX", help="Cluster of a signing service; without effect in this version.")
    ] = ""
    signing_online: Annotated[
        bool, typer.Option("--signing-online", help="Sign at a signing service; refused in this version.")
    ] = False
    max_size: Annotated[
        int | None, typer.Option(metavar="BYTES", min=1, help="How large a manifest may be.", show_default="1 MiB")
    ] = None

    @cached_property
    def config(self) -> ProjectConfig:
        """The project's configuration. Raises `UsageError`."""
        return load_config(Path.cwd())

    @cached_property
    def variables(self) -> dict[str, str]:
        """The values of --set, and that of --set-version. Raises `UsageError`."""
        version = {"VERSION": self.set_version} if self.set_version else {}
        return {**version, **pairs("--set", self.set_ or [])}

    @cached_property
    def bases(self) -> dict[str, str]:
        """The base images that are given, by kind: options win over the configuration. Raises `UsageError`."""
        given = pairs("--base-image", self.base_image or [])
        check_kinds(given, "--base-image")
        return {**self.config.base_images, **given}

    @cached_property
    def given(self) -> tuple[BuildRecord, ...]:
        """The records of --facts. Raises `UsageError`."""
        from sconectl.apply.records import read_records

        return read_records(self.facts) if self.facts else ()

    def check(self) -> None:
        """Raise `UsageError` for what the project's configuration or an option of `apply` cannot say."""
        self.check_words()
        _ = self.bases
        _ = self.wish
        self._check_signing()

    def _check_signing(self) -> None:
        """Refuse a signing service, and say that options for one have no effect by themselves."""
        if self.signing_online:
            raise PlanImpossible(
                "--signing-online is not possible in this version, which asks no signing service",
                hint="leave it out and use mode SignedManifest, where your own identity signs the sessions; or mode "
                "NoUpload, and `sconectl session sign` wherever the key is",
            )
        given = {"--signing-url": self.signing_url, "--signing-k8scontext": self.signing_k8scontext}
        for option in (name for name, value in given.items() if value):
            note(f"note: {option} has no effect: no signing service is asked, your own identity signs the sessions")

    @property
    def wish(self) -> Wish:
        """Which versions of the services are to start. Raises `UsageError`."""
        if self.finish and (self.rolling or self.release_version is not None):
            raise UsageError("--finish ends a rolling update and cannot begin one", hint="leave out one of these")
        return Wish(self.rolling, self.release_version, self.finish)

    def check_words(self) -> None:
        """Raise `UsageError` for a mode that does not exist, and for a release or version that there cannot be."""
        if self.mode not in ("production", "debug"):
            raise UsageError(f"{self.mode} is not a mode", hint="give --mode production or --mode debug")
        if self.release and not _RELEASE.fullmatch(self.release):
            hint = (
                f"give at most {_LONGEST_RELEASE} lower-case letters, digits and inner hyphens, a letter first: Helm "
                "and the names of Services in Kubernetes take no other"
            )
            raise UsageError(f"--release {self.release!r} is not the name of a release", hint=hint)
        if self.chart_version and not is_version(self.chart_version):
            hint = "give a semantic version, like 1.4.0 or 2.0.0-rc.1"
            raise UsageError(f"--chart-version {self.chart_version!r} is not the version of a chart", hint=hint)


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
        "namespace": (options.policy_namespace, "--policy-namespace is not a CAS namespace", _NAMESPACE_HINT),
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
