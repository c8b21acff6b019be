"""Attestation flags: reading them, and what they mean for a CAS that is a simulation."""

from __future__ import annotations

import dataclasses
from datetime import date

import pytest

from sconectl.cas.client.tolerance import _SWITCHES, _VALUES, Tolerance, judge, parse, parse_words
from sconectl.cas.client.trust import Evidence
from sconectl.errors import UsageError

ZERO = "2wkBET2rRgE8pahuaczxKbmv7ciehqsne57F9gtzf1PVdr2VP3"
ONES = "4tVMTu4hrMTGeAQpAEzueCYqEESJQgkaH9DVJNnzK1mzCNiNFw"
M1, M2 = "1e" + "0" * 62, "ab" * 32
SHOWN = Evidence(ZERO, ONES, "1", "00" * 32, "", "")
ALL_TOLERATED = {
    "accept_configuration_needed": True,
    "accept_group_out_of_date": True,
    "accept_sw_hardening_needed": True,
}


@pytest.mark.parametrize(
    ("flags", "fields"),
    [
        ("", {}),
        ("-G", {"accept_group_out_of_date": True}),
        ("-GCS", ALL_TOLERATED),
        ("-G -C -S", ALL_TOLERATED),
        (
            "--accept-group-out-of-date --accept-configuration-needed --accept-sw-hardening-needed",
            ALL_TOLERATED,
        ),
        ("--outdated-tcb --insecure-configuration --software-hardening-needed", ALL_TOLERATED),
        (f"-c {ZERO} -s {ONES}", {"cas_key": ZERO, "cas_software_key": ONES}),
        (f"-c{ZERO} -GCSs={ONES}", {"cas_key": ZERO, "cas_software_key": ONES, **ALL_TOLERATED}),
        (f"--mrenclave {M1} --mrenclave={M2.upper()}", {"mrenclave": (M1, M2)}),
        (f"-G {M1}", {"accept_group_out_of_date": True, "mrenclave": (M1,)}),
        (
            f"--mrsigner {M1} --isvprodid 41316 --isvsvn=5",
            {"mrsigner": M1, "isvprodid": 41316, "isvsvn": 5},
        ),
        ("--isvsvn 0", {"isvsvn": 0}),
        ("--retries 0", {"retries": 0}),
        ("--allow-cas-owner-secret-access", {"allow_cas_owner_secret_access": True}),
        (
            "-GCS --only_for_testing-debug --only_for_testing-ignore-signer --only_for_testing-trust-any",
            {**ALL_TOLERATED, "testing_debug": True, "testing_ignore_signer": True, "testing_trust_any": True},
        ),
        ("--only_for_testing_allow-unprovisioned-cas", {"testing_unprovisioned": True}),
        (f"--only_for_testing-ignore-signer --mrenclave {M1}", {"testing_ignore_signer": True, "mrenclave": (M1,)}),
        ("--offline-report 'my report.json' --nonce 00FF", {"offline_report": "my report.json", "nonce": "00ff"}),
        ("--verification-time 2026-02-01", {"verification_time": date(2026, 2, 1)}),
        ("--verification-time 01.02.2026", {"verification_time": date(2026, 2, 1)}),
        ("--verification-time 01-02-2026", {"verification_time": date(2026, 2, 1)}),
    ],
)
def test_flags(flags: str, fields: dict[str, object]) -> None:
    assert dataclasses.asdict(parse(flags)) == dataclasses.asdict(Tolerance()) | fields


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("-X", "-X is no flag"),
        ("-GXS", "-X is no flag"),
        ("--only-for-testing-debug", "did you mean --only_for_testing-debug?"),
        ("--mrenclav " + M1, "did you mean --mrenclave?"),
        ("--tolerate-everything-at-all", "known are"),
        ("-c", "needs a value"),
        ("--isvsvn", "needs a value"),
        ("-c nonsense", "50 characters"),
        ("-c " + ZERO[:-1] + "4", "50 characters"),
        ("--mrenclave 12", "64 hex digits"),
        ("nonsense", "64 hex digits"),
        ("--isvsvn x", "from 0 to 65535"),
        ("--isvsvn -1", "from 0 to 65535"),
        ("--isvsvn 70000", "from 0 to 65535"),
        ("--verification-time yesterday", "yyyy-mm-dd"),
        ("-G=yes", "no flag"),
        ("--accept-group-out-of-date=yes", "takes no value"),
        (f"-c {ZERO} -c {ONES}", "given twice"),
        (f"--mrsigner {M1}", "needs --isvprodid and --isvsvn"),
        ("--isvprodid 1", "needs --mrsigner"),
        ("--only_for_testing-ignore-signer", "needs --mrenclave"),
        ("--nonce 00", "belong together"),
        ("--offline-report x", "belong together"),
        ("--nonce xyz --offline-report x", "hex digits"),
        ("-G 'unclosed", "unclosed"),
    ],
)
def test_wrong_flags(flags: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(flags)
    assert message in f"{caught.value.message} {caught.value.hint}"


def test_every_field_has_a_flag_and_every_flag_a_field() -> None:
    fields = {field.name for field in dataclasses.fields(Tolerance)}
    assert {*_SWITCHES.values(), *(field for field, _ in _VALUES.values())} == fields


def test_words_are_not_split_again() -> None:
    assert parse_words(["--offline-report", "a b", "--nonce", "00"]).offline_report == "a b"


@pytest.mark.parametrize(
    "flags",
    [
        "",
        "-GCS",
        f"-c {ZERO} -s {ONES}",
        "-GCS --only_for_testing-debug --only_for_testing-ignore-signer --only_for_testing-trust-any",
        "--only_for_testing_allow-unprovisioned-cas --allow-cas-owner-secret-access --verification-time 2020-01-01",
    ],
)
def test_what_a_simulation_may_be_asked(flags: str) -> None:
    assert judge(parse(flags), SHOWN) == []


@pytest.mark.parametrize(
    ("flags", "reasons"),
    [
        (f"-c {ONES}", [f"its CAS key is {ZERO}, but {ONES} is expected"]),
        (f"-s {ZERO}", [f"its CAS software key is {ONES}, but {ZERO} is expected"]),
        (f"-c {ONES} -s {ZERO}", ["its CAS key", "its CAS software key"]),
        (f"--mrenclave {M1}", ["which --mrenclave demands"]),
        ("--isvsvn 0", ["which --isvsvn demands"]),
        (f"--mrsigner {M1} --isvprodid 0 --isvsvn 0", ["--mrsigner", "--isvprodid", "--isvsvn"]),
        (f"-GCS --only_for_testing-debug --mrenclave {M1} -c {ONES}", ["its CAS key", "--mrenclave"]),
    ],
)
def test_what_a_simulation_cannot_show_is_refused(flags: str, reasons: list[str]) -> None:
    found = judge(parse(flags), SHOWN)
    assert len(found) == len(reasons)
    assert all(reason in text for reason, text in zip(reasons, found, strict=True))
