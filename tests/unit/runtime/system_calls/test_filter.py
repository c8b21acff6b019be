"""The filter, run by a small interpreter of its instructions: every rule, both architectures, foreign calls."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator

import pytest

from sconectl.runtime.system_calls.filter import ALLOW, FAIL, NOTIFY, RULES, build
from sconectl.runtime.system_calls.kernel import ARCHITECTURES, Architecture

MOST_INSTRUCTIONS = 4096


def run(program: bytes, number: int, architecture: int, arguments: tuple[int, ...] = ()) -> int:
    """Return the action for one call."""
    values = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("=IIQ6Q", number & 0xFFFFFFFF, architecture, 0x7F0000001000, *values)
    steps = list(struct.iter_unpack("=HBBI", program))
    assert len(steps) < MOST_INSTRUCTIONS
    at, accumulator = 0, 0
    while True:
        code, yes, no, operand = steps[at]
        at += 1
        if code == 0x20:
            assert operand % 4 == 0
            (accumulator,) = struct.unpack_from("=I", data, operand)
        elif code == 0x06:
            return int(operand)
        else:
            fits = {0x15: accumulator == operand, 0x35: accumulator >= operand, 0x45: bool(accumulator & operand)}[code]
            at += yes if fits else no


NONE = FAIL | errno.ENOSYS
DSYNC, SYNC, TRUNC, CREAT, WRONLY = 0o10000, 0o4010000, 0o1000, 0o100, 1
PRIVATE, SHARED, VALIDATE, ANONYMOUS = 2, 1, 3, 0x20
NOTIFIED = (
    "pwrite64 fsync fdatasync msync sync syncfs sync_file_range pwritev pwritev2 fallocate ftruncate truncate splice "
    "linkat"
).split()
ABSENT = "io_uring_setup io_uring_enter io_uring_register io_setup io_submit openat2".split()
ALLOWED = {  # calls that must stay fast: read, write, close, futex, rename, mprotect, copy_file_range, sendfile
    "x86_64": [0, 1, 3, 202, 82, 10, 326, 40, 17, 19, 20, 56, 59, 435],
    "aarch64": [63, 64, 57, 98, 38, 226, 285, 71, 67, 65, 66, 220, 221, 435],
}
CASES: list[tuple[str, tuple[int, ...], int]] = [
    *[(name, (1, 2, 3, 4, 5), NOTIFY) for name in NOTIFIED],
    *[(name, (1, 2), NONE) for name in ABSENT],
    ("mmap", (0, 4096, 3, SHARED, 7), NOTIFY),
    ("mmap", (0, 4096, 1, SHARED, 7), NOTIFY),
    ("mmap", (0, 4096, 3, VALIDATE | 0x80000, 7), NOTIFY),
    ("mmap", (0, 4096, 3, PRIVATE, 7), ALLOW),
    ("mmap", (0, 4096, 3, SHARED | ANONYMOUS, 0xFFFFFFFF), ALLOW),
    ("mmap", (0, 4096, 3, PRIVATE | ANONYMOUS, 0xFFFFFFFF), ALLOW),
    ("pwritev2", (7, 1, 1, 0, 0, 0x02), FAIL | errno.EOPNOTSUPP),
    ("pwritev2", (7, 1, 1, 0, 0, 0x04 | 0x10), FAIL | errno.EOPNOTSUPP),
    ("pwritev2", (7, 1, 1, 0, 0, 0x10), NOTIFY),
    ("openat", (0xFFFFFF9C, 9, WRONLY | CREAT), ALLOW),
    ("openat", (0xFFFFFF9C, 9, WRONLY | CREAT | DSYNC), NOTIFY),
    ("openat", (0xFFFFFF9C, 9, WRONLY | SYNC), NOTIFY),
    ("openat", (0xFFFFFF9C, 9, WRONLY | 0o4000000), NOTIFY),
    ("openat", (0xFFFFFF9C, 9, WRONLY | TRUNC), NOTIFY),
    *[("ioctl", (3, 0x40305828 + n), FAIL | errno.ENOTTY) for n in (0, 1, 2, 3, 0x11)],
    ("ioctl", (3, 0x5401), ALLOW),
    ("open_by_handle_at", (3, 9, WRONLY), ALLOW),
    ("open_by_handle_at", (3, 9, WRONLY | DSYNC), FAIL | errno.EINVAL),
    ("open_by_handle_at", (3, 9, WRONLY | TRUNC), FAIL | errno.EINVAL),
]
CASES_OF_X86: list[tuple[str, tuple[int, ...], int]] = [
    ("open", (9, WRONLY | CREAT), ALLOW),
    ("open", (9, WRONLY | DSYNC), NOTIFY),
    ("open", (9, WRONLY | TRUNC), NOTIFY),
    ("creat", (9, 0o644), NOTIFY),
    ("link", (9, 10), NOTIFY),
]


def cases() -> Iterator[tuple[str, Architecture, str, tuple[int, ...], int]]:
    for machine, architecture in ARCHITECTURES.items():
        for case in [*CASES, *(CASES_OF_X86 if machine == "x86_64" else [])]:
            yield machine, architecture, *case


@pytest.mark.parametrize(("machine", "architecture", "call", "arguments", "action"), list(cases()))
def test_what_becomes_of_a_call(
    machine: str, architecture: Architecture, call: str, arguments: tuple[int, ...], action: int
) -> None:
    assert run(build(architecture), architecture.numbers[call], architecture.audit, arguments) == action


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_every_rule_is_reached(machine: str) -> None:
    tested = {call for name, _, call, _, _ in cases() if name == machine}
    assert tested == {call for call in RULES if call in ARCHITECTURES[machine].numbers}


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_other_calls_run_at_once(machine: str) -> None:
    architecture = ARCHITECTURES[machine]
    program = build(architecture)
    others = set(range(470)) - set(architecture.numbers.values())
    assert set(ALLOWED[machine]) <= others
    assert {run(program, number, architecture.audit, (1, 0x21, SYNC, 1)) for number in others} == {ALLOW}


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_there_are_no_calls_of_another_architecture(machine: str) -> None:
    architecture = ARCHITECTURES[machine]
    others = {found.audit for found in ARCHITECTURES.values()} - {architecture.audit} | {0x40000003, 0x40000028}
    for number in (0, 1, *architecture.numbers.values()):
        assert {run(build(architecture), number, other) for other in others} == {NONE}


def test_there_are_no_calls_of_x32() -> None:
    architecture = ARCHITECTURES["x86_64"]
    program = build(architecture)
    for number in (0, 1, *architecture.numbers.values(), 520, -1):
        assert run(program, number | 0x40000000, architecture.audit) == NONE


def test_only_the_lower_half_of_flags_counts_as_in_the_kernel() -> None:
    architecture = ARCHITECTURES["x86_64"]
    program = build(architecture)
    high = SYNC << 32
    assert run(program, architecture.numbers["openat"], architecture.audit, (3, 9, high)) == ALLOW
    assert run(program, architecture.numbers["openat"], architecture.audit, (3, 9, high | SYNC)) == NOTIFY
