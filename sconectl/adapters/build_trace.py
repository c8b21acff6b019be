"""Reads BuildKit's reports about a build: protobuf messages (`moby.buildkit.v1.StatusResponse`) in base64.

In: the messages as they come. Out: lines for the user, and what the failing step printed.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class BuildTrace:
    """The steps of one build by their digest."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._output: dict[str, bytes] = {}
        self._failed = ""

    def take(self, message: str) -> list[str]:
        """Read one message; return its news: steps that begin, and whole lines that they printed.

        A message of another form is ignored: it is only for showing.
        """
        try:
            return list(self._read(base64.b64decode(message)))
        except (ValueError, IndexError):
            return []

    def failing_step(self) -> str:
        """Return the name and the output of the step that failed, or nothing."""
        output = self._output.get(self._failed, b"").decode("utf-8", "replace")
        return f"{self._names[self._failed]}\n{output}" if self._failed else ""

    def _read(self, message: bytes) -> Iterator[str]:
        for number, content in _fields(message):
            if number == 1:
                yield from self._step(dict(_fields(content)))
            elif number == 3:
                yield from self._log(dict(_fields(content)))

    def _step(self, fields: dict[int, bytes]) -> Iterator[str]:
        digest, name = fields.get(1, b"").decode(), fields.get(3, b"").decode("utf-8", "replace")
        started, error = 5 in fields, fields.get(7, b"")
        if started and digest not in self._names:
            self._names[digest] = name
            yield name
        if error and b"context canceled" not in error:
            self._names.setdefault(digest, name)
            self._failed = digest

    def _log(self, fields: dict[int, bytes]) -> Iterator[str]:
        digest, text = fields.get(1, b"").decode(), fields.get(4, b"")
        before = self._output.get(digest, b"")
        self._output[digest] = before + text
        begun = before[before.rfind(b"\n") + 1 :]
        lines = (begun + text).split(b"\n")[:-1]
        yield from (line.decode("utf-8", "replace") for line in lines if line.strip())


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of the fields of a protobuf message; the content of numbers is left out."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        kind, content = key & 7, b""
        if kind == _VARINT:
            _, position = _varint(data, position)
        elif kind == _BYTES:
            size, position = _varint(data, position)
            content = data[position : position + size]
            position += size
        elif kind in (_FIXED64, _FIXED32):
            position += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"unknown wire type {kind}")
        yield key >> 3, content


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
