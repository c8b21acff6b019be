"""SIGSTRUCT: its layout, what it says, and that no byte of it can be changed; checked with openssl, too."""

from __future__ import annotations

import hashlib
import random
import struct
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from fakes.workspace import signing_key
from hypothesis import given, settings
from hypothesis import strategies as st

from sconectl.protect.signature import (
    SIZE,
    BadKey,
    BadSignature,
    Signer,
    load_key,
    mrsigner_of,
    sign,
    verify,
)

MEASUREMENT = "0f" * 32
PARAMETERS = {"mode": "production", "isvprodid": "258", "isvsvn": "65535", "heap": "1"}
EPOCH = 1715000000  # 2024-05-06


@pytest.fixture(scope="module")
def key() -> bytes:
    return signing_key("a")


@pytest.fixture(scope="module")
def signed(key: bytes) -> bytes:
    return sign(MEASUREMENT, PARAMETERS, key, EPOCH)


def test_the_layout_is_that_of_the_processor_manual(signed: bytes, key: bytes) -> None:
    """Offsets and constants written down once more, field by field."""
    assert len(signed) == 1808
    assert signed[0:16].hex() == "06000000e10000000000010000000000"
    assert signed[16:20] == bytes(4)  # vendor
    assert signed[20:24].hex() == "06052420"  # date, 0x20240506
    assert signed[24:40].hex() == "01010000600000006000000001000000"
    assert signed[40:128] == bytes(88)  # software defined, reserved
    modulus = load_key(key).public_key().public_numbers().n
    assert signed[128:512] == modulus.to_bytes(384, "little")
    assert signed[512:516] == b"\3\0\0\0"
    signature = int.from_bytes(signed[516:900], "little")
    assert signed[900:908].hex() == "00000000ffffffff"  # no misc feature
    assert signed[908:928] == bytes(20)  # CET, reserved, family
    assert struct.unpack("<4Q", signed[928:960]) == (4, 3, 0xFFFFFFFFFFFFFFFF, 3)  # 64 bit, x87 and SSE, masks
    assert signed[960:992].hex() == MEASUREMENT
    assert signed[992:1024] == bytes(32)
    assert struct.unpack("<HH", signed[1024:1028]) == (258, 65535)
    assert signed[1028:1040] == bytes(12)
    q1, q2 = (int.from_bytes(signed[at : at + 384], "little") for at in (1040, 1424))
    assert q1 == signature**2 // modulus
    assert q2 == (signature**3 - q1 * signature * modulus) // modulus
    cube = signature * (signature**2 - q1 * modulus) - q2 * modulus  # as the processor computes it
    encoded = bytes.fromhex("0001" + "ff" * 330 + "00" + "3031300d060960864801650304020105000420")
    assert cube.to_bytes(384, "big") == encoded + hashlib.sha256(signed[:128] + signed[900:1028]).digest()


def test_what_a_signature_says(signed: bytes, key: bytes) -> None:
    found = verify(signed)
    mrsigner = hashlib.sha256(signed[128:512]).hexdigest()
    assert mrsigner_of(key) == found.mrsigner == mrsigner
    assert (found.measurement, found.isvprodid, found.isvsvn, found.debug) == (MEASUREMENT, 258, 65535, False)
    assert found.date == "20240506"
    assert isinstance(found, Signer)


def test_the_same_input_gives_the_same_bytes(signed: bytes, key: bytes) -> None:
    assert sign(MEASUREMENT, dict(reversed(PARAMETERS.items())), key, EPOCH + 3600) == signed
    others = [
        sign("00" * 32, PARAMETERS, key, EPOCH),
        sign(MEASUREMENT, PARAMETERS | {"mode": "debug"}, key, EPOCH),
        sign(MEASUREMENT, PARAMETERS | {"isvsvn": "0"}, key, EPOCH),
        sign(MEASUREMENT, PARAMETERS | {"isvprodid": "0"}, key, EPOCH),
        sign(MEASUREMENT, PARAMETERS, key, EPOCH + 86400),
        sign(MEASUREMENT, PARAMETERS, signing_key("b"), EPOCH),
    ]
    assert len({signed, *others}) == 7
    assert verify(others[1]).debug


@pytest.mark.parametrize(("epoch", "date"), [(-5, "19700101"), (0, "19700101"), (1 << 60, "99991231")])
def test_any_time_gives_a_date(key: bytes, epoch: int, date: str) -> None:
    assert verify(sign(MEASUREMENT, PARAMETERS, key, epoch)).date == date


def test_anything_but_production_is_debug(key: bytes) -> None:
    assert verify(sign(MEASUREMENT, PARAMETERS | {"mode": "Production"}, key, EPOCH)).debug


def test_openssl_agrees(signed: bytes, key: bytes, tmp_path: Path) -> None:
    public = load_key(key).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for name, content in (
        ("public.pem", public),
        ("signed", signed[:128] + signed[900:1028]),
        ("signature", signed[516:900][::-1]),
    ):
        (tmp_path / name).write_bytes(content)

    def openssl(*words: str) -> str:
        done = subprocess.run(["openssl", *words], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    check = ("dgst", "-sha256", "-verify", "public.pem", "-signature", "signature", "signed")
    assert openssl(*check) == "Verified OK"
    modulus = openssl("rsa", "-pubin", "-in", "public.pem", "-noout", "-modulus").removeprefix("Modulus=")
    assert hashlib.sha256(bytes.fromhex(modulus)[::-1]).hexdigest() == verify(signed).mrsigner


def test_no_byte_can_be_changed(signed: bytes) -> None:
    draw = random.Random(1)
    for at in range(SIZE):
        changed = bytearray(signed)
        changed[at] ^= 1 << draw.randrange(8)
        with pytest.raises(BadSignature):
            verify(bytes(changed))


@cache
def _two_signatures() -> tuple[bytes, bytes]:
    return sign(MEASUREMENT, PARAMETERS, signing_key("a"), EPOCH), sign("11" * 32, PARAMETERS, signing_key("b"), EPOCH)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_edit_goes_unnoticed(data: st.DataObject) -> None:
    """Runs overwritten, moved, removed or added; the signature of another enclave mixed in."""
    good, other = _two_signatures()
    at = data.draw(st.integers(0, SIZE))
    length = data.draw(st.integers(0, SIZE))
    run = data.draw(st.sampled_from([other[at : at + length], b"", bytes(length), good[:length]]))
    kept = at + data.draw(st.sampled_from([len(run), 0, length]))
    changed = good[:at] + run + good[kept:]
    if changed in (good, other):
        return
    with pytest.raises(BadSignature):
        verify(changed)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=SIZE + 1) | st.binary(min_size=SIZE, max_size=SIZE))
def test_other_bytes_are_no_signature(content: bytes) -> None:
    with pytest.raises(BadSignature):
        verify(content)


def field(at: int, content: bytes) -> Callable[[bytes], bytes]:
    return lambda whole: whole[:at] + content + whole[at + len(content) :]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda whole: whole[:-1], "1807 bytes instead of 1808"),
        (lambda whole: whole + b"\0", "1809 bytes instead of 1808"),
        (field(16, b"\x86\x80\0\0"), "unknown form"),
        (field(512, b"\1\0\1\0"), "unknown form"),
        (field(44, b"\1"), "reserved"),
        (field(1028, b"\1"), "reserved"),
        (field(128, bytes(384)), "another size"),
        (field(128, b"\xff" * 384), "does not match"),
        (field(516, b"\xff" * 384), "another size"),
        (field(516, bytes(384)), "does not match"),
        (field(960, bytes(32)), "does not match"),
        (field(1040, bytes(384)), "Q1 and Q2"),
        (field(1424, bytes(384)), "Q1 and Q2"),
    ],
)
def test_what_is_wrong_is_said(signed: bytes, change: Callable[[bytes], bytes], reason: str) -> None:
    with pytest.raises(BadSignature, match=reason):
        verify(change(signed))


def test_a_signature_that_leaves_debugging_open_is_refused(key: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a one is valid for a processor; whether the enclave may be debugged would be up to the operator."""
    from sconectl.protect import signature as module

    monkeypatch.setattr(module, "_FLAGS_MASK", 4)
    with pytest.raises(BadSignature, match="may be debugged"):
        verify(sign(MEASUREMENT, PARAMETERS, key, EPOCH))


def pem(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, protection: KeySerializationEncryption | None = None
) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection or NoEncryption())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda _key: b"", "no private key in PEM form"),
        (lambda _key: b"\xff" * 100, "no private key in PEM form"),
        (lambda key: key[:-200], "no private key in PEM form"),
        (
            lambda key: load_key(key).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            "no private key in PEM form",
        ),
        (lambda key: pem(load_key(key), BestAvailableEncryption(b"x")), "protected by a password"),
        (lambda _key: pem(ec.generate_private_key(ec.SECP256R1())), "no RSA key"),
        (lambda _key: pem(rsa.generate_private_key(3, 2048)), "2048 bits instead of 3072"),
        (lambda _key: pem(rsa.generate_private_key(65537, 3072)), "exponent is 65537 instead of 3"),
    ],
)
def test_keys_that_cannot_sign(key: bytes, content: Callable[[bytes], bytes], reason: str) -> None:
    given = content(key)
    with pytest.raises(BadKey, match=reason):
        load_key(given)
    with pytest.raises(BadKey):
        sign(MEASUREMENT, PARAMETERS, given, EPOCH)


def test_the_older_form_of_pem_is_taken(key: bytes) -> None:
    older = load_key(key).private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    assert b"BEGIN RSA PRIVATE KEY" in older
    assert mrsigner_of(older) == mrsigner_of(key)
