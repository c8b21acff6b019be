"""Which programs get a configuration, and what those that do not are told."""

from __future__ import annotations

import base64
import copy
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from sconectl.cas.attest.quotes import DOMAIN, report_data_for, sign_quote
from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.keys.cas_keys import CasKeys
from sconectl.key_hash import key_hash

from .enclave_world import CHANNEL, MEASUREMENT, OTHER, PLATFORM, World, make_keys, service

SIGNER = "77" * 32
ACCEPTED = "What is accepted is in the session (sconectl session read acme) and in the log of the CAS"
CLAIMED = (
    f"Unexpected enclave (MRENCLAVE, {MEASUREMENT}; "
    "MRSIGNER, {mrsigner}; ISVPRODID, {isvprodid}; ISVSVN, {isvsvn})"
)
UNUSABLE = ("The policy refers to a secret that cannot be used here", "The log of the CAS says which")
SIGNED: dict[str, Any] = {"mrsigner": SIGNER, "isvprodid": 7, "isvsvn": 5}


@pytest.fixture(scope="module")
def world_keys(tmp_path_factory: pytest.TempPathFactory) -> CasKeys:
    return make_keys(tmp_path_factory.mktemp("keys") / "cas")


@pytest.fixture
def world(world_keys: CasKeys, tmp_path: Path) -> World:
    return World(world_keys, tmp_path)


def security(text: str) -> str:
    return f"security: {{attestation: {{{text}}}}}\n"


# The quote.


def test_a_quote_is_bound_to_its_channel(world: World) -> None:
    world.put(service())
    assert world.attest()["argv"] == ["app"]
    quote = world.quote(report_data=report_data_for(b"another certificate"))
    with pytest.raises(CasRefusal) as caught:
        world.enclaves.attest("acme/app", quote, CHANNEL)
    assert caught.value.causes == (
        "CAS refused to attest service app of session acme",
        "The quote does not belong to this connection",
        "Its report data is not the SHA-512 of the client certificate in use",
    )


def refused(world: World, quote: Any, status: int = 403) -> tuple[str, ...]:
    with pytest.raises(CasRefusal) as caught:
        world.enclaves.attest("acme/app", quote, CHANNEL)
    assert caught.value.status == status
    return caught.value.causes


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("report", "measurement", MEASUREMENT),
        ("report", "debug", False),
        ("report", "toolchain", "sim"),
        ("report", "isvsvn", 7),
        ("report", "nonce", "00"),
        ("platform", "id", "00" * 16),
        ("platform", "issues", ["outdated-tcb"]),
        ("platform", "advisories", []),
    ],
)
def test_changed_quotes_are_not_genuine(world: World, part: str, field: str, value: Any) -> None:
    world.put(service())
    world.restart(issues=("outdated-tcb", "aepic-leak"), advisories=("INTEL-SA-00615",))
    quote = world.quote(measurement="00" * 32, debug=True, toolchain="sgx", isvsvn=1)
    quote[part][field] = value
    assert refused(world, quote)[1:] == ("The quote is not genuine", "Its signature does not match its content")


def test_foreign_and_broken_signatures_are_not_genuine(world: World, tmp_path: Path) -> None:
    world.put(service())
    own = world.quote()
    foreign = sign_quote(own["report"], world.machine.platform, make_keys(tmp_path / "foreign").quoting)
    for changed in (foreign, own | {"signature": foreign["signature"]}, own | {"signature": "***"},
                    own | {"signature": "é"}, own | {"signature": ""}):  # fmt: skip
        assert refused(world, changed)[1] == "The quote is not genuine"
    trusted = f"but this CAS trusts {key_hash(world.keys.quoting.public_key())} only"
    assert refused(world, foreign)[2] == f"It names the quoting key {foreign['key']}, {trusted}"
    assert trusted in refused(world, own | {"key": foreign["key"]})[2]
    assert world.enclaves.attest("acme/app", own, CHANNEL)


def test_the_signature_does_not_fit_other_uses_of_the_key(world: World) -> None:
    quote = world.quote()
    signature = base64.b64decode(quote.pop("signature"))
    canonical = json.dumps(quote, sort_keys=True, separators=(",", ":")).encode()
    key = world.keys.quoting.public_key()
    for message in (canonical, DOMAIN.replace(b"v2", b"v1") + canonical):
        with pytest.raises(InvalidSignature):
            key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    key.verify(signature, DOMAIN + canonical, ec.ECDSA(hashes.SHA256()))


def test_malformed_quotes(world: World) -> None:
    world.put(service())
    good = world.quote()
    worse: list[Any] = [None, [], {}, good | {"extra": 1}, good | {"report": []}, good | {"signature": 7}]
    for part in ("report", "platform"):
        for field in good[part]:
            shorter = copy.deepcopy(good)
            del shorter[part][field]
            if part == "report" or field == "id":
                worse.append(shorter)
            worse.append(good | {part: good[part] | {field: 7.5}})
    for quote in worse:
        assert refused(world, quote, 400)[1] == "The quote is malformed"


@pytest.mark.parametrize(
    "changes",
    [
        {"measurement": "AB" * 32}, {"measurement": "ab"}, {"measurement": "ab" * 32 + "\n"}, {"debug": "false"},
        {"debug": 0}, {"report_data": "00"}, {"more": 1}, {"toolchain": ""}, {"toolchain": "a b"},
        {"mrsigner": "00"}, {"mrsigner": 0}, {"isvprodid": -1}, {"isvprodid": 65536}, {"isvprodid": "1"},
        {"isvsvn": True}, {"isvsvn": 1.0}, {"nonce": ""}, {"nonce": "0"}, {"nonce": "XY"}, {"nonce": "00" * 65},
    ],
)  # fmt: skip
def test_malformed_reports_are_not_signed(world: World, changes: dict[str, Any]) -> None:
    with pytest.raises(CasRefusal, match="The report is malformed") as caught:
        world.quote(**changes)
    assert caught.value.status == 400


def test_reports_of_older_launchers_stay_as_they_are(world: World) -> None:
    quote = world.quote()
    assert set(quote["report"]) == {"toolchain", "measurement", "debug", "report_data"}
    assert quote["platform"] == {"id": PLATFORM, "issues": [], "advisories": []}


# The enclave.


@pytest.mark.parametrize("measurement", [MEASUREMENT, OTHER, "ee" * 32])
def test_each_named_enclave_is_accepted(world: World, measurement: str) -> None:
    world.put(service(f"[{{mrenclave: [{MEASUREMENT}, {OTHER}]}}, {{mrenclave: {'ee' * 32}}}]"))
    assert world.attest(measurement=measurement)["argv"] == ["app"]


def test_one_requirement_that_is_not_met(world: World) -> None:
    world.put(service(f"{{mrenclave: [{MEASUREMENT}, {OTHER}]}}"))
    assert world.refused(measurement="00" * 32) == (
        "The program enclave is not trustworthy",
        f"Unexpected enclave (MRENCLAVE, {'00' * 32}; not signed)",
        ACCEPTED,
    )
    assert world.details == (
        f"Requirement 1 of 1 not met: Unexpected enclave measurement (MRENCLAVE, {'00' * 32}) - "
        f"Expected {MEASUREMENT} or {OTHER}",
    )


def test_all_unmet_requirements_are_named(world: World) -> None:
    body = f"[{{mrenclave: {OTHER}}}, {{mrenclave: {MEASUREMENT}, signer: {{mrsigner: {SIGNER}, isvprodid: 7}}}}]"
    world.put(service(body))
    world.restart(issues=("hyperthreading", "outdated-tcb"), advisories=("INTEL-SA-00615",))
    assert world.refused(measurement="00" * 32, debug=True, toolchain="sgx") == (
        "The program enclave is not trustworthy",
        "Unexpected toolchain sgx - Expected sim",
        f"Unexpected enclave (MRENCLAVE, {'00' * 32}; not signed)",
        "The enclave runs in debug mode - Expected production mode (debug-mode is not tolerated)",
        "The platform has the issue hyperthreading, which is not tolerated",
        "The platform has the advisory category outdated-tcb, which is not tolerated",
        "The platform is concerned by advisory INTEL-SA-00615, which is not ignored",
        ACCEPTED,
    )
    assert world.details == (
        "None of the 2 requirements is met, of which one is enough",
        f"Requirement 1 of 2 not met: Unexpected enclave measurement (MRENCLAVE, {'00' * 32}) - Expected {OTHER}",
        f"Requirement 2 of 2 not met: Unexpected enclave measurement (MRENCLAVE, {'00' * 32}) - Expected {MEASUREMENT}",
        f"Requirement 2 of 2 not met: Unexpected enclave signer (MRSIGNER, none) - Expected {SIGNER}",
        "Requirement 2 of 2 not met: Unexpected product (ISVPRODID, none) - Expected 7",
    )


def test_measurement_and_signer_of_a_variant_both_count(world: World) -> None:
    world.put(service(f"{{mrenclave: {MEASUREMENT}, signer: {{mrsigner: {SIGNER}, isvprodid: 7}}}}"))
    assert world.attest(**SIGNED)
    assert world.refused(measurement=OTHER, **SIGNED) and "MRENCLAVE" in world.details[0]
    assert world.refused() and "MRSIGNER" in world.details[0]


def test_a_signer_alone_accepts_any_measurement(world: World) -> None:
    world.put(service(f"{{signer: {{mrsigner: {SIGNER}, isvprodid: 7}}}}"))
    assert world.attest(measurement=OTHER, mrsigner=SIGNER, isvprodid=7)


@pytest.mark.parametrize(
    ("rule", "claims", "reason"),
    [
        ("", {"mrsigner": "88" * 32}, f"Unexpected enclave signer (MRSIGNER, {'88' * 32}) - Expected {SIGNER}"),
        ("", {"isvprodid": 8}, "Unexpected product (ISVPRODID, 8) - Expected 7"),
        ("", {"isvprodid": 0}, "Unexpected product (ISVPRODID, 0) - Expected 7"),
        ("", {}, ""),
        ("", {"isvsvn": 65535}, ""),
        ("isvsvn: 5", {}, ""),
        ("isvsvn: 5", {"isvsvn": 6}, "Unexpected security version (ISVSVN, 6) - Expected 5"),
        ("isvsvn: 5", {"isvsvn": None}, "Unexpected security version (ISVSVN, none) - Expected 5"),
        ("isvsvn_min: 5", {}, ""),
        ("isvsvn_min: 6", {}, "Unexpected security version (ISVSVN, 5) - Expected 6 or more"),
        ("isvsvn_min: 0", {"isvsvn": None}, "Unexpected security version (ISVSVN, none) - Expected 0 or more"),
        ("isvsvn_max: 5", {}, ""),
        ("isvsvn_max: 4", {}, "Unexpected security version (ISVSVN, 5) - Expected 4 or less"),
        ("isvsvn_max: 4", {"isvsvn": None}, "Unexpected security version (ISVSVN, none) - Expected 4 or less"),
        ("isvsvn_min: 5, isvsvn_max: 5", {}, ""),
    ],
)
def test_signers(world: World, rule: str, claims: dict[str, Any], reason: str) -> None:
    world.put(service(f"{{signer: {{mrsigner: {SIGNER}, isvprodid: 7{', ' * bool(rule)}{rule}}}}}"))
    if reason:
        told = world.refused(**SIGNED | claims)
        assert world.details == (f"Requirement 1 of 1 not met: {reason}",)
        assert told[1:] == (CLAIMED.format(**SIGNED | claims).replace("None", "none"), ACCEPTED)
    else:
        assert world.attest(**SIGNED | claims)


# The platform.


@pytest.mark.parametrize(
    ("platforms", "reasons"),
    [
        (f'["INTEL_QE_ID:{PLATFORM}"]', ()),
        (f'["INTEL_QE_ID:{"00" * 16}", "INTEL_QE_ID:{PLATFORM.upper()}"]', ()),
        (
            f'["INTEL_QE_ID:{"00" * 16}", "INTEL_QE_ID:{"11" * 16}"]',
            (
                f"Unexpected platform (INTEL_QE_ID:{PLATFORM}) - "
                f"Expected INTEL_QE_ID:{'00' * 16} or INTEL_QE_ID:{'11' * 16}",
            ),
        ),
        (
            f"[{'00' * 32}]",
            (
                f"Unexpected platform (INTEL_QE_ID:{PLATFORM}) - Expected {'00' * 32}",
                "64 hex digits, the old form, match no platform any more - write INTEL_QE_ID: and 32 hex digits",
            ),
        ),
    ],
)
def test_platforms(world: World, platforms: str, reasons: tuple[str, ...]) -> None:
    world.put(service(more=f"    platforms: {platforms}\n"))
    if reasons:
        assert world.refused()[1:] == (f"Unexpected platform (INTEL_QE_ID:{PLATFORM})", ACCEPTED)
        assert world.details == reasons
    else:
        assert world.attest()


@pytest.mark.parametrize("mode", ["mode: none", "must_be_sgx_local: true, tolerate: [local-attestation-trust-cas-tcb]"])
def test_platforms_are_ignored(world: World, mode: str) -> None:
    """LANG §6.3: with mode none, or if local attestation is forced."""
    world.put(security(mode) + service(more=f'    platforms: ["INTEL_QE_ID:{"00" * 16}"]\n'))
    assert world.attest()


def test_tolerating_local_attestation_does_not_change_where_a_program_may_run(world: World) -> None:
    platforms = f'    platforms: ["INTEL_QE_ID:{"00" * 16}"]\n'
    world.put(security("tolerate: [local-attestation-trust-cas-tcb]") + service(more=platforms))
    assert "Unexpected platform" in world.refused()[1]


ISSUES = ["hyperthreading", "insecure-igpu", "aepic-leak", "software-hardening-needed", "insecure-configuration",
          "outdated-tcb"]  # fmt: skip


@pytest.mark.parametrize("issue", ISSUES)
def test_each_issue_has_to_be_tolerated(world: World, issue: str) -> None:
    world.restart(issues=(issue,))
    others = ", ".join(other for other in ISSUES if other != issue)
    world.put(security(f"tolerate: [{others}, debug-mode]") + service())
    (reason,) = world.refused()[1:]
    assert reason.startswith("The platform has the ") and reason.endswith(f"{issue}, which is not tolerated")
    world.put(security(f"tolerate: [{issue}]") + service())
    assert world.attest()


def test_advisories(world: World) -> None:
    world.restart(issues=("outdated-tcb",), advisories=("INTEL-SA-00615", "INTEL-SA-00657"))
    text = "The platform is concerned by advisory {}, which is not ignored"
    category = "The platform has the advisory category outdated-tcb, which is not tolerated"
    both = (text.format("INTEL-SA-00615"), text.format("INTEL-SA-00657"))
    for ignored, tolerated, reasons in (
        ("[]", "outdated-tcb", both),
        ("[INTEL-SA-00615]", "outdated-tcb", both[1:]),
        ("[INTEL-SA-00615, INTEL-SA-00657]", "outdated-tcb", ()),
        ("[INTEL-SA-00615, INTEL-SA-00657]", "insecure-configuration", (category,)),
        ('"*"', "outdated-tcb", ()),
        ('"*"', "insecure-configuration", (category,)),
    ):
        world.put(security(f"tolerate: [{tolerated}], ignore_advisories: {ignored}") + service())
        if reasons:
            assert world.refused()[1:] == reasons
        else:
            assert world.attest()


def test_debug_mode_must_be_tolerated(world: World) -> None:
    world.put(service())
    (reason,) = world.refused(debug=True)[1:]
    assert reason == "The enclave runs in debug mode - Expected production mode (debug-mode is not tolerated)"
    world.put(security("tolerate: [debug-mode]") + service())
    assert world.attest(debug=True)


# The mode.


def test_mode_none_checks_the_channel_only(world: World) -> None:
    world.restart(issues=("outdated-tcb",))
    world.put(security("mode: none") + "services: [{name: app, command: app, pwd: /}]")
    unsigned = world.quote(measurement="00" * 32, debug=True, toolchain="sgx") | {"key": "", "signature": ""}
    assert world.enclaves.attest("acme/app", unsigned, CHANNEL)
    unsigned["report"]["report_data"] = "00" * 64
    assert refused(world, unsigned)[1] == "The quote does not belong to this connection"
    assert refused(world, {"report": unsigned["report"]}, 400)[1] == "The quote is malformed"


def test_mode_maa_is_refused(world: World) -> None:
    world.put(security("mode: maa, url: https://a.b.attest.azure.net, tolerate: [maa-managed-tcb]") + service())
    assert world.refused() == ("The embedded CAS cannot attest with mode maa",)


# What the policy leaves to fragments.


def test_references_are_replaced_at_attestation(world: World) -> None:
    fragments = f"""
secrets:
  - {{name: more, kind: config-fragment, value: [{OTHER}]}}
  - {{name: variant, kind: config-fragment, value: {{signer: {{mrsigner: {SIGNER}, isvprodid: 3}}}}}}
  - {{name: lenient, kind: config-fragment, value: {{mode: simulation, tolerate: [debug-mode]}}}}
  - {{name: node, kind: ascii, value: "INTEL_QE_ID:{PLATFORM}"}}
"""
    body = f"[{{mrenclave: [{MEASUREMENT}, $$SCONE::more$$]}}, $$SCONE::variant$$]"
    platforms = '    platforms: ["$$SCONE::node$$"]\n'
    world.put("security: {attestation: $$SCONE::lenient$$}\n" + service(body, platforms) + fragments)
    assert world.attest(debug=True)
    assert world.attest(measurement=OTHER)
    assert world.attest(measurement="00" * 32, mrsigner=SIGNER, isvprodid=3)
    assert world.refused(measurement="00" * 32) and f"{MEASUREMENT} or {OTHER}" in world.details[1]
    world.put(service(body, platforms) + fragments.replace(PLATFORM, "00" * 16))
    assert "Unexpected platform" in world.refused()[1]


@pytest.mark.parametrize(
    ("head", "attestation", "value"),
    [
        ("", "[{mrenclave: [$$SCONE::f$$]}]", "[nonsense]"),
        ("", "[{mrenclave: [$$SCONE::f$$]}]", "[]"),
        ("", "[$$SCONE::f$$]", "{signer: {isvprodid: 3}}"),
        ("", "[$$SCONE::f$$]", "[]"),
        ("", "$$SCONE::f$$", "text"),
        ("security: $$SCONE::f$$\n", f"{{mrenclave: {MEASUREMENT}}}", "{attestation: {mode: lenient}}"),
        ("security: {attestation: {tolerate: [$$SCONE::f$$]}}\n", f"{{mrenclave: {MEASUREMENT}}}", "[everything]"),
    ],
)
def test_references_to_something_else_are_refused(world: World, head: str, attestation: str, value: str) -> None:
    fragment = f"secrets: [{{name: f, kind: config-fragment, value: {value}}}]\n"
    world.put(head + service(attestation) + fragment)
    assert world.refused() == UNUSABLE
    assert len(world.details) == 1


def test_a_reference_that_cannot_be_had_is_a_refusal(world: World) -> None:
    secret = "secrets: [{name: f, kind: config-fragment, import: {session: ghost, secret: f}}]\n"
    world.put(service("[$$SCONE::f$$]") + secret)
    causes = world.refused()
    assert causes == UNUSABLE
    assert "ghost" in world.details[0]
