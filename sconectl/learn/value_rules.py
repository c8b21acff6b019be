"""Rules about values that are checked when a manifest is planned, as far as a schema can tell them.

In: the schema of a part. Out: one with the rules. The plan stays the authority: tests compare both.
"""

from __future__ import annotations

from typing import Any

from sconectl.learn.enum_words import TOLERATIONS
from sconectl.learn.input_forms import Schema
from sconectl.policy.forms.placeholders import FORMATS

_SUFFIXES = sorted(
    {suffix for formats in FORMATS.values() for suffix in formats if suffix}, key=lambda text: (-len(text), text)
)
_NAME = r"(?:[^\s$:|{]|\{\{[^{}]*\}\})+"
_REST = rf"(?::(?:{'|'.join(_SUFFIXES)}))?(?:\|escape\(json\))?\$\$"
_BROKEN_PLACEHOLDER: Schema = {"not": {"type": ["string"], "pattern": rf"\$\$SCONE::(?!{_NAME}{_REST})"}}

_SIZE = "[0-9]{1,15}[KMGkmg]?"
_ANY = (0, 10**15)
_NUMBER = "[0-9]{1,9}"
PARAMETERS = {
    "SCONE_HEAP": (_SIZE, _ANY),
    "SCONE_MIN_HEAP": (_SIZE, _ANY),
    "SCONE_STACK": (_SIZE, _ANY),
    "SCONE_ALLOW_DLOPEN": ("0*[0-2]", (0, 2)),
    "SCONE_FORK": ("0*[01]", (0, 1)),
    "SCONE_ISVPRODID": (_NUMBER, (0, 65535)),
    "SCONE_ISVSVN": (_NUMBER, (0, 65535)),
    "SCONE_MPROTECT": ("0*[01]", (0, 1)),
    "SCONE_SYSLIBS": ("0*[01]", (0, 1)),
    "SCONE_TCS": (_NUMBER, (1, 65535)),
}
"""Parameters of the enclave: their form as text, and their bounds as numbers."""
_PORT = "0*(?:6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})"
_TOLERATED = "|".join(["debug", *TOLERATIONS])
_RESERVED = "[Gg][Ll][Oo][Bb][Aa][Ll]|[Hh][Ee][Ll][Mm]|[Nn][Aa][Mm][Ee][Ss][Pp][Aa][Cc][Ee]"


def _text(expression: str) -> Schema:
    """Demand that a value, written as text, has a form; templates are filled in first."""
    return {"if": {"type": ["string"]}, "then": {"pattern": rf"^\s*(?:{expression})\s*$|\$[A-Za-z_{{]|\{{[{{%]"}}


def _number(expression: str, bounds: tuple[int, int]) -> Schema:
    """Demand that a number has a form as text, or lies within bounds."""
    return {**_text(expression), "minimum": bounds[0], "maximum": bounds[1]}


def _and(schema: Schema, *rules: Schema) -> Schema:
    return {**schema, "allOf": [*schema.get("allOf", ()), *rules]}


def _field(part: Schema, name: str, *rules: Schema) -> Schema:
    return {**part, "properties": {**part["properties"], name: _and(part["properties"][name], *rules)}}


def whole_placeholders(*names: str) -> Any:
    """Return a change: `$$SCONE::…$$` in these fields is well formed, and its format exists."""

    def change(part: Schema) -> Schema:
        for name in names:
            part = _field(part, name, _BROKEN_PLACEHOLDER)
        return part

    return change


def encrypted_directories(part: Schema) -> Schema:
    """Refuse to encrypt the root directory."""
    return _field(part, "dirs", {"items": {"not": {"const": "/"}}})


def parameters(part: Schema) -> Schema:
    """Demand sizes and numbers within their bounds for the parameters of the enclave."""
    rules = [_if_named(name, _number(form, bounds)) for name, (form, bounds) in PARAMETERS.items()]
    return _field(part, "local", {"items": {"allOf": rules}})


def port(part: Schema) -> Schema:
    """Demand that the port of a service is a port."""
    return _and(part, _if_named("APP_SERVICE_PORT", _number(f"(?:{_PORT})?", (1, 65535))))


def _if_named(name: str, value: Schema) -> Schema:
    return {
        "if": {"required": ["name"], "properties": {"name": {"const": name}}},
        "then": {"properties": {"value": value}},
    }


def attestation(part: Schema) -> Schema:
    """Demand that what is tolerated and ignored is known."""

    def listed(word: str) -> tuple[Schema, Schema]:
        separated = _text(rf"(?:(?:{word})?\s*,\s*)*(?:{word})?")
        return separated, {"if": {"type": "array"}, "then": {"items": _text(word)}}

    part = _field(part, "tolerate", *listed(_TOLERATED))
    return _field(part, "ignore_advisories", *listed(r"\*|INTEL-SA-[0-9]{5}"))


ATTESTATION_FLAGS = (
    *("accept-configuration-needed", "accept-group-out-of-date", "accept-sw-hardening-needed"),
    *("allow-cas-owner-secret-access", "insecure-configuration", "isvprodid", "isvsvn", "mrenclave", "mrsigner"),
    *("nonce", "offline-report", "only_for_testing-debug", "only_for_testing-ignore-signer"),
    *("only_for_testing-trust-any", "only_for_testing_allow-unprovisioned-cas", "outdated-tcb", "retries"),
    *("software-hardening-needed", "verification-time"),
)
"""The long flags of `sconectl cas attest`."""


def known_flags(part: Schema) -> Schema:
    """Refuse flags that `cas attest` does not have."""
    flag = rf"(?:^|\s)--(?!(?:{'|'.join(ATTESTATION_FLAGS)})(?:[=\s]|$))"
    return _field(part, "tolerance", {"not": {"type": ["string"], "pattern": flag}})


def free_name(part: Schema) -> Schema:
    """Refuse names of services that mean something else."""
    return _field(part, "name", {"not": {"type": ["string"], "pattern": f"^(?:{_RESERVED})$"}})
