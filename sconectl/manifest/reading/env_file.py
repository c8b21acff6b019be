r"""Reads files of variables, lines `NAME=VALUE`, as Docker Compose reads its `.env` files.

In: the bytes of a file, and a lookup of names. Out: variables, or `InvalidInput` with everything that is wrong, at its
line and column. Where Compose guesses, or gives an empty text with a warning, this is a fault: it may be a secret.

No library reads this dialect: python-dotenv takes `${…}` in single quotes for a variable, halves `\\` in them, and
leaves `$NAME` as it is. The rules are those of docs.docker.com/compose/how-tos/environment-variables (env file syntax);
the tests hold each of its examples.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from sconectl.errors import InvalidInput
from sconectl.manifest.reading.variables import fill_in, is_surely_a_variable
from sconectl.text.findings import Finding, Position
from sconectl.text.secret_placeholders import SPELT

CODE = "SC1014"
_START = re.compile(r"[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)[ \t]*(?P<sign>[=:]|(?=\n|\Z))[ \t]*")
_BLANK = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
_SINGLE = re.compile(r"'((?:[^'\\]|\\.)*)'", re.DOTALL)
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_BEHIND = re.compile(r"[ \t]*(?:#[^\n]*)?(?=\n|\Z)")
_COMMENT = re.compile(r"[ ]#")
_UNSURE_COMMENT = re.compile(r"\t#")
_ESCAPE = re.compile(r"\\(?:([abcfnrtv\"\\$])|(0[0-7]{0,3}))")
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", '"': '"', "\\": "\\"}
_DOLLARS = re.compile(rf"({SPELT}\$\$)|\$\$")
_KEPT = "\0"  # stands for a `$` that begins no variable; no file holds one
_NO_NUL = r"leave it out; write \\ for a backslash"
_FORM = "expected NAME=VALUE"
_QUOTES = "put the value in single quotes to take it as it is"


@dataclass
class _Reader:
    """One pass over a file; `values` grows from line to line, so that later lines can use what earlier ones gave."""

    text: str
    file: str
    given: Mapping[str, str]
    environment: Mapping[str, str]
    values: dict[str, str] = field(default_factory=dict)
    faults: list[Finding] = field(default_factory=list)

    def read(self) -> None:
        at = 0
        while at < len(self.text):
            blank = _BLANK.match(self.text, at)
            at = blank.end() if blank else self._line(at)

    def _line(self, start: int) -> int:
        """Read what begins at `start`, and return where the next line begins."""
        match = _START.match(self.text, start)
        if match is None:
            self._fault(start, _FORM, "a line is NAME=VALUE, or a comment that begins with #")
            return self._next_line(start)
        name, at = match["name"], match.end()
        if not match["sign"]:
            value = self.environment.get(name)
            if value is None:
                self._fault(
                    start, f"expected NAME=VALUE: {name} alone is for a variable of the environment, which has none"
                )
            else:
                self.values[name] = value
            return self._next_line(at)
        quote = self.text[at : at + 1]
        if quote not in ("'", '"') or not quote:
            return self._unquoted(name, at)
        body = (_SINGLE if quote == "'" else _DOUBLE).match(self.text, at)
        if body is None:
            self._fault(at, "a quote that is never closed", "close it, or put it between other quotes")
            return len(self.text)
        if not _BEHIND.match(self.text, body.end()):
            self._fault(body.end(), "text behind the closing quote", "only a comment may stand there, behind a space")
        elif quote == "'":
            self.values[name] = body[1].replace("\\'", "'")
        elif nul := next((found for found in _ESCAPE.finditer(body[1]) if _is_nul(found)), None):
            self._fault(at + 1 + nul.start(), "a NUL character, which no variable can hold", _NO_NUL)
        else:
            self._fill(name, at, _ESCAPE.sub(_unescaped, body[1]))
        return self._next_line(body.end())

    def _unquoted(self, name: str, at: int) -> int:
        end = self._next_line(at)
        value = self.text[at:end].removesuffix("\n")
        comment = _COMMENT.search(value)
        value = value[: comment.start()] if comment else value
        if unsure := _UNSURE_COMMENT.search(value):
            self._fault(at + unsure.start(), "a comment begins behind a space, not behind a tab", _QUOTES)
        elif value.startswith("#") and self.text[at - 1] in " \t":
            self._fault(at, "this may be a value or a comment", "put the value in quotes; an empty one is ''")
        else:
            self._fill(name, at, value.rstrip())
        return end

    def _fill(self, name: str, at: int, text: str) -> None:
        """Fill in the variables of a value."""
        if "$" not in text and _KEPT not in text:
            self.values[name] = text
            return
        filled = fill_in(_DOLLARS.sub(lambda match: match[1] or _KEPT, text), self._value)
        self.values[name] = filled.text.replace(_KEPT, "$")
        for missing in dict.fromkeys(filled.missing):
            what = f"${missing}" if is_surely_a_variable(missing, text) else "a variable in it"
            self._fault(at, f"{what} has no value", f"give it one further up; or {_QUOTES}", "SC1003")
        for words in dict.fromkeys(words for _, words in filled.faults):
            self._fault(at, f"a ${{…}} that {words}", f"write $$ for a $; or {_QUOTES}", "SC1003")

    def _value(self, name: str) -> str | None:
        return next((found[name] for found in (self.given, self.values, self.environment) if name in found), None)

    def _next_line(self, at: int) -> int:
        end = self.text.find("\n", at)
        return len(self.text) if end < 0 else end + 1

    def _fault(self, at: int, message: str, hint: str = "", code: str = CODE) -> None:
        line = bisect_right(self._starts, at)
        position = Position(self.file, line, at - self._starts[line - 1] + 1)
        self.faults.append(Finding("error", code, position, "", message, hint))

    @cached_property
    def _starts(self) -> list[int]:
        """Where each line begins."""
        return [0, *(match.end() for match in re.finditer("\n", self.text))]


def read_env_file(
    raw: bytes, file: str, given: Mapping[str, str], before: Mapping[str, str], environment: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables of a file, together with those of the files `before`, over which it wins.

    `given` are those of options: they count first inside of values. `environment` counts last, and for a line that is a
    name alone.
    """
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InvalidInput(
            [Finding("error", CODE, Position(file, line, 1), "", "the file is not UTF-8 text")]
        ) from None
    if _KEPT in text:
        line = text[: text.index(_KEPT)].count("\n") + 1
        raise InvalidInput([Finding("error", CODE, Position(file, line, 1), "", "a NUL character", "remove it")])
    reader = _Reader(text, file, given, environment, dict(before))
    reader.read()
    if reader.faults:
        raise InvalidInput(reader.faults)
    return reader.values


def _is_nul(match: re.Match[str]) -> bool:
    return bool(match[2]) and not _byte(match[2])


def _byte(octal: str) -> int:
    return int(octal, 8) & 0xFF


def _unescaped(match: re.Match[str]) -> str:
    r"""Return the character of an escape in double quotes; `\$` is a `$` that begins no variable."""
    if match[2]:
        return chr(_byte(match[2]))
    return _KEPT if match[1] == "$" else _ESCAPED.get(match[1], match[0])
