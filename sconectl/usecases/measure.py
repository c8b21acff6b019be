"""Checks on any machine whether an image is what it says: measures its files and compares with all claims.

In: an image of the engine, or an archive that `docker save` wrote. Out: a `Comparison`. Raises `BuildFailed`,
`UsageError` for a file that is no such archive, and `PlanImpossible` for an image that is no confidential one.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import posixpath
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

from sconectl.apply.work_directory import work_directory
from sconectl.errors import PlanImpossible, UsageError
from sconectl.image.layers.saved_image import ImageSource, open_native
from sconectl.plan.facts.image_label import ImageLabel
from sconectl.ports import ImageInfo
from sconectl.toolchains.interface import MeasuredImage, Toolchain

_GZIP = b"\x1f\x8b"
_MAX_JSON = 16 << 20
_UNREADABLE = (
    *(tarfile.TarError, EOFError, OSError, zlib.error),
    *(LookupError, TypeError, AttributeError, ValueError, RecursionError),
)
"""The errors of reading a file that is no archive of an image."""


@dataclass(frozen=True)
class Comparison:
    """What was measured, what the label says (None if it says nothing), and every claim that is wrong."""

    measured: MeasuredImage
    label: ImageLabel | None
    wrong: tuple[str, ...]


def compare(reference: str, info: ImageInfo, source: ImageSource, cache: Path, toolchain: Toolchain) -> Comparison:
    """Measure the image `info` that `source` gives out, and compare with what it says about itself."""
    with (
        work_directory() as work,
        open_native(source, reference, info, work, cache) as native,
    ):
        measured = toolchain.measure(native.tree)
        wrong = [*map(str, measured.changes), *measured.faults]
        try:
            label = ImageLabel.read(reference, native.info.labels)
        except PlanImpossible as error:
            return Comparison(measured, None, (*wrong, error.message))
    return Comparison(measured, label, (*wrong, *_of_label(measured, label)))


def _of_label(measured: MeasuredImage, label: ImageLabel) -> Iterator[str]:
    if label.measurement != measured.found:
        yield f"the label says that the measurement is {label.measurement}, and it is {measured.found}"
    elif label.protected.root != measured.root:
        yield "the label says something else about the protected root than the image's files"
    if label.parameters != measured.parameters:
        yield "the label says something else about the parameters than the image's files"
    told, signed = label.signer, measured.signed
    if (told and (told.mrsigner, told.isvprodid, told.isvsvn)) != (
        signed and (signed.mrsigner, signed.isvprodid, signed.isvsvn)
    ):
        yield "the label says something else about the signer than the image's signature"


class ArchiveFile:
    """One image in a file that `docker save` wrote; can do what reading an image takes of an engine."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def info(self) -> ImageInfo:
        """Return the description of the image in the archive. Raises `UsageError` if there is not exactly one image."""
        try:
            with self.save("") as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
                return self._image(tar)
        except _UNREADABLE as error:
            hint = "give the name of an image, or a file that `docker save` has written"
            raise UsageError(f"{self._path} is not the archive of an image", hint=hint) from error

    def _image(self, tar: tarfile.TarFile) -> ImageInfo:
        manifest = json.loads(_content(tar, "manifest.json"))
        if len(manifest) != 1:
            hint = "docker save -o FILE IMAGE"
            raise UsageError(f"{self._path} holds {len(manifest)} images, and one is expected", hint=hint)
        blob = _content(tar, str(manifest[0]["Config"]))
        document = json.loads(blob)
        config = dict(document.get("config") or {})
        config["Labels"] = {str(name): str(value) for name, value in (config.get("Labels") or {}).items()}
        layers = tuple(str(digest) for digest in document["rootfs"]["diff_ids"])
        identity = f"sha256:{hashlib.sha256(blob).hexdigest()}"
        return ImageInfo(identity, str(document.get("architecture", "")), config, layers)

    @contextmanager
    def save(self, _image: str) -> Iterator[BinaryIO]:
        """Give out the archive."""
        try:
            raw = self._path.open("rb")
        except OSError as error:
            raise UsageError(f"{self._path} cannot be read: {error.strerror}") from error
        with raw:
            packed = raw.read(2) == _GZIP
            raw.seek(0)
            yield cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if packed else raw


def _content(tar: tarfile.TarFile, name: str) -> bytes:
    wanted = posixpath.normpath(name)
    for entry in tar:
        if posixpath.normpath(entry.name) == wanted and entry.isfile() and entry.size <= _MAX_JSON:
            return cast(IO[bytes], tar.extractfile(entry)).read()
    raise LookupError(name)
