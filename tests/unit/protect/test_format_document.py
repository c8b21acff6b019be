"""docs/protected-filesystem.md is right: its example is what we write, and its formulas alone can read it."""

from __future__ import annotations

import hmac
import json
import re
import struct
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sconectl.protect.fspf import SealedFile, data_key, seal_index
from sconectl.protect.packs import Plain, write_pack
from sconectl.protect.regions import ENCRYPTED, KERNEL, Region

DOCUMENT = Path(__file__).parents[3] / "docs" / "protected-filesystem.md"
KEY = bytes(range(32))


def example() -> tuple[bytes, bytes, str]:
    """Return pack, FSPF and tag as the document shows them."""
    text = DOCUMENT.read_text().partition("### An example\n")[2].partition("\n## ")[0]
    pack, fspf = (bytes.fromhex(block) for block in re.findall(r"```\n([0-9a-f\n]+)```", text))
    tag = re.search(r"with tag `([0-9a-f]{32})`", text)
    assert tag
    return pack, fspf, tag[1]


def derived(key: bytes, what: bytes) -> bytes:
    return hmac.digest(key, what, "sha256")


def test_the_example_is_what_we_write(tmp_path: Path) -> None:
    pack, fspf, tag = example()
    (tmp_path / "hello").write_bytes(b"hello\n")
    plain = Plain("/app/hello.txt", 0o644, 6, tmp_path / "hello")
    records = write_pack(data_key(KEY), "0", [plain], tmp_path / "pack")
    region = Region("/app", ENCRYPTED, KERNEL, "/scone/image/packs")
    assert (tmp_path / "pack").read_bytes() == pack
    assert seal_index(KEY, [region], [SealedFile("/app", "d", 0o755), *records]) == (fspf, tag)


def test_the_formulas_read_the_example() -> None:
    pack, fspf, tag = example()
    magic, version, encrypted, zero, nonce, length = struct.unpack(">8sHBB12sQ", fspf[:32])
    assert (magic, version, encrypted, zero, len(fspf)) == (b"SCTLFSPF", 1, 1, 0, 32 + length + 16)
    assert fspf[-16:].hex() == tag
    body = AESGCM(derived(KEY, b"sconectl fspf index")).decrypt(nonce, fspf[32:], fspf[:32])
    assert nonce == derived(KEY, b"sconectl fspf nonce\0" + body)[:12]
    document = json.loads(body)
    assert document["regions"] == [["/app", "encrypted", "kernel", "/scone/image/packs", 65536]]
    data = bytes.fromhex(document["data_key"])
    assert data == derived(KEY, b"sconectl fspf data")
    folder, (path, kind, mode, target, size, identity, name, offset) = document["files"]
    assert folder == ["/app", "d", 0o755, "", 0, "", "", 0]
    assert (path, kind, mode, target, size, name, offset) == ("/app/hello.txt", "f", 0o644, "", 6, "0", 0)
    assert identity == AESGCM(derived(data, b"identity\0")).encrypt(bytes(12), b"", b"hello\n").hex()
    key = derived(data, b"file\0" + struct.pack(">IQ", 65536, size) + bytes.fromhex(identity) + path.encode())
    position = struct.pack(">QQQ", 0, 1, size) + path.encode()
    assert AESGCM(key).decrypt(bytes(11) + b"\1", pack, position) == b"hello\n"
