"""Text that is nearly a placeholder: a slip of the pen, and the program would get the text instead of a value.

In: a text of a manifest, variables filled in. Out: what is wrong with it, without a piece of it. Near is what one or
two changes (characters that are missing, doubled, replaced or exchanged) make of `$$SCONE::name$$`, and a `{{name}}`
that lacks a brace which the text has nowhere else. Text between {% raw %} and {% endraw %} is meant as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sconectl.manifest.spelling.placeholders import EXPRESSION, NAME, without_raw
from sconectl.text.secret_placeholders import SPELT, START

_RIGHT = re.compile(rf"{SPELT}\$\$|{EXPRESSION}")
_MOST = 2
_PIECE = re.compile(r"\$\$S|SCO|CON|ONE|NE:|E::", re.IGNORECASE)
"""Whatever two changes make of the start of a placeholder, one of its pieces stays."""
_REACH = len(START) + _MOST
_MARKS = frozenset("$@%")
_ONE_BRACE_LESS = re.compile(rf"(?<![{{$])\{{\{{\s*{NAME}\s*\}}(?!\}})|(?<![{{$])\{{\s*{NAME}\s*\}}\}}(?!\}})")
PLACEHOLDER_HINT = "write $$SCONE::name$$; text that is meant as it is stands between {% raw %} and {% endraw %}"
NAME_HINT = "write {{name}}; text that is meant as it is stands between {% raw %} and {% endraw %}"


def near_misses(text: str) -> Iterator[tuple[str, str]]:
    """Yield what is nearly a placeholder in a text: what it nearly is, and what to write."""
    if "{" in text or "}" in text:
        text = without_raw(text)
    rest = _RIGHT.sub(" ", text)
    if _is_near(rest):
        yield "this is nearly a placeholder for a secret, and is none", PLACEHOLDER_HINT
    if rest.count("{") != rest.count("}") and _ONE_BRACE_LESS.search(rest):
        yield "this is nearly a {{name}}, and is none", NAME_HINT


def _is_near(text: str) -> bool:
    """Say whether a text has a piece that is a changed start of a placeholder."""
    if _MARKS.isdisjoint(text):
        return False
    seen = set()
    for piece in _PIECE.finditer(text):
        around = text[max(piece.start() - _REACH, 0) : piece.end() + _REACH]
        if around in seen:
            continue
        seen.add(around)
        if not _MARKS.isdisjoint(around) and _least_changes(around.upper()) <= _MOST:
            return True
    return False


def _least_changes(text: str) -> int:
    """Return how many changes it takes at least to make the start of a placeholder of some piece of `text`."""
    above: list[int] = []
    row = [0] * (len(text) + 1)
    for number, wanted in enumerate(START, 1):
        before, above, row = above if number > 1 else [], row, [number]
        for place, given in enumerate(text):
            least = min(above[place + 1] + 1, row[-1] + 1, above[place] + (given != wanted))
            if before and place and given == START[number - 2] and text[place - 1] == wanted:
                least = min(least, before[place - 1] + 1)  # neighbours that were exchanged
            row.append(least)
    return min(row)
