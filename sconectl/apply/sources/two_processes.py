"""Shares work between this process and one copy of it.

In: a function and two halves of what it is to do. Out: the results of both. If there can be no copy, or it ends early,
all is done here.
"""

from __future__ import annotations

import contextlib
import marshal
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")


def in_two(work: Callable[[Sequence[Item]], Any], ours: Sequence[Item], theirs: Sequence[Item]) -> tuple[Any, Any]:
    """Return `work` of both.

    Results consist of numbers, texts, bytes, None, tuples, lists and dictionaries only.
    """
    try:
        reading, writing = os.pipe()
    except OSError:
        return work(ours), work(theirs)
    try:
        copy = os.fork()
    except OSError:
        copy = -1
    if copy == 0:
        _answer(work, theirs, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        done = work(ours)
        data = answer.read()
    if copy > 0:
        os.waitpid(copy, 0)
    with contextlib.suppress(ValueError, EOFError, TypeError):
        return done, marshal.loads(data)  # noqa: S302 - written by our own copy
    return done, work(theirs)


def _answer(work: Callable[[Sequence[Item]], Any], items: Sequence[Item], writing: int) -> None:
    """Write the result and end this process without any of the clean-up that belongs to the other one."""
    try:
        with os.fdopen(writing, "wb") as answer:
            marshal.dump(work(items), answer)
    finally:
        os._exit(0)
