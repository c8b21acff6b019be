"""Every text of a manifest that may name a secret: the fields that are marked so where they are declared.

In: a manifest, or a part of one. Out: texts with their paths, in the order of the fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sconectl.manifest.model.fields import Part
from sconectl.text.marks import MAY_NAME_SECRETS
from sconectl.text.yaml_tree import Path


def texts_of(part: Part, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Yield each text in which `$$SCONE::name$$` means a secret; an empty text for a field without a value."""
    for name, info in type(part).model_fields.items():
        place, value = (*path, info.alias or name), getattr(part, name)
        if MAY_NAME_SECRETS in info.metadata:
            yield place, value or ""
        else:
            yield from _inside(value, place)


def _inside(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, Part):
        yield from texts_of(value, path)
    elif isinstance(value, tuple):
        for number, entry in enumerate(value):
            yield from _inside(entry, (*path, number))
