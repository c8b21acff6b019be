"""Asks for the status of files without asking for their times (statx(2)).

Kernels from 6.13 on give a file whose times were asked for a finer time at its next change, and no file an older one
after that (multigrain timestamps). A commit that asks for those of a volume's live files would change the times of the
journal, too, and some file systems write those with every sync.

In: paths or open files. Out: numbers. Raises `OSError`.
"""

from __future__ import annotations

import ctypes
import errno
import os

_AT_CURRENT_DIRECTORY, _DO_NOT_FOLLOW, _ITSELF = -100, 0x100, 0x1000
_INODE, _BLOCKS = 0x100, 0x400
"""STATX_INO, STATX_BLOCKS."""
_WORDS, _INODE_WORD, _BLOCKS_WORD = 32, 4, 6
"""How long the answer is, in words of 64 bits, and where these are in it."""

_statx = getattr(ctypes.CDLL(None, use_errno=True), "statx", None)  # from glibc 2.28 on
if _statx is not None:
    _statx.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p]


def inode_at(path: bytes) -> int:
    """Return the inode at a path; that of a link itself."""
    found = _asked(_AT_CURRENT_DIRECTORY, path, _DO_NOT_FOLLOW, _INODE)
    return os.lstat(path).st_ino if found is None else found[_INODE_WORD]


def inode_of(handle: int) -> int:
    """Return the inode of an open file."""
    found = _asked(handle, b"", _ITSELF, _INODE)
    return os.fstat(handle).st_ino if found is None else found[_INODE_WORD]


def blocks_of(handle: int) -> int:
    """Return how many blocks of 512 bytes an open file takes."""
    found = _asked(handle, b"", _ITSELF, _BLOCKS)
    return os.fstat(handle).st_blocks if found is None else found[_BLOCKS_WORD]


def _asked(directory: int, path: bytes, flags: int, wanted: int) -> ctypes.Array[ctypes.c_uint64] | None:
    """Return the kernel's answer; None if there is no such call, or a seccomp profile that does not know it."""
    if _statx is None:
        return None
    found = (ctypes.c_uint64 * _WORDS)()
    if _statx(directory, path, flags, wanted, found) == 0:
        return found
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EPERM):
        return None
    raise OSError(number, os.strerror(number))
