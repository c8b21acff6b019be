"""What is said about one code of a finding."""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """A code: `title` is one line, `text` says what is wrong, why that matters and what to do about it.

    `wrong` and `right` are short pieces of YAML, or nothing.
    """

    title: str
    text: str
    wrong: str = ""
    right: str = ""
