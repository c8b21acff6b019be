"""Compares what an FSPF says with what is there: packs of encrypted regions, and files in place of authenticated ones.

In: what an FSPF says, and the root of the host paths. Out: every difference. Nothing is written.
"""

from __future__ import annotations

from sconectl.protect import extract
from sconectl.protect.fspf import ProtectedFiles
from sconectl.protect.index import Difference
from sconectl.protect.regions import AUTHENTICATED, Region
from sconectl.protect.tree import list_tree, with_digests
from sconectl.protect.workers import PROCESSES


def differences(found: ProtectedFiles, *, root: str = "", processes: int = PROCESSES) -> list[Difference]:
    """Return how the files on the host, below `root`, differ from what was protected, sorted by path."""
    result = extract.check(found, root=root, processes=processes)
    for region in found.regions.values():
        if region.protection == AUTHENTICATED:
            result += _in_place(found, region, root, processes)
    return sorted(result, key=lambda difference: (difference.path, difference.kind))


def _in_place(found: ProtectedFiles, region: Region, root: str, processes: int) -> list[Difference]:
    expected = {file.path: file for file, its in found.with_regions() if its is region}
    listing = list_tree(root + region.source, region.path, leave_out=found.regions.keys() - {region.path})
    there = {file.path: file for file in with_digests(listing, processes=processes)}
    unreadable = {path for path, _ in listing.faults}
    unreadable |= {path for path, file in there.items() if file.kind == "f" and not file.digest}
    result = []
    for path in expected.keys() | there.keys() | unreadable:
        if there.get(path) != expected.get(path) or path in unreadable:
            kind = "missing" if path not in there else "changed"
            kind = "added" if path not in expected else "unreadable" if path in unreadable else kind
            result.append(Difference(kind, path))
    return result
