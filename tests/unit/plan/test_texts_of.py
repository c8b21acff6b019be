"""The texts that may name a secret are found by the marks of their fields: no list of them can be incomplete."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sconectl.cli.output.shown_fields import pieces_of
from sconectl.manifest.model.fields import Part
from sconectl.manifest.model.genservice import GenService
from sconectl.manifest.model.mesh import Mesh
from sconectl.manifest.model.texts import texts_of
from sconectl.manifest.reading.reader import read_manifest
from sconectl.plan.facts.image_facts import ImageFacts
from sconectl.text.marks import MAY_NAME_SECRETS
from sconectl.text.yaml_tree import Path

SERVICE = """
apiVersion: scone/5.8
kind: genservice
build: {name: a, kind: python, to: x/y, command: python3 $$SCONE::one$$, run: [echo $$SCONE::no$$]}
environment:
  local: [{name: L, value: $$SCONE::two$$}]
  global: [{name: G, value: $$SCONE::three$$}, {name: EMPTY}]
injection_files: [{path: /f, content: $$SCONE::four$$}]
secrets:
  global:
    - {name: one, kind: ascii, value: $$SCONE::no$$}
    - name: token
      kind: jwt
      signer: key
      alg: ES384
      validity: {for: 1h}
      payload: {five: "$$SCONE::five{{ a }}$$", part: "$$SCONE::no$$ x", two: "$$SCONE::no$$$$SCONE::no$$"}
"""
MESH = """
apiVersion: scone/5.8
kind: mesh
cas: [{cas_url: local}]
policy: {namespace: a}
env: [{service: global, env: [{name: A, value: $$SCONE::one$$}]}]
services: [{name: a, image: x/y}]
"""
NEVER = {
    *("Secret.value", "Secret.private_key", "Secret.application_secret"),
    *("Variable.value", "ImageFacts.salt"),
}
"""What holds a secret itself, and what reaches a program as it is: texts in which no other secret is named."""


def test_each_text_comes_with_its_path() -> None:
    assert list(texts_of(read_manifest(SERVICE, "service.yaml", {}).model)) == [
        (("build", "command"), "python3 $$SCONE::one$$"),
        (("environment", "local", 0, "value"), "$$SCONE::two$$"),
        (("environment", "global", 0, "value"), "$$SCONE::three$$"),
        (("secrets", "global", 1, "payload", "five"), "$$SCONE::five{{ a }}$$"),
        (("injection_files", 0, "content"), "$$SCONE::four$$"),
    ]
    assert list(texts_of(read_manifest(MESH, "mesh.yaml", {}).model)) == [
        (("env", 0, "env", 0, "value"), "$$SCONE::one$$")
    ]


PLACES: dict[type[Part], set[Path]] = {
    GenService: {
        ("build", "command"),
        ("environment", "local", "value"),
        ("environment", "global", "value"),
        ("secrets", "global", "payload", "a"),
        ("injection_files", "content"),
    },
    Mesh: {("env", "env", "value")},
    ImageFacts: {
        ("command",),
        ("environment", "local", "value"),
        ("environment", "global", "value"),
        ("secrets", "global", "payload", "a"),
        ("injection_files", "content"),
    },
}


@pytest.mark.parametrize("model", PLACES)
def test_every_text_that_is_kept_out_of_messages_is_marked_or_never_names_a_secret(model: type[Part]) -> None:
    fields: dict[str, FieldInfo] = {}
    waiting: list[type[BaseModel]] = [model]
    while waiting:
        part = waiting.pop()
        for name, info in part.model_fields.items():
            fields[f"{part.__name__}.{name}"] = info
            waiting += [piece for piece in pieces_of(info) if isinstance(piece, type) and issubclass(piece, BaseModel)]
    confidential = {name for name, info in fields.items() if not info.repr}
    marked = {name for name, info in fields.items() if MAY_NAME_SECRETS in info.metadata}
    assert confidential - marked <= NEVER
    assert marked - confidential <= {"Build.command"}


@pytest.mark.parametrize("model", PLACES)
def test_every_marked_field_is_walked_wherever_it_stands(model: type[Part]) -> None:
    written: list[tuple[Path, str]] = []
    part = _filled(model, (), written)
    assert {tuple(step for step in path if isinstance(step, str)) for path, _ in written} == PLACES[model]
    assert list(texts_of(part)) == written


def _filled(model: type[Part], path: Path, written: list[tuple[Path, str]]) -> Part:
    """Make a part whose fields all have values, two entries in each list, and note what is written in marked ones."""
    values: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        place, pieces = (*path, info.alias or name), list(pieces_of(info))
        below = [piece for piece in pieces if isinstance(piece, type) and issubclass(piece, Part)]
        if MAY_NAME_SECRETS in pieces:
            text = f"$$SCONE::secret-{len(written)}$$"
            values[name] = {"a": text} if dict in pieces else text
            written.append(((*place, "a") if dict in pieces else place, text))
        elif tuple in pieces:
            values[name] = tuple(_filled(part, (*place, n), written) for n, part in enumerate(below * 2))
        elif below:
            values[name] = _filled(below[0], place, written)
        else:
            values[name] = None
    return model.model_construct(**values)
