"""Reads from a log of strace which files a program used.

In: the text of a log (`strace`, `strace -f`, or of our own tracer), and the working directory at its start. Out: what
exists and was used. Raises `InvalidInput` for a log in which nothing was opened.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass

from sconectl.errors import InvalidInput
from sconectl.text.findings import Finding, Position

_PID = re.compile(r"(?:\[pid\s+(\d+)\]|(\d+))\s+")
_TIME = re.compile(r"(?:\d{2}:\d{2}:\d{2}(?:\.\d+)?|\d+\.\d+)\s+(?:\(\+\s*\d+\.\d+\)\s+)?")
_UNFINISHED = re.compile(r"(.*?)\s*<unfinished \.\.\.>\Z")
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>\s?(.*)\Z")
_CALL = re.compile(r"(\w+)\((.*)\)\s+=\s+(-?\d+|\?|0x[0-9a-f]+)(.*)\Z")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"(\.\.\.)?')
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{2})|(.))")
_PLAIN_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "v": "\v", "f": "\f", "a": "\a", "b": "\b", "e": "\x1b"}
_AT_FOLDER = re.compile(r"\s*(?:AT_FDCWD|-?\d+)<([^>]*)>")
_OPENING = frozenset({"creat", "open", "openat", "openat2"})
_STARTING = frozenset({"execve", "execveat"})
_LOOKING = frozenset({
    "access", "faccessat", "faccessat2", "lstat", "lstat64", "newfstatat", "stat", "stat64", "statx", "readlink",
    "readlinkat",
})  # fmt: skip
_WRITING = re.compile(r"\bO_(WRONLY|RDWR|CREAT|TRUNC|APPEND)\b")


@dataclass(frozen=True)
class Accesses:
    """The existing paths that a program used: files it read, programs it started, files it wrote to."""

    read: frozenset[str]
    started: frozenset[str]
    written: frozenset[str]


def read_trace(text: str, name: str, pwd: str) -> Accesses:
    """Return the accesses in the log `text`; `name` is its name in messages. Raises `InvalidInput`."""
    log = _Log(pwd)
    for line in text.splitlines():
        log.take(line)
    if not (log.read or log.started):
        message = "no call in it opens or starts a file that exists"
        finding = Finding("error", "SC1011", Position(name, 1, 1), "", message, "give the log of strace -f")
        raise InvalidInput([finding])
    folders = {posixpath.dirname(path) for path in log.read} | log.folders
    parents = {parent for folder in folders for parent in _parents(folder)}
    return Accesses(frozenset(log.read - parents), frozenset(log.started), frozenset(log.written))


class _Log:
    """Follows the lines of a log; processes are told apart by their number, the first one has none or its own."""

    def __init__(self, pwd: str) -> None:
        self.read: set[str] = set()
        self.started: set[str] = set()
        self.written: set[str] = set()
        self.folders: set[str] = set()
        self._pwd: dict[str, str] = {}
        self._first_pwd = pwd
        self._unfinished: dict[str, str] = {}

    def take(self, line: str) -> None:
        """Take one line."""
        pid, text = "", line.strip()
        if match := _PID.match(text):
            pid, text = match[1] or match[2], text[match.end() :]
        if match := _TIME.match(text):
            text = text[match.end() :]
        if match := _UNFINISHED.match(text):
            self._unfinished[pid] = match[1]
            return
        if match := _RESUMED.match(text):
            text = self._unfinished.pop(pid, "") + match[2]
        if match := _CALL.match(text):
            self._call(pid, match[1], match[2], match[3], match[4])

    def _call(self, pid: str, name: str, arguments: str, result: str, rest: str) -> None:
        if result == "?" or result.startswith("-"):
            return
        if name in ("clone", "clone3", "fork", "vfork"):
            self._pwd[result] = self._pwd_of(pid)
            return
        found = _STRING.search(arguments)
        if found is None or found[2]:
            return
        text = _unescaped(found[1])
        folder = _AT_FOLDER.match(arguments)
        if not text:
            return
        if not text.startswith("/") and folder is None and re.match(r"\s*\d+,", arguments):
            return  # relative to a directory that the log does not name
        path = posixpath.normpath(posixpath.join(folder[1] if folder else self._pwd_of(pid), text))
        path = "/" + path.lstrip("/")
        if name == "chdir":
            self._pwd[pid] = path
        elif name in _STARTING:
            self.started.add(path)
        elif name in _OPENING:
            self._opened(path, name, arguments[found.end() :])
        elif name in _LOOKING and "S_IFREG" in arguments:
            self.read.add(path)
        elif name in _LOOKING and "S_IFDIR" in arguments:
            self.folders.add(path)

    def _opened(self, path: str, name: str, flags: str) -> None:
        if "O_DIRECTORY" in flags or "O_PATH" in flags:
            self.folders.add(path)
        elif name == "creat" or _WRITING.search(flags):
            self.written.add(path)
        else:
            self.read.add(path)

    def _pwd_of(self, pid: str) -> str:
        return self._pwd.get(pid, self._pwd.get("", self._first_pwd))


def _unescaped(text: str) -> str:
    """Return the name that strace has written with C escapes; bytes that are no UTF-8 become surrogate escapes."""
    data, position = bytearray(), 0
    for match in _ESCAPE.finditer(text):
        data += text[position : match.start()].encode("utf-8", "surrogateescape")
        if match[1] or match[2]:
            data.append(int(match[1], 8) & 0xFF if match[1] else int(match[2], 16))
        else:
            data += _PLAIN_ESCAPES.get(match[3], match[3]).encode("utf-8", "surrogateescape")
        position = match.end()
    data += text[position:].encode("utf-8", "surrogateescape")
    return data.decode("utf-8", "surrogateescape")


def _parents(path: str) -> Iterator[str]:
    while path != "/":
        yield path
        path = posixpath.dirname(path)
    yield "/"
