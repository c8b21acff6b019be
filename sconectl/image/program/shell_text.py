"""Guesses what a shell script ends up running, from its text alone.

In: the text of a script or of `sh -c`, its arguments and variables. Out: command lines that may be the program, the
likeliest first. This is a reading aid, not a shell: what it does not understand, it leaves out.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

_OPERATORS = frozenset({";", "&", "&&", "||", "|", "|&", "(", ")", ";;"})
_OPENING = frozenset({"then", "else", "do", "{", "!", "time", "command"})
_NO_PROGRAM = frozenset({
    ".", ":", "[", "[[", "break", "case", "cd", "continue", "done", "echo", "elif", "else", "esac", "eval", "exit",
    "export", "false", "fi", "for", "function", "if", "local", "printf", "read", "return", "set", "shift", "source",
    "test", "trap", "true", "ulimit", "umask", "unset", "until", "wait", "while", "}",
})  # fmt: skip
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*|[0-9])(?::?-([^}]*))?\}|([A-Za-z_][A-Za-z0-9_]*|[0-9]))")
_ALL_ARGUMENTS = frozenset({"$@", "${@}", "$*", "${*}"})


def likely_commands(text: str, arguments: Sequence[str], variables: Mapping[str, str]) -> list[list[str]]:
    """Return the commands that a script may end in: those behind `exec`, the last first, then its last command.

    `arguments` are $0, $1, …
    """
    commands = [command for line in _lines(text) for command in _commands(line)]
    replaced = [command[1:] for command in commands if command[0] == "exec"]
    others = [command for command in commands if command[0] not in _NO_PROGRAM and command[0] != "exec"]
    guesses = [_without_exec_options(command) for command in reversed(replaced)] + others[-1:]
    expanded = [_expanded(command, arguments, variables) for command in guesses]
    return [command for command in expanded if command and "$" not in command[0] and "`" not in command[0]]


def is_one_command(text: str) -> bool:
    """Tell whether the text is a single command, so that its program is no guess."""
    lines = _lines(text)
    return len(lines) == 1 and len(_commands(lines[0])) == 1


def _lines(text: str) -> list[str]:
    joined = text.replace("\\\n", " ")
    return [line for raw in joined.splitlines() if (line := raw.strip()) and not line.startswith("#")]


def _commands(line: str) -> list[list[str]]:
    """Split a line into simple commands, without assignments before them and redirections."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|()<>")
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        tokens = list(lexer)
    except ValueError:  # a quote that ends in another line
        return []
    commands: list[list[str]] = [[]]
    skipped = False
    for token in tokens:
        if skipped:
            skipped = False
        elif token.startswith("#"):
            break
        elif token in _OPERATORS:
            commands.append([])
        elif set(token) <= set("<>&") and token:
            skipped = True
            if commands[-1] and commands[-1][-1].isdecimal():
                commands[-1].pop()  # the number of a redirected file
        else:
            commands[-1].append(token)
    return [command for given in commands if (command := _program_of(given))]


def _program_of(words: list[str]) -> list[str]:
    start = 0
    while start < len(words) and (words[start] in _OPENING or _ASSIGNMENT.match(words[start])):
        start += 1
    return words[start:]


def _without_exec_options(words: list[str]) -> list[str]:
    start = 0
    while start < len(words) and words[start] in ("-c", "-l", "-cl", "-a", "--"):
        start += 2 if words[start] == "-a" else 1
    return words[start:]


def _expanded(words: list[str], arguments: Sequence[str], variables: Mapping[str, str]) -> list[str]:
    result: list[str] = []
    for word in words:
        if word in _ALL_ARGUMENTS:
            result += arguments[1:]
        else:
            result.append(_VARIABLE.sub(lambda match: _value(match, arguments, variables), word))
    return result


def _value(match: re.Match[str], arguments: Sequence[str], variables: Mapping[str, str]) -> str:
    name = match[1] or match[3]
    if name.isdecimal():
        value = arguments[int(name)] if int(name) < len(arguments) else ""
    else:
        value = variables.get(name, "")
    return value or match[2] or ("" if name.isdecimal() or name in variables else match[0])
