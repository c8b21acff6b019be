"""Facts about a confidential image: what a mesh has to know, and what anybody may know.

Full facts travel in target/images/<service>.json and in the image session; the image itself carries a label with
the public part and the digest of the full one.
"""

# Annotations are no texts here (no `from __future__ import annotations`): pydantic would compile each at every start.

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

LABEL = "io.sconectl.image"
"""Name of the label on confidential images."""
FORMAT: Literal[2] = 2
"""Counts the forms of facts and label; facts of another form are of another version."""

_Hex32 = Annotated[str, Field(pattern=r"\A[0-9a-f]{64}\z")]
_Number = Annotated[int, Field(ge=0, le=65535)]


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, hide_input_in_errors=True, defer_build=True
    )


class Variable(_Part):
    """A variable of the image; `value` is its default or fixed value."""

    name: str
    value: str | None = Field(None, repr=False)


class Variables(_Part):
    """The variables of an image: those of the native image, the fixed ones, and those that the mesh sets.

    Besides there are those that container runtimes add (`runtime`), also by asking the container (`host`, names only).
    Values of `image` and `runtime` are no templates: they reach the program as they are.
    """

    image: tuple[Variable, ...] = ()
    local: tuple[Variable, ...] = ()
    global_: tuple[Variable, ...] = Field((), alias="global")
    runtime: tuple[Variable, ...] = ()
    host: tuple[str, ...] = ()

    @model_serializer(mode="wrap")
    def _without_nothing(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without(serialize(self), "runtime", "host")


def _without(found: dict[str, Any], *names: str) -> dict[str, Any]:
    """Leave these fields out where they say nothing: the digest of images without them stays what it was."""
    return {name: value for name, value in found.items() if value or name not in names}


class Injected(_Part):
    """A file that the policy injects."""

    path: str
    content: str = Field(repr=False)


class SecretFacts(_Part):
    """The secrets that an image defines (as the manifest gives them) and imports."""

    global_: tuple[dict[str, Any], ...] = Field((), alias="global", repr=False)
    import_: tuple[str, ...] = Field((), alias="import")


class Protected(_Part):
    """The protected root: digest of its index, encrypted and unprotected paths."""

    root: str
    encrypted: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()


class Fspf(_Part):
    """The state of the encrypted files: where their index is in the image, and its tag."""

    path: str
    tag: str


class Signer(_Part):
    """Who signed the image: MRSIGNER, product id and security version."""

    mrsigner: _Hex32
    isvprodid: _Number
    isvsvn: _Number


class ImageFacts(_Part):
    """Everything that a mesh needs to know about an image.

    `signer` is None for an image that is not signed; `stable` are measurements of earlier images that stay valid;
    `volumes` are those of the service manifest. With `literal_command`, the command is that of the native image, and no
    template.
    """

    format: Literal[2] = FORMAT
    toolchain: Literal["sim", "scone"]
    name: str
    image: str
    measurement: _Hex32
    signer: Signer | None = None
    stable: tuple[_Hex32, ...] = ()
    parameters: dict[str, str]
    command: str = Field(repr=False)
    literal_command: bool = False
    pwd: str
    environment: Variables = Variables()
    injection_files: tuple[Injected, ...] = ()
    secrets: SecretFacts = SecretFacts()
    volumes: tuple[dict[str, Any], ...] = ()
    protected: Protected
    fspf: Fspf | None = None
    image_session: str
    salt: str = Field(repr=False)

    @model_serializer(mode="wrap")
    def _without_nothing(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without(serialize(self), "volumes", "literal_command")

    def to_json(self) -> str:
        """Return the canonical text: the same facts give the same bytes."""
        return json.dumps(self.model_dump(by_alias=True, mode="json"), separators=(",", ":"), sort_keys=True)

    def digest(self) -> str:
        """Return the SHA-256 of the canonical text; `salt` keeps it from revealing guessable values."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def label(self) -> str:
        """Return the public facts as the text of the image's label."""
        public = {
            "format": self.format,
            "toolchain": self.toolchain,
            "simulation": self.toolchain == "sim",
            "name": self.name,
            "measurement": self.measurement,
            "signer": self.signer.model_dump() if self.signer else None,
            "stable": list(self.stable),
            "fspf": self.fspf.model_dump() if self.fspf else None,
            "parameters": self.parameters,
            "protected": self.protected.model_dump(mode="json"),
            "variables": {
                "local": [variable.name for variable in self.environment.local],
                "global": [variable.name for variable in self.environment.global_],
            },
            "secrets": [str(secret["name"]) for secret in self.secrets.global_],
            "imports": list(self.secrets.import_),
            "image_session": self.image_session,
            "facts_digest": self.digest(),
        }
        return json.dumps(public, separators=(",", ":"), sort_keys=True)


def is_of_another_version(facts: Any) -> bool:
    """Tell whether facts or a label, as plain JSON values, have the form of another version."""
    return isinstance(facts, dict) and isinstance(facts.get("format"), int) and facts["format"] != FORMAT


class BuildRecord(_Part):
    """What target/images/<service>.json holds: the facts, and what is needed to see that nothing changed."""

    image_id: str
    inputs: str
    pushed: str = ""
    facts: ImageFacts

    def to_text(self) -> str:
        """Return the file's text."""
        return json.dumps(self.model_dump(by_alias=True, mode="json"), indent=2, sort_keys=True) + "\n"
