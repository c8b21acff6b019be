"""Opens encrypted files: writes them below a directory, or only checks that they open.

In: what an FSPF says, and the packs. Out: plain files below the target, or a list of faults. Raises `SealBroken` for
packs that are not what was sealed, `OSError` for what cannot be written. No record leads out of the target: directories
are new, files are never opened through links, and links come last.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from sconectl.protect.chunks import TAG, FileCipher, SealBroken, path_bytes, sealed_size
from sconectl.protect.collector import no_collection
from sconectl.protect.fspf import ProtectedFiles, SealedFile
from sconectl.protect.index import Difference
from sconectl.protect.packs import open_regular
from sconectl.protect.regions import ENCRYPTED
from sconectl.protect.workers import PROCESSES, balanced, each_unit

_BUFFER = 1 << 22
"""Bytes of a pack that are read at once. Any chunk fits in."""
_FILES = 250
_EACH = 100_000
"""The work for a file besides its content, as bytes to decrypt."""
_BITS = 0o777
"""Set-id and sticky bits are recorded, but nobody gets them."""
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class _Content(NamedTuple):
    """The encrypted content of a file: `size` bytes of a pack, in chunks of `chunk` plain bytes."""

    file: SealedFile
    pack: str
    chunk: int
    size: int


@no_collection()
def extract(
    found: ProtectedFiles, target: str, *, root: str = "", processes: int = PROCESSES, folder_bits: int = 0
) -> None:
    """Write the plain files of all encrypted regions to `target` + path; nothing of a region may be there yet.

    Packs are read at `root` + the source of their region. Directories get their mode and `folder_bits`.
    """
    contents = _contents(found, root)
    if faults := _check_packs(contents):
        raise SealBroken(f"the pack {faults[0].path} is missing, or longer or shorter than what was sealed")
    encrypted = (file for file, region in found.with_regions() if region.protection == ENCRYPTED)
    others = [file for file in encrypted if file.kind != "f" and file.path != "/"]
    mask = os.umask(0)
    try:
        for file in others:
            if file.kind == "d":
                _make_folder(target + file.path)
        _Opener(found.data_key, contents, target).open_all(processes)
        for file in others:
            if file.kind == "l":
                os.symlink(file.target, target + file.path)  # noqa: PTH211 - many files: no Path for each
        for file in reversed(others):
            if file.kind == "d":
                os.chmod(target + file.path, file.mode & _BITS | folder_bits)  # noqa: PTH101
    finally:
        os.umask(mask)


def _make_folder(path: str) -> None:
    try:
        os.mkdir(path, 0o700)  # noqa: PTH102
    except FileNotFoundError:  # a region begins here, and nothing is recorded above
        _make_folder(path.rpartition("/")[0])
        os.mkdir(path, 0o700)  # noqa: PTH102


def check(found: ProtectedFiles, *, root: str = "", processes: int = PROCESSES) -> list[Difference]:
    """Open all encrypted files without writing any. Return everything that is wrong with packs and files."""
    contents = _contents(found, root)
    faults = _check_packs(contents)
    missing = {fault.path for fault in faults if fault.kind == "missing"}
    present = [content for content in contents if content.pack and content.pack not in missing]
    wrong = _Opener(found.data_key, present, None).open_all(processes)
    return sorted([*faults, *(Difference("changed", path) for path in wrong)], key=lambda fault: fault.path)


def _contents(found: ProtectedFiles, root: str) -> list[_Content]:
    """Return all encrypted files in the order in which they are in their packs, empty ones first."""
    result = [
        _Content(
            file,
            f"{root}{region.source}/{file.pack}" if file.pack else "",
            region.chunk,
            sealed_size(file.size, region.chunk),
        )
        for file, region in found.with_regions()
        if region.protection == ENCRYPTED and file.kind == "f"
    ]
    return sorted(result, key=lambda content: (content.pack, content.file.offset))


def _check_packs(contents: Sequence[_Content]) -> list[Difference]:
    """Return the packs that are missing, or have another size than the files in them."""
    ends = {content.pack: content.file.offset + content.size for content in contents if content.pack}
    faults = []
    for pack, size in ends.items():
        try:
            handle, found = open_regular(pack)
        except OSError:
            faults.append(Difference("missing", pack))
            continue
        if found != size:
            faults.append(Difference("changed", pack))
        os.close(handle)
    return faults


def _batches(contents: Sequence[_Content]) -> Iterator[list[_Content]]:
    """Divide files into those of one pack that can be read at once; a long one is on its own."""
    batch: list[_Content] = []
    size = 0
    for content in contents:
        if batch and (content.pack != batch[0].pack or size + content.size > _BUFFER):
            yield batch
            batch, size = [], 0
        batch.append(content)
        size += content.size
    if batch:
        yield batch


class _Opener:
    """Opens files with two buffers; without `target` it writes nothing and goes on after a fault."""

    def __init__(self, data_key: bytes, contents: Sequence[_Content], target: str | None) -> None:
        self._data_key, self._contents, self._target = data_key, contents, target
        self._runs = balanced([content.size + _EACH for content in contents], most=_BUFFER, many=_FILES)
        self._sealed, self._plain = memoryview(bytearray(_BUFFER)), memoryview(bytearray(_BUFFER))

    def open_all(self, processes: int) -> list[str]:
        """Open everything; return the paths of files that differ from the sealed ones, if nothing is to be written."""
        found = each_unit(len(self._runs), self._open_run, processes=processes)
        return [path for paths in found for path in paths]

    def _open_run(self, number: int) -> list[str]:
        run, wrong = self._runs[number], []
        for batch in _batches(self._contents[run.start : run.stop]):
            source = open_regular(batch[0].pack)[0] if batch[0].pack else -1
            try:
                wrong += self._open_batch(source, batch)
            finally:
                if source >= 0:
                    os.close(source)
        return wrong

    def _open_batch(self, source: int, batch: Sequence[_Content]) -> list[str]:
        start, size, wrong = batch[0].file.offset, sum(content.size for content in batch), []
        whole = size <= _BUFFER
        there = os.preadv(source, [self._sealed[:size]], start) if size and whole else 0
        for content in batch:
            begin = content.file.offset - start
            ready = (self._sealed[begin : min(begin + content.size, there)],)
            try:
                self._open_file(content, ready if whole else self._blocks(source, content))
            except SealBroken:
                if self._target is not None:
                    raise
                wrong.append(content.file.path)
        return wrong

    def _blocks(self, source: int, content: _Content) -> Iterator[memoryview]:
        step = _BUFFER // (content.chunk + TAG) * (content.chunk + TAG)
        for start in range(0, content.size, step):
            block = self._sealed[: min(step, content.size - start)]
            yield block[: os.preadv(source, [block], content.file.offset + start)]

    def _open_file(self, content: _Content, blocks: Iterable[memoryview]) -> None:
        """Write a file, each block after it was verified."""
        file = content.file
        path = "" if self._target is None else self._target + file.path
        handle = os.open(path, _CREATE, file.mode & _BITS) if path else -1
        try:
            if content.size:
                self._decrypt(content, blocks, handle)
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from error
        finally:
            if handle >= 0:
                os.close(handle)

    def _decrypt(self, content: _Content, blocks: Iterable[memoryview], handle: int) -> None:
        file, chunk, done = content.file, content.chunk, 0
        cipher = FileCipher(self._data_key, path_bytes(file.path), chunk, bytes.fromhex(file.digest), file.size)
        for sealed in blocks:
            rest = self._plain[: cipher.decrypt(sealed, self._plain, done // (chunk + TAG))]
            done += len(sealed)
            while rest and handle >= 0:
                rest = rest[os.write(handle, rest) :]
        if done != content.size:
            raise SealBroken(f"the protected content of {file.path} is shorter than what was sealed")
