"""Which programs get a configuration, and what those that do not are told."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from sconectl.cas.access import Principal
from sconectl.cas.attestation import report_data_for
from sconectl.cas.refusal import CasRefusal
from sconectl.cas.service import EmbeddedCas

from .conftest import MEASUREMENT, session_text

CHANNEL = b"the client certificate"
SERVICES = f"""
services:
  - {{name: app, command: app, attestation: [{{mrenclave: {MEASUREMENT}}}, {{mrenclave: ["{"cd" * 32}"]}}]}}
"""


def report(**changes: Any) -> dict[str, Any]:
    return {
        "toolchain": "sim",
        "measurement": MEASUREMENT,
        "debug": False,
        "report_data": report_data_for(CHANNEL),
    } | changes


@pytest.fixture
def ready(cas: EmbeddedCas, alice: Principal) -> EmbeddedCas:
    cas.put(session_text(body=SERVICES), alice)
    return cas


def causes(cas: EmbeddedCas, quote: Any, config_id: str = "acme/app", status: int = 403) -> tuple[str, ...]:
    with pytest.raises(CasRefusal) as caught:
        cas.attest(config_id, quote, CHANNEL)
    assert caught.value.status == status
    return caught.value.causes


@pytest.mark.parametrize("measurement", [MEASUREMENT, "cd" * 32])
def test_each_named_enclave_is_accepted(ready: EmbeddedCas, measurement: str) -> None:
    config = ready.attest("acme/app", ready.quote(report(measurement=measurement)), CHANNEL)
    assert config["argv"] == ["app"]
    assert config["fspf"] is None
    assert config["files"] == []


def test_all_unmet_requirements_are_named(ready: EmbeddedCas) -> None:
    found = causes(ready, ready.quote(report(measurement="00" * 32, debug=True)))
    assert found[:2] == (
        "CAS refused to attest service app of session acme",
        "The program enclave is not trustworthy",
    )
    assert found[2].startswith(f"Error 1 of 2: Unexpected enclave measurement (MRENCLAVE, {'00' * 32}) - Expected")
    assert MEASUREMENT in found[2]
    assert found[3].startswith("Error 2 of 2: The enclave runs in debug mode")


def test_debug_mode_must_be_tolerated(cas: EmbeddedCas, alice: Principal) -> None:
    cas.put(session_text(body="security: {attestation: {tolerate: [debug-mode]}}\n" + SERVICES), alice)
    assert cas.attest("acme/app", cas.quote(report(debug=True)), CHANNEL)


def test_other_toolchains_are_refused(ready: EmbeddedCas) -> None:
    assert "toolchain" in causes(ready, ready.quote(report(toolchain="sgx")))[2]


def test_a_quote_is_bound_to_its_channel(ready: EmbeddedCas) -> None:
    quote = ready.quote(report(report_data=report_data_for(b"another certificate")))
    assert causes(ready, quote)[1] == "The quote does not belong to this connection"


@pytest.mark.parametrize("field", ["measurement", "debug", "toolchain"])
def test_changed_reports_are_not_genuine(ready: EmbeddedCas, field: str) -> None:
    quote = ready.quote(report(measurement="00" * 32, debug=True, toolchain="sgx"))
    quote["report"][field] = report()[field]
    assert causes(ready, quote)[1] == "The quote is not genuine"


def test_foreign_and_broken_signatures_are_not_genuine(ready: EmbeddedCas, tmp_path: Path) -> None:
    foreign = EmbeddedCas(tmp_path / "foreign").quote(report())
    own = ready.quote(report())
    for changed in (foreign, own | {"signature": foreign["signature"]}, own | {"signature": "***"}):
        assert causes(ready, changed)[1] == "The quote is not genuine"
    assert "names the quoting key" in causes(ready, foreign)[2]
    assert "names the quoting key" in causes(ready, own | {"key": foreign["key"]})[2]
    assert ready.attest("acme/app", own, CHANNEL)


def test_the_signature_does_not_fit_other_uses_of_the_key(ready: EmbeddedCas) -> None:
    import base64

    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    quote = ready.quote(report())
    canonical = json.dumps(quote["report"], sort_keys=True, separators=(",", ":")).encode()
    key = ready.keys.quoting.public_key()
    with pytest.raises(InvalidSignature):
        key.verify(base64.b64decode(quote["signature"]), canonical, ec.ECDSA(hashes.SHA256()))
    key.verify(
        base64.b64decode(quote["signature"]), b"sconectl simulated quote v1\0" + canonical, ec.ECDSA(hashes.SHA256())
    )


def test_unknown_sessions_and_services_are_told_apart(ready: EmbeddedCas) -> None:
    quote = ready.quote(report())
    assert "Session not found" in causes(ready, quote, "ghost/app", 404)[1]
    assert "Service not found" in causes(ready, quote, "acme/ghost", 404)[1]
    for malformed in ("", "acme", "/app", "acme/"):
        causes(ready, quote, malformed, 404 if malformed == "ghost" else 400)


def test_malformed_quotes(ready: EmbeddedCas) -> None:
    good = ready.quote(report())
    worse: list[Any] = [None, [], {}, good | {"extra": 1}, good | {"report": []}, good | {"signature": 7}]
    for field in good["report"]:
        shorter = copy.deepcopy(good)
        del shorter["report"][field]
        worse.append(shorter)
    for quote in worse:
        causes(ready, quote, status=400)


@pytest.mark.parametrize(
    "changes",
    [{"measurement": "AB" * 32}, {"measurement": "ab"}, {"debug": "false"}, {"report_data": "00"}, {"more": 1}],
)
def test_malformed_reports_are_not_signed(cas: EmbeddedCas, changes: dict[str, Any]) -> None:
    with pytest.raises(CasRefusal) as caught:
        cas.quote(report(**changes))
    assert caught.value.status == 400


def test_mode_none_checks_the_channel_only(cas: EmbeddedCas, alice: Principal) -> None:
    cas.put(session_text(body="security: {attestation: {mode: none}}\n" + SERVICES), alice)
    unsigned = {"report": report(measurement="00" * 32, debug=True), "key": "", "signature": ""}
    assert cas.attest("acme/app", unsigned, CHANNEL)
    unsigned["report"] = report(report_data="00" * 64)
    assert causes(cas, unsigned)[1] == "The quote does not belong to this connection"
