"""The three binding times of a manifest value, and who resolves them when.

`$VAR`, `${VAR}`, `${VAR:-default}`  before validation, from --set, --env-file and (templates only) the environment
`{{name}}`                           when the mesh is compiled
`$$SCONE::name$$`                    when the service starts, by the CAS; passed through untouched here
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

_SHELL = re.compile(
    r"\$\$SCONE::.*?\$\$"  # a run-time placeholder, left alone
    r"|\{\{[^{}]*\}\}"  # a name of the mesh, left alone
    r"|\$\$"  # not a variable
    r"|\$\{(?P<braced>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>(?:\{\{[^{}]*\}\}|[^}])*))?\}"
    r"|\$(?P<bare>[A-Za-z_][A-Za-z0-9_]*)",
    re.DOTALL,
)
_MESH = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_.-]*)\s*\}\}")


def substitute_variables(text: str, variables: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """Resolve `$VAR` forms in `text`; return it with the names that stayed unresolved (left as they are)."""
    missing: list[str] = []

    def replace(match: re.Match[str]) -> str:
        name = match["braced"] or match["bare"]
        if name is None:
            return match[0]
        if name in variables and (variables[name] or match["default"] is None):
            return variables[name]
        if match["default"] is not None:
            return match["default"]
        missing.append(name)
        return match[0]

    return _SHELL.sub(replace, text), tuple(missing)


def mesh_variables(text: str) -> tuple[str, ...]:
    """Return the names of the `{{name}}` placeholders in `text`, in order."""
    return tuple(_MESH.findall(text))


def bind_mesh(text: str, lookup: Callable[[str], str | None]) -> tuple[str, tuple[str, ...]]:
    """Resolve `{{name}}` once (values are not scanned again); return the text and the names without a value."""
    missing: list[str] = []

    def replace(match: re.Match[str]) -> str:
        value = lookup(match[1])
        if value is None:
            missing.append(match[1])
            return match[0]
        return value

    return _MESH.sub(replace, text), tuple(missing)


def chain_variables(sources: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Merge variable sources; the first that has a name wins."""
    merged: dict[str, str] = {}
    for source in sources:
        for name, value in source.items():
            merged.setdefault(name, value)
    return merged
