"""What is accepted, but worth a word: parts that have no effect, and spellings that are deprecated (LANG §20).

In: a draft. Out: warnings and deprecations at the position of what they are about. Each docstring begins with the id
of the rule that it belongs to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sconectl.policy.model.access_policy import old_signer
from sconectl.policy.model.secret import without_effect
from sconectl.policy.model.services import QE_ID
from sconectl.policy.rules.session_draft import Draft
from sconectl.text.findings import Finding
from sconectl.text.secret_placeholders import is_reference
from sconectl.text.yaml_tree import Path, texts_in

_SAN_SINCE = 10
_ATTESTATION: Path = ("security", "attestation")


def old_measurements(draft: Draft) -> Iterator[Finding]:
    """A1: `mrenclaves` is the old spelling of an attestation variant."""
    for index, item in draft.entries("services"):
        if "mrenclaves" in item:
            path = ("services", index, "mrenclaves")
            hint = "write attestation: [{mrenclave: […]}]"
            yield draft.finding("A1", path, "mrenclaves is deprecated", hint, severity="deprecation")


def old_platforms(draft: Draft) -> Iterator[Finding]:
    """A6: 64 hex digits named a quoting enclave that present CASes do not have."""
    for index, service in draft.services.items():
        for number, platform in enumerate(service.platforms):
            if not platform.startswith(QE_ID) and not is_reference(platform):
                path = ("services", index, "platforms", number)
                hint = f"write {QE_ID} and the 32 hex digits of the quoting enclave"
                yield draft.finding(
                    "A6", path, "this old form of a platform matches no platform", hint, severity="warning"
                )


def parameters_without_effect(draft: Draft) -> Iterator[Finding]:
    """K1: parameters that do not belong to the kind of a secret, or to an imported or given one, are ignored."""
    for index, item in draft.entries("secrets"):
        if index in draft.secrets:
            for key in without_effect(item):
                reason = "for an imported secret" if draft.secrets[index].imported else _reason(item)
                path = ("secrets", index, key)
                yield draft.finding("K1", path, f"{key} has no effect {reason}", "remove it", severity="warning")


def _reason(item: dict[str, Any]) -> str:
    return "beside value" if "value" in item else f"for secrets of kind {item.get('kind')}"


def old_alternative_names(draft: Draft) -> Iterator[Finding]:
    """K8: `dns` is superseded by `san` in the versions that have it."""
    patch = int((draft.version or "0.3").removeprefix("0.3").removeprefix(".") or 0)
    for index, secret in draft.secrets.items():
        if secret.dns and patch >= _SAN_SINCE:
            path = ("secrets", index, "dns")
            yield draft.finding("K8", path, "dns is deprecated", 'write san: ["dns:…"]', severity="deprecation")


def old_signers(draft: Draft) -> Iterator[Finding]:
    """G5: signers are named by their key in PEM form; the base58 form is deprecated."""
    for path, text in texts_in(draft.value.get("access_policy"), ("access_policy",)):
        if old_signer(text) is not None:
            yield draft.finding(
                "G5",
                path,
                "this notation of a signer is deprecated",
                "write its key in PEM form",
                severity="deprecation",
            )


def old_attestation_keys(draft: Draft) -> Iterator[Finding]:
    """C1: two settings of attestation have no effect any more."""
    section: Any = draft.value.get("security")
    section = section.get("attestation") if isinstance(section, dict) else None
    for key in ("trusted_scone_qe_pubkeys", "min_rsa_signing_key_size"):
        if isinstance(section, dict) and key in section:
            message = f"{key} is deprecated and has no effect"
            yield draft.finding("C1", (*_ATTESTATION, key), message, "remove it", severity="deprecation")


def misspelt_toleration(draft: Draft) -> Iterator[Finding]:
    """C3: `debug` is taken for `debug-mode`."""
    for path, text in texts_in(draft.value.get("security"), ("security",)):
        if text == "debug" and path[:3] == (*_ATTESTATION, "tolerate"):
            yield draft.finding("C3", path, "debug is taken for debug-mode", "write debug-mode", severity="warning")


RULES = (
    old_measurements,
    old_platforms,
    parameters_without_effect,
    old_alternative_names,
    old_signers,
    old_attestation_keys,
    misspelt_toleration,
)
