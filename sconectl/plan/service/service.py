"""The plan for one confidential image: a validated service manifest, with every decision made but no file read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sconectl.manifest.model.fields import CommandLine
from sconectl.manifest.model.genservice import Build, GenService
from sconectl.plan.facts.image_facts import (
    HIGHEST_ACCOUNT,
    Fspf,
    ImageFacts,
    Protected,
    Signer,
    Variable,
    Variables,
)
from sconectl.plan.facts.naming import image_session_name, volume_label, with_tag
from sconectl.plan.facts.toolchain_traits import ToolchainTraits
from sconectl.plan.service.base_images import base_image, is_java
from sconectl.plan.service.class_path import main_class
from sconectl.plan.values.parameters import enclave_parameters, reload_parameters, volume_parameters
from sconectl.text.findings import Finding
from sconectl.text.yaml_tree import Document


@dataclass(frozen=True)
class ServicePlan:
    """What to build: a service manifest, and what was decided beyond it. Paths are relative to its directory.

    `base` is the image to build on; it is empty where an existing image is converted. `command` has what is added to
    that of the manifest. With `literal_command`, it is that of the native image, and no template.
    """

    model: GenService
    toolchain: ToolchainTraits
    base: str
    command: CommandLine
    parameters: Mapping[str, str]
    literal_command: bool = False

    @property
    def build(self) -> Build:
        """What the manifest says about the image."""
        return self.model.build

    @property
    def image(self) -> str:
        """The image to make."""
        return with_tag(self.build.to)

    @property
    def native(self) -> str:
        """The existing image to convert, or nothing."""
        return "" if self.base else self.build.base or ""

    @property
    def run(self) -> tuple[str, ...]:
        """The commands of the build, each on one line."""
        return tuple(step.strip().replace("\n", " ") for step in self.build.run)

    @property
    def sealed(self) -> tuple[str, ...]:
        """The directories whose files are encrypted."""
        return tuple(sorted(set(self.build.dirs)))

    @property
    def outside(self) -> tuple[str, ...]:
        """The paths that are not protected."""
        return tuple(sorted({*self.build.plains, *self.build.plain_files, *self.build.host_paths}))

    @property
    def injected(self) -> tuple[str, ...]:
        """The paths of the files that the policy injects."""
        return tuple(sorted({file.path for file in self.model.injection_files}))

    @property
    def volumes(self) -> dict[str, str]:
        """The names of the volumes by their paths."""
        return {volume.path: volume.name for volume in self.build.volumes}

    @property
    def signed(self) -> bool:
        """Whether the image is signed; who declares something in public does so under their name."""
        return self.build.signature.sign if self.build.signature else self.public

    @property
    def public(self) -> bool:
        """Whether the image declares in public what a mesh has to know of it."""
        return bool(self.build.public)

    @property
    def signing_key(self) -> str:
        """The file with the key that signs the image; empty if that of the local key store does, or none."""
        return (self.build.signature.key or "") if self.build.signature and self.signed else ""

    @property
    def stable(self) -> str:
        """The image of the last stable version, or nothing."""
        return with_tag(self.build.stable) if self.build.stable else ""


def plan_service(model: GenService, *, bases: Mapping[str, str], mode: str, toolchain: ToolchainTraits) -> ServicePlan:
    """Plan the image of a service in whose manifest there is no error.

    `bases` gives the base image of each kind, `mode` is `production` or `debug`.
    """
    build = model.build
    return ServicePlan(
        model=model,
        toolchain=toolchain,
        base="" if build.kind == "sconify_image" else build.base or base_image(build.kind, bases),
        command=build.command,
        parameters={
            **enclave_parameters(model.environment.local, mode=mode)[0],
            **volume_parameters(build.volumes),
            **reload_parameters(build.reload),
        },
    )


def service_faults(model: GenService, document: Document, *, mode: str) -> list[Finding]:
    """Return an error for each enclave parameter that is none, and for fields that do not fit together."""
    _, problems = enclave_parameters(model.environment.local, mode=mode)
    findings = [_finding(document, *_where(model, name), message) for name, message in problems.items()]
    return findings + _conflicts(model, document)


def _where(model: GenService, variable: str) -> tuple[str | int, ...]:
    names = [entry.name for entry in model.environment.local]
    return ("environment", "local", names.index(variable), "value")


def _finding(document: Document, *path_and_message: str | int) -> Finding:
    *path, message = path_and_message
    return document.finding("error", "SC1004", tuple(path), str(message))


def _conflicts(model: GenService, document: Document) -> list[Finding]:
    """Find combinations that cannot be meant."""
    build, findings = model.build, []
    if build.stable and with_tag(build.stable) == with_tag(build.to):
        message = "is the image that is built; keep the last stable version under another name"
        findings.append(_finding(document, "build", "stable", message))
    if build.public and build.signature and not build.signature.sign:
        message = "what an image declares in public is signed: remove `sign: false`, or `public`"
        findings.append(_finding(document, "build", "public", message))
    findings += _volume_names(model, document)
    if build.kind == "sconify_image":
        if not build.base:
            findings.append(
                _finding(document, "build", "kind", "kind sconify_image needs `from`, the image to convert")
            )
        for field, alias in (("copied", "copy"), ("requirements", "requirements"), ("run", "run")):
            if getattr(build, field):
                findings.append(_finding(document, "build", alias, "an existing image is converted as it is"))
    if is_java(build.kind):
        findings += _java_conflicts(model, document)
    for section, names in (
        ("local", [variable.name for variable in model.environment.local]),
        ("global", [variable.name for variable in model.environment.global_]),
    ):
        first = {name: number for number, name in reversed(list(enumerate(names)))}
        findings += [
            _finding(document, "environment", section, number, "name", "the variable is given twice")
            for number, name in enumerate(names)
            if first[name] != number
        ]
    return findings


def _volume_names(model: GenService, document: Document) -> Iterator[Finding]:
    """Yield volumes whose names are those of others, also in the chart, which has labels for them."""
    first: dict[str, str] = {}
    for number, volume in enumerate(model.build.volumes):
        other = first.setdefault(volume_label(volume.name), volume.name)
        if [known.name for known in model.build.volumes].index(volume.name) != number:
            yield _finding(document, "build", "volumes", number, "name", f"two volumes are called {volume.name}")
        elif other != volume.name:
            message = f"in a chart this volume and {other} have the same name, {volume_label(other)}"
            yield _finding(document, "build", "volumes", number, "name", message)


def _java_conflicts(model: GenService, document: Document) -> list[Finding]:
    build, findings = model.build, []
    if build.requirements:
        findings.append(_finding(document, "build", "requirements", "are for Python; name the jars in `copy`"))
    if main_class(build.command).endswith(".java"):
        message = "name the class: sources are compiled, and are not in the image"
        findings.append(_finding(document, "build", "command", message))
    for number, name in enumerate(build.copied):
        if name.lower().endswith(".zip"):
            message = "archives on the class path have to be .jar files"
            findings.append(_finding(document, "build", "copy", number, message))
    return findings


def _variables(values: Mapping[str, str]) -> tuple[Variable, ...]:
    return tuple(Variable(name=name, value=value) for name, value in sorted(values.items()))


def image_facts(
    plan: ServicePlan,
    *,
    measurement: str,
    root: str,
    outside: tuple[str, ...],
    fspf: Fspf | None,
    image_environment: Mapping[str, str],
    runtime_environment: Mapping[str, str] = MappingProxyType({}),
    host_names: tuple[str, ...] = (),
    salt: str,
    signer: Signer | None = None,
    stable: tuple[str, ...] = (),
    exposed: tuple[int, ...] = (),
    account: tuple[int, int] | None = None,
) -> ImageFacts:
    """Return the full facts of the image built from `plan`; `account` has the numbers of its user and group."""
    model, build = plan.model, plan.build
    user, group = account if account and all(0 <= each <= HIGHEST_ACCOUNT for each in account) else (None, None)
    return ImageFacts(
        toolchain=plan.toolchain.name,
        name=build.name,
        image=plan.image,
        measurement=measurement,
        signer=signer,
        stable=stable,
        parameters=dict(plan.parameters),
        command=plan.command,
        literal_command=plan.literal_command,
        pwd=build.pwd,
        environment=Variables(
            **dict(model.environment),
            image=_variables(image_environment),
            runtime=_variables(runtime_environment),
            host=host_names,
        ),
        injection_files=model.injection_files,
        secrets=model.secrets,
        volumes=build.volumes,
        ports=build.ports,
        exposed=exposed,
        user=user,
        group=group,
        protected=Protected(root=root, encrypted=plan.sealed, outside=outside),
        fspf=fspf,
        image_session=image_session_name(plan.image),
        salt=salt,
    )
