"""Shares work between this process and copies of it.

In: a number of units and a function that does one. Out: its results, in the order of the units. Raises what the
function raised (`OSError`, `SealBroken`), and `OSError` if a copy ended before its time. No copy outlives the call.
"""

from __future__ import annotations

import errno
import marshal
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sconectl.protect.chunks import SealBroken

MAX_UNITS = 1000
"""How many numbers fit into any pipe (a page) before a reader takes some."""
PROCESSES = 2
_NUMBER = 4


def each_unit(count: int, work: Callable[[int], Any], *, processes: int) -> list[Any]:
    """Return `[work(0), …, work(count - 1)]`; results consist of numbers, texts, bytes, None, tuples and lists.

    The next free process takes the next unit: the lowest numbers should be the most work.
    """
    if processes < 2 or count < 2:
        return [work(number) for number in range(count)]
    if count > MAX_UNITS:
        raise ValueError("too many units")
    queue, entry = os.pipe()
    os.write(entry, b"".join(number.to_bytes(_NUMBER, "big") for number in range(count)))
    os.close(entry)
    copies = _Copies()
    try:
        for _ in range(min(processes, count) - 1):
            if not copies.start(queue, work):
                break
        done = _take(queue, work)
        done += copies.collect()
    finally:
        os.close(queue)
        copies.end()
    results = dict(done)
    return [results[number] for number in range(count)]


def _take(queue: int, work: Callable[[int], Any], parent: int = 0) -> list[tuple[int, Any]]:
    """Do units until there are no more; after an error nobody begins another one."""
    done = []
    try:
        while number := os.read(queue, _NUMBER):
            if parent and os.getppid() != parent:
                break
            unit = int.from_bytes(number, "big")
            done.append((unit, work(unit)))
    except BaseException:
        os.read(queue, MAX_UNITS * _NUMBER)
        raise
    return done


@dataclass
class _Copies:
    """The copies of this process, each with the pipe for its results."""

    running: dict[int, int] = field(default_factory=dict)

    def start(self, queue: int, work: Callable[[int], Any]) -> bool:
        """Make a copy; return False if the system allows none: then the other processes do its part."""
        reading, writing = os.pipe()
        parent = os.getpid()
        try:
            copy = os.fork()
        except OSError:
            os.close(reading)
            os.close(writing)
            return False
        if copy == 0:
            _answer(queue, work, parent, writing)
        os.close(writing)
        self.running[copy] = reading
        return True

    def collect(self) -> list[tuple[int, Any]]:
        """Wait for all copies; return their results."""
        done: list[tuple[int, Any]] = []
        for copy in list(self.running):
            with os.fdopen(os.dup(self.running[copy]), "rb") as answer:
                data = answer.read()
            status = self._reap(copy)
            if status:
                how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
                raise OSError(errno.EIO, f"a worker process {how} before its work was done")
            kind, value = marshal.loads(data)  # noqa: S302 - written by our own copy
            if kind == "OSError":
                raise OSError(*value)
            if kind == "SealBroken":
                raise SealBroken(value)
            done += value
        return done

    def end(self) -> None:
        """End the copies that still run."""
        for copy in list(self.running):
            os.kill(copy, signal.SIGKILL)
            self._reap(copy)

    def _reap(self, copy: int) -> int:
        os.close(self.running.pop(copy))
        return os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])


def _answer(queue: int, work: Callable[[int], Any], parent: int, writing: int) -> None:
    """Work, write the results, and end without the clean-up of a whole process, which the original one does."""
    status = 1
    try:
        answer: tuple[str, Any]
        try:
            answer = ("done", _take(queue, work, parent))
        except OSError as error:
            answer = ("OSError", (error.errno, error.strerror, error.filename and os.fsdecode(error.filename)))
        except SealBroken as error:
            answer = ("SealBroken", str(error))
        with os.fdopen(writing, "wb") as pipe:
            marshal.dump(answer, pipe)
        status = 0
    finally:
        os._exit(status)


def balanced(costs: Sequence[int], *, most: int, many: int) -> list[range]:
    """Divide items into runs of at most `most` cost and `many` items, the most work first; a bigger one is alone."""
    many, most = max(many, len(costs) * 4 // MAX_UNITS), max(most, sum(costs) * 4 // MAX_UNITS)
    runs: list[tuple[int, range]] = []
    start = total = 0
    for number, cost in enumerate(costs):
        if number > start and (total + cost > most or number - start >= many):
            runs.append((total, range(start, number)))
            start, total = number, 0
        total += cost
    if costs:
        runs.append((total, range(start, len(costs))))
    return [run for _, run in sorted(runs, key=lambda run: (-run[0], run[1].start))]
