"""The model of `kind: genservice`: how a program becomes a confidential image."""

# Annotations are no texts here (no `from __future__ import annotations`): pydantic would compile each at every start.

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ModelWrapValidatorHandler, model_validator

from sconectl.manifest.model.faults import Misfit, with_misfits
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
    NamedDefault,
    NamedValue,
    OneOf,
    Part,
    PublicLine,
    SecretReference,
    Text,
)
from sconectl.manifest.model.secrets import Secret
from sconectl.manifest.model.volumes import Volume
from sconectl.text.marks import SHOWN

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
        description="Name of the service; also of target/images/<name>.json.", examples=["python-hello-user"]
    )
    kind: Annotated[str, OneOf(BUILD_KINDS)] = Field(description="Language of the program.", examples=["python"])
    to: ImageReference = Field(
        description="The image to make; without a tag it is `latest`.", examples=["registry.example.org/hello:1"]
    )
    command: CommandLine = Field(
        description="The full command line; only a verified policy brings it.", examples=["python3 print_env.py"]
    )
    base: Maybe[ImageReference] = Field(
        None,
        alias="from",
        description="Base image instead of the kind's own. For sconify_image: the image to convert.",
        examples=["python:3.13-slim"],
    )
    pwd: Annotated[AbsolutePath, BeforeValidator(lambda value: "/" if value in (None, "") else value)] = Field(
        "/", description="Working directory, and where `copy` puts files.", examples=["/python"]
    )
    copied: Many[InnerPath] = Field(
        (),
        alias="copy",
        description="Files, directories and patterns, relative to the manifest, placed below pwd.",
        examples=[["print_env.py", "data", "lib/*.py"]],
    )
    requirements: Maybe[InnerPath] = Field(
        None, description="pip requirements file, for Python.", examples=["requirements.txt"]
    )
    run: Many[Line] = Field(
        (),
        description="Shell commands that run in the image after `copy`, one build step each.",
        examples=[["python3 -m compileall /python"]],
    )
    binaries: Many[PublicLine] = Field(
        (), description="Programs of the image that are protected; best exactly one.", examples=[["/usr/bin/redis"]]
    )
    dirs: Many[AbsolutePath] = Field(
        (), description="Directories whose files are encrypted.", examples=[["/python/data"]]
    )
    fs_dirs: Many[AbsolutePath] = Field(
        (),
        description="Directories whose files are readable, but cannot be changed; everything else is, too.",
        examples=[["/usr/lib"]],
    )
    fs_files: Many[AbsolutePath] = Field(
        (),
        description="Files that are readable, but cannot be changed; everything else is, too.",
        examples=[["/etc/redis.conf"]],
    )
    plains: Many[AbsolutePath] = Field((), description="Directories that are not protected.", examples=[["/var/cache"]])
    plain_files: Many[AbsolutePath] = Field(
        (), description="Files that are not protected.", examples=[["/etc/timezone"]]
    )
    host_paths: Many[AbsolutePath] = Field(
        (),
        description="Paths that the host may provide or change, without any protection.",
        examples=[["/etc/ssl/certs"]],
    )
    volumes: Many[Volume] = Field(
        (),
        description="Protected file systems that the program mounts.",
        examples=[[{"name": "database", "path": "/media/database"}]],
    )
    signature: Signature | None = Field(None, description="Who signs the image.", examples=[{"sign": True}])
    stable: Maybe[ImageReference] = Field(
        None,
        description="Image of the last stable version, which stays valid, too.",
        examples=["registry.example.org/hello:stable"],
    )
    gen_policy: GenPolicy | None = Field(
        None, description="Template for the policy instead of the built-in one.", examples=[{"policy": "./policy.yaml"}]
    )


class Environment(Part):
    """Variables of the program: `local` ones are fixed here, `global` ones are set by the mesh."""

    local: Many[NamedValue] = Field(
        (),
        description="Variables whose value is fixed here; no mesh can change them.",
        examples=[[{"name": "SCONE_HEAP", "value": "760M"}]],
    )
    global_: Many[NamedDefault] = Field(
        (),
        alias="global",
        description="Variables that the mesh sets; `value` is the default.",
        examples=[[{"name": "API_USER"}]],
    )


class InjectionFile(Part):
    """A file that exists only inside the running enclave."""

    path: AbsolutePath = Field(description="Where the program finds it.", examples=["/etc/nginx_ca.crt"])
    content: Text = Field(
        repr=False,
        description="The text; `{{name}}` and `$$SCONE::secret$$` in it are filled in.",
        examples=["$$SCONE::NGINX_SERVER_CA_CERT:chain$$"],
    )


class Secrets(Part):
    """Secrets that this service defines, and those of other services that it uses."""

    global_: Many[Secret] = Field(
        (),
        alias="global",
        description="Secrets of this service; the names are unique in the whole mesh.",
        examples=[[{"name": "password", "kind": "ascii", "size": 10}]],
    )
    import_: Many[SecretReference] = Field(
        (),
        alias="import",
        description="Names of secrets that another service of the mesh defines.",
        examples=[["NGINX_SERVER_CA_CERT"]],
    )

    @model_validator(mode="wrap")
    @classmethod
    def _names_differ(cls, value: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        return with_misfits(value, read, _same_names(value))


def _same_names(secrets: Any) -> Iterator[Misfit]:
    entries = secrets.get("global") if isinstance(secrets, dict) else None
    seen: set[str] = set()
    for number, entry in enumerate(entries if isinstance(entries, list) else ()):
        name = entry.get("name") if isinstance(entry, dict) else None
        if isinstance(name, str) and name in seen:
            hint = "give one of them another name, also where it is used"
            yield Misfit(("global", number, "name"), "two secrets of this manifest have this name", hint, True)
        elif isinstance(name, str):
            seen.add(name)


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
        Secrets(), description="Secrets that the service defines or imports.", examples=[{"import": ["ca_cert"]}]
    )
    injection_files: Many[InjectionFile] = Field(
        (),
        description="Files that exist only in the running service.",
        examples=[[{"path": "/etc/app.conf", "content": "user={{API_USER}}"}]],
    )
