"""Volumes in docs/protected-filesystem.md are right: the example is what we write, and its formulas can read it."""

from __future__ import annotations

import hmac
import json
import os
import re
import struct
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sconectl.protect.volume.contents import contents_key, store
from sconectl.protect.volume.index import ENCRYPTED, Checkpoint, Head, sealed
from sconectl.protect.volume.journal import Journal
from sconectl.protect.volume.model import FILE, Make, Name, Node, Stored, Tree, Write, new_root
from sconectl.protect.volume.operations import encoded

DOCUMENT = Path(__file__).parents[4] / "docs" / "protected-filesystem.md"
KEY = bytes(range(32))
FIRST, IDENTITY, JOURNAL_ID = (bytes([number]) * 16 for number in (0xAA, 0xBB, 0xCC))
TIME = 1_700_000_000_000_000_000


def example() -> dict[str, bytes]:
    """Return the files of the example by name."""
    text = DOCUMENT.read_text().partition("### An example of a volume")[2]
    return {name: bytes.fromhex(block) for name, block in re.findall(r"`([a-z.0-9]+)`:\n\n```\n([0-9a-f\n]+)```", text)}


def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Write a volume with one file, `num`, that is 1 at a checkpoint and 2 after a commit."""
    (tmp_path / "live").write_bytes(b"1")
    with (tmp_path / "live").open("rb") as source, (tmp_path / "num").open("wb") as target:
        store(contents_key(KEY), ENCRYPTED, 2, IDENTITY, source.fileno(), target.fileno(), 1)
    tree = Tree()
    tree.apply(Make(new_root(0o755, 0, 0, TIME)))
    tree.apply(Make(Node(2, FILE, 0o644, 0, 0, TIME, 1, stored=Stored(IDENTITY, 1, b"num"))))
    tree.apply(Name(1, b"num", 2))
    index = sealed(KEY, Checkpoint(Head(FIRST, 1, ENCRYPTED), tree))
    monkeypatch.setattr(os, "urandom", lambda _length: JOURNAL_ID)
    path = tmp_path / "volume.journal.1"
    journal = Journal(KEY, os.open(path, os.O_RDWR | os.O_CREAT), 1, FIRST)
    journal.add(encoded(Write(2, 0, b"2")))
    journal.commit()
    journal.close()
    return {"num": (tmp_path / "num").read_bytes(), "volume.fspf": index, "volume.journal.1": path.read_bytes()}


def test_the_example_is_what_we_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert example() == written(tmp_path, monkeypatch)


def test_the_formulas_read_the_example() -> None:
    files = example()

    def derived(what: bytes) -> bytes:
        return hmac.digest(KEY, what, "sha256")

    index = files["volume.fspf"]
    magic, version, kind, nonce, state, journal, length = struct.unpack(">8sBB2x12s16sQQ", index[:56])
    assert (magic, version, kind, state, journal) == (b"SCTLVOLI", 1, 1, FIRST, 1)
    assert len(index) == 56 + length + 16
    body = AESGCM(derived(b"sconectl volume index")).decrypt(nonce, index[56:], index[:56])
    zeroed = index[:12] + bytes(12) + index[24:56]
    assert nonce == derived(b"sconectl volume nonce\0" + zeroed + body)[:12]
    assert json.loads(body) == {
        "gone": [], "links": [[1, "num", 2]], "next": 3,
        "nodes": [[1, "d", 0o755, 0, 0, TIME, 0], [2, "f", 0o644, 0, 0, TIME, 1, "num", IDENTITY.hex()]],
        "previous": [],
    }  # fmt: skip

    data = derived(b"sconectl volume data")
    key = hmac.digest(data, b"file\0" + struct.pack(">IQ", 65536, 1) + IDENTITY + b"node:2", "sha256")
    position = struct.pack(">QQQ", 0, 1, 1) + b"node:2"
    assert AESGCM(key).decrypt(bytes(11) + b"\1", files["num"], position) == b"1"

    file = files["volume.journal.1"]
    header, frame = file[:64], file[64:]
    assert struct.unpack(">8sH6xQ16s16s8x", header) == (b"SCTLVOLJ", 1, 1, JOURNAL_ID, FIRST)
    length, last, number = struct.unpack(">IB3xQ", frame[:16])
    assert (length, last, number) == (len(frame) - 16, 1, 0)
    cipher = AESGCM(derived(b"sconectl volume journal\0" + header))
    plain = cipher.decrypt(bytes(4) + struct.pack(">Q", number), frame[16:], frame[:16] + FIRST)
    assert plain == struct.pack(">BQQI", 4, 2, 0, 1) + b"2"
