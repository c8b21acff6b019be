"""Regions: which part of a file system is protected how. Of several, the one with the longest path decides.

In: regions. Out: the region of a path, or `SealBroken` for regions that make no sense.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass

from sconectl.protect.chunks import CHUNK, MAX_CHUNK, MIN_CHUNK, SealBroken

ENCRYPTED, AUTHENTICATED, NOT_PROTECTED = "encrypted", "authenticated", "not-protected"
KERNEL, EPHEMERAL = "kernel", "ephemeral"


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a file system: everything below `path` that is in no region with a longer path.

    `source` is where the host keeps a region of storage `kernel`: its files, or, if it is encrypted, its packs. One
    that is `ephemeral` begins empty in memory and ends with the program.
    """

    path: str
    protection: str
    storage: str = KERNEL
    source: str = ""
    chunk: int = CHUNK

    def faults(self) -> list[str]:
        """Return the faults of the region by itself."""
        checks = {
            f"{self.path} is not an absolute, normalised path": _is_normal(self.path),
            f"{self.protection} is not a protection": self.protection in (ENCRYPTED, AUTHENTICATED, NOT_PROTECTED),
            f"{self.storage} is not a storage": self.storage in (KERNEL, EPHEMERAL),
            f"{self.source} is not an absolute, normalised path": self.storage != KERNEL or _is_normal(self.source),
            f"an ephemeral region has no source: {self.source}": self.storage != EPHEMERAL or not self.source,
            f"{self.chunk} is not a chunk length from {MIN_CHUNK} to {MAX_CHUNK}": (
                type(self.chunk) is int and MIN_CHUNK <= self.chunk <= MAX_CHUNK
            ),
        }
        return [fault for fault, good in checks.items() if not good]


def _is_normal(path: str) -> bool:
    return path.startswith("/") and not path.startswith("//") and posixpath.normpath(path) == path and "\0" not in path


def by_path(regions: Iterable[Region]) -> dict[str, Region]:
    """Return the regions by their paths. Raises `SealBroken` for regions that contradict each other or themselves."""
    result: dict[str, Region] = {}
    for region in regions:
        if faults := region.faults():
            raise SealBroken(f"region {region.path}: {faults[0]}")
        if region.path in result:
            raise SealBroken(f"region {region.path} is there twice")
        result[region.path] = region
    if len(result) > 1 and "/" not in result:
        raise SealBroken("with more than one region there must be one for /")
    return result
