"""Field types that all manifests share: each says what it accepts, and its message never repeats the value."""

# Annotations are no texts here (no `from __future__ import annotations`): pydantic would compile each at every start.

import posixpath
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    model_serializer,
)
from pydantic_core import CoreSchema, core_schema

from sconectl.cas_address import CAS_ADDRESS, PORT
from sconectl.errors import InvalidInput
from sconectl.key_hash import is_key_hash
from sconectl.manifest.model.faults import Unfit, did_you_mean
from sconectl.manifest.spelling.placeholders import without_marks, without_raw
from sconectl.text.marks import KEYS_SHOWN, MAY_NAME_SECRETS, SHOWN, Shown
from sconectl.text.yaml_tree import parse

# Patterns are compiled, and kept, by `re` when they are first needed: few fields are in one manifest.
_SERVICE = r"[A-Za-z0-9]([-_A-Za-z0-9]{0,61}[A-Za-z0-9])?\Z"
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z"
_VARIABLE = r"[A-Za-z_][A-Za-z0-9_.-]*\Z"
_NAMESPACE = r"[A-Za-z0-9_\-.~]{1,128}(/[A-Za-z0-9_\-.~]{1,128})*\Z"
_SESSION = r"/?[A-Za-z0-9_\-.~]{1,128}(/[A-Za-z0-9_\-.~]{1,128})*\Z"
_DOMAIN = r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9-]+)*(?::[0-9]+)?/)?"
_REFERENCE = (
    rf"{_DOMAIN}[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?\Z"
)
_UNSEEN = r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]"
_HOST = rf"{CAS_ADDRESS}\Z"
_URL = rf"https://[A-Za-z0-9.-]+(?::{PORT})?(?:/[A-Za-z0-9._~/-]*)?\Z"
_OLDEST_VERSION = (5, 8)
LITERAL_PATHS = "literal-paths"
"""In the context of a validation: paths were not written in a manifest, so that `{{` in them means itself."""

_T = TypeVar("_T")


class Part(BaseModel):
    """Base of all manifest parts: unknown fields are errors, values cannot change."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True)


class Sparse(Part):
    """A part that is written without the fields that are None: a new field changes no text that does not use it."""

    @model_serializer(mode="wrap")
    def _without_nothing(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in serialize(self).items() if value is not None}


def is_late(text: str) -> bool:
    """Say whether `text` is complete only when a mesh is compiled, because of a `{{…}}` in it."""
    return "{{" in text or "{%" in text


@dataclass(frozen=True, eq=False)
class OneOf(Shown):
    """Marks a text field that has one of a few values; `meanings` says what each of them is for.

    With `late`, a text with `{{…}}` is taken, too: it becomes one of the values when the mesh is compiled.
    """

    meanings: Mapping[str, str]
    late: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, value: str) -> str:
        if value in self.meanings or (self.late and is_late(value)):
            return value
        *first, last = (f"'{known}'" for known in self.meanings)
        expected = f"{', '.join(first)} or {last}" if first else last
        raise Unfit(f"expected {expected}", did_you_mean(value, self.meanings))


@dataclass(frozen=True, eq=False)
class Matching:
    """Checks that text has the form of `pattern`; `late` as in `OneOf`, `remedy` gives the hint for a text."""

    pattern: str
    expected: str
    late: bool = False
    remedy: Callable[[str], str] = lambda _: ""

    def __call__(self, value: str) -> str:
        """Return the text if it has the form."""
        if not re.match(self.pattern, value) and not (self.late and is_late(value)):
            raise Unfit(f"expected {self.expected}", self.remedy(value))
        return value


def matching(
    pattern: str, expected: str, *, late: bool = False, remedy: Callable[[str], str] = lambda _: ""
) -> AfterValidator:
    """Return the annotation of a text field that is `Matching`."""
    return AfterValidator(Matching(pattern, expected, late, remedy))


def _version(value: str) -> str:
    match = re.match(r"scone/([0-9]{1,9}(?:\.[0-9]{1,9})*)\Z", value)
    if not match or tuple(int(part) for part in match[1].split(".")) < _OLDEST_VERSION:
        raise Unfit("expected scone/VERSION with a version of at least 5.8, like scone/5.8", "write scone/5.8")
    return value


def _remedy_of_reference(value: str) -> str:
    if "://" in value:
        return "leave out what stands before //, and //"
    return "write the name in lower case" if value != value.lower() and re.match(_REFERENCE, value.lower()) else ""


def _remedy_of_namespace(value: str) -> str:
    return "leave out the / at its begin or end" if re.match(_NAMESPACE, value.strip("/")) else ""


def path_fault(value: str) -> tuple[str, str]:
    """Return the fault that keeps `value` from being a path in an image, and a remedy; both empty if it is one."""
    if found := re.search(_UNSEEN, value):
        what = "text that is UTF-8" if "\ud800" <= found[0] <= "\udfff" else "no control characters"
        return f"expected a path of {what}; it has U+{ord(found[0]):04X}", "rename what is there in the image"
    if ".." in value.split("/"):
        return "expected an absolute path without ..", ""
    return ("", "") if value.startswith("/") else ("expected an absolute path", "begin with /")


def _normal_path(value: str, given: ValidationInfo) -> str:
    fault, hint = path_fault(value)
    if not fault and is_late(value) and not (given.context or {}).get(LITERAL_PATHS):
        if is_late(without_raw(value)):
            message = "expected a path without {{ and {%: they are filled in when the image is there already"
            raise Unfit(message, "write the path itself; {% raw %}…{% endraw %} around such a name takes it as it is")
        value = without_marks(value)
        fault, hint = path_fault(value)
    if fault:
        raise Unfit(fault, hint)
    return posixpath.normpath("/" + value.lstrip("/"))


def _key_hash(value: str) -> str:
    if not is_key_hash(value):
        raise Unfit(
            "expected a key hash", "`sconectl identity show` prints yours, `sconectl cert show-key-hash` others"
        )
    return value


def _mount_path(value: str, given: ValidationInfo) -> str:
    if ":" in value:
        raise Unfit(
            "expected a path without a colon, at which engines and Kubernetes can mount", "choose another place"
        )
    return _normal_path(value, given)


def _inner_path(value: str) -> str:
    if "\0" in value or not value or posixpath.isabs(value):
        hint = "leave out the / at its begin if it lies below that directory, else copy it there"
        message = "expected a path relative to the manifest's directory"
        raise Unfit(message, hint if posixpath.isabs(value) else "")
    path = posixpath.normpath(value)
    if path == ".." or path.startswith("../"):
        raise Unfit("the path leads out of the manifest's directory", "copy the file into that directory")
    return path


class CommandLine(str):
    """A command line as it is written, and the `words` that it is split into: once, when it is read.

    Raises `Unfit` for a quote that is not closed, and if there is no word.
    """

    words: tuple[str, ...]

    def __new__(cls, text: str) -> Self:
        """Split `text` as a shell does."""
        line = super().__new__(cls, text)
        try:
            line.words = tuple(shlex.split(text))
        except ValueError as error:
            raise Unfit("a quote in the command line is not closed") from error
        if not line.words:
            raise Unfit("expected a program and its arguments")
        return line

    @classmethod
    def of(cls, words: Iterable[str]) -> Self:
        """Return the command line with these words, in quotes where they need them."""
        return cls(shlex.join(words))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema())


def _no_nul(value: _T) -> _T:
    if isinstance(value, str) and "\0" in value:
        raise Unfit("expected text without NUL characters")
    return value


_TRUTH = {"true": True, "false": False}
_ALSO_TRUE = frozenset({"yes", "on", "y", "1"})
_ALSO_FALSE = frozenset({"no", "off", "n", "0"})


def _flag(value: object) -> object:
    if isinstance(value, bool):
        return value
    word = value.lower() if isinstance(value, str) else ""
    if word not in _TRUTH:
        meant = "true" if word in _ALSO_TRUE else "false" if word in _ALSO_FALSE else ""
        raise Unfit("expected true or false", f"write {meant}" if meant else "")
    return _TRUTH[word]


def _late_flag(value: object) -> object:
    return value if isinstance(value, str) and is_late(value) else _flag(value)


def _helm_values(value: dict[str, Any] | str) -> dict[str, Any] | str:
    if isinstance(value, str):
        try:
            held = parse(value, "").value
        except InvalidInput as error:
            fault = error.findings[0]
            where = f"line {fault.position.line} of this text"
            raise Unfit(f"expected a mapping, as it is or as YAML text; {where}: {fault.message}") from None
        if held is not None and not isinstance(held, dict):
            raise Unfit("expected a mapping, as it is or as YAML text")
    return value


def _mapping_or_text(value: Any) -> Any:
    if not isinstance(value, (dict, str)):
        raise Unfit("expected a mapping, as it is or as YAML text")
    return value


def one_or_many(value: Any) -> Any:
    """Bring a single entry into a list."""
    return [value] if isinstance(value, (str, dict)) else value


def comma_separated(value: Any) -> Any:
    """Bring a list of texts into one text."""
    is_list = isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)
    return ", ".join(value) if is_list else value


Many = Annotated[tuple[_T, ...], BeforeValidator(lambda value: () if value is None else value)]
"""A list that may also be empty or missing."""
Maybe = Annotated[_T | None, BeforeValidator(lambda value: None if value == "" else value)]
"""A field that may be left out, or be left empty."""

ApiVersion = Annotated[str, AfterValidator(_version), SHOWN]
ServiceName = Annotated[
    str, matching(_SERVICE, "letters, digits, - and _, at most 63, a letter or digit at both ends"), SHOWN
]
BuildName = Annotated[str, matching(NAME, "letters, digits and _ . -, beginning with a letter or digit"), SHOWN]
VolumeName = BuildName
SecretName = Annotated[str, matching(NAME, "a secret name: letters, digits and _ . -"), SHOWN]
SecretReference = Annotated[str, matching(NAME, "the name of a secret: letters, digits and _ . -", late=True), SHOWN]
VariableName = Annotated[str, matching(_VARIABLE, "a variable name: letters, digits and _ . -"), SHOWN]
Namespace = Annotated[
    str,
    matching(
        _NAMESPACE, "a CAS namespace: letters, digits and _ - . ~, parts separated by /", remedy=_remedy_of_namespace
    ),
    SHOWN,
]
SessionName = Annotated[
    str, matching(_SESSION, "a session name: letters, digits and _ - . ~, parts separated by /", late=True), SHOWN
]
ImageReference = Annotated[
    str, matching(_REFERENCE, "an image reference, like registry.example.org/app:1", remedy=_remedy_of_reference), SHOWN
]
HostAddress = Annotated[
    str, matching(_HOST, "the address of a CAS, like cas.example.org or cas.example.org:8081"), SHOWN
]
KeyHash = Annotated[str, AfterValidator(_key_hash), SHOWN]
Url = Annotated[str, matching(_URL, "a URL that begins with https://"), SHOWN]
AbsolutePath = Annotated[str, AfterValidator(_normal_path), SHOWN]
"""Any path that Linux allows and people can read. It is needed when an image is built, so that no `{{…}}` of a mesh
is in it; text between {% raw %} and {% endraw %} is taken as it is."""
MountPath = Annotated[str, AfterValidator(_mount_path), SHOWN]
InnerPath = Annotated[str, AfterValidator(_inner_path), SHOWN]
Line = Annotated[str, Field(min_length=1), AfterValidator(_no_nul)]
Text = Annotated[str, BeforeValidator(lambda value: "" if value is None else value), AfterValidator(_no_nul)]
Flag = Annotated[bool, BeforeValidator(_flag), SHOWN]
LateFlag = Annotated[bool | str, BeforeValidator(_late_flag), SHOWN]
PublicLine = Annotated[Line, SHOWN]
CommaList = Annotated[Maybe[PublicLine], BeforeValidator(comma_separated)]
HelmValues = Annotated[
    dict[str, Any] | str, BeforeValidator(_mapping_or_text), AfterValidator(_helm_values), KEYS_SHOWN
]
"""Values of a Helm chart have any structure: a mapping, or the text of one."""


class NamedValue(Sparse):
    """A variable with a value."""

    name: VariableName = Field(description="Name of the variable.", examples=["SCONE_HEAP"])
    value: Annotated[Text, MAY_NAME_SECRETS] = Field(
        "", repr=False, description="Its value, taken exactly as written.", examples=["760M"]
    )
    public: Maybe[Flag] = Field(
        None,
        description="Whether the public declaration of the image (`build.public`) may have the value.",
        examples=[True],
    )


class NamedDefault(Part):
    """A variable that the mesh sets; `value` is its default."""

    name: VariableName = Field(description="Name of the variable.", examples=["API_USER"])
    value: Annotated[str | None, MAY_NAME_SECRETS] = Field(
        None, repr=False, description="Default; without one the mesh must give a value.", examples=["myself"]
    )
