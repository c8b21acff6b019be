"""Packs: whole, the same every time, and never a nonce for two contents."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from sconectl.protect import chunks
from sconectl.protect.chunks import CHUNK, TAG, ContentIdentity, FileCipher, SealBroken, sealed_size
from sconectl.protect.packs import Plain, pack_size, write_pack

from .trees import scratch

KEY = bytes(range(32))


def plains(folder: Path, contents: dict[str, bytes]) -> list[Plain]:
    result = []
    for number, (path, content) in enumerate(contents.items()):
        file = folder / f"plain{number}"
        file.write_bytes(content)
        result.append(Plain(path, 0o644, len(content), file))
    return result


def decrypted(cipher: FileCipher, sealed: bytes, first: int = 0) -> bytes:
    plain = bytearray(len(sealed))
    return bytes(plain[: cipher.decrypt(memoryview(sealed), memoryview(plain), first)])


def noise(size: int) -> bytes:
    return hashlib.shake_128(b"noise").digest(size)


@pytest.mark.parametrize(
    "size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, (8 << 20) - 1, 8 << 20, (8 << 20) + 1, 20 << 20]
)
def test_sizes(tmp_path: Path, size: int) -> None:
    content = noise(size)
    files = plains(tmp_path, {"/f": content})
    (record,) = write_pack(KEY, "0", files, tmp_path / "pack")
    sealed = (tmp_path / "pack").read_bytes()
    assert len(sealed) == sealed_size(size) == pack_size(files)
    if size:
        cipher = FileCipher(KEY, b"/f", CHUNK, bytes.fromhex(record.digest), size)
        assert decrypted(cipher, sealed) == content
        last = size // CHUNK if size % CHUNK else size // CHUNK - 1
        start = last * (CHUNK + TAG)
        assert decrypted(cipher, sealed[start:], last) == content[last * CHUNK :]  # on its own


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_the_same_bytes_whoever_does_the_work(tmp_path: Path, processes: int) -> None:
    contents = {f"/d/{number}": noise(number * 37 % 5000) for number in range(700)} | {"/long": noise(9 << 20)}
    files = plains(tmp_path, contents)
    records = write_pack(KEY, "0", files, tmp_path / "pack", processes=processes)
    assert [(r.path, r.size) for r in records] == [(path, len(content)) for path, content in contents.items()]
    digest = hashlib.sha256((tmp_path / "pack").read_bytes()).hexdigest()
    assert digest == "cc69cdbddee8856cb86fecf4ee36fe5b745e9457c9d4e268f9a06b89e2d47848"


def test_into_the_middle_of_a_file(tmp_path: Path) -> None:
    files = plains(tmp_path, {"/a": b"one", "/b": b"", "/c": b"two"})
    alone, within = tmp_path / "alone", tmp_path / "within"
    within.write_bytes(b"x" * 100)
    records = write_pack(KEY, "0", files, alone)
    assert write_pack(KEY, "0", files, within, start=10) == records
    sealed = alone.read_bytes()
    assert within.read_bytes() == b"x" * 10 + sealed + b"x" * (90 - len(sealed))


def test_from_the_middle_of_a_file(tmp_path: Path) -> None:
    """As in the tar of a layer: what lies behind a file does not belong to it."""
    tar = tmp_path / "tar"
    tar.write_bytes(b"..one..two..")
    parts = [
        Plain(f"/{at}", 0o644, 3, tar, at, hashlib.sha256(name).hexdigest()) for name, at in ((b"one", 2), (b"two", 7))
    ]
    write_pack(KEY, "0", parts, tmp_path / "a")
    write_pack(
        KEY,
        "0",
        plains(tmp_path, {part.path: name for part, name in zip(parts, (b"one", b"two"), strict=True)}),
        tmp_path / "b",
    )
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def changed(plain: Plain, **values: Any) -> Plain:
    return plain._replace(**values)


@pytest.mark.parametrize("size", [1, 5000, 9 << 20])
@pytest.mark.parametrize("processes", [1, 2])
def test_a_file_that_is_not_what_was_said_is_an_error(tmp_path: Path, size: int, processes: int) -> None:
    good, other = plains(tmp_path, {"/f": noise(size), "/g": b"x"})
    for bad in (changed(good, size=size - 1), changed(good, size=size + 1), changed(good, digest="ab" * 32)):
        with pytest.raises(OSError, match="/f") as caught:
            write_pack(KEY, "0", [bad, other] * 300, tmp_path / "pack", processes=processes)
        assert caught.value.errno == errno.ESTALE


def test_a_long_file_that_changes_between_the_two_readings_is_never_encrypted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise two contents would share a key and nonces."""
    (plain,) = plains(tmp_path, {"/f": noise(9 << 20)})
    identity = ContentIdentity.of

    def change(self: ContentIdentity, tags: list[bytes]) -> bytes:
        with Path(plain.file).open("r+b") as file:
            file.seek(CHUNK)
            file.write(b"?")
        return identity(self, tags)

    monkeypatch.setattr(ContentIdentity, "of", change)
    with pytest.raises(OSError, match="changed"):
        write_pack(KEY, "0", [plain], tmp_path / "pack")
    assert (tmp_path / "pack").read_bytes() == b""


@pytest.mark.parametrize("kind", ["missing", "directory", "link", "fifo"])
def test_only_regular_files_are_read(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "f"
    if kind == "directory":
        file.mkdir()
    elif kind == "link":
        file.symlink_to("/etc/passwd")
    elif kind == "fifo":
        os.mkfifo(file)
    with pytest.raises(OSError, match=str(file)):
        write_pack(KEY, "0", [Plain("/f", 0o644, 5, file)], tmp_path / "pack")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("processes", [1, 2])
def test_a_full_disk_is_said_to_be_full(tmp_path: Path, processes: int) -> None:
    files = plains(tmp_path, {f"/{number}": noise(3 << 20) for number in range(4)})
    with pytest.raises(OSError, match="No space left") as caught:
        write_pack(KEY, "0", files, Path("/dev/full"), processes=processes)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "/dev/full")


# Nonces: within one run of the program, no key meets a nonce twice unless everything else is the same, too.


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[tuple[bytes, bytes], set[tuple[bytes, bytes]]]]:
    seen: dict[tuple[bytes, bytes], set[tuple[bytes, bytes]]] = {}

    class Recording:
        def __init__(self, key: bytes) -> None:
            self._key, self._cipher = key, AESGCM(key)

        def encrypt(self, nonce: bytes, plain: bytes, bound: bytes) -> bytes:
            assert not plain  # a MAC encrypts nothing
            return self._cipher.encrypt(nonce, plain, bound)

        def encrypt_into(self, nonce: bytes, plain: memoryview, bound: bytes, sealed: memoryview) -> int:
            seen.setdefault((self._key, nonce), set()).add((bytes(plain), bytes(bound)))
            return self._cipher.encrypt_into(nonce, plain, bound, sealed)

    monkeypatch.setattr(chunks, "AESGCM", Recording)
    yield seen
    assert seen
    assert all(len(contents) == 1 for contents in seen.values())


def test_no_nonce_is_used_for_two_contents(used: object, tmp_path: Path) -> None:
    contents = [noise(size)[:size] for size in (1, 2, 63, 64, 65, 128, 700)]
    contents += [b"a" + contents[-1][1:], contents[-1][:-1] + b"a", contents[-1] + b"a"]
    for chunk in (64, 128, CHUNK):
        for number, content in enumerate(contents):
            for path in ("/f", "/g"):
                file = tmp_path / f"{chunk}-{number}-{path[1:]}"
                file.write_bytes(content)
                for _ in range(2):
                    plain = [Plain(path, 0o644, len(content), file)]
                    write_pack(KEY, "0", plain, tmp_path / "pack", chunk=chunk, processes=1)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=200), min_size=2, max_size=8, unique=True), st.sampled_from([64, 100]))
def test_different_contents_have_different_identities(contents: list[bytes], chunk: int) -> None:
    identity = ContentIdentity(KEY, chunk)
    found = {identity.of(identity.tags(memoryview(content))) for content in contents if content}
    assert len(found) == sum(map(bool, contents))


def test_a_file_does_not_open_as_another_one() -> None:
    content = memoryview(noise(200))
    sealed = bytearray(sealed_size(200, 64))
    assert FileCipher(KEY, b"/f", 64, bytes(16), 200).encrypt(content, memoryview(sealed)) == len(sealed)
    for other in (
        FileCipher(bytes(32), b"/f", 64, bytes(16), 200),
        FileCipher(KEY, b"/g", 64, bytes(16), 200),
        FileCipher(KEY, b"/f", 64, b"\1" * 16, 200),
        FileCipher(KEY, b"/f", 64, bytes(16), 199),
    ):
        with pytest.raises(SealBroken):
            decrypted(other, bytes(sealed))


MEASURE = """
import sys
from pathlib import Path
from sconectl.protect.packs import Plain, write_pack
from sconectl.protect.fspf import ProtectedFiles, SealedFile
from sconectl.protect.regions import Region
from sconectl.protect.extract import check
folder, size = Path(sys.argv[1]), int(sys.argv[2])
with (folder / "plain").open("wb") as file:
    file.truncate(size)
records = write_pack(bytes(32), "pack", [Plain("/d/f", 0o644, size, folder / "plain")], folder / "pack")
region = Region("/d", "encrypted", "kernel", str(folder))
found = ProtectedFiles({"/d": region}, [SealedFile("/d", "d", 0o755), *records], bytes(32), "")
assert not check(found)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_memory_does_not_grow_with_a_file() -> None:
    with scratch() as folder:
        peak = []
        for size in (64 << 20, int(os.environ.get("SCONECTL_TEST_FILE_SIZE", 256 << 20))):
            done = subprocess.run(
                [sys.executable, "-c", MEASURE, str(folder), str(size)], capture_output=True, text=True, check=True
            )
            peak.append(int(done.stdout))
    assert peak[1] < peak[0] + 4_000  # kB
    assert peak[1] < 100_000  # with two processes, 200 MB
