"""Text of a native image in a session: it reaches the program as it is, whatever it looks like.

The session language gives a meaning to `$$SCONE::…$$`, and to an argument `@@N`. It has no escape for them, but what a
secret stands for is never looked at again (LANG §8), so that the marks are written as secrets that everybody may know.
In: text that means itself. Out: the same for a session, and the secrets that this needs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from sconectl.text.secret_placeholders import START

_DOLLARS, _ATS = "sconectl-literal-dollars", "sconectl-literal-ats"
_MARKS = {_DOLLARS: "$$", _ATS: "@@"}
_HOST_ARGUMENT = re.compile(r"@@[0-9]+\Z")
HOST_VARIABLE = "\\@\\@"
"""Begins the name of a variable whose value the container gives (LANG §18)."""


def literal_text(text: str) -> str:
    """Return `text` as a session has to say it so that the program gets exactly that."""
    return text.replace(START, f"{START}{_DOLLARS}$${START.removeprefix('$$')}")


def literal_argument(text: str) -> str:
    """Return an argument as a session has to say it."""
    if _HOST_ARGUMENT.match(text):
        return f"{START}{_ATS}$${text[2:]}"
    return literal_text(text)


def literal_secrets(texts: Iterable[str]) -> list[dict[str, Any]]:
    """Return the secrets that these texts of a session need, as its entries."""
    found = "\n".join(texts)
    return [
        {"name": name, "kind": "ascii", "value": mark} for name, mark in _MARKS.items() if f"{START}{name}$$" in found
    ]
