"""Facts about a confidential image: what a mesh has to know, and what anybody may know.

Full facts travel in target/images/<service>.json and in the image session; the image itself carries a label with
the public part and the digest of the full one.
"""

# Annotations are no texts here (no `from __future__ import annotations`): pydantic would compile each at every start.

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from sconectl.manifest.model.fields import LITERAL_PATHS, CommandLine, Part
from sconectl.manifest.model.ports import Port
from sconectl.manifest.model.program_input import Environment, InjectionFile, Secrets
from sconectl.manifest.model.volumes import Volume
from sconectl.text.marks import MAY_NAME_SECRETS

FORMAT: Literal[2] = 2
"""Counts the forms of facts and label; facts of another form are of another version."""
NOT_MEASURED = "0" * 64
"""Stands for the measurement of an image that is still to be built."""

Hex32 = Annotated[str, Field(pattern=r"\A[0-9a-f]{64}\z")]
_Number = Annotated[int, Field(ge=0, le=65535)]
HIGHEST_ACCOUNT = (1 << 31) - 1
"""The highest number of a user or group that Kubernetes takes."""
Account = Annotated[int, Field(ge=0, le=HIGHEST_ACCOUNT)]


class Variable(Part):
    """A variable that the native image or a container runtime sets; any name without `=` is possible."""

    name: str
    value: str = Field(repr=False)


class Variables(Environment):
    """The variables of an image: those of the service manifest, and those of the native image (`image`).

    Besides there are those that container runtimes add (`runtime`), also by asking the container (`host`, names only).
    Values of `image` and `runtime` are no templates: they reach the program as they are.
    """

    model_config = ConfigDict(populate_by_name=True)

    image: tuple[Variable, ...] = ()
    runtime: tuple[Variable, ...] = ()
    host: tuple[str, ...] = ()

    @model_serializer(mode="wrap")
    def _without_nothing(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_nothing(serialize(self), "runtime", "host")


def without_nothing(found: dict[str, Any], *names: str) -> dict[str, Any]:
    """Leave these fields out where they say nothing: the digest of images without them stays what it was."""
    return {name: value for name, value in found.items() if _says(value) or name not in names}


def _says(value: Any) -> bool:
    return bool(value) or type(value) is int


class Protected(Part):
    """The protected root: digest of its index, encrypted and unprotected paths."""

    root: Hex32
    encrypted: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()


class Fspf(Part):
    """The state of the encrypted files: where their index is in the image, and its tag."""

    path: str
    tag: str


class Signer(Part):
    """Who signed the image: MRSIGNER, product id and security version."""

    mrsigner: Hex32
    isvprodid: _Number
    isvsvn: _Number


class Kept(Part):
    """What is kept as text between two runs, with paths that are no templates."""

    @classmethod
    def read(cls, text: str | bytes) -> Self:
        """Read what was written. Raises `ValidationError` for text of another form."""
        return cls.model_validate_json(text, context={LITERAL_PATHS: True})


class ImageFacts(Kept):
    """Everything that a mesh needs to know about an image.

    `signer` is None for an image that is not signed; `stable` are measurements of earlier images that stay valid;
    `volumes` and `ports` are those of the service manifest, `exposed` are the ports that the image says it listens on,
    and `user` and `group` the numbers of the image's user, if they are known. With `literal_command`, the command is
    that of the native image, and no template.
    """

    format: Literal[2] = FORMAT
    toolchain: Annotated[str, Field(pattern=r"\A[a-z][a-z0-9-]{0,31}\z")]
    name: str
    image: str
    measurement: Hex32
    signer: Signer | None = None
    stable: tuple[Hex32, ...] = ()
    parameters: dict[str, str]
    command: Annotated[CommandLine, MAY_NAME_SECRETS] = Field(repr=False)
    literal_command: bool = False
    pwd: str
    environment: Variables = Variables.model_construct()
    injection_files: tuple[InjectionFile, ...] = ()
    secrets: Secrets = Secrets.model_construct()
    volumes: tuple[Volume, ...] = ()
    ports: tuple[Port, ...] = ()
    exposed: tuple[_Number, ...] = ()
    user: Account | None = None
    group: Account | None = None
    protected: Protected
    fspf: Fspf | None = None
    image_session: str
    salt: str = Field(repr=False)

    @model_serializer(mode="wrap")
    def _without_nothing(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_nothing(serialize(self), "volumes", "ports", "exposed", "user", "group", "literal_command")

    def to_json(self) -> str:
        """Return the canonical text: the same facts give the same bytes."""
        return json.dumps(self.model_dump(by_alias=True, mode="json"), separators=(",", ":"), sort_keys=True)

    def digest(self) -> str:
        """Return the SHA-256 of the canonical text; `salt` keeps it from revealing guessable values."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def is_of_another_version(facts: Any) -> bool:
    """Tell whether facts, as plain JSON values, have the form of another version."""
    return isinstance(facts, dict) and isinstance(facts.get("format"), int) and facts["format"] != FORMAT


class BuildRecord(Kept):
    """What target/images/<service>.json holds: the facts, and what is needed to see that nothing changed."""

    image_id: str
    inputs: str
    pushed: str = ""
    facts: ImageFacts

    def to_text(self) -> str:
        """Return the file's text."""
        return json.dumps(self.model_dump(by_alias=True, mode="json"), indent=2, sort_keys=True) + "\n"
