"""What a check of a scalar says as JSON Schema.

In: a validator function of a model. Out: keywords, or None if the check has no form that a schema can tell. A text
may also be a template that is filled in before the check (`$VAR`), or, for some fields, when a mesh is compiled
(`{{name}}`); the forms here know nothing of that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from sconectl.cas_address import CAS_ADDRESS
from sconectl.learn import enum_words
from sconectl.manifest.model import fields, secrets, volumes
from sconectl.manifest.model.fields import Matching, OneOf
from sconectl.policy.forms import fields as policy_fields
from sconectl.policy.forms import names, one_time_password
from sconectl.policy.model import access_policy, references, secret, security, services
from sconectl.policy.model import volumes as policy_volumes

LATE = "x-late"
"""Marks, until a schema is complete, texts that may wait for the mesh."""


class Form(NamedTuple):
    """Keywords of JSON Schema; `late` says that a text with `{{…}}` passes, too."""

    keywords: Mapping[str, Any]
    late: bool = False


def pattern(expression: re.Pattern[str] | str) -> dict[str, Any]:
    """Return the keyword for a regular expression that matches a whole text."""
    text = expression if isinstance(expression, str) else expression.pattern
    return {"pattern": f"^(?:{text.removesuffix(chr(92) + 'Z')})$"}


def enum(meanings: Mapping[str, str]) -> dict[str, Any]:
    """Return the keywords for one of a few values; editors show what each of them means."""
    return {"enum": list(meanings), "enumDescriptions": list(meanings.values())}


def form_of(check: Callable[..., Any]) -> Form | None:
    """Return the form that an after-validator demands of a text; None if it is not known here."""
    owner = getattr(check, "__self__", None)
    if isinstance(owner, OneOf):
        return Form(enum(owner.meanings), owner.late)
    if isinstance(check, Matching):
        return Form(pattern(check.pattern), check.late)
    if check in _LATE_TEXTS:
        return Form(_LATE_TEXTS[check], late=True)
    keywords = _TEXTS.get(check)
    return None if keywords is None else Form(keywords)


def function_of(alias: Any, number: int = 0) -> Callable[..., Any]:
    """Return the function of an annotated type; `number` counts its annotations."""
    found: Callable[..., Any] = alias.__metadata__[number].func
    return found


_HEX_32 = "[0-9a-fA-F]{64}"
_KEY_HASH = "[1-9A-HJ-NP-Za-km-z]{40,60}"
REFERENCE = r"\$\$SCONE::.+"  # the rules of placeholders are many; the schema tells a reference from a mistake
_CLIMBS = r"(?!(?:.*/)?\.\.(?:/|$))"
_PATH = _CLIMBS + r"(?!.*\{[{%])/"
_SEGMENT = r"(?!\.{1,2}(?:/|$))[A-Za-z0-9_.~-]{1,128}"
_NAME = f"{_SEGMENT}(?:/{_SEGMENT})*"
_COMMAND = r"""(?=[\s\S]*\S)(?:[^'"\\]|\\[\s\S]|'[^']*'|"(?:[^"\\]|\\[\s\S])*")*"""  # quotes are closed
_UNIT = "[A-Za-z]+"
_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = rf"(?!\S{{254}})(?!(?:\S*\.)?[0-9]+$)(?:\*\.{_LABEL}(?:\.{_LABEL})+|{_LABEL}(?:\.{_LABEL})*)"
_OTHER_NAME = rf"(?:dns:{_HOST_NAME}|ip:[0-9A-Fa-f.:]{{2,45}})"

_TEXTS: dict[Callable[..., Any], dict[str, Any]] = {
    function_of(fields.ApiVersion): pattern(
        r"scone/0*(?:5\.0*(?:[89]|[1-9][0-9]{1,8})|[6-9]|[1-9][0-9]{1,8})(?:\.[0-9]{1,9})*"
    ),
    function_of(fields.AbsolutePath): pattern(_PATH + r"[^\x00-\x1f\x7f-\x9f]*"),
    function_of(fields.MountPath): pattern(_PATH + r"[^\x00-\x1f\x7f-\x9f:]*"),
    function_of(fields.KeyHash): pattern(_KEY_HASH),
    function_of(fields.InnerPath): pattern(r"(?!/)(?!\.\.(?:/|$))[\s\S]+"),
    fields.CommandLine: pattern(_COMMAND),
    names.session_name: pattern(f"/|{_NAME}"),
    names.service_name: pattern(_SEGMENT),
    names.secret_name: pattern(r"[^\s$:|/]{1,256}"),
    policy_fields.language_version: {"enum": list(policy_fields.VERSIONS)},
    policy_fields.session_hash: pattern(_HEX_32),
    policy_fields.salt: pattern("[0-9a-fA-F]{32}"),
    policy_fields.measurement: pattern(_HEX_32),
    policy_fields.measurement_or_reference: pattern(f"{_HEX_32}|{REFERENCE}"),
    policy_fields.fspf_key: pattern(f"{_HEX_32}|{REFERENCE}"),
    policy_fields.fspf_tag: pattern("[0-9a-fA-F]{32}"),
    policy_fields.fspf_update_policy: enum(enum_words.FSPF_POLICIES),
    policy_fields.volume_update_policy: enum(volumes.UPDATE_POLICIES),
    policy_fields.reference: pattern(REFERENCE),
    policy_fields.absolute_path: pattern(_CLIMBS + r"/[\s\S]*"),
    policy_fields.file_path: pattern(_CLIMBS + r"/(?:[\s\S]*[^/])?"),
    policy_fields.environment_key: pattern(r"[^=]+"),
    policy_fields.duration: pattern(rf"\s*(?:[0-9]+\s*{_UNIT}\s*)+"),
    policy_volumes.volume_files: enum(enum_words.VOLUME_FILES),
    secret.secret_kind: enum(secrets.SECRET_KINDS),
    secret.key_type: enum(secrets.KEY_TYPES),
    secret.endpoint: enum(secrets.ENDPOINTS),
    secret.alternative_name: pattern(_OTHER_NAME),
    secret.dns_name: pattern(_HOST_NAME),
    secret.thumbprint: pattern("[0-9a-fA-F]{40}"),
    secret.algorithm: enum(secrets.ALGORITHMS),
    secret.claim: {"not": {"enum": sorted(secret.RESERVED_CLAIMS)}},
    services.platform: pattern(f"INTEL_QE_ID:[0-9a-fA-F]{{32}}|{_HEX_32}|{REFERENCE}"),
    security.attestation_mode: enum(enum_words.ATTESTATION_MODES),
    security.tolerated: enum(enum_words.TOLERATIONS),
    security.advisory: pattern(r"\*|INTEL-SA-[0-9]{5}"),
    security.provider_url: pattern(r"https://[^\s/]+(?:/\S*)?"),
    security.certificate: {"pattern": f"-----BEGIN CERTIFICATE-----|^{REFERENCE}$"},
    security.token_reference: pattern(REFERENCE),
    security.vault_url: pattern(r"https://[^\s/]+/?"),
    security.qe_public_key: pattern(f"{_HEX_32}|{REFERENCE}"),
    references.cas_address: pattern(CAS_ADDRESS),
    references.cas_key: pattern(_KEY_HASH),
    references.local_name: pattern(r"[A-Za-z0-9_.~/-]+"),
    access_policy.certificate: {"pattern": "-----BEGIN CERTIFICATE-----"},
    one_time_password.shared_secret: pattern(f"[A-Z2-7]{{26,}}=*|{REFERENCE}"),
}

_LATE_TEXTS: dict[Callable[..., Any], dict[str, Any]] = {
    function_of(secrets.HostName): pattern(_HOST_NAME),
    function_of(secrets.OtherName): pattern(_OTHER_NAME),
}

_NO_FORM: frozenset[Callable[..., Any]] = frozenset(
    {
        function_of(fields.Text, 1),  # no NUL: no YAML text has one
        policy_fields.without_nul,
        policy_fields.arguments,
    }
)
"""Checks that say nothing about the form of a text by itself."""


def unknown(checks: Iterable[Callable[..., Any]]) -> list[str]:
    """Return the names of checks that nobody has decided about."""
    return sorted(
        {
            getattr(check, "__qualname__", repr(check))
            for check in checks
            if form_of(check) is None and check not in _NO_FORM
        }
    )
