"""Which fields of manifests and sessions may be shown in a message: those that are marked where they are declared.

In: the models. Out: places, as steps of names with `[]` for an entry of a list. What no model has is not shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sconectl.manifest.model.fields import NamedDefault
from sconectl.manifest.model.fields import one_or_many as one_or_many_in_manifests
from sconectl.manifest.model.genservice import GenService
from sconectl.manifest.model.mesh import Mesh
from sconectl.manifest.model.secrets import Secret
from sconectl.policy.model.base import one_or_many
from sconectl.policy.model.session import Session
from sconectl.text.marks import KeysShown, Shown

Place = tuple[str, ...]
ENTRY = "[]"
_LISTS_OF_ONE = (one_or_many, one_or_many_in_manifests)


@dataclass
class Places:
    """`shown` are the places of values that may be shown, `parts` those of mappings whose keys are fields.

    The keys of `open` are the user's, at every depth. `names` are those of all fields.
    """

    shown: set[Place] = field(default_factory=set)
    hidden: set[Place] = field(default_factory=set)
    parts: set[Place] = field(default_factory=set)
    open: set[Place] = field(default_factory=set)
    names: set[str] = field(default_factory=set)

    def keys_are_shown(self, place: Place) -> bool:
        """Say whether the keys of the mapping at `place` are no secrets."""
        return place in self.parts or any(place[: end + 1] in self.open for end in range(len(place)))


@cache
def places() -> Places:
    """Return the places of all models; one that only some of them show is hidden."""
    found = Places()
    roots: tuple[tuple[type[BaseModel], Place], ...] = (
        *((model, ()) for model in (GenService, Mesh, Session)),
        *((model, (ENTRY,)) for model in (Secret, NamedDefault)),  # in files of their own, which a mesh names
    )
    for model, place in roots:
        _add(model, place, (), found)
    found.shown -= found.hidden
    return found


def _add(model: type[BaseModel], place: Place, above: tuple[type[BaseModel], ...], found: Places) -> None:
    found.parts.add(place)
    for name, info in model.model_fields.items():
        key = info.alias or name
        found.names.add(key)
        pieces = list(pieces_of(info))
        here, entries = (*place, key), (*place, key, ENTRY)
        values = {here, entries} if tuple in pieces else {here}
        (found.shown if any(isinstance(piece, Shown) for piece in pieces) else found.hidden).update(values)
        if any(isinstance(piece, KeysShown) for piece in pieces):
            found.open.update(values)
        if tuple in pieces and not any(getattr(piece, "func", None) in _LISTS_OF_ONE for piece in pieces):
            values = {entries}  # a mapping in its place may have keys that look like fields
        for part in pieces:
            if isinstance(part, type) and issubclass(part, BaseModel) and part not in (*above, model):
                for value in values:
                    _add(part, value, (*above, model), found)


def pieces_of(info: FieldInfo) -> Iterator[Any]:
    """Yield what the type of a field is made of: classes, and what they are annotated with."""
    yield from info.metadata
    yield from _pieces(info.annotation)


def _pieces(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        yield from annotation.__metadata__
    elif get_origin(annotation) is not None:
        yield get_origin(annotation)
    else:
        yield annotation
    for part in get_args(annotation):
        yield from _pieces(part)
