"""Text of unknown origin, as it may be printed."""

from __future__ import annotations


def shown(text: str) -> str:
    """Return text of unknown origin with everything escaped that a terminal could obey or that cannot be printed."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
