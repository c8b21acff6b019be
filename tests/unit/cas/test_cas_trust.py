"""What a CAS proves, and the ways in which a proof can be wrong."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sconectl.cas.client import trust
from sconectl.cas.keys.cas_keys import CasKeys, load_or_create
from sconectl.errors import CasNotTrusted

NONCE = "0f" * 16
NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> CasKeys:
    return load_or_create(tmp_path_factory.mktemp("cas"))


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> CasKeys:
    return load_or_create(tmp_path_factory.mktemp("others"))


@pytest.fixture
def answer(keys: CasKeys) -> dict[str, Any]:
    return trust.make_report(keys, NONCE, "1.2", NOW)


def test_what_is_proved(keys: CasKeys, answer: dict[str, Any]) -> None:
    shown = trust.verify_report(answer, NONCE)
    assert (shown.cas_key, shown.cas_software_key) == (keys.cas_key_hash, keys.software_key_hash)
    assert (shown.version, shown.time) == ("1.2", "2026-03-01T12:30:00Z")
    assert bytes.fromhex(shown.encryption_key) == keys.encryption.public_key().public_bytes_raw()
    assert shown.chain_pem == keys.chain_pem
    assert trust.verify_report(trust.make_report(keys, "", "1.2", NOW), "").version == "1.2"
    own = trust.own_evidence(keys.chain_pem, shown.encryption_key)
    assert (own.cas_key, own.cas_software_key) == (shown.cas_key, shown.cas_software_key)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cas_key", "other"),
        ("cas_software_key", "other"),
        ("version", "9.9"),
        ("nonce", "00"),
        ("session_encryption_key", "cd" * 32),
        ("time", "2027-01-01T00:00:00Z"),
    ],
)
def test_each_field_is_signed(answer: dict[str, Any], field: str, value: str) -> None:
    answer["report"][field] = value
    with pytest.raises(CasNotTrusted, match="not signed"):
        trust.verify_report(answer, NONCE)


def test_an_old_report_is_not_for_a_new_nonce(answer: dict[str, Any]) -> None:
    with pytest.raises(CasNotTrusted, match="not made for this request"):
        trust.verify_report(answer, "0e" * 16)


def test_chain_and_signature_belong_together(keys: CasKeys, others: CasKeys, answer: dict[str, Any]) -> None:
    foreign = trust.make_report(others, NONCE, "1.2", NOW)
    for change in ({"certificate_chain": others.chain_pem}, {"signature": foreign["signature"]}):
        with pytest.raises(CasNotTrusted, match="not signed"):
            trust.verify_report(answer | change, NONCE)
    half = keys.chain_pem.split("-----END")[0] + "-----END CERTIFICATE-----\n"
    root_of_others = "-----BEGIN" + others.chain_pem.split("-----BEGIN")[2]
    with pytest.raises(CasNotTrusted, match="not signed"):
        trust.verify_report(answer | {"certificate_chain": half + root_of_others}, NONCE)


def test_a_cas_cannot_sign_as_another(keys: CasKeys, others: CasKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = others.cas_key_hash
    monkeypatch.setattr(CasKeys, "cas_key_hash", property(lambda _: wrong))
    with pytest.raises(CasNotTrusted, match="other keys"):
        trust.verify_report(trust.make_report(keys, NONCE, "1.2", NOW), NONCE)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda answer: None,
        lambda answer: [],
        lambda answer: {**answer, "report": []},
        lambda answer: {**answer, "report": {**answer["report"], "more": ""}},
        lambda answer: {**answer, "report": {**answer["report"], "version": 7}},
        lambda answer: {**answer, "report": {**answer["report"], "simulation": False}},
        lambda answer: {**answer, "report": {**answer["report"], "session_encryption_key": "xyz"}},
        lambda answer: {**answer, "certificate_chain": "nonsense"},
        lambda answer: {**answer, "certificate_chain": 7},
        lambda answer: {**answer, "certificate_chain": answer["certificate_chain"] * 2},
        lambda answer: {**answer, "signature": "***"},
        lambda answer: {**answer, "signature": None},
        lambda answer: {key: value for key, value in answer.items() if key != "signature"},
    ],
)
def test_what_is_not_understood_is_not_trusted(answer: dict[str, Any], spoil: Callable[[Any], Any]) -> None:
    with pytest.raises(CasNotTrusted, match="not understood"):
        trust.verify_report(spoil(copy.deepcopy(answer)), NONCE)


def test_the_signature_fits_no_other_use(keys: CasKeys, answer: dict[str, Any]) -> None:
    import base64
    import json

    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    canonical = json.dumps(answer["report"], sort_keys=True, separators=(",", ":")).encode()
    signature = base64.b64decode(answer["signature"])
    public = keys.software.key.public_key()
    public.verify(signature, b"sconectl simulated CAS report v1\0" + canonical, ec.ECDSA(hashes.SHA256()))
    with pytest.raises(InvalidSignature):
        public.verify(signature, canonical, ec.ECDSA(hashes.SHA256()))


def test_keys_stay_where_they_are(keys: CasKeys, answer: dict[str, Any], tmp_path: Path) -> None:
    assert "PRIVATE" not in str(answer)
    assert keys.sealing.hex() not in str(answer)
