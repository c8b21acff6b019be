"""The model of `kind: genservice`: how a program becomes a confidential image."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from sconectl.manifest.fields import (
    AbsolutePath,
    ApiVersion,
    BuildName,
    CommandLine,
    Flag,
    ImageReference,
    InnerPath,
    NamedDefault,
    NamedValue,
    Optional,
    OptionalImage,
    Part,
    Secret,
    Text,
)

BuildKind = Literal[
    "python",
    "java",
    "java-glibc",
    "java8",
    "java15",
    "java17",
    "java17-bullseye",
    "java17-glibc",
    "java21",
    "java21-ubuntu",
    "sconify_image",
]


def _list_or_nothing(value: Any) -> Any:
    return () if value is None else value


def _mapping_or_nothing(value: Any) -> Any:
    return {} if value is None else value


class Signature(Part):
    """Who signs the image."""

    sign: Flag = True
    key: Optional = Field(None, description="File with the signing key (PEM, RSA-3072, e=3) instead of your own one.")


class Build(Part):
    """What goes into the image and how it is protected."""

    name: BuildName = Field(description="Name of the service; also of target/images/<name>.json.")
    kind: BuildKind = Field(description="Language of the program.")
    to: ImageReference = Field(description="The image to make.")
    command: CommandLine = Field(description="The full command line; only a verified policy brings it.")
    base: ImageReference | None = Field(None, alias="from", description="Base image instead of the kind's own.")
    pwd: AbsolutePath = Field("/", description="Working directory, and where `copy` puts files.")
    copied: Annotated[tuple[InnerPath, ...], BeforeValidator(_list_or_nothing)] = Field(
        (), alias="copy", description="Files and directories, relative to the manifest, placed below pwd."
    )
    requirements: InnerPath | None = Field(None, description="pip requirements file.")
    run: Annotated[tuple[str, ...], BeforeValidator(_list_or_nothing)] = Field(
        (), description="Shell commands that run in the image after `copy`, one build step each."
    )
    binaries: Annotated[tuple[str, ...], BeforeValidator(_list_or_nothing)] = ()
    dirs: Annotated[tuple[AbsolutePath, ...], BeforeValidator(_list_or_nothing)] = Field(
        (), description="Directories whose files are encrypted."
    )
    fs_dirs: Annotated[tuple[AbsolutePath, ...], BeforeValidator(_list_or_nothing)] = ()
    fs_files: Annotated[tuple[AbsolutePath, ...], BeforeValidator(_list_or_nothing)] = ()
    plains: Annotated[tuple[AbsolutePath, ...], BeforeValidator(_list_or_nothing)] = Field(
        (), description="Directories that are not protected."
    )
    plain_files: Annotated[tuple[AbsolutePath, ...], BeforeValidator(_list_or_nothing)] = Field(
        (), description="Files that are not protected."
    )
    host_paths: Annotated[tuple[AbsolutePath, ...], BeforeValidator(_list_or_nothing)] = Field(
        (), description="Paths that the host may provide or change."
    )
    volumes: Annotated[tuple[dict[str, Any], ...], BeforeValidator(_list_or_nothing)] = ()
    signature: Signature | None = None
    stable: OptionalImage = Field(None, description="Image of the last stable version, which stays valid, too.")
    gen_policy: dict[str, Any] | None = None


class Environment(Part):
    """Variables of the program: `local` ones are fixed here, `global` ones are set by the mesh."""

    local: Annotated[tuple[NamedValue, ...], BeforeValidator(_list_or_nothing)] = ()
    global_: Annotated[tuple[NamedDefault, ...], BeforeValidator(_list_or_nothing)] = Field((), alias="global")


class InjectionFile(Part):
    """A file that exists only inside the running enclave."""

    path: AbsolutePath
    content: Text = Field(repr=False)


class Secrets(Part):
    """Secrets that this service defines, and those of other services that it uses."""

    global_: Annotated[tuple[Secret, ...], BeforeValidator(_list_or_nothing)] = Field((), alias="global")
    import_: Annotated[tuple[str, ...], BeforeValidator(_list_or_nothing)] = Field((), alias="import")


class GenService(Part):
    """A service manifest."""

    api_version: ApiVersion = Field(alias="apiVersion")
    kind: Literal["genservice"]
    build: Build
    environment: Annotated[Environment, BeforeValidator(_mapping_or_nothing)]
    secrets: Annotated[Secrets, BeforeValidator(_mapping_or_nothing)] = Secrets()
    injection_files: Annotated[tuple[InjectionFile, ...], BeforeValidator(_list_or_nothing)] = ()
