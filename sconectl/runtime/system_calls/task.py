"""Looks at a stopped thread of the program: its files, its paths, the call it is in.

Everything is read from /proc, which shows it to the thread's own user. A launcher that is root and may change its user
looks with the eyes of that user, so that it needs no capability for tracing. Raises `OSError`: `FileNotFoundError` and
`ProcessLookupError` if there is no such thing, `PermissionError` if it cannot be seen.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import TypeVar

_LONGEST_PATH = 4096
_AT_CURRENT_DIRECTORY = -100
_libc = ctypes.CDLL(None)
_IS_ROOT = os.geteuid() == 0
T = TypeVar("T")


def file_of(tid: int, descriptor: int) -> os.stat_result:
    """Return the status of the file behind a descriptor."""
    path = f"/proc/{tid}/fd/{descriptor & 0xFFFFFFFF}"
    try:
        return os.stat(path)  # noqa: PTH116
    except PermissionError:
        return _as_its_user(tid, lambda: os.stat(path))  # noqa: PTH116


def is_writable(tid: int, descriptor: int) -> bool:
    """Tell whether a descriptor was opened for writing."""
    path = f"/proc/{tid}/fd/{descriptor & 0xFFFFFFFF}"
    try:
        status = os.lstat(path)
    except PermissionError:
        status = _as_its_user(tid, lambda: os.lstat(path))
    return bool(status.st_mode & 0o200)


def name_of(tid: int, descriptor: int) -> str:
    """Return the path of the file behind a descriptor, with a remark of the kernel if it was deleted."""
    path = f"/proc/{tid}/fd/{descriptor & 0xFFFFFFFF}"
    return seen(tid, lambda: os.readlink(path))  # noqa: PTH115


def path_at(tid: int, address: int, directory: int = _AT_CURRENT_DIRECTORY) -> str:
    """Return a path that this process can use for the one that an argument of a call points to."""
    given = _text(tid, address)
    for own in ("/proc/self", "/proc/thread-self"):
        if given.startswith(f"{own}/"):
            given = f"/proc/{tid}{given[len(own) :]}"
    if given.startswith("/"):
        return f"/proc/{tid}/root{given}"
    signed = ctypes.c_int(directory & 0xFFFFFFFF).value
    return f"/proc/{tid}/{'cwd' if signed == _AT_CURRENT_DIRECTORY else f'fd/{signed}'}/{given}"


def status_at(tid: int, path: str, *, follow: bool) -> os.stat_result:
    """Return the status of the file at such a path."""
    return seen(tid, lambda: os.stat(path, follow_symlinks=follow))  # noqa: PTH116


def is_surely_out_of(tid: int, number: int) -> bool:
    """Tell whether a thread is known not to be in this system call any more."""
    path = f"/proc/{tid}/syscall"
    try:
        found = seen(tid, lambda: _read(path, 32))
    except (FileNotFoundError, ProcessLookupError):
        return True
    except OSError:
        return False
    return not found.startswith((b"running", b"%d " % number))


def _text(tid: int, address: int) -> str:
    memory = seen(tid, lambda: os.open(f"/proc/{tid}/mem", os.O_RDONLY | os.O_CLOEXEC))
    try:
        found = b""
        while b"\0" not in found and len(found) < _LONGEST_PATH:  # a page at a time: the next may not be there
            there = address + len(found)
            part = os.pread(memory, _LONGEST_PATH - there % _LONGEST_PATH, there)
            if not part:
                break
            found += part
    finally:
        os.close(memory)
    return os.fsdecode(found.partition(b"\0")[0])


def _read(path: str, length: int) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(handle, length)
    finally:
        os.close(handle)


def seen(tid: int, look: Callable[[], T]) -> T:
    """Return what `look` finds, with the eyes of the thread's user if ours see nothing."""
    try:
        return look()
    except PermissionError:
        return _as_its_user(tid, look)


def _as_its_user(tid: int, look: Callable[[], T]) -> T:
    """Look again with the user of the thread, as far as files are concerned; only this thread of ours changes."""
    status = os.stat(f"/proc/{tid}")  # noqa: PTH116
    if not _IS_ROOT or status.st_uid == 0:
        return look()
    group = os.getegid()
    try:
        _libc.setfsgid(status.st_gid)
        _libc.setfsuid(status.st_uid)
        return look()
    finally:
        _libc.setfsuid(0)
        _libc.setfsgid(group)
