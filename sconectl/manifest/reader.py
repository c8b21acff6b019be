"""Reads a manifest: YAML text, variables substituted, validated by the model of its kind.

In: text, the name of the file, variables. Out: a `Manifest` (model, document for positions, findings that do not
forbid going on), or `InvalidInput` with every fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from sconectl.errors import InvalidInput
from sconectl.findings import Finding
from sconectl.manifest.faults import did_you_mean, findings_of
from sconectl.manifest.genservice import GenService
from sconectl.manifest.mesh import Mesh
from sconectl.manifest.placeholders import substitute_variables
from sconectl.yaml_tree import Document, Path, parse, show_path

_KINDS: dict[str, type[GenService] | type[Mesh]] = {"genservice": GenService, "mesh": Mesh}
_FREE_TEXT = frozenset({"value", "content", "command"})
"""Fields whose text may hold a literal `$`; an unknown `$NAME` stays there, with a warning."""


@dataclass(frozen=True)
class Manifest:
    """A valid manifest with the text positions that later stages need for their messages."""

    model: GenService | Mesh
    document: Document
    warnings: tuple[Finding, ...]


def read_manifest(text: str | bytes, file: str, variables: Mapping[str, str]) -> Manifest:
    """Read and validate one manifest. Raises `InvalidInput` with everything that is wrong with it."""
    document = parse(text, file)
    if not isinstance(document.value, dict):
        raise InvalidInput([Finding("error", "SC1002", document.position(()), "", "a manifest is a mapping")])
    findings: list[Finding] = []
    value = _substituted(document.value, (), document, variables, findings)
    document = replace(document, value=value)
    model = _model_of(value, document)
    errors = [finding for finding in findings if finding.severity == "error"]
    try:
        manifest = model.model_validate(value)
    except ValidationError as error:
        unresolved = {finding.path for finding in errors}
        faults = [fault for fault in findings_of(error, document, model) if fault.path not in unresolved]
        raise InvalidInput(sorted([*errors, *faults], key=lambda finding: finding.position)) from None
    if errors:
        raise InvalidInput(findings)
    return Manifest(manifest, document, tuple(findings))


def _model_of(value: Any, document: Document) -> type[GenService] | type[Mesh]:
    kind = value.get("kind")
    if isinstance(kind, str) and kind in _KINDS:
        return _KINDS[kind]
    near = did_you_mean(kind, _KINDS) if isinstance(kind, str) else ""
    hint = near or "expected one of: " + ", ".join(sorted(_KINDS))
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
    findings += [_unresolved(name, path, document) for name in missing]
    return text


def _unresolved(name: str, path: Path, document: Document) -> Finding:
    free = bool(path) and (path[-1] in _FREE_TEXT or "run" in path)
    hint = f"set it with --set {name}=VALUE"
    if document.file.endswith(".template"):
        hint += " or in the environment"
    if free:
        message = f"the variable ${name} has no value; the text stays as it is"
        return Finding("warning", "SC1003", document.position(path), show_path(path), message, hint)
    hint += f" (--set {name}= leaves the field empty)"
    return Finding("error", "SC1003", document.position(path), show_path(path), f"${name} has no value", hint)
