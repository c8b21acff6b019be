"""Reads what a mesh puts in the place of an image's own secrets or variables: a YAML list in a file of its own.

In: the text of the file and a lookup of names. Out: secrets or variables, with values filled in.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from sconectl.errors import InvalidInput
from sconectl.manifest.model.faults import findings_of
from sconectl.manifest.model.fields import NamedDefault
from sconectl.manifest.model.secrets import Secret
from sconectl.plan.facts.image_facts import ImageFacts
from sconectl.plan.values.templates import Lookup, bind_yaml, without_variables
from sconectl.text.yaml_tree import Document, Path, parse

_LIST = "entries"


class _List(BaseModel):
    model_config = {"extra": "forbid", "hide_input_in_errors": True, "defer_build": True}


class _Secrets(_List):
    entries: tuple[Secret, ...]


class _Variables(_List):
    entries: tuple[NamedDefault, ...]


def read_image_secrets(raw: bytes, file: str, lookup: Lookup) -> tuple[Secret, ...]:
    """Return the secrets in the text `raw`. Raises `InvalidInput` with every fault, positions in `file`."""
    return _validated(bind_yaml(raw, file, lookup, dollars=True), _Secrets).entries


def read_image_variables(raw: bytes, file: str) -> tuple[NamedDefault, ...]:
    """Return the global variables in the text `raw`, with their defaults, in which `{{name}}` stays as it is.

    The form is that of `environment.global` of a service manifest. Raises `InvalidInput` with every fault.
    """
    return _validated(without_variables(parse(raw, file)), _Variables).entries


def with_variables(image: ImageFacts, raw: bytes, file: str) -> ImageFacts:
    """Return the facts of an image that declares the global variables in the text `raw` instead of its own."""
    environment = image.environment.model_copy(update={"global_": read_image_variables(raw, file)})
    return image.model_copy(update={"environment": environment})


_Model = TypeVar("_Model", bound=_List)


def _validated(document: Document, model: type[_Model]) -> _Model:
    try:
        return model.model_validate({_LIST: document.value})
    except ValidationError as error:
        faults = findings_of(error, _below(document), model)
        raise InvalidInput([replace(fault, path=_shown(fault.path)) for fault in faults]) from None


def _shown(path: str) -> str:
    """Drop the name that the model needs for what is a bare list in the file."""
    return path.removeprefix(_LIST)


def _below(document: Document) -> Document:
    """Return the document as if its list were the value of a key."""
    where: dict[Path, Any] = {(_LIST, *path): position for path, position in document.positions.items()}
    keys = {(_LIST, *path): position for path, position in document.key_positions.items()}
    return replace(
        document,
        value={_LIST: document.value},
        positions={(): document.position(()), **where},
        key_positions=keys,
        quoted={(_LIST, *path): quoted for path, quoted in document.quoted.items()},
    )
