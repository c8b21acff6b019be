"""The file system protection file (FSPF): regions, and one record for each protected file; mostly encrypted.

In: regions and records, or the bytes of an FSPF. Out: the other one, and the tag that stands for its state. Raises
`SealBroken` for bytes that are not what was sealed. docs/protected-filesystem.md has the format byte by byte.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sconectl.protect.chunks import TAG, SealBroken, sealed_size
from sconectl.protect.collector import no_collection
from sconectl.protect.regions import AUTHENTICATED, ENCRYPTED, KERNEL, Region, by_path

MAGIC = b"SCTLFSPF"
VERSION = 1
KEY = 32
_PLAIN, _ENCRYPTED = 0, 1
_NONCE = 12
_HEADER = struct.Struct(">8sHBx12sQ")
_HEX = "0123456789abcdef"
_DIGEST, _IDENTITY = 64, 32
_PROTECTED = (ENCRYPTED, AUTHENTICATED)
_NO_NONCE = bytes(_NONCE)


class SealedFile(NamedTuple):
    """The record of a protected file (`kind` f), directory (d) or symbolic link (l).

    `digest` is the SHA-256 of an authenticated file; of an encrypted one it is the identity of the content, which is
    in the pack named `pack` from byte `offset` on. An empty encrypted file has neither.
    """

    path: str
    kind: str
    mode: int
    target: str = ""
    size: int = 0
    digest: str = ""
    pack: str = ""
    offset: int = 0


@dataclass(frozen=True)
class ProtectedFiles:
    """The content of an FSPF. `data_key` encrypts the contents of files; `tag` stands for the whole FSPF."""

    regions: Mapping[str, Region]
    files: Sequence[SealedFile]
    data_key: bytes = field(repr=False)
    tag: str

    def with_regions(self) -> Iterator[tuple[SealedFile, Region]]:
        """Yield each record with the region that it belongs to."""
        region_of_folder: dict[str, Region] = {}
        for file in self.files:
            region = self.regions.get(file.path) or region_of_folder[file.path.rpartition("/")[0] or "/"]
            if file.kind == "d":
                region_of_folder[file.path] = region
            yield file, region


def data_key(key: bytes) -> bytes:
    """Return the key of the contents, derived from the only key that has to be kept."""
    return _derive(key, "data")


def _derive(key: bytes, purpose: str, *context: bytes) -> bytes:
    return hmac.digest(key, b"\0".join([f"sconectl fspf {purpose}".encode(), *context]), "sha256")


@no_collection()
def seal_index(
    key: bytes, regions: Iterable[Region], files: Iterable[SealedFile], *, contents: bytes = b""
) -> tuple[bytes, str]:
    """Return an encrypted FSPF and its tag (32 hex digits). The same content under the same key gives the same bytes.

    `contents` is the key that the contents were encrypted with, `data_key(key)` unless given.
    """
    body = _encode(regions, files, contents or data_key(key))
    nonce = _derive(key, "nonce", body)[:_NONCE]
    header = _HEADER.pack(MAGIC, VERSION, _ENCRYPTED, nonce, len(body))
    data = header + AESGCM(_derive(key, "index")).encrypt(nonce, body, header)
    return data, tag_of(data)


def plain_index(regions: Iterable[Region], files: Iterable[SealedFile], contents: bytes) -> tuple[bytes, str]:
    """Return an FSPF that is not encrypted, and its tag. Keep it to yourself: `contents`, the data key, is in it."""
    body = _encode(regions, files, contents)
    data = _HEADER.pack(MAGIC, VERSION, _PLAIN, _NO_NONCE, len(body)) + body
    data += hashlib.sha256(data).digest()[:TAG]
    return data, tag_of(data)


def tag_of(data: bytes) -> str:
    """Return the tag that an FSPF carries; `open_index` and `open_plain_index` check it."""
    return data[-TAG:].hex()


def is_encrypted(data: bytes) -> bool:
    """Tell whether an FSPF is encrypted. Raises `SealBroken` if `data` is no FSPF of a version that we know."""
    return _header(data)[0] == _ENCRYPTED


@no_collection()
def open_index(key: bytes, tag: str, data: bytes) -> ProtectedFiles:
    """Read an encrypted FSPF. Raises `SealBroken` if it is not the one that `key` and `tag` belong to."""
    _require_tag(tag, data)
    kind, nonce = _header(data)
    if kind != _ENCRYPTED:
        raise SealBroken("the file system protection file is not encrypted, but there is a key for it")
    try:
        body = AESGCM(_derive(key, "index")).decrypt(nonce, data[_HEADER.size :], data[: _HEADER.size])
    except InvalidTag as error:
        raise SealBroken("the file system protection file does not open with its key: wrong key, or changed") from error
    return _decode(body, tag_of(data))


def open_plain_index(tag: str, data: bytes) -> ProtectedFiles:
    """Read an FSPF that is not encrypted. Raises `SealBroken` if it is not the one that `tag` belongs to."""
    _require_tag(tag, data)
    kind, nonce = _header(data)
    if kind != _PLAIN or nonce != _NO_NONCE:
        raise SealBroken("the file system protection file is encrypted; it takes a key")
    if not hmac.compare_digest(hashlib.sha256(data[:-TAG]).digest()[:TAG], data[-TAG:]):
        raise SealBroken("the file system protection file was changed: its content does not have its tag")
    return _decode(data[_HEADER.size : -TAG], tag_of(data))


def _require_tag(tag: str, data: bytes) -> None:
    if not hmac.compare_digest(tag_of(data).encode(), tag.lower().encode()):
        raise SealBroken("the file system protection file is not the expected one (its tag differs)")


def _header(data: bytes) -> tuple[int, bytes]:
    if not data.startswith(MAGIC) or len(data) < _HEADER.size + TAG:
        raise SealBroken("not a file system protection file of sconectl")
    _, version, kind, nonce, length = _HEADER.unpack_from(data)
    if version != VERSION or kind not in (_PLAIN, _ENCRYPTED):
        raise SealBroken(f"a file system protection file of version {version}, which this sconectl does not know")
    if len(data) != _HEADER.size + length + TAG:
        raise SealBroken("the file system protection file does not have its length")
    return kind, nonce


def _encode(regions: Iterable[Region], files: Iterable[SealedFile], contents: bytes) -> bytes:
    places, records = by_path(regions), sorted(files, key=_path)
    check_records(places, records)
    document = {
        "data_key": contents.hex(),
        "files": records,
        "regions": [[r.path, r.protection, r.storage, r.source, r.chunk] for _, r in sorted(places.items())],
    }
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode("ascii")


def _path(file: SealedFile) -> str:
    return file.path


def _decode(body: bytes, tag: str) -> ProtectedFiles:
    try:
        document = json.loads(body)
        regions = by_path(Region(*row) for row in document["regions"])
        files = [SealedFile(*row) for row in document["files"]]
        check_records(regions, files)
        contents = bytes.fromhex(document["data_key"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SealBroken("the file system protection file does not make sense") from error
    if len(contents) != KEY:
        raise SealBroken("the file system protection file has no data key")
    return ProtectedFiles(regions, files, contents, tag)


def check_records(regions: Mapping[str, Region], files: Sequence[SealedFile]) -> None:
    """Raise `SealBroken` for records that belong to no region, lead out of it, or do not fit each other.

    The parent of a record must be recorded as a directory, unless a region begins with the record. So no path leads
    through a link, and all are normalised, because the paths of regions are.
    """
    folders: dict[str, Region] = {}
    others: set[str] = set()
    packs: dict[str, list[tuple[int, int]]] = {}
    last = ""
    for file in files:
        path = file.path
        above, _, name = path.rpartition("/")
        region = regions.get(path)
        if region is None:
            region = folders.get(above or "/")
            fits = name not in ("", ".", "..") and "\0" not in name
        else:
            fits = file.kind == "d" and not any(folder in others for folder in _folders_above(path))
        if not fits or region is None or region.protection not in _PROTECTED or region.storage != KERNEL:
            raise SealBroken(f"{path} does not belong to the protected directories")
        if path <= last:
            raise SealBroken(f"{path} is recorded twice, or not in order")
        last = path
        if file.kind == "d":
            folders[path] = region
        else:
            others.add(path)
        if not _is_sound(file, region):
            raise SealBroken(f"the record of {path} does not make sense")
        if file.pack:
            extent = (file.offset, file.offset + sealed_size(file.size, region.chunk))
            packs.setdefault(f"{region.source}/{file.pack}", []).append(extent)
    _check_packs(packs)


def _folders_above(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _is_sound(file: SealedFile, region: Region) -> bool:
    if type(file.mode) is not int or not 0 <= file.mode <= 0o7777:
        return False
    if file.kind != "f":
        link = file.kind == "l"
        named = bool(file.target) == link and "\0" not in file.target and (link or file.kind == "d")
        return named and file[4:] == (0, "", "", 0)
    if type(file.size) is not int or type(file.offset) is not int or file.size < 0 or file.offset < 0 or file.target:
        return False
    packed = region.protection == ENCRYPTED and file.size > 0
    length = _DIGEST if region.protection == AUTHENTICATED else _IDENTITY if packed else 0
    if len(file.digest) != length or file.digest.strip(_HEX):
        return False
    return bool(file.pack) == packed and "/" not in file.pack and file.pack not in (".", "..") and "\0" not in file.pack


def _check_packs(packs: Mapping[str, list[tuple[int, int]]]) -> None:
    """Every byte of a pack belongs to exactly one file."""
    for pack, extents in packs.items():
        end = 0
        for start, following in sorted(extents):
            if start != end:
                raise SealBroken(f"the files in {pack} do not lie one behind the other")
            end = following
