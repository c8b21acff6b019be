"""Advice about values: credentials in plain text, and secrets in variables where a file would do.

In: a model and the source that its values were written in. Out: remarks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from sconectl.manifest.model.fields import NamedDefault, NamedValue
from sconectl.plan.advice.credentials import credential, known_form
from sconectl.plan.advice.source import Source
from sconectl.plan.secrets.secret_names import uses_in
from sconectl.text.yaml_tree import Path

if TYPE_CHECKING:
    from sconectl.manifest.model.genservice import GenService
    from sconectl.manifest.model.mesh import Mesh

KEEP_OUT = "or keep it out of the file: write $NAME, and give it with --env-file"


class Remark(NamedTuple):
    """Advice about the field at `path`."""

    code: str
    path: Path
    message: str
    hint: str
    secret: str = ""
    """The secret that the advice is about; if nothing has this name, or a misspelt one means it, only that is told."""


def plain_text_variables(model: GenService, source: Source) -> Iterator[Remark]:
    """SC4005: credentials in variables of a service, or well-known ones anywhere else."""
    known = {secret.name for secret in model.secrets.global_} | set(model.secrets.import_)
    sections: tuple[tuple[str, tuple[NamedValue | NamedDefault, ...]], ...] = (
        ("local", model.environment.local),
        ("global", model.environment.global_),
    )
    for section, variables in sections:
        for number, variable in enumerate(variables):
            value = variable.value or ""
            path: Path = ("environment", section, number, "value")
            if value not in known and (kind := credential(variable.name, value)) and source.holds(path, value):
                yield _plain_text(path, variable.name, kind)
    texts: list[tuple[Path, str, str]] = [
        (("build", "command"), "the command", model.build.command),
        *((("build", "run", i), "this command", text) for i, text in enumerate(model.build.run)),
        *((("injection_files", i, "content"), file.path, file.content) for i, file in enumerate(model.injection_files)),
    ]
    for path, name, text in texts:
        if (kind := known_form(text)) and source.holds(path, text):
            yield _plain_text(path, name, kind)


def mesh_variables(model: Mesh, source: Source) -> Iterator[Remark]:
    """SC4005: credentials in the values of a mesh."""
    for number, section in enumerate(model.env):
        for entry, variable in enumerate(section.env):
            kind = credential(variable.name, variable.value)
            if kind:
                path: Path = ("env", number, "env", entry, "value")
                if source.holds(path, variable.value):
                    yield _plain_text(path, variable.name, kind)


def _plain_text(path: Path, name: str, kind: str) -> Remark:
    message = f"{name} seems to hold {kind} in plain text, which everybody has who reads this file"
    hint = f"let the CAS draw a secret, and write $$SCONE::NAME$$; {KEEP_OUT}"
    return Remark("SC4005", path, message, hint)


def secrets_in_variables(model: GenService, _source: Source) -> Iterator[Remark]:
    """SC4011: confidential secrets in variables."""
    kinds = {secret.name: secret.kind for secret in model.secrets.global_}
    sections: tuple[tuple[str, tuple[NamedValue | NamedDefault, ...]], ...] = (
        ("local", model.environment.local),
        ("global", model.environment.global_),
    )
    for section, variables in sections:
        for number, variable in enumerate(variables):
            names = [
                use.stem if use.name not in kinds else use.name
                for use in uses_in(variable.value or "")
                if not use.is_public(kinds.get(use.name) or kinds.get(use.stem))
            ]
            if names:
                message = (
                    f"the secret {names[0]} is given in the variable {variable.name}, which every process inherits"
                )
                hint = "write it to a file with injection_files, and let the program read that"
                yield Remark("SC4011", ("environment", section, number, "value"), message, hint, names[0])


SERVICE_RULES = (plain_text_variables, secrets_in_variables)
