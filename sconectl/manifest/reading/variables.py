"""`$NAME` in text: what is filled in before anything else is read, and how a `$` is written that stays.

In: text and a lookup of names. Out: the text with the values in their places, and what could not be filled in. A value
is never looked at again. The forms are those of Docker Compose:

`$NAME`, `${NAME}`                 the value
`${NAME:-text}`, `${NAME-text}`    the value, or the text if it is empty or missing (without the colon: missing)
`${NAME:?text}`, `${NAME?text}`    the value, which has to be there
`${NAME:+text}`, `${NAME+text}`    the text if there is a value, otherwise nothing
`$$NAME`, `$${`                    the text `$NAME` or `${`: of several `$` in front of a name, the first is taken away

`{{…}}` and `$$SCONE::…$$` are filled in later, and left alone. A `$` in front of anything else is a `$`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from sconectl.manifest.spelling.placeholders import EXPRESSION
from sconectl.text.secret_placeholders import SPELT

NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_LATER = (
    rf"\$*{SPELT}(?:\$\$)?"  # a placeholder for a secret
    rf"|{EXPRESSION}|\{{\{{[^{{}}]*\}}\}}"  # a name of the mesh
)
_FORM = re.compile(
    rf"(?P<later>{_LATER})"
    rf"|\$(?P<escaped>\$+(?=(?!SCONE:)[A-Za-z_]|\{{[A-Za-z_]))"  # $$SCONE: lacks a colon, see `near_misses`
    r"|\$\$+"
    rf"|\$\{{(?P<braced>{NAME})(?P<operator>\}}|:?[-?+])?"
    rf"|\$(?P<bare>{NAME})"
    r"|(?P<open>\{)"
    r"|(?P<close>\})"
)
_MAX_NESTED = 20  # forms in forms
_UNKNOWN_FORM = "has a form that is not known here"
_NEVER_CLOSED = "is never closed"

OWN_VALUES = frozenset({"value", "application_secret", "private_key", "payload"})
"""Fields of a secret that hold the secret itself: nothing that is filled in there may be empty."""

Lookup = Callable[[str], str | None]
"""Gives the value of a name, or None."""


@dataclass(frozen=True)
class Filled:
    """A text that was filled in, and what is to be said about it.

    `names` are all that were asked for, `missing` those that have no value but needed one (they stay as they are),
    `empty` those for which nothing came in, and `faults` say what is wrong with forms: pairs of a name and words.
    """

    text: str = field(repr=False)
    names: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    faults: tuple[tuple[str, str], ...] = ()


@dataclass
class _Level:
    """A `${NAME:-` whose `}` has not come yet; the whole text has a level, too."""

    name: str = ""
    operator: str = ""
    source: str = ""
    parts: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    braces: int = 0


def fill_in(text: str, lookup: Lookup) -> Filled:
    """Return `text` with the values of its variables."""
    if "$" not in text:
        return Filled(text)
    levels = [_Level()]
    names: list[str] = []
    faults: list[tuple[str, str]] = []
    at = 0
    for match in _FORM.finditer(text):
        level = levels[-1]
        level.parts.append(text[at : match.start()])
        at = match.end()
        name, operator = match["braced"] or match["bare"], match["operator"]
        if match["escaped"]:
            level.parts.append(match["escaped"])
        elif name is None:
            if match["close"] and len(levels) > 1 and not level.braces:
                _close(levels, lookup)
                continue
            level.braces += 1 if match["open"] else -1 if match["close"] else 0
            level.parts.append(match[0])
        elif match["braced"] and (operator is None or (operator != "}" and len(levels) > _MAX_NESTED)):
            names.append(name)
            faults.append((name, _UNKNOWN_FORM))
            level.parts.append(match[0])
        elif operator not in (None, "}"):
            names.append(name)
            levels.append(_Level(name, operator, match[0]))
        else:
            names.append(name)
            _put(level, name, lookup(name), match[0])
    levels[-1].parts.append(text[at:])
    while len(levels) > 1:
        open_level = levels.pop()
        faults.append((open_level.name, _NEVER_CLOSED))
        levels[-1].parts += [open_level.source, *open_level.parts]
    whole = levels[0]
    return Filled("".join(whole.parts), tuple(names), tuple(whole.missing), tuple(whole.empty), tuple(faults))


def escape(text: str) -> str:
    """Return the spelling of `text` from which `fill_in` gives `text` again, whatever the variables are."""
    if "$" not in text:
        return text
    return _FORM.sub(
        lambda match: f"${match[0]}" if match["escaped"] or match["braced"] or match["bare"] else match[0], text
    )


def is_surely_a_variable(name: str, text: str) -> bool:
    """Say whether a text refers to the variable `name`: `abc$XYZ` may well be a password."""
    bare = rf"(?<![^\s\"'=:/@,;(\[])\${name}(?!\w)"
    return name.isupper() and re.search(rf"{bare}|\$\{{{name}(?:\}}|:?[-?+])", text) is not None


def _put(level: _Level, name: str, value: str | None, source: str) -> None:
    if value is None:
        level.missing.append(name)
    elif not value:
        level.empty.append(name)
    level.parts.append(source if value is None else value)


def _close(levels: list[_Level], lookup: Lookup) -> None:
    """Put what a form stands for into the level around it."""
    done = levels.pop()
    level = levels[-1]
    value = lookup(done.name)
    if done.operator.startswith(":") and not value:
        value = None
    kind = done.operator[-1]
    inner = "".join(done.parts)
    if kind == "?":
        _put(level, done.name, value, f"{done.source}{inner}}}")
        return
    takes_inner = (value is None) == (kind == "-")
    result = inner if takes_inner else value if kind == "-" else ""
    level.parts.append(result or "")
    if takes_inner:
        level.missing += done.missing
    if not result:
        level.empty.append(done.name)
