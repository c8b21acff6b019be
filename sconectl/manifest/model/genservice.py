"""The model of `kind: genservice`: how a program becomes a confidential image."""

# Annotations are no texts here (no `from __future__ import annotations`): pydantic would compile each at every start.

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ModelWrapValidatorHandler, model_validator

from sconectl.manifest.model.faults import with_misfits
from sconectl.manifest.model.fields import (
    AbsolutePath,
    ApiVersion,
    BuildName,
    CommandLine,
    Flag,
    ImageReference,
    InnerPath,
    Line,
    Many,
    Maybe,
    OneOf,
    Part,
    PublicLine,
)
from sconectl.manifest.model.ports import Ports, port_misfits
from sconectl.manifest.model.program_input import Environment, InjectionFile, Secrets
from sconectl.manifest.model.reload import Reload
from sconectl.manifest.model.volumes import Volume
from sconectl.text.marks import MAY_NAME_SECRETS, SHOWN

BUILD_KINDS = {
    "python": "a Python program",
    "java": "a Java 17 program, in an Alpine image",
    "java-glibc": "a Java 17 program, in an image with glibc",
    "java8": "a Java 8 program, in an Alpine image",
    "java15": "a Java 15 program",
    "java17": "a Java 17 program, in an Alpine image",
    "java17-bullseye": "a Java 17 program, in a Debian 11 image",
    "java17-glibc": "a Java 17 program, in an image with glibc",
    "java21": "a Java 21 program, in an Alpine image",
    "java21-ubuntu": "a Java 21 program, in an Ubuntu image",
    "sconify_image": "an existing image, named by `from`, that is converted as it is",
}
"""What can be built, and what each is for."""


def _mapping_or_nothing(value: Any) -> Any:
    return {} if value is None else value


class Signature(Part):
    """Who signs the image."""

    sign: Flag = Field(True, description="Whether the image is signed.", examples=[True])
    key: Maybe[Line] = Field(
        None,
        description="File with the signing key (PEM, RSA-3072, exponent 3) instead of your own one.",
        examples=["target/identity.pem"],
    )


class GenPolicy(Part):
    """A template for the policy instead of the built-in one."""

    policy: Maybe[InnerPath] = Field(
        None, description="File with the template, relative to the manifest.", examples=["./policy.yaml"]
    )


class Build(Part):
    """What goes into the image and how it is protected."""

    name: BuildName = Field(
        description="Name of the service; also of `target/images/<name>.json`, and `{{chartname}}` in the mesh.",
        examples=["python-hello-user"],
    )
    kind: Annotated[str, OneOf(BUILD_KINDS)] = Field(
        description="Language of the program; `sconify_image` converts an existing image.", examples=["python"]
    )
    to: ImageReference = Field(
        description="The image to make; without a tag it is `latest`.", examples=["registry.example.org/hello:1"]
    )
    command: Annotated[CommandLine, MAY_NAME_SECRETS] = Field(
        description="The full command line. Only the session holds it: the program gets it after attestation, and "
        "the image does not show it. Words are split like a shell does, without running one.",
        examples=["python3 print_env.py"],
    )
    base: Maybe[ImageReference] = Field(
        None,
        alias="from",
        description="Base image instead of the kind's own: one with Python and pip, or with a JDK. For sconify_image: "
        "the image to convert; needed then.",
        examples=["python:3.13-slim"],
    )
    pwd: Annotated[AbsolutePath, BeforeValidator(lambda value: "/" if value in (None, "") else value)] = Field(
        "/", description="Working directory, and where `copy` puts files.", examples=["/python"]
    )
    copied: Many[InnerPath] = Field(
        (),
        alias="copy",
        description="Files, directories and patterns, relative to the manifest, placed at the same path below `pwd`.",
        examples=[["print_env.py", "data", "lib/*.py"]],
    )
    requirements: Maybe[InnerPath] = Field(
        None,
        description="pip requirements file, for Python; installed before `copy`.",
        examples=["requirements.txt"],
    )
    run: Many[Line] = Field(
        (),
        description="Shell commands that run in the image after `copy`, one build step each. They run as root in "
        "`pwd`, after the compiler, too. A line break within one counts as a blank. If one fails, its output is shown.",
        examples=[["python3 -m compileall /python"]],
    )
    binaries: Many[PublicLine] = Field(
        (), description="Programs of the image that are protected; best exactly one.", examples=[["/usr/bin/redis"]]
    )
    dirs: Many[AbsolutePath] = Field(
        (),
        description="Directories whose files are encrypted; not `/`, and not inside of each other.",
        examples=[["/python/data"]],
    )
    fs_dirs: Many[AbsolutePath] = Field(
        (),
        description="Directories that must exist in the image, and are measured: their files can be read, but not "
        "changed. What no other field names is measured, too.",
        examples=[["/usr/lib"]],
    )
    fs_files: Many[AbsolutePath] = Field(
        (),
        description="Files that must exist in the image, and are measured: they can be read, but not changed. What no "
        "other field names is measured, too.",
        examples=[["/etc/redis.conf"]],
    )
    plains: Many[AbsolutePath] = Field((), description="Directories that are not protected.", examples=[["/var/cache"]])
    plain_files: Many[AbsolutePath] = Field(
        (), description="Files that are not protected.", examples=[["/etc/timezone"]]
    )
    host_paths: Many[AbsolutePath] = Field(
        (),
        description="Paths that the host may provide or change, without any protection; mounts are allowed there.",
        examples=[["/etc/ssl/certs"]],
    )
    volumes: Many[Volume] = Field(
        (),
        description="Protected file systems that the program mounts.",
        examples=[[{"name": "database", "path": "/media/database"}]],
    )
    reload: Reload | None = Field(
        None,
        description="How the program reads its files again when certificates in `injection_files` were renewed: by a "
        "signal, or a command; `{}` if it sees that by itself. Without this field it is to be started again.",
        examples=[{"signal": "SIGHUP"}],
    )
    ports: Ports = Field(
        (),
        description="TCP ports that the program listens on: numbers, or numbers with names. Without them, the mesh "
        "finds them out from variables and from EXPOSE of the image.",
        examples=[[{"name": "https", "number": 8443}], [6379]],
    )
    signature: Signature | None = Field(
        None,
        description="How the image is signed: `{}` signs with your own key. Without this field the image is not "
        "signed.",
        examples=[{"sign": True}],
    )
    stable: Maybe[ImageReference] = Field(
        None,
        description="Image of the last stable version, which stays valid beside the new one.",
        examples=["registry.example.org/hello:stable"],
    )
    public: Maybe[Flag] = Field(
        None,
        description="Whether the image declares, signed and for everybody to read, all that a mesh has to know of it: "
        "then a mesh on any machine, with any CAS, can use it. Private values are refused (SC1016).",
        examples=[True],
    )
    gen_policy: GenPolicy | None = Field(
        None,
        description="Template for the policy instead of the built-in one. Refused in this version: use `image_policy` "
        "of a service in the mesh.",
        examples=[{"policy": "./policy.yaml"}],
    )

    @model_validator(mode="wrap")
    @classmethod
    def _ports_differ(cls, value: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        return with_misfits(value, read, port_misfits(value))


class GenService(Part):
    """A service manifest: how a program becomes a confidential image."""

    api_version: ApiVersion = Field(
        alias="apiVersion", description="Version of the format, 5.8 or higher.", examples=["scone/5.8"]
    )
    kind: Annotated[Literal["genservice"], SHOWN] = Field(
        description="What the manifest describes.", examples=["genservice"]
    )
    build: Build = Field(
        description="What is built.",
        examples=[{"name": "web", "kind": "python", "to": "example/web:1", "command": "python3 web.py"}],
    )
    environment: Annotated[Environment, BeforeValidator(_mapping_or_nothing)] = Field(
        description="Variables of the program; may be empty.", examples=[{"global": [{"name": "API_USER"}]}]
    )
    secrets: Annotated[Secrets, BeforeValidator(_mapping_or_nothing)] = Field(
        Secrets.model_construct(),
        description="Secrets that the service defines or imports.",
        examples=[{"import": ["ca_cert"]}],
    )
    injection_files: Many[InjectionFile] = Field(
        (),
        description="Files that exist only in the running service.",
        examples=[[{"path": "/etc/app.conf", "content": "user={{API_USER}}"}]],
    )
