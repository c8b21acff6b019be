"""The kernel's calls that Python does not offer, and the numbers of system calls on each architecture.

In: numbers and descriptors. Out: what the kernel answers. Raises `OSError`, as Python's own calls do.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from dataclasses import dataclass

SET_PARENT_DEATH_SIGNAL, SET_CHILD_SUBREAPER, SET_NO_NEW_PRIVILEGES = 1, 36, 38
_SET_MODE_FILTER, _GET_NOTIFICATION_SIZES = 1, 3
_NEW_LISTENER, _WAIT_KILLABLE = 1 << 3, 1 << 5
_BAD_ARGUMENT = 22
_SIGNAL_SET_BYTES = 128
_CLOSE_ON_EXEC = os.O_CLOEXEC
_NON_BLOCKING = os.O_NONBLOCK


@dataclass(frozen=True)
class Architecture:
    """What the filter has to know of a machine: the name that the kernel checks, and the numbers of its calls."""

    audit: int
    foreign_bit: int
    """A bit of call numbers that belong to another architecture (x32), or 0."""
    numbers: dict[str, int]


_COMMON = {
    "pwritev2": (328, 287),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_setup": (206, 0),
    "io_submit": (209, 2),
    "openat": (257, 56),
    "openat2": (437, 437),
    "open_by_handle_at": (304, 265),
    "fsync": (74, 82),
    "fdatasync": (75, 83),
    "msync": (26, 227),
    "sync": (162, 81),
    "syncfs": (306, 267),
    "sync_file_range": (277, 84),
    "pwrite64": (18, 68),
    "pwritev": (296, 70),
    "fallocate": (285, 47),
    "ftruncate": (77, 46),
    "truncate": (76, 45),
    "splice": (275, 76),
    "mmap": (9, 222),
    "linkat": (265, 37),
    "ioctl": (16, 29),
    "seccomp": (317, 277),
}
_ONLY_X86 = {"open": 2, "creat": 85, "link": 86}

ARCHITECTURES = {
    "x86_64": Architecture(0xC000003E, 0x40000000, {name: numbers[0] for name, numbers in _COMMON.items()} | _ONLY_X86),
    "aarch64": Architecture(0xC00000B7, 0, {name: numbers[1] for name, numbers in _COMMON.items()}),
}


def architecture() -> Architecture:
    """Return that of this machine. Raises `OSError` if it is none of those that are known."""
    machine = os.uname().machine
    if machine not in ARCHITECTURES:
        raise OSError(38, f"the system calls of {machine} are not known")
    return ARCHITECTURES[machine]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
_libc.syscall.argtypes = [ctypes.c_long, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_void_p]
_libc.syscall.restype = ctypes.c_long
_libc.signalfd.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
_libc.inotify_init1.argtypes = [ctypes.c_int]
_libc.inotify_add_watch.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32]
_libc.inotify_rm_watch.argtypes = [ctypes.c_int, ctypes.c_int]


def _checked(result: int, call: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
    return result


def set_process(option: int, value: int) -> None:
    """Set one option of this process (prctl)."""
    _checked(_libc.prctl(option, value, 0, 0, 0), "prctl")


def install_filter(program: bytes, number_of_seccomp: int) -> int:
    """Set the filter for this process and all that it starts; return the descriptor where its calls are notified.

    A caller that waits for an answer is disturbed by nothing but its death, where the kernel can do that (5.19).
    """
    described = _Program(len(program) // 8, program)
    for flags in (_NEW_LISTENER | _WAIT_KILLABLE, _NEW_LISTENER):
        result = int(_libc.syscall(number_of_seccomp, _SET_MODE_FILTER, flags, ctypes.byref(described)))
        if result >= 0 or ctypes.get_errno() != _BAD_ARGUMENT:
            break
    return _checked(result, "seccomp")


def notification_sizes(number_of_seccomp: int) -> tuple[int, int]:
    """Return how long a notification and an answer are in this kernel."""
    sizes = (ctypes.c_uint16 * 3)()
    _checked(int(_libc.syscall(number_of_seccomp, _GET_NOTIFICATION_SIZES, 0, sizes)), "seccomp")
    return sizes[0], sizes[1]


def signal_descriptor(signals: Iterable[int]) -> int:
    """Return a descriptor that is readable while one of these (blocked) signals waits."""
    members = bytearray(_SIGNAL_SET_BYTES)
    for number in signals:
        members[(number - 1) // 8] |= 1 << (number - 1) % 8
    return _checked(_libc.signalfd(-1, bytes(members), _CLOSE_ON_EXEC), "signalfd")


def inotify() -> int:
    """Return a new queue of changes; reading it never waits."""
    return _checked(_libc.inotify_init1(_CLOSE_ON_EXEC | _NON_BLOCKING), "inotify_init1")


def add_watch(queue: int, path: str, mask: int) -> int:
    """Watch a path; return the number that its events will have."""
    return _checked(_libc.inotify_add_watch(queue, os.fsencode(path), mask), "inotify_add_watch")


def remove_watch(queue: int, watch: int) -> None:
    """Watch it no more."""
    _checked(_libc.inotify_rm_watch(queue, watch), "inotify_rm_watch")
