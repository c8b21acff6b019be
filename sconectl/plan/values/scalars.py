"""What YAML means by text without quotes, for the places where the type counts: Helm values and sessions.

In: values as `yaml_tree` reads them, all of them text. Out: the same with truth values and numbers where every reader
of YAML would take them for such; whatever readers disagree about (`yes`, `0760`, `1e3`) stays text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from sconectl.text.yaml_tree import Path

_TRUTH = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,17})\Z")
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]{0,17})\.[0-9]{1,17}\Z")


def typed(text: str) -> str | int | float | bool:
    """Return the truth value, number or text that YAML reads in an unquoted `text`."""
    if text in _TRUTH:
        return _TRUTH[text]
    if _WHOLE.match(text):
        return int(text)
    return float(text) if _DECIMAL.match(text) else text


def typed_values(value: Any, is_plain: Callable[[Path], bool], path: Path = ()) -> Any:
    """Return a value with types; `is_plain` says of which places (at and below `path`) the text has no quotes."""
    if isinstance(value, dict):
        return {key: typed_values(item, is_plain, (*path, key)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [typed_values(item, is_plain, (*path, number)) for number, item in enumerate(value)]
    return typed(value) if isinstance(value, str) and is_plain(path) else value
