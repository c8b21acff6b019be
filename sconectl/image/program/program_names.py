"""Suggests programs of an image that may have been meant.

In: the files of the image, a name that is not there, the directories of PATH. Out: a sentence for a hint.
"""

from __future__ import annotations

import difflib
import posixpath
from collections.abc import Iterator, Sequence

from sconectl.image.layers.root_tree import RootFiles

_MAX_SHOWN = 5
_MAX_SEARCHED = 200_000


def suggestion(root: RootFiles, name: str, folders: Sequence[str]) -> str:
    """Return a hint with names to write instead of `name`."""
    wanted = posixpath.basename(name.rstrip("/"))
    in_path = {posixpath.basename(path): path for folder in reversed(folders) for path in _executables(root, folder)}
    close = sorted(other for other in in_path if wanted and other.startswith(wanted))
    close += [other for other in difflib.get_close_matches(wanted, in_path, n=_MAX_SHOWN) if other not in close]
    if close:
        return f"did you mean {' or '.join(in_path[other] for other in close[:_MAX_SHOWN])}?"
    elsewhere = [path for path in _everywhere(root) if not in_path or posixpath.basename(path) == wanted]
    if elsewhere:
        return f"the image has {', '.join(sorted(elsewhere)[:_MAX_SHOWN])}"
    if in_path:
        return f"programs in PATH are {', '.join(sorted(in_path.values())[:_MAX_SHOWN])}, …"
    return "the image has no executable file"


def _executables(root: RootFiles, folder: str) -> Iterator[str]:
    real = root.resolve(folder)
    for name in root.names(real) if real else ():
        path = posixpath.join(folder, name)
        target = root.resolve(path)
        member = root.member(target) if target else None
        if member is not None and member.kind == "f" and member.mode & 0o111:
            yield path


def _everywhere(root: RootFiles) -> Iterator[str]:
    """Yield the executable files of the image that are no libraries."""
    waiting = ["/"]
    searched = 0
    while waiting and searched < _MAX_SEARCHED:
        folder = waiting.pop()
        for name in root.names(folder):
            searched += 1
            path = posixpath.join(folder, name)
            member = root.member(path)
            if member is not None and member.kind == "d":
                waiting.append(path)
            elif member is not None and member.kind == "f" and member.mode & 0o111 and ".so" not in name:
                yield path
