"""Finds and reads the files that sconectl ships besides its code.

In: a name like `charts_templates/service`. Out: bytes. In a wheel the files are in `sconectl/_assets/`, in a
checkout beside the package.
"""

from __future__ import annotations

from pathlib import Path

from sconectl.errors import SconectlError

_PACKAGE = Path(__file__).resolve().parent
# The wheel comes first: beside an installed package is site-packages, where other projects keep their folders.
_HOMES = (_PACKAGE / "_assets", _PACKAGE.parent)


def read(name: str) -> bytes:
    """Return the content of the file `name`, a POSIX path like `charts_templates/icon.svg`."""
    path = _find(name)
    if not path.is_file():
        raise _missing(name)
    return path.read_bytes()


def read_tree(name: str) -> dict[str, bytes]:
    """Return all files below the folder `name`, by their sorted POSIX paths relative to it."""
    root = folder(name)
    files = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    return {relative: files[relative].read_bytes() for relative in sorted(files)}


def folder(name: str) -> Path:
    """Return where the folder `name` is, for those who read files below it one by one."""
    path = _find(name)
    if not path.is_dir():
        raise _missing(name)
    return path


def _find(name: str) -> Path:
    for home in _HOMES:
        path = home / name
        if path.exists():
            return path
    raise _missing(name)


def _missing(name: str) -> SconectlError:
    return SconectlError(f"this installation of sconectl lacks {name}", hint="install sconectl again")
