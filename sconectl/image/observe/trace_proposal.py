"""Proposes which directories of an image are worth encrypting, from what its program used.

In: `Accesses` of a trace. Out: the fewest directories that hold the files of the program and none that has to be
readable before the keys are there: the program itself, the libraries that the dynamic loader maps, system files.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass

from sconectl.image.observe.trace import Accesses
from sconectl.protect.index import is_below

_SYSTEM = (
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/run", "/sbin", "/scone", "/sys",
    "/tmp", "/usr/bin", "/usr/include", "/usr/lib/gconv", "/usr/lib/locale", "/usr/lib/ssl", "/usr/lib/terminfo",  # noqa: S108
    "/usr/libexec", "/usr/local/bin", "/usr/local/sbin", "/usr/sbin", "/usr/share/ca-certificates", "/usr/share/i18n",
    "/usr/share/locale", "/usr/share/misc", "/usr/share/terminfo", "/usr/share/zoneinfo", "/var/cache", "/var/lib",
    "/var/lock", "/var/log", "/var/mail", "/var/run", "/var/spool", "/var/tmp",  # noqa: S108
)  # fmt: skip
_TRIPLET = re.compile(r"/usr/lib/[a-z0-9_]+-linux-(gnu|musl)[a-z0-9]*(/|\Z)")
_LIBRARY = re.compile(r"(lib|ld-)[^/]*\.so(\.[0-9]+)*\Z")
_DEPTH = {"/usr/lib": 3, "/usr/lib64": 3, "/usr/local": 3, "/usr/share": 3, "/usr": 2, "/var": 2}
"""How many parts a proposed directory has below these; one anywhere else."""


@dataclass(frozen=True)
class Proposal:
    """Directories to encrypt; `left` are files that the program read and no directory can hold."""

    dirs: tuple[str, ...]
    left: tuple[str, ...]


def propose(accesses: Accesses, volumes: Iterable[str] = ()) -> Proposal:
    """Return the directories to encrypt, apart from paths of `volumes`. The same accesses give the same proposal."""
    kept = tuple(volumes)
    data = {path for path in accesses.read - accesses.written if not (_is_system(path) or is_below(path, kept))}
    libraries = {path for path in data if _LIBRARY.match(posixpath.basename(path))}
    blocked = libraries | accesses.started | {*kept}
    dirs: list[str] = []
    left: list[str] = []
    groups: dict[str, list[str]] = {}
    for path in sorted(data - blocked):
        start = _start(path)
        if start:
            groups.setdefault(start, []).append(path)
        else:
            left.append(path)
    for start, files in groups.items():
        _descend(start, files, blocked, dirs, left)
    return Proposal(tuple(sorted(dirs)), tuple(sorted(left)))


def _is_system(path: str) -> bool:
    return is_below(path, _SYSTEM) or bool(_TRIPLET.match(path))


def _start(path: str) -> str:
    """Return the highest directory to propose for a file, or nothing if the file lies above all."""
    parts = path.split("/")
    depth = next((depth for prefix, depth in _DEPTH.items() if is_below(path, (prefix,))), 1)
    return "/".join(parts[: depth + 1]) if len(parts) > depth + 1 else ""


def _descend(folder: str, files: Iterable[str], blocked: set[str], dirs: list[str], left: list[str]) -> None:
    """Propose `folder`, or directories below it if it holds something that has to stay readable."""
    inside = {path for path in blocked if is_below(path, (folder,))}
    if not inside:
        dirs.append(folder)
        return
    groups: dict[str, list[str]] = {}
    for path in files:
        name, slash, _ = path[len(folder) + 1 :].partition("/")
        if slash:
            groups.setdefault(f"{folder}/{name}", []).append(path)
        else:
            left.append(path)
    for below, paths in groups.items():
        _descend(below, paths, inside, dirs, left)
