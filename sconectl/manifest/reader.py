"""Reads a manifest: YAML text, variables substituted, validated by the model of its kind.

In: text, the name of the file, variables. Out: a `Manifest` (model, document for positions, findings that do not
forbid going on), or `InvalidInput` with every fault.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from sconectl.errors import InvalidInput
from sconectl.findings import Finding
from sconectl.manifest.faults import did_you_mean, findings_of
from sconectl.manifest.older import modernise
from sconectl.manifest.placeholders import substitute_variables
from sconectl.yaml_tree import Document, Path, parse, show_path

if TYPE_CHECKING:
    from sconectl.manifest.genservice import GenService
    from sconectl.manifest.mesh import Mesh

KINDS = ("genservice", "mesh")
"""The kinds of manifests."""
_FREE_TEXT = frozenset({"value", "content", "command", "run"})
"""Fields whose text may hold a literal `$`; an unknown `$NAME` stays there, with a warning."""
_VARIABLES = frozenset({"environment", "env", "local", "global"})
"""Fields in which a key can be the name of a variable; its value is free text, too."""


@dataclass(frozen=True)
class Manifest:
    """A valid manifest with the text positions that later stages need for their messages."""

    model: GenService | Mesh
    document: Document
    warnings: tuple[Finding, ...]


def read_manifest(text: str | bytes, file: str, variables: Mapping[str, str]) -> Manifest:
    """Read and validate one manifest. Raises `InvalidInput` with everything that is wrong with it."""
    return read_document(parse(text, file), variables)


def read_document(document: Document, variables: Mapping[str, str]) -> Manifest:
    """Validate a manifest that is parsed already. Raises `InvalidInput` with everything that is wrong with it."""
    if not isinstance(document.value, dict):
        raise InvalidInput([Finding("error", "SC1002", document.position(()), "", "a manifest is a mapping")])
    document, findings = modernise(document)
    value = _substituted(document.value, (), document, variables, findings)
    document = replace(document, value=value)
    model = _model_of(value, document)
    errors = [finding for finding in findings if finding.severity == "error"]
    try:
        manifest = model.model_validate(value)
    except ValidationError as error:
        said = {finding.position for finding in errors} | {finding.path for finding in errors}
        faults = [f for f in findings_of(error, document, model) if f.position not in said and f.path not in said]
        raise InvalidInput(_sorted([*findings, *faults])) from None
    if errors:
        raise InvalidInput(_sorted(findings))
    return Manifest(manifest, document, tuple(_sorted(findings)))


def _sorted(findings: list[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: finding.position)


def model_of(kind: str) -> type[GenService] | type[Mesh]:
    """Return the model of a kind of manifest; the other one is not loaded."""
    if kind == "mesh":
        from sconectl.manifest.mesh import Mesh

        return Mesh
    from sconectl.manifest.genservice import GenService

    return GenService


def _model_of(value: Any, document: Document) -> type[GenService] | type[Mesh]:
    kind = value.get("kind")
    if isinstance(kind, str) and kind in KINDS:
        return model_of(kind)
    near = did_you_mean(kind, KINDS) if isinstance(kind, str) else ""
    hint = near or "expected one of: " + ", ".join(KINDS)
    message = "this field is missing" if kind is None else "not a kind of manifest"
    raise InvalidInput([Finding("error", "SC1002", document.position(("kind",)), "kind", message, hint)])


def _substituted(
    value: Any, path: Path, document: Document, variables: Mapping[str, str], findings: list[Finding]
) -> Any:
    if isinstance(value, dict):
        return {key: _substituted(item, (*path, key), document, variables, findings) for key, item in value.items()}
    if isinstance(value, list):
        return [_substituted(item, (*path, i), document, variables, findings) for i, item in enumerate(value)]
    if not isinstance(value, str) or "$" not in value:
        return value
    text, missing = substitute_variables(value, variables)
    findings += [_unresolved(name, value, path, document) for name in missing]
    return text


def _is_free_text(path: Path) -> bool:
    variables = (name for parent, name in pairwise(path) if parent in _VARIABLES and isinstance(name, str))
    return not _FREE_TEXT.isdisjoint(path) or any(name not in _VARIABLES for name in variables)


def _is_reference(name: str, text: str) -> bool:
    """Say whether a text surely refers to a variable: `abc$XYZ` may well be a password."""
    bare = rf"(?<![^\s\"'=:/@,;(\[])\${name}(?!\w)"
    return name.isupper() and re.search(rf"{bare}|\$\{{{name}(?:\}}|:-)", text) is not None


def _unresolved(name: str, text: str, path: Path, document: Document) -> Finding:
    free = _is_free_text(path)
    # What follows a $ in a secret text is perhaps no name: of free text, only what looks like a variable is shown.
    named = not free or _is_reference(name, text)
    hint = f"set it with --set {name if named else 'NAME'}=VALUE"
    if document.file.endswith(".template"):
        hint += " or in the environment"
    if free:
        message = f"{f'the variable ${name}' if named else 'a variable in it'} has no value; the text stays as it is"
        return Finding("warning", "SC1003", document.position(path), show_path(path), message, hint)
    hint += f" (--set {name}= leaves the field empty)"
    return Finding("error", "SC1003", document.position(path), show_path(path), f"${name} has no value", hint)
