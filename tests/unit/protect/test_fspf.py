"""The file system protection file opens to exactly what was written, or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sconectl.protect import fspf
from sconectl.protect.chunks import TAG, SealBroken
from sconectl.protect.fspf import (
    SealedFile,
    data_key,
    is_encrypted,
    open_index,
    open_plain_index,
    plain_index,
    seal_index,
    tag_of,
)
from sconectl.protect.regions import AUTHENTICATED, ENCRYPTED, EPHEMERAL, KERNEL, NOT_PROTECTED, Region

KEY, OTHER = bytes(range(32)), bytes(32)
REGIONS = [
    Region("/", NOT_PROTECTED, KERNEL, "/"),
    Region("/data", ENCRYPTED, KERNEL, "/packs"),
    Region("/data/lib", AUTHENTICATED, KERNEL, "/data/lib", 4096),
    Region("/scratch", ENCRYPTED, EPHEMERAL),
]
FILES = [
    SealedFile("/data", "d", 0o755),
    SealedFile("/data/empty", "f", 0o600),
    SealedFile("/data/f", "f", 0o640, size=5, digest="ab" * 16, pack="0"),
    SealedFile("/data/l", "l", 0o777, target="../x\udcff\n"),
    SealedFile("/data/lib", "d", 0o755),
    SealedFile("/data/lib/a.so", "f", 0o755, size=3, digest="cd" * 32),
    SealedFile("/data/z", "f", 0o640, size=1, digest="ef" * 16, pack="0", offset=21),
]
DATA, SEALED_TAG = seal_index(KEY, REGIONS, FILES)
PLAIN, PLAIN_TAG = plain_index(REGIONS, FILES, b"d" * 32)


def test_round_trip() -> None:
    found = open_index(KEY, SEALED_TAG.upper(), DATA)
    assert list(found.files) == FILES
    assert found.regions == {region.path: region for region in REGIONS}
    assert (found.data_key, found.tag) == (data_key(KEY), SEALED_TAG)
    assert open_plain_index(PLAIN_TAG, PLAIN).files == FILES
    assert open_plain_index(PLAIN_TAG, PLAIN).data_key == b"d" * 32
    assert is_encrypted(DATA) and not is_encrypted(PLAIN)
    assert (tag_of(DATA), tag_of(PLAIN)) == (SEALED_TAG, PLAIN_TAG)
    assert len(SEALED_TAG) == 2 * TAG == len(PLAIN_TAG)
    assert not open_index(KEY, seal_index(KEY, [], [])[1], seal_index(KEY, [], [])[0]).files


def test_the_same_content_gives_the_same_bytes_in_any_order() -> None:
    assert seal_index(KEY, REGIONS[::-1], FILES[::-1]) == (DATA, SEALED_TAG)
    assert plain_index(REGIONS[::-1], FILES[::-1], b"d" * 32) == (PLAIN, PLAIN_TAG)


def test_an_encrypted_one_tells_nothing() -> None:
    body = json.dumps([[file.path, file.digest] for file in FILES])
    assert b"/data" not in DATA and "/data" in body
    assert KEY not in DATA and data_key(KEY).hex().encode() not in DATA


def test_each_content_has_its_own_nonce() -> None:
    changes = [
        [file._replace(mode=file.mode ^ 1) if file is one else file for file in FILES] for one in FILES
    ]  # fmt: skip
    nonces = {seal_index(KEY, REGIONS, files)[0][12:24] for files in [*changes, FILES]}
    assert len(nonces) == len(FILES) + 1
    assert seal_index(OTHER, REGIONS, FILES)[0][12:24] not in nonces


def test_every_byte_counts() -> None:
    for position in range(len(DATA)):
        changed = flipped(DATA, position)
        for tag in (SEALED_TAG, tag_of(changed)):  # also if the policy had the tag of the changed one
            with pytest.raises(SealBroken):
                open_index(KEY, tag, changed)


def test_every_byte_of_a_plain_one_counts() -> None:
    for position in range(len(PLAIN)):
        changed = flipped(PLAIN, position)
        for tag in (PLAIN_TAG, tag_of(changed)):
            with pytest.raises(SealBroken):
                open_plain_index(tag, changed)


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


@given(st.binary(max_size=200), st.integers(0, len(DATA)))
def test_no_other_bytes_open(more: bytes, length: int) -> None:
    for data in (more, DATA[:length], DATA + more, DATA[:length] + more):
        if data == DATA:
            continue
        for tag in (SEALED_TAG, tag_of(data)):
            with pytest.raises(SealBroken):
                open_index(KEY, tag, data)
            with pytest.raises(SealBroken):
                open_plain_index(tag, data)


def test_key_and_tag_belong_together() -> None:
    older, older_tag = seal_index(KEY, REGIONS, FILES[:1])
    for key, tag, data in [
        (OTHER, SEALED_TAG, DATA),
        (KEY, older_tag, DATA),
        (KEY, SEALED_TAG, older),
        (KEY, "", DATA),
        (KEY, "ü" * 32, DATA),
        (b"", SEALED_TAG, DATA),
        (KEY, PLAIN_TAG, PLAIN),  # whoever has a key does not take what anybody can write
    ]:
        with pytest.raises(SealBroken) as caught:
            open_index(key, tag, data)
        assert tag not in str(caught.value) or not tag
    with pytest.raises(SealBroken, match="takes a key"):
        open_plain_index(SEALED_TAG, DATA)
    with pytest.raises(SealBroken, match="version 2"):
        is_encrypted(DATA[:9] + b"\2" + DATA[10:])


def region_of(path: str, regions: Mapping[str, Region]) -> str:
    return max((region for region in regions if f"{path}/".startswith(f"{region.rstrip('/')}/")), key=len)


def test_the_longest_region_decides() -> None:
    regions = {region.path: region for region in REGIONS}
    expected = {
        "/": "/",
        "/x": "/",
        "/database": "/",
        "/data": "/data",
        "/data/x/y": "/data",
        "/data/lib/x": "/data/lib",
    }
    assert {path: region_of(path, regions) for path in expected} == expected
    mapped = {file.path: region.path for file, region in open_index(KEY, SEALED_TAG, DATA).with_regions()}
    assert mapped == {path: region_of(path, regions) for path in mapped}


@pytest.mark.parametrize(
    "regions",
    [
        [Region("/a", ENCRYPTED, KERNEL, "/p"), Region("/b", ENCRYPTED, KERNEL, "/p")],
        [REGIONS[0], REGIONS[0]],
        [Region("a", ENCRYPTED, KERNEL, "/p")],
        [Region("/a/", ENCRYPTED, KERNEL, "/p")],
        [Region("/a/../b", ENCRYPTED, KERNEL, "/p")],
        [Region("//a", ENCRYPTED, KERNEL, "/p")],
        [Region("/a", "secret", KERNEL, "/p")],
        [Region("/a", ENCRYPTED, "disk", "/p")],
        [Region("/a", ENCRYPTED, KERNEL, "p")],
        [Region("/a", ENCRYPTED, EPHEMERAL, "/p")],
        [Region("/a", ENCRYPTED, KERNEL, "/p", 63)],
        [Region("/a", ENCRYPTED, KERNEL, "/p", 1 << 24)],
    ],
)
def test_regions_that_make_no_sense(regions: list[Region]) -> None:
    with pytest.raises(SealBroken):
        seal_index(KEY, regions, [])


GOOD = SealedFile("/data/n", "f", 0o640, size=5, digest="ab" * 16, pack="9")
BAD = {
    "not normal": [GOOD._replace(path=path) for path in ("/data/", "/data/.", "/data/..", "/data//n", "/data/../n")],
    "elsewhere": [GOOD._replace(path=path) for path in ("/n", "n", "", "/", "/database/n", "/scratch/n", "/data\0")],
    "no folder above": [GOOD._replace(path="/data/ghost/n")],
    "below a file or link": [GOOD._replace(path="/data/f/n"), GOOD._replace(path="/data/l/n")],
    "twice": [GOOD._replace(path="/data/f")],
    "not whole": [GOOD._replace(kind="x"), GOOD._replace(mode=0o10000), GOOD._replace(mode=-1), GOOD._replace(size=-1)],
    "identity": [GOOD._replace(digest=text) for text in ("", "ab" * 32, "AB" * 16, "zz" * 16)],
    "pack": [GOOD._replace(pack=text) for text in ("", ".", "..", "a/b", "../0", "a\0")],
    "a gap in the pack": [GOOD._replace(offset=1)],
    "overlap in the pack": [GOOD._replace(pack="0", offset=0), GOOD._replace(pack="0", offset=20)],
    "too much": [
        GOOD._replace(target="x"),
        SealedFile("/data/n", "d", 0o755, size=1),
        SealedFile("/data/n", "l", 0o777, target=""),
        SealedFile("/data/n", "l", 0o777, target="a\0b"),
        SealedFile("/data/n", "f", 0o644, size=0, pack="9"),
        SealedFile("/data/lib/n", "f", 0o644, size=1, digest="ab" * 32, pack="9"),
        SealedFile("/data/lib/n", "f", 0o644, size=1, digest="ab" * 16),
    ],
}


@pytest.mark.parametrize("bad", [record for records in BAD.values() for record in records], ids=repr)
def test_records_that_lead_out_or_make_no_sense(bad: SealedFile, monkeypatch: pytest.MonkeyPatch) -> None:
    assert seal_index(KEY, REGIONS, [*FILES, GOOD])
    with pytest.raises(SealBroken):
        seal_index(KEY, REGIONS, [*FILES, bad])
    with monkeypatch.context() as unchecked:  # and if somebody with the key wrote it all the same
        unchecked.setattr(fspf, "check_records", lambda *_: None)
        data, tag = seal_index(KEY, REGIONS, [*FILES, bad])
    with pytest.raises(SealBroken):
        open_index(KEY, tag, data)


def test_a_region_does_not_begin_behind_a_link() -> None:
    regions = [*REGIONS, Region("/data/l/deep", ENCRYPTED, KERNEL, "/packs")]
    with pytest.raises(SealBroken, match="does not belong"):
        seal_index(KEY, regions, [*FILES, SealedFile("/data/l/deep", "d", 0o755)])


def test_a_body_that_makes_no_sense() -> None:
    for body in (b"", b"[]", b"{}", b'{"files":[["/"]],"regions":[],"data_key":""}', b"[" * 100_000, b"\xff"):
        data = fspf._HEADER.pack(fspf.MAGIC, 1, 0, bytes(12), len(body)) + body
        data += hashlib.sha256(data).digest()[:TAG]
        with pytest.raises(SealBroken):
            open_plain_index(tag_of(data), data)
