"""Numbers of users and groups in images, as container runtimes read them: text of any length, which may be no number.

In: text. Out: a number, or None. The rules are those of Go's `strconv.Atoi`, which runc uses.
"""

from __future__ import annotations

_BEYOND = 1 << 63
_MOST_DIGITS = 20  # a longer number is beyond 64 bits, and its exact value does not matter; Python refuses 4,301 digits


def account_number(text: str) -> int | None:
    """Return the number in a text; None if it is no number, or beyond 64 bits."""
    number = _whole(text)
    return number if number is not None and -_BEYOND <= number < _BEYOND else None


def field_number(text: str) -> int:
    """Return a number in an account file; any other text counts as 0; a number beyond 64 bits stays out of range."""
    return _whole(text) or 0


def _whole(text: str) -> int | None:
    sign, digits = (text[0], text[1:]) if text[:1] in ("+", "-") else ("", text)
    if not (digits.isascii() and digits.isdecimal()):
        return None
    return int(sign + (digits.lstrip("0")[:_MOST_DIGITS] or "0"))
