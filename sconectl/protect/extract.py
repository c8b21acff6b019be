"""Opens encrypted files: writes them below a directory, or only checks that they open.

In: what an FSPF says, and the packs. Out: plain files below the target, or a list of faults. Raises `SealBroken` for
packs that are not what was sealed, `OSError` for what cannot be written. No record leads out of the target: directories
are new, files are never opened through links, and links come last.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from sconectl.protect.chunks import TAG, FileCipher, SealBroken, path_bytes, sealed_size
from sconectl.protect.fspf import ProtectedFiles, SealedFile
from sconectl.protect.index import Difference
from sconectl.protect.packs import open_regular
from sconectl.protect.regions import ENCRYPTED
from sconectl.protect.workers import PROCESSES, balanced, each_unit

_BATCH = 1 << 22
"""So much of a pack is read at once."""
_FILES = 250
_EACH = 100_000
"""What a file costs besides its content, as bytes to decrypt."""
_BITS = 0o777
"""Set-id and sticky bits are recorded, but nobody gets them."""
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class _Content(NamedTuple):
    """The encrypted content of a file: `size` bytes of a pack, in chunks of `chunk` plain bytes."""

    file: SealedFile
    pack: str
    chunk: int
    size: int


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
        _each_batch(contents, partial(_write_batch, found.data_key, target), processes)
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
    wrong = _each_batch(present, partial(_check_batch, found.data_key), processes)
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
            handle = open_regular(pack)
        except OSError:
            faults.append(Difference("missing", pack))
            continue
        if os.fstat(handle).st_size != size:
            faults.append(Difference("changed", pack))
        os.close(handle)
    return faults


Work = Callable[[int, Sequence[_Content]], list[str]]
"""From an open pack, and files that lie in it one behind the other, to the paths of those that do not open."""


def _each_batch(contents: Sequence[_Content], work: Work, processes: int) -> list[str]:
    runs = balanced([content.size + _EACH for content in contents], most=_BATCH, many=_FILES)

    def do(number: int) -> list[str]:
        wrong = []
        for batch in _batches(contents[runs[number].start : runs[number].stop]):
            source = open_regular(batch[0].pack) if batch[0].pack else -1
            try:
                wrong += work(source, batch)
            finally:
                if source >= 0:
                    os.close(source)
        return wrong

    return [path for paths in each_unit(len(runs), do, processes=processes) for path in paths]


def _batches(contents: Sequence[_Content]) -> Iterator[list[_Content]]:
    """Divide files into those of one pack that can be read at once; a long one is on its own."""
    batch: list[_Content] = []
    size = 0
    for content in contents:
        if batch and (content.pack != batch[0].pack or size + content.size > _BATCH):
            yield batch
            batch, size = [], 0
        batch.append(content)
        size += content.size
    if batch:
        yield batch


def _write_batch(data_key: bytes, target: str, source: int, batch: Sequence[_Content]) -> list[str]:
    for content, blocks in _opened(data_key, source, batch):
        path = target + content.file.path
        handle = os.open(path, _CREATE, content.file.mode & _BITS)
        try:
            for chunks in blocks:
                _write(handle, chunks)
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from error
        finally:
            os.close(handle)
    return []


def _write(handle: int, chunks: list[bytes]) -> None:
    for chunk in chunks:
        rest = memoryview(chunk)
        while rest:
            rest = rest[os.write(handle, rest) :]


def _check_batch(data_key: bytes, source: int, batch: Sequence[_Content]) -> list[str]:
    wrong = []
    for content, blocks in _opened(data_key, source, batch):
        try:
            for _ in blocks:
                pass
        except SealBroken:
            wrong.append(content.file.path)
    return wrong


def _opened(
    data_key: bytes, source: int, batch: Sequence[_Content]
) -> Iterator[tuple[_Content, Iterable[list[bytes]]]]:
    """Yield each file with its plain chunks, some at a time; these raise `SealBroken`."""
    start, size = batch[0].file.offset, sum(content.size for content in batch)
    whole = memoryview(os.pread(source, size, start)) if 0 < size <= _BATCH else None
    for content in batch:
        file = content.file
        if not content.pack:
            yield content, ()
            continue
        cipher = FileCipher(data_key, path_bytes(file.path), content.chunk, bytes.fromhex(file.digest), file.size)
        there = None if whole is None else whole[file.offset - start : file.offset - start + content.size]
        yield content, _blocks(cipher, source, content, there)


def _blocks(cipher: FileCipher, source: int, content: _Content, there: memoryview | None) -> Iterator[list[bytes]]:
    """Yield plain chunks from what was read already (`there`), or from `source`."""
    many = max(1, _BATCH // (content.chunk + TAG))
    step = content.size if there is not None else many * (content.chunk + TAG)
    for number, start in enumerate(range(0, content.size, step)):
        size = min(step, content.size - start)
        sealed = memoryview(os.pread(source, size, content.file.offset + start)) if there is None else there
        if len(sealed) != size:
            raise SealBroken(f"the protected content of {content.file.path} is shorter than what was sealed")
        yield cipher.decrypt(sealed, number * many)
