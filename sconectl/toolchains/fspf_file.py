"""A file system protection file (FSPF) on disk: made, given regions and files, encrypted, checked, and opened again.

In: paths and keys. Out: the changed file and its tag. Raises `UsageError` for what does not fit together,
`PlanImpossible` for files that cannot be protected, and `Refused` for what is not as it was protected.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sconectl.errors import PlanImpossible, Refused, UsageError
from sconectl.protect.chunks import SealBroken
from sconectl.protect.extract import extract
from sconectl.protect.fspf import (
    KEY,
    ProtectedFiles,
    SealedFile,
    is_encrypted,
    open_index,
    open_plain_index,
    plain_index,
    seal_index,
    tag_of,
)
from sconectl.protect.packs import write_pack
from sconectl.protect.regions import ENCRYPTED, KERNEL, NOT_PROTECTED, Region, by_path
from sconectl.protect.tree import Listing, list_tree, with_digests

_SHOWN = 20


@dataclass(frozen=True)
class FspfFile:
    """An FSPF on disk as it was read; `key` is that of an encrypted one, else empty."""

    path: Path
    found: ProtectedFiles
    key: bytes = field(repr=False)

    @classmethod
    def create(cls, path: Path) -> FspfFile:
        """Make an FSPF without regions; the file must not exist."""
        if os.path.lexists(path):
            raise UsageError(f"{path} exists", hint="give another name, or remove it first")
        return cls(path, ProtectedFiles({}, (), secrets.token_bytes(KEY), ""), b"")._write((), (), new=True)

    @classmethod
    def read(cls, path: Path, key: bytes = b"", tag: str = "") -> FspfFile:
        """Read an FSPF; `tag` is the one that it must have, if that is known."""
        try:
            data = path.read_bytes()
            if is_encrypted(data) and not key:
                raise UsageError(f"{path} is encrypted", hint="give its key: 64 hex digits, @FILE, or - for stdin")
            expected = tag or tag_of(data)
            return cls(path, open_index(key, expected, data) if key else open_plain_index(expected, data), key)
        except SealBroken as error:
            raise Refused(f"{path}: {error}") from error
        except (FileNotFoundError, IsADirectoryError) as error:
            raise UsageError(f"there is no file {path}", hint="make one with: sconectl fspf create FILE") from error

    def add_region(self, region: Region) -> FspfFile:
        """Add a region. The first one of several has to be that of /."""
        regions = self.found.regions
        if faults := region.faults():
            raise UsageError(faults[0])
        if region.path in regions:
            raise UsageError(f"{self.path} already has a region {region.path}")
        if regions and region.path != "/" and "/" not in regions:
            raise UsageError(
                "with more than one region there must be one for /",
                hint=f"sconectl fspf addr {self.path} / --not-protected --kernel /",
            )
        if inside := [file.path for file in self.found.files if f"{file.path}/".startswith(f"{region.path}/")]:
            raise UsageError(
                f"{inside[0]} already belongs to another region", hint="add all regions before you add files"
            )
        return self._write([*regions.values(), region], self.found.files)

    def add_files(self, path: str, source: Path, output: Path | None) -> tuple[FspfFile, list[str]]:
        """Protect what is in `source` as the whole content of region `path`.

        Encrypted contents go to the directory `output`. Return also the paths of other regions that were left out.
        """
        region = self._region(path)
        if not source.is_dir():
            raise UsageError(f"{source} is not a directory")
        if output is not None and output.resolve().is_relative_to(source.resolve()):
            raise UsageError(f"the output directory {output} is in the source directory {source}")
        if output is None and region.protection == ENCRYPTED:
            raise UsageError(f"region {path} is encrypted: give the directory for the encrypted files, too")
        others = self.found.regions.keys() - {path}
        listing = _listed(source, path, others)
        if output is None or region.protection != ENCRYPTED:
            return self._add_in_place(region, listing, source, output), listing.left_out
        files, pack = self._encrypted(region, listing, output)
        try:
            changed = self._with_files(region, files)
        except BaseException:
            pack.unlink(missing_ok=True)
            raise
        self._remove_packs(region, output)
        return changed, listing.left_out

    def _add_in_place(self, region: Region, listing: Listing, source: Path, output: Path | None) -> FspfFile:
        if output is not None:
            others = self.found.regions.keys() - {region.path}
            source = _copied(source, output, region.path, others)
            listing = _listed(source, region.path, others)
        files = with_digests(listing)
        _require_all((file.path, "cannot be read") for file in files if file.kind == "f" and not file.digest)
        return self._with_files(region, files)

    def _region(self, path: str) -> Region:
        region = self.found.regions.get(path)
        if region is None:
            known = ", ".join(sorted(self.found.regions)) or "none"
            raise UsageError(f"{path} is not a region of {self.path}", hint=f"regions: {known}; see sconectl fspf addr")
        if region.protection == NOT_PROTECTED or region.storage != KERNEL:
            raise UsageError(f"region {path} is {region.protection}, {region.storage}: there is nothing to add")
        return region

    def _encrypted(self, region: Region, listing: Listing, output: Path) -> tuple[list[SealedFile], Path]:
        """Write a pack with a new name. It appears whole or not at all, and the one before stays as it is."""
        output.mkdir(parents=True, exist_ok=True)
        number = 1
        while os.path.lexists(output / f"{number}.pack"):
            number += 1
        pack = output / f"{number}.pack"
        handle, name = tempfile.mkstemp(prefix=".pack-", dir=output)
        os.fchmod(handle, 0o644)
        os.close(handle)
        try:
            sealed = write_pack(self.found.data_key, pack.name, listing.files, Path(name), chunk=region.chunk)
            if any(file.pack for file in sealed):
                Path(name).rename(pack)
        finally:
            Path(name).unlink(missing_ok=True)
        return [*listing.others, *sealed], pack

    def _with_files(self, region: Region, files: Sequence[SealedFile]) -> FspfFile:
        others = [file for file, its in self.found.with_regions() if its is not region]
        return self._write(self.found.regions.values(), [*others, *files])

    def _remove_packs(self, region: Region, output: Path) -> None:
        """Remove the packs that the region had before, unless they are elsewhere or another region uses them."""
        kept = {(its.source, file.pack) for file, its in self.found.with_regions() if its is not region}
        mine = {file.pack for file, its in self.found.with_regions() if its is region and file.pack}
        for pack in mine:
            if (region.source, pack) not in kept:
                (output / pack).unlink(missing_ok=True)

    def encrypt(self) -> FspfFile:
        """Encrypt the FSPF with a new key, which is in `key` of the result."""
        if self.key:
            raise UsageError(f"{self.path} is encrypted already")
        return replace(self, key=secrets.token_bytes(KEY))._write(self.found.regions.values(), self.found.files)

    def extract(self, target: Path, root: str) -> None:
        """Write the plain files of all encrypted regions below `target`, a new or empty directory."""
        if target.is_dir() and any(target.iterdir()):
            raise UsageError(f"{target} is not empty", hint="give a new directory")
        existed = target.is_dir()
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            extract(self.found, str(target), root=root)
        except BaseException as error:
            for made in target.iterdir():
                shutil.rmtree(made) if made.is_dir() and not made.is_symlink() else made.unlink()
            if not existed:
                target.rmdir()
            if isinstance(error, SealBroken):
                raise Refused(str(error), hint="sconectl fspf verify lists everything that was changed") from error
            raise

    def _write(self, regions: Iterable[Region], files: Iterable[SealedFile], *, new: bool = False) -> FspfFile:
        """Replace the file at once, or make it if it is `new`.

        What is not encrypted is for the owner's eyes only: it holds the data key.
        """
        files = sorted(files, key=lambda file: file.path)
        if self.key:
            data, tag = seal_index(self.key, regions, files, contents=self.found.data_key)
        else:
            data, tag = plain_index(regions, files, self.found.data_key)
        handle, name = tempfile.mkstemp(prefix=".fspf-", dir=self.path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(handle)
                os.fchmod(handle, 0o644 if self.key else 0o600)
            if new:  # never over one that somebody made in between: it may hold the only copy of a key
                self.path.hardlink_to(name)
            else:
                Path(name).replace(self.path)
        except FileExistsError as error:
            raise UsageError(f"{self.path} exists", hint="give another name, or remove it first") from error
        finally:
            Path(name).unlink(missing_ok=True)
        return replace(self, found=ProtectedFiles(by_path(regions), files, self.found.data_key, tag))


def _listed(source: Path, path: str, others: Iterable[str]) -> Listing:
    listing = list_tree(str(source), path, leave_out=frozenset(others))
    _require_all(listing.faults)
    return listing


def _require_all(faults: Iterable[tuple[str, str]]) -> None:
    lines = [f"{path!r}: {reason}" for path, reason in faults]
    if lines:
        more = f", and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
        raise PlanImpossible(f"some files cannot be protected: {', '.join(lines[:_SHOWN])}{more}")


def _copied(source: Path, output: Path, path: str, others: Iterable[str]) -> Path:
    """Copy what belongs to an authenticated region to a new or empty directory, and return that."""
    if output.is_dir() and any(output.iterdir()):
        raise UsageError(f"{output} is not empty", hint="files of an authenticated region are copied as they are")
    elsewhere = {f"{source}{other.removeprefix(path.rstrip('/'))}" for other in others}
    shutil.copytree(
        source,
        output,
        symlinks=True,
        dirs_exist_ok=True,
        ignore=lambda folder, names: [name for name in names if os.path.join(folder, name) in elsewhere],  # noqa: PTH118
    )
    return output
