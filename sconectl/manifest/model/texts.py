"""Every text of a manifest that may name a secret: the fields that are marked so where they are declared.

In: a manifest, or a part of one. Out: texts with their paths, in the order of the fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sconectl.manifest.model.fields import Part
from sconectl.manifest.spelling.placeholders import replace_expressions
from sconectl.text.marks import MAY_NAME_SECRETS
from sconectl.text.secret_placeholders import is_reference
from sconectl.text.yaml_tree import Path


def texts_of(part: Part, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Yield each text that is written in a field in which `$$SCONE::name$$` means a secret.

    Of the texts in a mapping, the claims of a token, only those count that are a placeholder as a whole (LANG §7.2).
    """
    for name, info in type(part).model_fields.items():
        place, value = (*path, info.alias or name), getattr(part, name)
        if MAY_NAME_SECRETS not in info.metadata:
            yield from _inside(value, place)
        elif isinstance(value, Mapping):
            yield from (((*place, key), text) for key, text in value.items() if _is_placeholder(text))
        elif value:
            yield place, value


def _is_placeholder(text: str) -> bool:
    """Say whether a text is one placeholder, perhaps with names that the mesh fills in."""
    return is_reference(replace_expressions(text, lambda expression: expression.name))


def _inside(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, Part):
        yield from texts_of(value, path)
    elif isinstance(value, tuple):
        for number, entry in enumerate(value):
            yield from _inside(entry, (*path, number))
