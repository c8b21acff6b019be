"""Reads what `helm --set` takes: `a.b[0].c=value`, several of them separated by commas.

In: one such text. Out: pairs of a path and a text. A backslash takes the meaning of the character behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from sconectl.manifest.model.faults import Unfit
from sconectl.text.yaml_tree import Path

_STEP = re.compile(r"((?:[^\\.\[\]]|\\.)+)((?:\[[0-9]{1,4}\])*)(?:\.|\Z)")
_PART = re.compile(r"((?:[^\\,=]|\\.)+)=((?:[^\\,]|\\.)*)(?:,|\Z)", re.DOTALL)
_HINT = "write SERVICE.FIELD=VALUE, or a mapping below helm_extra_values"
_EXPECTED = "expected SERVICE.FIELD=VALUE, as `helm --set` takes it"


def assignments(text: Any) -> Iterator[tuple[Path, str]]:
    """Yield path and value of each assignment. Raises `Unfit`."""
    if not isinstance(text, str) or not text:
        raise Unfit(_EXPECTED, _HINT)
    at = 0
    while at < len(text):
        part = _PART.match(text, at)
        if part is None or part[2].startswith("{"):
            raise Unfit(_EXPECTED, _HINT)
        yield _path(part[1]), _plain(part[2])
        at = part.end()


def _path(text: str) -> Path:
    path: list[str | int] = []
    at = 0
    while at < len(text):
        step = _STEP.match(text, at)
        if step is None:
            raise Unfit(_EXPECTED, _HINT)
        path += [_plain(step[1]), *(int(number) for number in re.findall("[0-9]+", step[2]))]
        at = step.end()
    return tuple(path)


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def merge(values: dict[str, Any], path: Path, text: str) -> None:
    """Put `text` at `path` into `values`. Raises `Unfit` if something else is there."""
    current: Any = values
    for step, following in zip(path, (*path[1:], None), strict=True):
        empty: Any = text if following is None else [] if isinstance(following, int) else {}
        if isinstance(current, list) and isinstance(step, int) and step <= len(current):
            if step == len(current):
                current.append(empty)
        elif isinstance(current, dict) and isinstance(step, str):
            current.setdefault(step, empty)
        else:
            raise Unfit("this value does not fit to the ones before it", _HINT)
        if following is None:
            current[step] = text
        current = current[step]
