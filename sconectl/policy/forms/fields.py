"""The field types of the session language: one check for each form that a scalar can have.

In: scalars as text, exactly as written in the YAML. Out: annotated types for the models, which normalise spelling
(lower-case hex, integer permissions, split commands) and raise rule violations that hold no values.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from sconectl.policy.forms import durations, names
from sconectl.policy.forms.violation import violation
from sconectl.text.marks import SHOWN
from sconectl.text.secret_placeholders import is_reference

_HEX = re.compile(r"[0-9a-fA-F]*\Z")
_INTEGER = re.compile(r"(?:0|-?[1-9][0-9]{0,17})\Z")
_PERMISSION = re.compile(r"0o?([0-7]{3})\Z")
_HOST_ARGUMENT = re.compile(r"@@([0-9]{1,9})\Z")
HOST_VARIABLE = "\\@\\@"
"""In front of the name of a variable: the host gives its value."""
_REFERENCE_HINT = "write $$SCONE::name$$"
MAX_SECRET_SIZE = 1 << 16

VERSIONS = ("0.3", *(f"0.3.{patch}" for patch in range(13)))
LEGACY_VERSIONS = ("0.1", "0.2")
UPGRADE = "run `sconectl session upgrade FILE`"
VOLUME_POLICIES = ("rollback_protected", "ephemeral", "no_rollback_protection")
FSPF_POLICIES = ("rollback_protected_reinitializable", "no_rollback_protection")


def language_version(text: str) -> str:
    """V1: the version is one of the language's; the legacy ones have to be upgraded."""
    if text in LEGACY_VERSIONS:
        raise violation("V1", f"session language {text} is not stored any more", UPGRADE)
    if text not in VERSIONS:
        raise violation("V1", f"the version is one of 0.3, 0.3.0 … {VERSIONS[-1]}", 'write version: "0.3.10"')
    return text


def session_hash(text: str) -> str:
    """H1: hashes of sessions have 64 hex digits."""
    return hex_digits(text, 32, "H1")


def salt(text: str) -> str:
    """H3: a salt has 32 hex digits."""
    return hex_digits(text, 16, "H3")


def measurement(text: str) -> str:
    """A2: a measurement has 64 hex digits."""
    return hex_digits(text, 32, "A2")


def measurement_or_reference(text: str) -> str:
    """A2: an accepted measurement has 64 hex digits, or is a reference."""
    return text if is_reference(text) else hex_digits(text, 32, "A2", " or a reference like $$SCONE::name$$")


def fspf_key(text: str) -> str:
    """S5: the key of a file system is 64 hex digits or a reference to a binary secret."""
    return text if is_reference(text) else hex_digits(text, 32, "S5", " or a reference like $$SCONE::name$$")


def fspf_tag(text: str) -> str:
    """S5: the tag of a file system has 32 hex digits."""
    return hex_digits(text, 16, "S5")


def hex_digits(text: str, size: int, rule: str, alternative: str = "") -> str:
    """Return the hex digits of `size` bytes in lower case; `rule` is broken if `text` is anything else."""
    if len(text) != 2 * size or not _HEX.match(text):
        raise violation(rule, f"expected {2 * size} hex digits{alternative}")
    return text.lower()


def fspf_update_policy(text: str) -> str:
    """S5: the update policy of the main file system is one of two."""
    return one_of(text, FSPF_POLICIES, "S5")


def volume_update_policy(text: str) -> str:
    """W2: the update policy of a volume is one of three."""
    return one_of(text, VOLUME_POLICIES, "W2")


def one_of(text: str, known: tuple[str, ...], rule: str) -> str:
    """Return `text` if it is `known`; `rule` is broken otherwise."""
    if text not in known:
        raise violation(rule, f"expected one of {', '.join(known)}")
    return text


def reference(text: str) -> str:
    """P1: a section that is delegated is exactly one placeholder."""
    if not is_reference(text):
        raise violation("P1", "expected a mapping or a reference to a config-fragment", _REFERENCE_HINT)
    return text


def without_nul(text: str) -> str:
    """S2: no NUL character (the runtime could not pass it on)."""
    if "\0" in text:
        raise violation("S2", "a NUL character cannot be passed to a program", "remove it")
    return text


def absolute_path(text: str) -> str:
    """S2: a path is absolute, has no NUL and does not climb."""
    without_nul(text)
    if not text.startswith("/") or ".." in text.split("/"):
        raise violation("S2", "expected an absolute path without ..")
    return text


def file_path(text: str) -> str:
    """S2: the path of a file is absolute and names something below the root."""
    if text.endswith(("/", "/.")):
        raise violation("S2", "expected the path of a file, not of a directory")
    return absolute_path(text)


def environment_key(text: str) -> str:
    """S3: no `=` in the name of a variable; it is not empty either, also behind the mark of a host variable."""
    without_nul(text)
    if "=" in text or text in {"", HOST_VARIABLE}:
        raise violation("S3", "the name of a variable is not empty and holds no =")
    return text


def command(value: Any) -> Any:
    """Split a command string on blanks; quotes group, and a backslash is an ordinary character (§5)."""
    if not isinstance(value, str):
        return value
    if not any(quote in value for quote in "'\""):
        return value.split()
    splitter = shlex.shlex(value, posix=True)
    splitter.whitespace_split = True
    splitter.escape = ""
    splitter.commenters = ""
    try:
        return list(splitter)
    except ValueError as error:
        raise violation("S2", "the command has a quote that is not closed") from error


def arguments(value: tuple[str, ...]) -> tuple[str, ...]:
    """S7: a host argument `@@N` counts from 1 and stands once at most."""
    wanted = [int(match[1]) for argument in value if argument[:2] == "@@" and (match := _HOST_ARGUMENT.match(argument))]
    if len(wanted) != len(set(wanted)):
        raise violation("S7", "a host argument @@N may be used once only")
    if 0 in wanted:
        raise violation("S7", "host arguments count from @@1")
    return value


def permission(value: Any) -> Any:
    """Read the permission of an injected file; only octal spellings that mean the same to every YAML reader."""
    if type(value) is int and 0 <= value <= 0o777:
        return value
    match = _PERMISSION.match(value) if isinstance(value, str) else None
    if match is None:
        raise violation("D1", "expected an octal permission with three digits", "write 0o400")
    return int(match[1], 8)


@dataclass(frozen=True, eq=False)
class WholeNumber:
    """Checks for a whole number from `low` to `high`; `rule` is broken if it is out of bounds."""

    low: int
    high: int
    rule: str

    def __call__(self, value: Any) -> int:
        """Return the number that the text or number `value` is."""
        if type(value) is int:
            value = str(value)
        if not isinstance(value, str) or not _INTEGER.match(value):
            raise violation("D1", "expected a whole number")
        if not self.low <= int(value) <= self.high:
            raise violation(self.rule, f"expected a whole number from {self.low} to {self.high}")
        return int(value)


def boolean(value: Any) -> Any:
    """Accept `true` and `false` only; other words mean different things to different YAML readers."""
    known = {"true": True, "false": False}
    if not isinstance(value, bool) and not (isinstance(value, str) and value.lower() in known):
        raise violation("D1", "expected true or false")
    return value if isinstance(value, bool) else known[value.lower()]


def duration(text: str) -> str:
    """D1: a duration is a sequence of whole numbers with units, like `90 days` or `1h 30m`."""
    text = text.strip()
    try:
        durations.duration(text)
    except ValueError:
        raise violation("D1", "expected a duration", "write 90 days, 24h or 1 year") from None
    return text


SessionName = Annotated[str, AfterValidator(names.session_name), SHOWN]
ServiceName = Annotated[str, AfterValidator(names.service_name), SHOWN]
SecretName = Annotated[str, AfterValidator(names.secret_name), SHOWN]
Version = Annotated[str, AfterValidator(language_version), SHOWN]
SessionHash = Annotated[str, AfterValidator(session_hash), SHOWN]
Salt = Annotated[str, AfterValidator(salt)]
Measurement = Annotated[str, AfterValidator(measurement), SHOWN]
MeasurementOrReference = Annotated[str, AfterValidator(measurement_or_reference), SHOWN]
FspfKey = Annotated[str, AfterValidator(fspf_key)]
FspfTag = Annotated[str, AfterValidator(fspf_tag), SHOWN]
FspfUpdatePolicy = Annotated[str, AfterValidator(fspf_update_policy), SHOWN]
VolumeUpdatePolicy = Annotated[str, AfterValidator(volume_update_policy), SHOWN]
Reference = Annotated[str, AfterValidator(reference)]
Text = Annotated[str, AfterValidator(without_nul)]
PublicText = Annotated[Text, SHOWN]
AbsolutePath = Annotated[str, AfterValidator(absolute_path), SHOWN]
FilePath = Annotated[str, AfterValidator(file_path), SHOWN]
EnvironmentKey = Annotated[str, AfterValidator(environment_key)]
Command = Annotated[tuple[Text, ...], BeforeValidator(command), AfterValidator(arguments)]
Permission = Annotated[int, BeforeValidator(permission), SHOWN]
SecretSize = Annotated[int, BeforeValidator(WholeNumber(1, MAX_SECRET_SIZE, "D1")), SHOWN]
SgxNumber = Annotated[int, BeforeValidator(WholeNumber(0, 0xFFFF, "A5")), SHOWN]
Boolean = Annotated[bool, BeforeValidator(boolean), SHOWN]
Duration = Annotated[str, AfterValidator(duration), SHOWN]
