"""The filter of the program's system calls, as instructions of the kernel's classic BPF.

In: an architecture. Out: the filter. It decides which calls run, which fail at once, and which the supervisor is asked
about before they run. Nothing is weaker than it says: what would write past the supervisor is refused.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from sconectl.runtime.system_calls.kernel import Architecture

ALLOW = 0x7FFF0000
NOTIFY = 0x7FC00000
FAIL = 0x00050000
"""With the number of the error in its lower half."""

SYNC_FLAGS = 0o4010000
"""O_SYNC and O_DSYNC: each of their two bits makes writes durable by themselves."""
TRUNCATE_FLAG = 0o1000
"""O_TRUNC."""
_ANONYMOUS = 0x20
_SHARED = 0x01
"""Set in MAP_SHARED and MAP_SHARED_VALIDATE, and in no other type of mapping."""
_WRITE_SYNC_FLAGS = 0x02 | 0x04
"""RWF_DSYNC, RWF_SYNC."""

_SPACE_REQUESTS = (0x40305828, 0x40305829, 0x4030582A, 0x4030582B, 0x40305839)
"""FS_IOC_RESVSP and others, an old way to fallocate, which is notified."""

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, operand."""


@dataclass(frozen=True)
class Rule:
    """What becomes of a call if its argument has one of the bits `any_of` and none of `none_of`, or is `equals`."""

    action: int
    argument: int = 0
    any_of: int = 0
    none_of: int = 0
    equals: int | None = None


_ASKED = (Rule(NOTIFY),)
_ABSENT = (Rule(FAIL | errno.ENOSYS),)

RULES: dict[str, tuple[Rule, ...]] = {
    "pwrite64": _ASKED,
    "fsync": _ASKED,
    "fdatasync": _ASKED,
    "msync": _ASKED,
    "sync": _ASKED,
    "syncfs": _ASKED,
    "sync_file_range": _ASKED,
    "pwritev": _ASKED,
    "pwritev2": (Rule(FAIL | errno.EOPNOTSUPP, 5, any_of=_WRITE_SYNC_FLAGS), Rule(NOTIFY)),
    "fallocate": _ASKED,
    "ftruncate": _ASKED,
    "truncate": _ASKED,
    "splice": _ASKED,
    "link": _ASKED,
    "linkat": _ASKED,
    "creat": _ASKED,
    "mmap": (Rule(NOTIFY, 3, any_of=_SHARED, none_of=_ANONYMOUS),),
    "open": (Rule(NOTIFY, 1, any_of=SYNC_FLAGS | TRUNCATE_FLAG),),
    "openat": (Rule(NOTIFY, 2, any_of=SYNC_FLAGS | TRUNCATE_FLAG),),
    "open_by_handle_at": (Rule(FAIL | errno.EINVAL, 2, any_of=SYNC_FLAGS | TRUNCATE_FLAG),),
    "ioctl": tuple(Rule(FAIL | errno.ENOTTY, 1, equals=request) for request in _SPACE_REQUESTS),
    "openat2": _ABSENT,
    "io_uring_setup": _ABSENT,
    "io_uring_enter": _ABSENT,
    "io_uring_register": _ABSENT,
    "io_setup": _ABSENT,
    "io_submit": _ABSENT,
}
"""By call, the first rule that fits; calls that are not here are allowed. Changes by calls that are allowed are seen
by the watch of the directories, but for those of mapped files."""

NOTIFIED = tuple(call for call, rules in RULES.items() if any(rule.action == NOTIFY for rule in rules))
"""Calls that the supervisor is asked about."""


def build(architecture: Architecture) -> bytes:
    """Return the filter for `architecture`; calls of another one do not exist for the program."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions(architecture))


def instructions(architecture: Architecture) -> list[Instruction]:
    """Return the instructions of the filter."""
    absent = (_RETURN, 0, 0, FAIL | errno.ENOSYS)
    found: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture.audit),
        absent,
        (_LOAD, 0, 0, _NUMBER),
    ]
    if architecture.foreign_bit:
        found += [(_AT_LEAST, 0, 1, architecture.foreign_bit), absent]
    for call, rules in RULES.items():
        if call in architecture.numbers:
            block = _block(rules)
            found += [(_EQUAL, 0, len(block), architecture.numbers[call]), *block]
    return [*found, (_RETURN, 0, 0, ALLOW)]


def _block(rules: Sequence[Rule]) -> list[Instruction]:
    """Return what decides about one call; every way through it ends there."""
    found: list[Instruction] = []
    for rule in rules:
        decided = (_RETURN, 0, 0, rule.action)
        if not (rule.any_of or rule.none_of or rule.equals is not None):
            return [*found, decided]
        steps: list[Instruction] = [(_LOAD, 0, 0, _ARGUMENTS + 8 * rule.argument)]  # flags are in the lower half
        if rule.none_of:
            steps += [(_ANY_BIT, 2 if rule.any_of else 1, 0, rule.none_of)]
        if rule.any_of:
            steps += [(_ANY_BIT, 0, 1, rule.any_of)]
        if rule.equals is not None:
            steps += [(_EQUAL, 0, 1, rule.equals)]
        found += [*steps, decided]
    return [*found, (_RETURN, 0, 0, ALLOW)]
