"""Whatever holds keys: the store on disk, and the fake."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.workspace import FakeKeys

from sconectl.adapters.key_store import KeyStore
from sconectl.ports import Keys
from sconectl.protect.signature import load_key


@pytest.fixture(params=["disk", "fake"])
def keys(request: pytest.FixtureRequest, tmp_path: Path) -> Keys:
    return KeyStore(tmp_path / "keys") if request.param == "disk" else FakeKeys()


def test_a_key_has_32_bytes_and_stays(keys: Keys) -> None:
    first = keys.image_key("registry.example.org/a")
    assert len(first) == 32
    assert keys.image_key("registry.example.org/a") == first
    assert keys.image_key("registry.example.org/b") != first


def test_the_signing_key_can_sign_enclaves_and_stays(keys: Keys) -> None:
    pem = keys.signing_key()
    numbers = load_key(pem).public_key().public_numbers()
    assert (numbers.n.bit_length(), numbers.e) == (3072, 3)
    assert keys.signing_key() == pem
