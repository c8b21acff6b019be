"""Sealed content opens to exactly what was sealed, or not at all."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sconectl.protect.sealed import (
    CHUNK,
    MAGIC,
    TAG,
    SealBroken,
    SealedFile,
    blob_name,
    open_content,
    open_index,
    seal_content,
    seal_index,
    sealed_size,
)

KEY = bytes(range(32))
OTHER = bytes(32)
BLOCK = CHUNK + TAG


def seal(content: bytes, path: str = "/data/f", key: bytes = KEY) -> tuple[SealedFile, bytes]:
    digest = hashlib.sha256(content).hexdigest()
    sealed = b"".join(seal_content(key, path, digest, io.BytesIO(content)))
    return SealedFile(path, "f", 0o644, size=len(content), digest=digest, blob=blob_name(key, path)), sealed


def opened(file: SealedFile, sealed: bytes, key: bytes = KEY) -> bytes:
    return b"".join(open_content(key, file, io.BytesIO(sealed)))


def test_the_form_never_changes() -> None:
    file, sealed = seal(b"hello")
    assert file.blob == "cc2bf3cb5df159096a8922c2bbddc1a5"
    assert sealed.hex() == "765df8b444dbca0edaa9500746a74eb064f42612be"
    data, tag = seal_index(KEY, [file])
    assert (hashlib.sha256(data).hexdigest(), tag) == (
        "e26a062b4d28991b50d05a6a0f6d81f5c6cac2a155ef0c4193af07d9528e4fa6",
        "d1a2cdde7889a7dea6fa1509c5c4307c",
    )


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 5])
def test_sizes(size: int) -> None:
    content = bytes(i % 251 for i in range(size))
    file, sealed = seal(content)
    assert len(sealed) == sealed_size(size)
    assert opened(file, sealed) == content


@given(st.binary(max_size=300), st.text(max_size=20), st.binary(min_size=32, max_size=32))
def test_round_trip_and_determinism(content: bytes, name: str, key: bytes) -> None:
    path = "/" + name.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
    file, sealed = seal(content, path, key)
    assert opened(file, sealed, key) == content
    assert seal(content, path, key) == (file, sealed)
    if len(content) > 8:
        assert content not in sealed


def refused_early(file: SealedFile, sealed: bytes, key: bytes = KEY, genuine: bytes = b"") -> None:
    """Nothing but an unchanged beginning of the content may come out."""
    seen = b""
    with pytest.raises(SealBroken) as caught:
        for chunk in open_content(key, file, io.BytesIO(sealed)):
            seen += chunk
    assert genuine.startswith(seen)
    assert file.path in str(caught.value)


def test_every_flipped_byte_is_refused() -> None:
    file, sealed = seal(b"0123456789")
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        refused_early(file, bytes(changed))


CONTENT = bytes(range(256)) * (3 * CHUNK // 256)
TAMPERINGS: dict[str, Callable[[bytes], bytes]] = {
    "nothing left": lambda s: b"",
    "a byte less": lambda s: s[:-1],
    "last chunk gone": lambda s: s[: 2 * BLOCK],
    "first chunk gone": lambda s: s[BLOCK:],
    "a byte more": lambda s: s + b"\0",
    "a chunk twice": lambda s: s + s[-BLOCK:],
    "empty chunk more": lambda s: s + bytes(TAG),
    "chunks swapped": lambda s: s[BLOCK : 2 * BLOCK] + s[:BLOCK] + s[2 * BLOCK :],
    "last chunk first": lambda s: s[2 * BLOCK :] + s[: 2 * BLOCK],
    "flip in the second chunk": lambda s: s[:BLOCK] + bytes([s[BLOCK] ^ 1]) + s[BLOCK + 1 :],
    "flip in the last tag": lambda s: s[:-1] + bytes([s[-1] ^ 1]),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_with_chunks(name: str) -> None:
    file, sealed = seal(CONTENT)
    assert opened(file, sealed) == CONTENT
    refused_early(file, TAMPERINGS[name](sealed), genuine=CONTENT)


def test_blobs_belong_to_one_path_one_content_and_one_key() -> None:
    one, sealed_one = seal(b"the same", "/data/one")
    two, sealed_two = seal(b"the same", "/data/two")
    old, sealed_old = seal(b"the past", "/data/one")
    assert len({one.blob, two.blob, blob_name(OTHER, "/data/one")}) == 3
    assert len({sealed_one, sealed_two, sealed_old}) == 3
    refused_early(one, sealed_two)
    refused_early(one, sealed_old)
    refused_early(old, sealed_one)
    refused_early(one, sealed_one, OTHER)
    refused_early(replace(one, path="/data/two"), sealed_one)


def test_a_wrong_size_in_the_index_is_refused() -> None:
    file, sealed = seal(b"12345")
    refused_early(replace(file, size=4), sealed, genuine=b"12345")


FILES = [
    SealedFile("/data", "d", 0o755),
    SealedFile("/data/l", "l", 0o777, target="../x\udcff\n"),
    SealedFile("/data/f", "f", 0o640, size=5, digest="ab" * 32, blob="cd" * 16),
]


def test_index_round_trip() -> None:
    data, tag = seal_index(KEY, FILES)
    assert open_index(KEY, tag, data) == sorted(FILES, key=lambda f: f.path)
    assert open_index(KEY, tag.upper(), data)
    assert seal_index(KEY, FILES[::-1]) == (data, tag)
    assert b"/data" not in data
    assert data[-TAG:].hex() == tag
    assert open_index(KEY, seal_index(KEY, [])[1], seal_index(KEY, [])[0]) == []


def test_an_index_says_nothing_about_equal_beginnings() -> None:
    data, _ = seal_index(KEY, FILES)
    other, _ = seal_index(KEY, [*FILES, SealedFile("/data/z", "d", 0o755)])
    start = len(MAGIC)
    assert data[start : start + 12] != other[start : start + 12]


def test_every_flipped_byte_of_an_index_is_refused() -> None:
    data, tag = seal_index(KEY, FILES)
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1
        with pytest.raises(SealBroken):
            open_index(KEY, tag, bytes(changed))
        with pytest.raises(SealBroken):  # also if the tag of the policy were the one of the changed index
            open_index(KEY, bytes(changed)[-TAG:].hex(), bytes(changed))


@pytest.mark.parametrize("length", [0, 1, TAG, len(MAGIC), len(MAGIC) + 12, len(MAGIC) + 12 + TAG - 1])
def test_a_truncated_index_is_refused(length: int) -> None:
    data, tag = seal_index(KEY, FILES)
    for expected in (tag, data[:length][-TAG:].hex()):
        with pytest.raises(SealBroken):
            open_index(KEY, expected, data[:length])


def test_an_index_needs_its_key_and_its_tag() -> None:
    data, tag = seal_index(KEY, FILES)
    older, older_tag = seal_index(KEY, FILES[:1])
    for key, expected, given_data in [
        (OTHER, tag, data),
        (KEY, older_tag, data),
        (KEY, tag, older),
        (KEY, "", data),
        (KEY, "ü" * 32, data),
        (KEY, tag, data + b"\0"),
        (b"", tag, data),
    ]:
        with pytest.raises(SealBroken) as caught:
            open_index(key, expected, given_data)
        assert tag not in str(caught.value)
