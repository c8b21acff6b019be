"""Every field of a manifest has a description and an example that is valid, and stands in the documentation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from sconectl.manifest.model.fields import OneOf, Part
from sconectl.manifest.model.genservice import GenService
from sconectl.manifest.model.mesh import Mesh
from sconectl.manifest.reading.reader import model_of

DOCS = Path(__file__).parents[3] / "docs"
_PAGES: dict[type[Part], str] = {GenService: "service-manifest.md", Mesh: "mesh-manifest.md"}


def parts(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from parts(argument)


def fields(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        place = f"{path}.{field.alias or name}".lstrip(".")
        yield place, field
        for part in dict.fromkeys(parts(field.annotation)):
            yield from fields(part, place)


FIELDS = [(model, path, field) for model in _PAGES for path, field in fields(model)]


@pytest.mark.parametrize(("model", "path", "field"), FIELDS, ids=[f"{m.__name__}.{path}" for m, path, _ in FIELDS])
def test_a_field_is_described(model: type[Part], path: str, field: FieldInfo) -> None:
    assert field.description, path
    assert field.description.endswith((".", "CASes, at least one.")), path
    name = path.rpartition(".")[2]
    page = (DOCS / _PAGES[model]).read_text()
    named = [f"`{name}`", f".{name}`", f"{name}:", f"`{name}."]
    assert any(form in page for form in named), f"{path} is not in {_PAGES[model]}"


@pytest.mark.parametrize(("model", "path", "field"), FIELDS, ids=[f"{m.__name__}.{path}" for m, path, _ in FIELDS])
def test_examples_are_valid(model: type[Part], path: str, field: FieldInfo) -> None:
    assert field.examples, (model, path)
    reader = TypeAdapter(field.rebuild_annotation())
    for example in field.examples:
        reader.validate_python(example)


def test_every_choice_says_what_it_is_for() -> None:
    def choices(annotation: Any) -> Iterator[OneOf]:
        for argument in (annotation, *get_args(annotation)):
            if isinstance(argument, OneOf):
                yield argument
            elif argument is not annotation:
                yield from choices(argument)

    found = [choice for _, _, field in FIELDS for choice in choices(field.rebuild_annotation())]
    assert len(found) >= 6
    assert all(meaning for choice in found for meaning in choice.meanings.values())


def test_only_the_model_that_is_needed_is_loaded() -> None:
    assert (model_of("genservice"), model_of("mesh")) == (GenService, Mesh)
