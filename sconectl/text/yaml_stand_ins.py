"""What YAML 1.2 and JSON allow and the C parser refuses, hidden from it behind other characters of the same width.

In: a text, and what the parser said about it. Out: a text that it takes, with every position unchanged, and a function
that restores the spelling of a scalar.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Restore = Callable[[str], str]

# A colon inside a plain scalar between braces, as in `{A: $$SCONE::b$$}`.
_COLON = re.compile(r"(?<![\s\"'\[\]{},]):(?=[^\s,\[\]{}])")
_COLON_STAND_INS = range(0xF000, 0xF900)
# Characters that JSON escapes in two halves, like "\ud83d\ude00". A half becomes a private character, and so that text
# which only looks like an escape can be restored, too, the case of each digit is kept.
_HALF = re.compile(r"\\u([dD])([89a-fA-F])(?=[0-9a-fA-F]{2})")
_HIDDEN_HALF = re.compile(r"\\u([eE])([0-7A-F])(?=[0-9a-fA-F]{2})")
_HALF_STAND_IN = re.compile("[\ue000-\ue7ff\uea00-\uefff]")
_TAKEN = re.compile("[\ue000-\uefff]|\\\\(?:u|U0000)[eE]")
_FIRST, _SECOND = str.maketrans("dD", "eE"), str.maketrans("89abcdef", "01234567")
_FIRST_BACK, _SECOND_BACK = str.maketrans("eE", "dD"), str.maketrans("01234567", "89abcdef")


def hide(text: str, problem: str) -> tuple[str, Restore] | None:
    """Return the text with stand-ins for the refused characters, and how to restore them; None for other problems."""
    if "unexpected ':'" in problem:
        return _without_colons(text)
    if "invalid Unicode character escape" in problem:
        return _without_halves(text)
    return None


def _without_colons(text: str) -> tuple[str, Restore] | None:
    lower = text.lower()
    free = (chr(code) for code in _COLON_STAND_INS if chr(code) not in text and f"{code:04x}" not in lower)
    stand_in = next(free, "")
    hidden, count = _COLON.subn(stand_in, text)
    return (hidden, lambda scalar: scalar.replace(stand_in, ":")) if stand_in and count else None


def _without_halves(text: str) -> tuple[str, Restore] | None:
    if _TAKEN.search(text):
        return None
    hidden, count = _HALF.subn(lambda half: f"\\u{half[1].translate(_FIRST)}{half[2].translate(_SECOND)}", text)
    return (hidden, _with_halves) if count else None


def _with_halves(scalar: str) -> str:
    def half(found: re.Match[str]) -> str:
        code = ord(found[0])
        second = code >> 8 & 0xF
        return chr(0xD000 | (second + 8 if second < 8 else second) << 8 | code & 0xFF)

    text = _HALF_STAND_IN.sub(half, scalar)
    return _HIDDEN_HALF.sub(
        lambda found: f"\\u{found[1].translate(_FIRST_BACK)}{found[2].translate(_SECOND_BACK)}", text
    )
