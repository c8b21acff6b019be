"""Turns what pydantic found into findings: position, field, expectation and remedy, never the value itself.

In: a validation error of one part, the document, and the place of the part in it. Out: findings.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from sconectl.findings import Finding
from sconectl.policy.violation import LATER, code_of
from sconectl.yaml_tree import Document, Path, show_path

_EXPECTED = {
    "model_type": "expected a mapping",
    "model_attributes_type": "expected a mapping",
    "dict_type": "expected a mapping",
    "tuple_type": "expected a list",
    "list_type": "expected a list",
    "string_type": "expected text",
    "int_parsing": "expected a whole number",
    "int_type": "expected a whole number",
    "too_short": "expected at least one entry",
    "string_too_short": "expected some text",
    "string_too_long": "the text is too long",
}

_MISSING = {
    ("name",): "N1",
    ("version",): "V1",
    ("services", "name"): "S1",
    ("secrets", "import", "session"): "X5",
    ("secrets", "import", "secret"): "X5",
    ("services", "attestation", "mrenclave"): "A1",
}

_LATER_KEYS = {
    (): {"namespace_hash", "salt", "secret_config", "volumes"},
    ("services",): {"platforms", "one_time_password_shared_secret"},
    ("services", "attestation"): {"signer"},
    ("images",): {"volumes", "provide_secrets"},
    ("secrets",): {
        "import_akv", "key_type", "migrate", "private_key", "issuer", "common_name", "endpoint", "dns", "san",
        "valid_for", "tenant_id", "client_id", "application_secret", "certificate_thumbprint", "signer", "alg",
        "validity", "payload",
    },
    ("secrets", "export"): {"session_hash", "cas_url", "cas_key", "cas_software_key"},
    ("secrets", "import"): {"session_hash", "cas_url", "cas_key", "cas_software_key"},
    ("security",): {"singleton_enclaves", "service_access_token"},
    ("security", "attestation"): {
        "must_be_sgx_local", "url", "certificates", "min_rsa_signing_key_size", "one_time_password_shared_secret",
        "trusted_scone_qe_pubkeys",
    },
}  # fmt: skip


def findings_of(error: ValidationError, document: Document, prefix: Path) -> Iterator[Finding]:
    """Yield one finding for each fault in `error`; `prefix` is the place of the validated part."""
    faults = error.errors(include_url=False, include_input=False)
    later_kinds = [fault for fault in faults if fault["type"] == LATER and fault["loc"] == ("kind",)]
    # The parameters of a kind that is refused anyway would only be noise.
    for fault in later_kinds or faults:
        yield _finding(fault, document, prefix)


def _finding(fault: Any, document: Document, prefix: Path) -> Finding:
    location = tuple(fault["loc"])
    about_key = location[-1:] == ("[key]",)
    path = prefix + (location[:-1] if about_key else location)
    kind = str(fault["type"])
    context = fault.get("ctx", {})
    at_key = about_key or kind == "extra_forbidden"
    position = document.key_position(path) if at_key else document.position(path)
    rule, message, hint = _explained(kind, fault, path, context)
    return Finding("error", code_of(rule), position, show_path(path), message, hint)


def _explained(kind: str, fault: Any, path: Path, context: dict[str, Any]) -> tuple[str, str, str]:
    names = tuple(step for step in path if isinstance(step, str))
    if kind == "extra_forbidden":
        if names[-1] in _LATER_KEYS.get(names[:-1], ()):
            return LATER, "not available in this version", "remove it, or wait for a version that enforces it"
        return "D3", "unknown key", "check the spelling, or remove it"
    if kind == "missing":
        return _MISSING.get(names, "D1"), "this field is missing", f"add {path[-1]}"
    if "message" in context:
        return kind, str(context["message"]), str(context.get("hint", ""))
    if kind in {"greater_than_equal", "less_than_equal"}:
        return "D1", str(fault["msg"]).replace("Input should be", "expected a number"), ""
    if path[-1:] and kind == "string_type" and "environment" in names:
        return "D1", "expected text", 'write "" for an empty value'
    return "D1", _EXPECTED.get(kind, "not of the expected form"), ""
