"""OpenPGP keys, as GnuPG sees them."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sconectl.cas.secrets import pgp

from .secret_sessions import NOW, needs_gpg, run


class Gpg:
    """GnuPG with a directory of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def __call__(self, *arguments: str, given: bytes = b"") -> str:
        return run("gpg", "--homedir", self.home, "--batch", "--trust-model", "always", *arguments, given=given)

    def bytes(self, *arguments: str, given: bytes) -> bytes:
        command = ["gpg", "--homedir", str(self.home), "--batch", "--trust-model", "always", *arguments]
        return subprocess.run(command, input=given, capture_output=True, check=True).stdout


@pytest.fixture
def homes() -> Iterator[list[Path]]:
    # The path of the agent's socket must be short: no tmp_path.
    found = [Path(tempfile.mkdtemp(prefix="gpg")) for _ in range(2)]
    yield found
    for home in found:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False, capture_output=True)
        shutil.rmtree(home)


@needs_gpg
def test_gnupg_signs_and_decrypts_with_the_private_key_what_it_verified_and_encrypted_with_the_public(
    homes: list[Path],
) -> None:
    private = pgp.generate(NOW)
    owner, friend = (Gpg(home) for home in homes)
    assert "secret keys imported: 1" in owner("--import", given=pgp.armored(private, pgp.PRIVATE).encode())
    public = pgp.armored(pgp.public_of(private), pgp.PUBLIC).encode()
    told = friend("--import", given=public)
    assert "imported: 1" in told
    assert "secret" not in told

    [user] = [line.split(":")[9] for line in friend("--list-keys", "--with-colons").splitlines() if line[:4] == "uid:"]
    assert "@" not in user
    encrypted = friend.bytes("--encrypt", "--recipient", user, given=b"for the owner")
    assert owner.bytes("--decrypt", given=encrypted) == b"for the owner"
    signed = owner.bytes("--sign", "--local-user", user, given=b"by the owner")
    assert "Good signature" in friend("--verify", given=signed)


@needs_gpg
def test_the_keys_have_the_shape_and_the_preferences_of_the_language(homes: list[Path]) -> None:
    gpg = Gpg(homes[0])
    private = pgp.generate(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    packets = gpg("--list-packets", given=private)
    assert packets.count("version 4, algo 22, created 1767323045, expires 0") == 1
    assert packets.count("version 4, algo 18, created 1767323045, expires 0") == 1
    assert "ed25519 (1.3.6.1.4.1.11591.15.1)" in packets
    assert "cv25519 (1.3.6.1.4.1.3029.1.5.1)" in packets
    for preference in ("pref-sym-algos: 9)", "pref-hash-algos: 8)", "pref-zip-algos: 2)"):
        assert preference in packets
    assert "key flags: 03" in packets
    assert "key flags: 0C" in packets
    gpg("--import", given=private)
    fields = [line.split(":") for line in gpg("--list-secret-keys", "--with-colons").splitlines()]
    assert [(row[0], row[3], row[11]) for row in fields if row[0] in {"sec", "ssb"}] == [
        ("sec", "22", "scESC"),
        ("ssb", "18", "e"),
    ]


def test_a_public_key_holds_nothing_that_is_private() -> None:
    private = pgp.generate(NOW)
    public = pgp.public_of(private)
    # 32 bytes of scalar, a length and a checksum each, and one octet that says that they are not locked.
    assert len(private) - len(public) in range(2 * (32 + 5) - 4, 2 * (32 + 5) + 1)
    with pytest.raises(ValueError):
        pgp.public_of(private[:-1])
    with pytest.raises(ValueError):
        pgp.public_of(b"\x99" + private[1:] + b"\0")


def test_no_two_keys_and_no_two_user_ids_are_alike() -> None:
    first, second = pgp.generate(NOW), pgp.generate(NOW)
    assert pgp.public_of(first) != pgp.public_of(second)
    start = first.index(b"key-")
    assert first[start : start + 36] not in second


@given(st.binary(min_size=1, max_size=300))
def test_armor_keeps_every_byte(raw: bytes) -> None:
    text = pgp.armored(raw, pgp.PUBLIC)
    assert pgp.dearmored(text) == raw
    assert pgp.dearmored(text.replace("\n", "\r\n")) == raw
    assert max(map(len, text.splitlines())) <= 64


@pytest.mark.parametrize(
    "text", ["", "key", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n-----END PGP PUBLIC KEY BLOCK-----\n"]
)
def test_what_is_no_armor_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        pgp.dearmored(text)


@needs_gpg
def test_gnupg_reads_the_armor_with_its_checksum(homes: list[Path]) -> None:
    gpg = Gpg(homes[0])
    raw = pgp.public_of(pgp.generate(NOW))
    assert gpg.bytes("--dearmor", given=pgp.armored(raw, pgp.PUBLIC).encode()) == raw
    head, checksum = pgp.armored(raw, pgp.PUBLIC).split("\n=")
    damaged = f"{head}\n={'BBBB' if checksum[:4] != 'BBBB' else 'CCCC'}{checksum[4:]}"
    assert "CRC error" in gpg_error(gpg, damaged.encode())


def gpg_error(gpg: Gpg, text: bytes) -> str:
    command = ["gpg", "--homedir", str(gpg.home), "--batch", "--list-packets"]
    return subprocess.run(command, input=text, capture_output=True, check=False).stderr.decode()
