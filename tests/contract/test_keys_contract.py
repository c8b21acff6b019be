"""Whatever holds keys: the store on disk, and the fake."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.workspace import FakeKeys

from sconectl.adapters.key_store import KeyStore
from sconectl.ports import Keys


@pytest.fixture(params=["disk", "fake"])
def keys(request: pytest.FixtureRequest, tmp_path: Path) -> Keys:
    return KeyStore(tmp_path / "keys") if request.param == "disk" else FakeKeys()


def test_a_key_has_32_bytes_and_stays(keys: Keys) -> None:
    first = keys.image_key("registry.example.org/a")
    assert len(first) == 32
    assert keys.image_key("registry.example.org/a") == first
    assert keys.image_key("registry.example.org/b") != first
