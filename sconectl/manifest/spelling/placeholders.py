"""`{{name}}` in the values of a manifest; and the three binding times of a value, and who resolves them when.

`$VAR`, `${VAR}`, `${VAR:-default}`  before validation, from --set, --env-file and (templates only) the environment;
                                     see `variables`
`{{name}}`, `{{name | default(value="…")}}`  when the mesh is compiled; `{% raw %}…{% endraw %}` is left as it is
`$$SCONE::name$$`                    when the service starts, by the CAS; passed through untouched here
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

NAME = r"[A-Za-z_][A-Za-z0-9_.-]*"
_TEXT = r"""\"[^\"]*\"|'[^']*'|`[^`]*`"""
EXPRESSION = (
    rf"\{{\{{\s*(?P<name>{NAME})\s*"
    rf"(?:\|\s*default\(\s*value\s*=\s*(?P<default>{_TEXT}|-?[0-9][0-9.]*|true|false)\s*\)\s*)?\}}\}}"
)
_MESH = re.compile(
    r"(?P<raw>\{%\s*raw\s*%\})"
    rf"|{EXPRESSION}"
    rf"|(?P<filter>\{{\{{\s*{NAME}\s*\|)"
    r"|(?P<other>\{\{(?=\s*[^\s{}])[^{}]*\}\})"
    r"|(?P<statement>\{%[^%{}]*%\}|(?<!\$)\{#[^{}]*#\})"
)
_END_OF_RAW = re.compile(r"\{%\s*endraw\s*%\}")
_UNSUPPORTED = {
    "filter": 'the only filter of {{…}} that is known here is default(value="…")',
    "other": "{{…}} holds something else than a name",
    "statement": "statements and comments of templates are not supported",
    "raw": "{% raw %} has no {% endraw %}",
}


@dataclass(frozen=True)
class Expression:
    """A `{{name}}` as it is written (`source`), with its own default, in which names may stand again."""

    name: str
    default: str | None
    source: str


@dataclass(frozen=True)
class _Unsupported:
    source: str
    reason: str


class _Raw(str):
    """What stands between the marks of a raw block."""


def _parts(text: str) -> Iterator[str | Expression | _Unsupported]:
    """Take a text apart: what stays, and what is replaced when the mesh is compiled."""
    at = 0
    while match := _MESH.search(text, at):
        yield text[at : match.start()]
        at = match.end()
        kind = match.lastgroup
        if match["name"]:
            default = match["default"]
            inner = default[1:-1] if default and default[0] in "\"'`" else default
            yield Expression(match["name"], inner, match[0])
        elif kind == "raw" and (end := _END_OF_RAW.search(text, at)):
            yield _Raw(text[at : end.start()])
            at = end.end()
        else:
            yield _Unsupported(match[0], _UNSUPPORTED[str(kind)])
            if kind == "raw":
                break
    yield text[at:]


def _has_expressions(text: str) -> bool:
    return "{{" in text or "{%" in text or "{#" in text


def expressions(text: str) -> tuple[Expression, ...]:
    """Return the `{{name}}` in `text` in their order, without those inside of defaults."""
    return tuple(part for part in _parts(text) if isinstance(part, Expression)) if _has_expressions(text) else ()


def unsupported(text: str) -> tuple[str, ...]:
    """Say what in `text` looks like a template but is neither a name nor a raw block; it stays as it is."""
    if not _has_expressions(text):
        return ()
    found = []
    for part in _parts(text):
        if isinstance(part, _Unsupported):
            found.append(part.reason)
        elif isinstance(part, Expression) and part.default:
            found += unsupported(part.default)
    return tuple(dict.fromkeys(found))


def bind_mesh(text: str, lookup: Callable[[str], str | None]) -> tuple[str, tuple[str, ...]]:
    """Resolve `{{name}}` once (values are not scanned again); return the text and the names without a value.

    A name without a value takes its own default, in which names are resolved, too. Raw blocks lose their marks.
    """
    if not _has_expressions(text):
        return text, ()
    missing: list[str] = []

    def bound(expression: Expression) -> str:
        value = lookup(expression.name)
        if value is not None:
            return value
        if expression.default is None:
            missing.append(expression.name)
            return expression.source
        value, more = bind_mesh(expression.default, lookup)
        missing.extend(more)
        return value

    return replace_expressions(text, bound), tuple(missing)


def without_marks(text: str) -> str:
    """Return `text` without the marks of its raw blocks."""
    return replace_expressions(text, lambda expression: expression.source) if _has_expressions(text) else text


def without_raw(text: str) -> str:
    """Return `text` with a blank for each raw block; a {% raw %} without an end is text."""
    parts = _parts(text) if "{%" in text else (text,)
    return "".join(
        part.source if not isinstance(part, str) else " " if isinstance(part, _Raw) else part for part in parts
    )


def replace_expressions(text: str, replace: Callable[[Expression], str]) -> str:
    """Return `text` with what `replace` gives in the place of each `{{name}}`, and raw blocks without their marks."""
    pieces = []
    for part in _parts(text):
        if isinstance(part, Expression):
            pieces.append(replace(part))
        else:
            pieces.append(part if isinstance(part, str) else part.source)
    return "".join(pieces)
