"""The starter manifests of `sconectl init`: commented, and valid as they are. Their text is in `templates/`.

In: a `Program` and its names. Out: the files to write, by name, and what the user still has to fill in.
"""

from __future__ import annotations

from typing import Any

from sconectl.plan.service.base_images import is_java
from sconectl.starter.init_program import NO_COMMAND, Program
from sconectl.starter.init_sources import Variable
from sconectl.text.rendering import render
from sconectl.text.yaml_text import dump

SERVICE, MESH, IGNORE = "service.yaml", "mesh.yaml", ".dockerignore"


class _Plain(str):
    """Text that is written as it is: an image reference, or something in a comment."""


def starters(program: Program, *, name: str, image: str, with_ignore: bool) -> dict[str, bytes]:
    """Return the files: both manifests, and `.dockerignore` if it is wanted and a Dockerfile makes the image."""
    values = {
        "program": program,
        "name": name,
        "image": _image(image),
        "native": _image(program.native),
        "native_in_a_comment": _Plain(program.native),
        "has_command": program.command != NO_COMMAND,
        "is_java": is_java(program.kind),
        "variables": _globals(program),
        "to_fill_in": to_fill_in(program),
        "credentials": [(one.name, _secret_name(name, one.name)) for one in program.variables if one.is_secret],
        "example_in_a_comment": _Plain(f"{name}-password"),
    }
    wanted = [SERVICE, MESH, *([IGNORE] if with_ignore and program.dockerfile else [])]
    return {file: render(f"starter/templates/{file.lstrip('.')}", _written, **values).encode() for file in wanted}


def to_fill_in(program: Program) -> tuple[str, ...]:
    """Return the variables that the mesh has to give and that have no value yet."""
    return tuple(variable.name for variable in _globals(program) if variable.default is None)


def _written(value: Any) -> str:
    return value if isinstance(value, _Plain) else dump(value).rstrip("\n")


def _image(reference: str) -> str:
    """Return an image reference as people write it: those that begin with a letter need no quotes."""
    return _Plain(reference) if reference[:1].isalpha() else reference


def _globals(program: Program) -> list[Variable]:
    return [variable for variable in program.variables if not variable.is_secret]


def _secret_name(service: str, variable: str) -> str:
    """Return the name of the secret behind a variable: unique in a mesh, since it begins with the service."""
    return f"{service}-{variable.lower().replace('_', '-')}".rstrip("-")
