"""Reads a manifest: YAML text, variables substituted, validated by the model of its kind.

In: text, the name of the file, variables. Out: a `Manifest` (model, document for positions, findings that do not
forbid going on), or `InvalidInput` with every fault.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from sconectl.errors import InvalidInput
from sconectl.manifest.model.faults import did_you_mean, findings_of
from sconectl.manifest.reading.older import modernise
from sconectl.manifest.reading.variables import OWN_VALUES, Filled, fill_in, is_surely_a_variable
from sconectl.text.findings import Finding, Severity
from sconectl.text.yaml_tree import Document, Path, parse

if TYPE_CHECKING:
    from sconectl.manifest.model.genservice import GenService
    from sconectl.manifest.model.mesh import Mesh

CODE = "SC1003"
KINDS = ("genservice", "mesh")
"""The kinds of manifests."""
_FREE_TEXT = frozenset({"value", "content", "command", "run", *OWN_VALUES})
"""Fields whose text may hold a `$` that is meant as it is: what follows it is then perhaps a piece of a secret."""
_VARIABLES = frozenset({"environment", "env", "local", "global"})
"""Fields in which a key can be the name of a variable; its value is free text, too."""
_SHELL = re.compile(r"\s*(?:\S*/)?(?:ba|da|a|k|z)?sh\s+(?:-\w+\s+)*-\w*c\w*\s")
_NEVER_BOUND = re.compile(r"\{[{%#]")
_END_OF_RAW = re.compile(r"\{(?=%\s*endraw\s*%\})")


@dataclass(frozen=True)
class Manifest:
    """A valid manifest with the text positions that later stages need for their messages."""

    model: GenService | Mesh
    document: Document
    warnings: tuple[Finding, ...]
    filled_in: bool = False
    """Whether any text comes from a variable, and not from the file."""

    @property
    def directory(self) -> pathlib.Path:
        """What paths in the manifest are relative to: the directory of its file, or the current one."""
        return pathlib.Path(self.document.file).parent


def read_manifest(text: str | bytes, file: str, variables: Mapping[str, str]) -> Manifest:
    """Read and validate one manifest. Raises `InvalidInput` with everything that is wrong with it."""
    return read_document(parse(text, file), variables)


def read_document(document: Document, variables: Mapping[str, str]) -> Manifest:
    """Validate a manifest that is parsed already. Raises `InvalidInput` with everything that is wrong with it."""
    if not isinstance(document.value, dict):
        raise InvalidInput([Finding("error", "SC1002", document.position(()), "", "a manifest is a mapping")])
    document, findings = modernise(document)
    value = _substituted(document.value, (), document, variables, findings)
    filled_in = value != document.value
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
    return Manifest(manifest, document, tuple(_sorted(findings)), filled_in)


def _sorted(findings: list[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: finding.position)


def model_of(kind: str) -> type[GenService] | type[Mesh]:
    """Return the model of a kind of manifest; the other one is not loaded."""
    if kind == "mesh":
        from sconectl.manifest.model.mesh import Mesh

        return Mesh
    from sconectl.manifest.model.genservice import GenService

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
    if _is_bound_later(path):
        filled = fill_in(value, lambda name: _as_text(variables.get(name)))
    else:
        filled = fill_in(value, variables.get)
    findings += _unfilled(filled, value, path, document)
    return filled.text


def _is_bound_later(path: Path) -> bool:
    """Say whether the mesh fills in `{{…}}` in the text at `path`: what variables bring is marked as text there."""
    return path[0] in ("secrets", "injection_files", "env") or path[:2] == ("environment", "local")


def _as_text(value: str | None) -> str | None:
    """Return the value of a variable so that nothing in it is a `{{…}}` of the mesh."""
    if value is None or not _NEVER_BOUND.search(value):
        return value
    inner = _END_OF_RAW.sub("{{% endraw %}{% raw %}", value)
    return f"{{% raw %}}{inner}{{% endraw %}}"


def _is_shell(path: Path, text: str) -> bool:
    """Say whether a shell of the image fills in the variables of a text."""
    return path[:2] == ("build", "run") or (path == ("build", "command") and _SHELL.match(text) is not None)


def _is_free_text(path: Path) -> bool:
    variables = (name for parent, name in pairwise(path) if parent in _VARIABLES and isinstance(name, str))
    return not _FREE_TEXT.isdisjoint(path) or any(name not in _VARIABLES for name in variables)


def _unfilled(filled: Filled, text: str, path: Path, document: Document) -> Iterator[Finding]:
    """Find variables that have no value where one is needed: what is written then is not what is meant."""
    shell, free = _is_shell(path, text), _is_free_text(path)

    def named(name: str) -> str:
        return name if not free or is_surely_a_variable(name, text) else ""

    for name in dict.fromkeys(named(name) for name in filled.missing):
        what, written = f"${name}" if name else "a variable in it", f"$${name or 'NAME'}"
        if shell:
            message, hint = f"{what} has no value; the text stays as it is", f"write {written} to say so"
            yield document.finding("warning", CODE, path, message, hint)
        else:
            otherwise = (
                f"; write {written} for a text that is meant as it is" if free else f"; --set {name}= leaves it empty"
            )
            hint = _remedy(name or "NAME", document.file) + otherwise
            yield document.finding("error", CODE, path, f"{what} has no value", hint)
    for name, words in dict.fromkeys((named(name), words) for name, words in filled.faults):
        severity: Severity = "warning" if shell else "error"
        hint = "write $${ for a text that begins with ${"
        yield document.finding(severity, CODE, path, f"a ${{{name}…}} that {words}", hint)
    if path[0] == "secrets" and not OWN_VALUES.isdisjoint(path):
        for name in dict.fromkeys(named(name) for name in filled.empty):
            what = f"${name}" if name else "a variable in it"
            message = f"{what} is empty, so that the secret would be empty or lack a part"
            hint = 'give it a value; for a secret that is empty, write value: ""'
            yield document.finding("error", CODE, path, message, hint)


def _remedy(name: str, file: str) -> str:
    set_it = f"set it with --set {name}=VALUE or --env-file"
    if file.endswith(".template"):
        return f"{set_it}, or in the environment"
    return f"{set_it} (the environment counts for files named *.template only)"
