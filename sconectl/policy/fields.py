"""The field types of the session language: one check for each form that a scalar can have.

In: scalars as text, exactly as written in the YAML. Out: annotated types for the models, which normalise spelling
(lower-case hex, integer permissions, split commands) and raise rule violations that hold no values.
"""

from __future__ import annotations

import re
import shlex
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from sconectl.policy import names
from sconectl.policy.placeholders import START, is_reference
from sconectl.policy.violation import not_available, violation

_HEX = re.compile(r"[0-9a-fA-F]*\Z")
_PERMISSION = re.compile(r"0o?([0-7]{3})\Z")
_ADVISORY = re.compile(r"INTEL-SA-\d{5}\Z")
_HOST_ARGUMENT = re.compile(r"@@(\d+)\Z")
MAX_SECRET_SIZE = 1 << 16

VERSIONS = ("0.3", *(f"0.3.{patch}" for patch in range(13)))
LEGACY_VERSIONS = ("0.1", "0.2")
KINDS = ("ascii", "binary")
LATER_KINDS = (
    "private-key", "public-key", "x509", "x509-ca", "aad-token", "config-fragment", "pgp-key", "jwt",
)  # fmt: skip
TOLERATIONS = (
    "debug-mode", "hyperthreading", "insecure-igpu", "software-hardening-needed", "aepic-leak",
    "insecure-configuration", "outdated-tcb", "maa-managed-tcb", "local-attestation-trust-cas-tcb",
)  # fmt: skip


def language_version(text: str) -> str:
    """V1: the version is one of the language's."""
    if text in LEGACY_VERSIONS:
        raise not_available(f"session language {text}", "write the policy in version 0.3")
    if text not in VERSIONS:
        raise violation("V1", f"the version is one of 0.3, 0.3.0 … {VERSIONS[-1]}", 'write version: "0.3.10"')
    return text


def session_hash(text: str) -> str:
    """H1: hashes of sessions have 64 hex digits."""
    return _hex(text, 32, "H1")


def measurement(text: str) -> str:
    """A2: a measurement has 64 hex digits."""
    if text.startswith(START):
        raise not_available("references in attestation")
    return _hex(text, 32, "A2")


def fspf_key(text: str) -> str:
    """S5: the key of the main file system is 64 hex digits or a reference to a binary secret."""
    return text if is_reference(text) else _hex(text, 32, "S5", " or a reference like $$SCONE::name$$")


def fspf_tag(text: str) -> str:
    """S5: the tag of the main file system has 32 hex digits."""
    return _hex(text, 16, "S5")


def _hex(text: str, size: int, rule: str, alternative: str = "") -> str:
    if len(text) != 2 * size or not _HEX.match(text):
        raise violation(rule, f"expected {2 * size} hex digits{alternative}")
    return text.lower()


def fspf_update_policy(text: str) -> str:
    """S5: the update policy of the main file system is one of two."""
    known = ("rollback_protected_reinitializable", "no_rollback_protection")
    if text not in known:
        raise violation("S5", f"expected one of {', '.join(known)}")
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
    """S3: no `=` in the name of a variable; it is not empty either."""
    without_nul(text)
    if "=" in text or not text:
        raise violation("S3", "the name of a variable is not empty and holds no =")
    if text.startswith("\\@\\@"):
        raise not_available("variables taken from the host (\\@\\@NAME)")
    return text


def command(value: Any) -> Any:
    """Split a command string on blanks; quotes group, and a backslash is an ordinary character (§5)."""
    if not isinstance(value, str):
        return value
    splitter = shlex.shlex(value, posix=True)
    splitter.whitespace_split = True
    splitter.escape = ""
    splitter.commenters = ""
    try:
        return list(splitter)
    except ValueError as error:
        raise violation("S2", "the command has a quote that is not closed") from error


def arguments(value: tuple[str, ...]) -> tuple[str, ...]:
    """S7: a host argument `@@N` stands once at most; taking arguments from the host comes later."""
    wanted = [match[1] for argument in value if (match := _HOST_ARGUMENT.match(argument))]
    if len(wanted) != len(set(wanted)):
        raise violation("S7", "a host argument @@N may be used once only")
    if wanted:
        raise not_available("arguments taken from the host (@@N)")
    return value


def permission(value: Any) -> Any:
    """Read the permission of an injected file; only octal spellings that mean the same to every YAML reader."""
    match = _PERMISSION.match(value) if isinstance(value, str) else None
    if match is None:
        raise violation("D1", "expected an octal permission with three digits", "write 0o400")
    return int(match[1], 8)


def secret_kind(text: str) -> str:
    """K1: the kind of a secret is known."""
    if text in LATER_KINDS:
        raise not_available(f"secrets of kind {text}")
    if text not in KINDS:
        raise violation("K1", f"expected one of {', '.join(KINDS)}")
    return text


def tolerated(text: str) -> str:
    """C3: what is tolerated is known."""
    if text not in TOLERATIONS:
        raise violation("C3", f"expected one of {', '.join(TOLERATIONS)}")
    return text


def attestation_mode(text: str) -> str:
    """C1: the attestation mode is known."""
    if text == "maa":
        raise not_available("attestation by Microsoft Azure Attestation (maa)")
    if text not in {"hardware", "none"}:
        raise violation("C1", "expected hardware or none")
    return text


def advisory(text: str) -> str:
    """C4: an advisory is named by its id; `"*"` stands for all."""
    if text != "*" and not _ADVISORY.match(text):
        raise violation("C4", 'expected an id like INTEL-SA-00615, or "*"')
    return text


def boolean(value: Any) -> Any:
    """Accept `true` and `false` only; other words mean different things to different YAML readers."""
    known = {"true": True, "false": False}
    if not isinstance(value, bool) and not (isinstance(value, str) and value.lower() in known):
        raise violation("D1", "expected true or false")
    return value if isinstance(value, bool) else known[value.lower()]


def one_or_many(value: Any) -> Any:
    """Make a list of a single item."""
    return value if isinstance(value, (list, tuple)) else [value]


SessionName = Annotated[str, AfterValidator(names.session_name)]
ServiceName = Annotated[str, AfterValidator(names.service_name)]
SecretName = Annotated[str, AfterValidator(names.secret_name)]
Version = Annotated[str, AfterValidator(language_version)]
SessionHash = Annotated[str, AfterValidator(session_hash)]
Measurement = Annotated[str, AfterValidator(measurement)]
FspfKey = Annotated[str, AfterValidator(fspf_key)]
FspfTag = Annotated[str, AfterValidator(fspf_tag)]
FspfUpdatePolicy = Annotated[str, AfterValidator(fspf_update_policy)]
Text = Annotated[str, AfterValidator(without_nul)]
AbsolutePath = Annotated[str, AfterValidator(absolute_path)]
FilePath = Annotated[str, AfterValidator(file_path)]
EnvironmentKey = Annotated[str, AfterValidator(environment_key)]
Command = Annotated[tuple[Text, ...], BeforeValidator(command), AfterValidator(arguments)]
Permission = Annotated[int, BeforeValidator(permission)]
SecretKind = Annotated[str, AfterValidator(secret_kind)]
SecretSize = Annotated[int, Field(ge=1, le=MAX_SECRET_SIZE)]
Toleration = Annotated[str, AfterValidator(tolerated)]
AttestationMode = Annotated[str, AfterValidator(attestation_mode)]
Advisory = Annotated[str, AfterValidator(advisory)]
Boolean = Annotated[bool, BeforeValidator(boolean)]
