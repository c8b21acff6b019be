"""Field types that both manifests share: each says what it accepts, and its message never repeats the value."""

from __future__ import annotations

import posixpath
import re
import shlex
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\Z")
_NAMESPACE = re.compile(r"[A-Za-z0-9_\-.~]{1,128}(/[A-Za-z0-9_\-.~]{1,128})*\Z")
_DOMAIN = r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9-]+)*(?::[0-9]+)?/)?"
_REFERENCE = re.compile(
    rf"{_DOMAIN}[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?\Z"
)
_PATH = re.compile(r"/[A-Za-z0-9_./+@%,=~-]*\Z")


class Part(BaseModel):
    """Base of all manifest parts: unknown fields are errors, values cannot change."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _matching(pattern: re.Pattern[str], expected: str) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.match(value):
            raise ValueError(f"expected {expected}")
        return value

    return AfterValidator(check)


def _version(value: str) -> str:
    match = re.match(r"scone/([0-9]{1,9}(?:\.[0-9]{1,9})*)\Z", value)
    if not match or tuple(int(part) for part in match[1].split(".")) < (5, 8):
        raise ValueError("expected scone/VERSION with a version of at least 5.8, like scone/5.8")
    return value


def _normal_path(value: str) -> str:
    if not _PATH.match(value) or ".." in value.split("/"):
        raise ValueError("expected an absolute path of letters, digits and _ . / + @ % , = ~ -, without ..")
    return posixpath.normpath("/" + value.lstrip("/"))


def _inner_path(value: str) -> str:
    if "\0" in value or not value or posixpath.isabs(value):
        raise ValueError("expected a path relative to the manifest's directory")
    path = posixpath.normpath(value)
    if path == ".." or path.startswith("../"):
        raise ValueError("the path leads out of the manifest's directory")
    return path


def _command(value: str) -> str:
    try:
        words = shlex.split(value)
    except ValueError as error:
        raise ValueError("a quote in the command line is not closed") from error
    if not words:
        raise ValueError("expected a program and its arguments")
    return value


def _no_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("expected text without NUL characters")
    return value


def _empty_as_none(value: object) -> object:
    return None if value == "" else value


ApiVersion = Annotated[str, AfterValidator(_version)]
ServiceName = Annotated[str, _matching(_DNS_LABEL, "lower-case letters, digits and -, at most 63 (a DNS label)")]
BuildName = Annotated[str, _matching(_NAME, "letters, digits and _ . -, beginning with a letter or digit")]
VariableName = Annotated[str, _matching(_VARIABLE, "a variable name: letters, digits and _ . -")]
Namespace = Annotated[str, _matching(_NAMESPACE, "a CAS namespace: letters, digits and _ - . ~, parts separated by /")]
ImageReference = Annotated[str, _matching(_REFERENCE, "an image reference, like registry.example.org/app:1")]
AbsolutePath = Annotated[str, AfterValidator(_normal_path)]
InnerPath = Annotated[str, AfterValidator(_inner_path)]
CommandLine = Annotated[str, AfterValidator(_command)]
Text = Annotated[str, BeforeValidator(lambda value: "" if value is None else value), AfterValidator(_no_nul)]
Optional = Annotated[str | None, BeforeValidator(_empty_as_none)]
OptionalImage = Annotated[ImageReference | None, BeforeValidator(_empty_as_none)]
Flag = bool


class NamedValue(Part):
    """A variable with a value."""

    name: VariableName = Field(description="Name of the variable.")
    value: Text = Field("", repr=False, description="Its value, taken exactly as written.")


class NamedDefault(Part):
    """A variable that the mesh sets; `value` is its default."""

    name: VariableName = Field(description="Name of the variable.")
    value: str | None = Field(None, repr=False, description="Default; without one the mesh must give a value.")


class ExportTarget(Part):
    """Who may import a secret: one session, or all sessions of a namespace."""

    session: str | None = Field(None, description="Absolute or relative session name.")
    namespace: str | None = Field(None, description="Namespace whose sessions may import it.")


class Secret(Part):
    """A secret that the CAS generates (no `value`) or holds (`value`)."""

    name: Annotated[str, _matching(_NAME, "a secret name: letters, digits and _ . -")]
    kind: str | None = None
    size: int | None = Field(None, ge=1, le=65536)
    value: str | None = Field(None, repr=False)
    key_type: str | None = None
    migrate: Flag | None = None
    private_key: str | None = None
    issuer: str | None = None
    common_name: str | None = None
    endpoint: str | None = None
    dns: tuple[str, ...] | str | None = None
    san: tuple[str, ...] | str | None = None
    valid_for: str | None = None
    export_public: Flag | None = None
    export: tuple[ExportTarget | str, ...] | str | None = None
    tenant_id: str | None = None
    client_id: str | None = None
    application_secret: str | None = Field(None, repr=False)
