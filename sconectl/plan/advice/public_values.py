"""What a service manifest with `public: true` would publish and must not: values that only this machine knows.

In: a service manifest. Out: an error for each private value, at its position, in words that never repeat it. What is
left is what the image declares in public. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from sconectl.errors import PlanImpossible
from sconectl.manifest.spelling.placeholders import replace_expressions
from sconectl.plan.advice.credentials import credential, known_form
from sconectl.plan.advice.source import Source
from sconectl.plan.values.parameters import OPEN_VARIABLES
from sconectl.text.findings import Finding
from sconectl.text.secret_placeholders import is_reference
from sconectl.text.yaml_tree import Path, texts_in

if TYPE_CHECKING:
    from sconectl.manifest.model.genservice import GenService
    from sconectl.manifest.model.secrets import Secret
    from sconectl.manifest.reading.reader import Manifest
    from sconectl.plan.facts.image_facts import ImageFacts

CODE = "SC1016"
_OPEN_KINDS = ("x509-ca", "x509", "public-key")
"""Kinds of secrets of which a given value may be known to everybody."""
_PUBLISHED: tuple[Path, ...] = (
    ("build", "pwd"),
    ("build", "volumes"),
    ("build", "ports"),
    ("secrets",),
    ("injection_files",),
)
"""Where there is more that is published than what is looked at for credentials."""
_DRAWN = "leave the field out, so that each CAS draws a value of its own, or remove `public`"
_MARK = (
    "add `public: true` to the variable if everybody may know it, let the CAS draw a secret ($$SCONE::NAME$$), or "
    "declare it in environment.global without a default, so that each mesh gives it"
)
_GIVEN = "write what everybody may know into the file, or {{NAME}}, which each mesh gives"
_SECRET = "let the CAS draw a secret, and write $$SCONE::NAME$$"  # noqa: S105 - a hint


def private_values(manifest: Manifest) -> Iterator[Finding]:
    """Yield an error for each value that keeps the image from being public; none if it is not to be."""
    model = manifest.model
    assert model.kind == "genservice"  # noqa: S101 - narrows the type
    if not model.build.public:
        return
    found: list[tuple[Path, str, str]] = []
    for number, secret in enumerate(model.secrets.global_):
        found += _of_secret(secret, ("secrets", "global", number))
    source = Source(manifest.document)
    found += _of_texts(model, source)
    said = {path for path, _, _ in found}
    for path, text in texts_in(manifest.document.value):
        if path not in said and _is_published(path) and not source.holds(path, text):
            found.append((path, "this has a value that was given on this machine", _GIVEN))
    for path, what, hint in found:
        yield manifest.document.finding("error", CODE, path, f"{what}, which must not be public", hint)


def refuse_private_variables(facts: ImageFacts) -> None:
    """Raise `PlanImpossible` if variables of the native image seem to hold credentials: they would be published."""
    given = (*facts.environment.image, *facts.environment.runtime)
    names = [variable.name for variable in given if credential(variable.name, variable.value)]
    if names:
        raise PlanImpossible(
            f"{', '.join(names)} of the base image of {facts.image} seems to hold a credential, and `public` would "
            "publish it",
            hint="unset it in the base image, or remove `public`",
        )


def _is_published(path: Path) -> bool:
    return any(path[: len(place)] == place for place in _PUBLISHED)


def _of_secret(secret: Secret, place: Path) -> Iterator[tuple[Path, str, str]]:
    whole = secret.kind == "aad-token"
    for field, value in (
        ("value", secret.value),
        ("application_secret", secret.application_secret),
        ("private_key", secret.private_key if whole else None),
    ):
        open_ = field == "value" and secret.kind in _OPEN_KINDS and not known_form(str(value))
        if value is not None and not open_:
            yield (*place, field), f"the secret {secret.name} is given", _DRAWN
    for claim, value in (secret.payload or {}).items():
        if not _refers(value):
            yield (*place, "payload", claim), f"a claim of {secret.name} is given", _SECRET


def _of_texts(model: GenService, source: Source) -> Iterator[tuple[Path, str, str]]:
    texts: list[tuple[Path, str, str]] = [(("build", "command"), "the command", model.build.command)]
    for number, local in enumerate(model.environment.local):
        path: Path = ("environment", "local", number, "value")
        texts.append((path, f"the variable {local.name}", local.value))
        if not (local.public or local.name in OPEN_VARIABLES or _refers(local.value)):
            yield path, f"the value of the local variable {local.name} is private", _MARK
    for number, variable in enumerate(model.environment.global_):
        path = ("environment", "global", number, "value")
        texts.append((path, f"the variable {variable.name}", variable.value or ""))
    for number, file in enumerate(model.injection_files):
        texts.append((("injection_files", number, "content"), f"the injected file {file.path}", file.content))
    names: Mapping[Path, str] = {path: what.removeprefix("the variable ") for path, what, _ in texts}
    for path, what, text in texts:
        if not source.holds(path, text):
            yield path, f"{what} has a value that was given on this machine", _GIVEN
        elif kind := credential(names[path], text) if path[0] == "environment" else known_form(text):
            yield path, f"{what} seems to hold {kind}", _SECRET


def _refers(text: str) -> bool:
    """Say whether a text is nothing but names that are filled in later: it has no value of its own."""
    if "{%" in text:
        return False
    rest = replace_expressions(text, lambda found: found.source if found.default is not None else "")
    return not rest.strip() or is_reference(replace_expressions(text, lambda found: found.default or found.name))
