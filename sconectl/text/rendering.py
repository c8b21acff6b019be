"""Renders texts from data, with jinja2. Templates lie beside the code that uses them, and end in `.jinja`.

In: a template, the values that it names, and how a value is written in the language of the text. Out: the text. Every
value goes through that function, and no template can leave it out. Raises `jinja2.UndefinedError` for a name without a
value, which is a fault of the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

_PACKAGE = Path(__file__).resolve().parent.parent


def render(template: str, written: Callable[[Any], str], **values: Any) -> str:
    """Return the text that `template` gives, a POSIX path relative to the package; `written` writes each value."""
    return _environment(written).get_template(f"{template}.jinja").render(values)


@lru_cache(maxsize=8)
def _environment(written: Callable[[Any], str]) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # takes as long as many a command

    return Environment(
        loader=FileSystemLoader(_PACKAGE),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - it knows HTML only; `written` escapes for the language of the text
        finalize=written,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
