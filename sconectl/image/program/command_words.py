"""Knows the programs whose only purpose is to start another one, and where in their words that one stands.

In: the words of a command. Out: the words of the program inside. Pure text; nothing is looked up.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

SHELLS = frozenset({"ash", "bash", "busybox", "dash", "ksh", "mksh", "sh", "zsh"})


@dataclass(frozen=True)
class ProgramCall:
    """The command that a wrapper starts, and the variables that it adds."""

    words: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ShellCall:
    """The task of a shell: a text (`-c`), or a script in `arguments[0]`; `arguments` are $0, $1, … of either."""

    text: str | None
    arguments: Sequence[str]


@dataclass(frozen=True)
class _Wrapper:
    """Options that take a value of their own, and the number of words before the program."""

    valued: frozenset[str] = frozenset()
    before: int = 0


_PLAIN = _Wrapper()
_WRAPPERS = {
    "catatonit": _PLAIN,
    "chpst": _Wrapper(frozenset({"-b", "-c", "-d", "-e", "-f", "-l", "-m", "-n", "-o", "-p", "-r", "-t", "-u", "-U"})),
    "docker-init": _Wrapper(frozenset({"-e", "-p"})),
    "dumb-init": _Wrapper(frozenset({"-r", "--rewrite"})),
    "gosu": _Wrapper(before=1),
    "ionice": _Wrapper(frozenset({"-c", "-n", "--class", "--classdata"})),
    "nice": _Wrapper(frozenset({"-n", "--adjustment"})),
    "nohup": _PLAIN,
    "s6-setuidgid": _Wrapper(before=1),
    "setpriv": _Wrapper(
        frozenset(
            {"--groups", "--inh-caps", "--regid", "--reuid", "--rgid", "--ruid", "--securebits", "--bounding-set"}
        )
    ),
    "setsid": _PLAIN,
    "stdbuf": _Wrapper(frozenset({"-e", "-i", "-o", "--error", "--input", "--output"})),
    "su-exec": _Wrapper(before=1),
    "timeout": _Wrapper(frozenset({"-k", "-s", "--kill-after", "--signal"}), before=1),
    "tini": _Wrapper(frozenset({"-e", "-p"})),
    "tini-static": _Wrapper(frozenset({"-e", "-p"})),
}
_LOADER = _Wrapper(
    frozenset({"--argv0", "--audit", "--glibc-hwcaps-mask", "--inhibit-rpath", "--library-path", "--preload"})
)
_LOADER_NAME = re.compile(r"ld(-linux[^/]*|-musl-[^/]*|64|-[0-9.]+)?\.so(\.[0-9]+)?\Z")
_ENV = _Wrapper(frozenset({"-C", "-u", "--chdir", "--unset"}))
_ASSIGNMENT = re.compile(r"[^=-][^=]*=")


def unwrapped(words: Sequence[str]) -> ProgramCall | None:
    """Return the command that a wrapper starts, maybe without words, or None if the first word is no wrapper."""
    name = posixpath.basename(words[0])
    if name == "env":
        return _of_env(list(words[1:]))
    wrapper = _LOADER if _LOADER_NAME.match(name) else _WRAPPERS.get(name)
    if wrapper is None:
        return None
    return ProgramCall(_behind_options(list(words[1:]), wrapper)[wrapper.before :])


def shell_call(words: Sequence[str]) -> ShellCall:
    """Return the task that the words of a shell give it; `arguments` is empty if it is interactive."""
    rest = list(words[1:])
    wants_text = False
    while rest and rest[0][:1] in ("-", "+") and rest[0] not in ("-", "--"):
        option = rest.pop(0)
        if option.startswith("--"):
            continue
        wants_text = wants_text or (option.startswith("-") and "c" in option)
        if option[1:].endswith(("o", "O")) and rest:
            rest.pop(0)
    if rest and rest[0] in ("-", "--"):
        rest.pop(0)
    if not wants_text:
        return ShellCall(None, rest)
    return ShellCall(rest[0] if rest else "", rest[1:] or [posixpath.basename(words[0])])


def _behind_options(words: list[str], wrapper: _Wrapper) -> list[str]:
    while words and words[0].startswith("-"):
        option = words.pop(0)
        if option == "--":
            break
        if option in wrapper.valued and words:
            words.pop(0)
    return words


def _of_env(words: list[str]) -> ProgramCall:
    for number, word in enumerate(words):
        split = word.startswith("-S") or word.startswith("-vS") or word.startswith("--split-string")
        if split:
            text = word.partition("S")[2] if word.startswith("-S") or word.startswith("-vS") else word.partition("=")[2]
            tail = words[number + 1 :]
            if not text and tail:
                text, tail = tail[0], tail[1:]
            try:
                words = [*words[:number], *shlex.split(text), *tail]
            except ValueError:
                return ProgramCall([])
            break
        if not word.startswith("-"):
            break
    rest = _behind_options(words, _ENV)
    environment = {}
    while rest and _ASSIGNMENT.match(rest[0]):
        name, _, value = rest.pop(0).partition("=")
        environment[name] = value
    return ProgramCall(rest, environment)
