"""The log of a serving process: marked as a simulation's, and bounded, because strangers cause most of its lines.

In: a stream. Out: lines on it; when too many come, the next one says how many were left out. A file that was opened for
reading too, as `cas serve --detach` does, keeps its newer half when it gets too large.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from typing import TextIO

from sconectl.cas.bounds.limits import Limits
from sconectl.cas.bounds.token_buckets import Bucket

_FORMAT = "SIMULATION %(asctime)s %(levelname)s %(message)s"


def log_to(stream: TextIO, limits: Limits) -> None:
    """Send the log of this process to `stream`."""
    handler = BoundedHandler(stream, limits)
    handler.setFormatter(_Marked(_FORMAT))
    logging.basicConfig(handlers=[handler], level=logging.INFO)
    logging.captureWarnings(True)
    logging.getLogger("httpx").setLevel(logging.WARNING)


class _Marked(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\n", "\nSIMULATION   ")


class BoundedHandler(logging.StreamHandler[TextIO]):
    """Writes at most so many lines in a minute; `logging` sees to it that one thread at a time is in here."""

    def __init__(self, stream: TextIO, limits: Limits) -> None:
        super().__init__(stream)
        self._bucket = Bucket(limits.log_lines, limits.log_lines_per_minute / 60)
        self._most = limits.log_bytes
        self._left_out = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, or count it."""
        if not self._bucket.take(1):
            self._left_out += 1
            return
        if self._left_out:
            text = f"{self._left_out} lines were left out here: there were too many"
            self._left_out = 0
            super().emit(logging.LogRecord(record.name, logging.WARNING, "", 0, text, None, None))
        super().emit(record)
        with contextlib.suppress(OSError, ValueError):  # no file, or not one of ours
            self._shorten(self.stream.fileno())

    def _shorten(self, descriptor: int) -> None:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size <= self._most:
            return
        kept = os.pread(descriptor, self._most // 2, found.st_size - self._most // 2)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, b"SIMULATION older lines were dropped here\n" + kept.partition(b"\n")[2])
