"""The grammar of `$$SCONE::name[:format…][|escape(json)]$$`, the place of a secret in a text.

In: a text of a manifest, of a session, or of a file with variables. Out: the placeholders in it. Everybody reads them
here. What their names and formats mean is said by `policy.forms.placeholders`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

START = "$$SCONE::"
SPELT = r"\$\$SCONE::(?:\{\{[^{}]*\}\}|[^\s$])*+"
"""A placeholder up to its end, as a regular expression: well formed or not, perhaps with a `{{name}}` of the mesh.

Nothing is given back of what it took: a text with many `{{name}}` and no end would be tried in 2^n ways.
"""
_FORM = re.compile(r"\$\$SCONE::(?P<name>[^\s\0$:|/]+)(?P<formats>(?::[a-z0-9-]+)*)(?P<escape>\|escape\(json\))?\$\$")


@dataclass(frozen=True)
class Placeholder:
    """One placeholder as written: `text` at `start`…`end`; `suffix` is its formats, like `crt:pem`."""

    text: str
    name: str
    suffix: str
    escape_json: bool
    start: int
    end: int


def is_reference(text: str) -> bool:
    """Say whether `text` is exactly one placeholder (a whole-value reference)."""
    return _FORM.fullmatch(text) is not None


def placeholders(text: str) -> Iterator[Placeholder | None]:
    """Yield what begins like a placeholder, from left to right: None for what is malformed."""
    at = text.find(START)
    while at >= 0:
        match = _FORM.match(text, at)
        if match is None:
            yield None
            at = text.find(START, at + len(START))
        else:
            yield Placeholder(match[0], match["name"], match["formats"][1:], bool(match["escape"]), at, match.end())
            at = text.find(START, match.end())
