"""`helm_chart`: a chart that a mesh puts in the place of the one that would be written for a service.

In: the files of its directory and a lookup of names. Out: its files as they become a subchart, or findings.
`values.yaml.template` and `Chart.yaml.template` are filled in; every other file stays as it is. A directory with
`values.template` is one of upstream's with templates for charts: that file and `Chart.yaml.template` are written in
Tera, and the rest of the chart is in `charts/`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from sconectl.errors import InvalidInput
from sconectl.plan.values.helm_values import has_removals, removed_from
from sconectl.plan.values.scalars import typed_values
from sconectl.plan.values.templates import Lookup, bind_yaml
from sconectl.text import yaml_text
from sconectl.text.findings import Finding, Position
from sconectl.text.yaml_tree import Document

CHART_FILE, VALUES_FILE, TEMPLATE = "Chart.yaml", "values.yaml", ".template"
_VALUES_IN_TERA, _SKELETON = "values.template", "charts/"
_TOP_LEVEL = re.compile(r"^(?=[A-Za-z][\w-]*:)", re.MULTILINE)
_HEAD = {
    "apiVersion": ("v2", "v2"),
    "name": (r"\S+", "the name of the chart"),
    "version": (r"[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?", "a version like 0.1.0"),
}
"""What Helm needs in Chart.yaml."""


@dataclass(frozen=True)
class OwnChart:
    """A chart of somebody's own: what its Chart.yaml says, and all other files by their paths in it."""

    head: Mapping[str, Any]
    files: Mapping[str, bytes]


def read_own_chart(
    files: Mapping[str, bytes],
    directory: str,
    lookup: Lookup,
    extra: Mapping[str, Any] = MappingProxyType({}),
    own: Lookup = lambda _name: None,
) -> OwnChart:
    """Return the chart in `files`, of which messages say that they are in `directory`. Raises `InvalidInput`.

    Values that are None in `extra` are taken out of its values: Helm would keep some of them. Templates in Tera know
    the local variables of the image before other names; `own` gives them.
    """
    values_file = VALUES_FILE + TEMPLATE
    if _VALUES_IN_TERA in files:
        of_mesh, values_file = lookup, _VALUES_IN_TERA
        files, lookup = _from_tera(files, directory, lambda name: of_mesh(name) if own(name) is None else own(name))
    kept = {path: files[path] for path in sorted(files) if path.removesuffix(TEMPLATE) not in (CHART_FILE, VALUES_FILE)}
    head = _document(files, CHART_FILE, directory, lookup)
    if head is None:
        position = Position(f"{directory}/{CHART_FILE}", 1, 1)
        hint = "name a directory with Chart.yaml, values.yaml or values.yaml.template, and templates/"
        raise InvalidInput(
            [Finding("error", "SC2016", position, "", "this is not the directory of a Helm chart", hint)]
        )
    removing = has_removals(extra)
    if VALUES_FILE + TEMPLATE in files or (removing and VALUES_FILE in files):
        values = _document(files, VALUES_FILE, directory, lookup, values_file)
        typed = typed_values(values.value, values.is_plain) if values else None
        if values and not isinstance(typed, Mapping | None):
            raise InvalidInput([values.finding("error", "SC2016", (), "expected a mapping of values")])
        if removing and isinstance(typed, Mapping):
            typed = removed_from(typed, extra)
        kept[VALUES_FILE] = yaml_text.dump(typed or {}).encode()
    elif VALUES_FILE in files:
        kept[VALUES_FILE] = files[VALUES_FILE]
    return OwnChart(_checked(head), kept)


def _from_tera(files: Mapping[str, bytes], directory: str, lookup: Lookup) -> tuple[dict[str, bytes], Lookup]:
    """Return the chart that upstream's templates give, with templates of ours for its two files."""
    from sconectl.text.tera import Tera  # takes as long as many a command

    tera = Tera(lookup)
    found = {path.removeprefix(_SKELETON): text for path, text in files.items() if path.startswith(_SKELETON)}
    for source, place in ((_VALUES_IN_TERA, VALUES_FILE + TEMPLATE), (CHART_FILE + TEMPLATE, CHART_FILE + TEMPLATE)):
        if source in files:
            found[place] = tera.fill_in(files[source], f"{directory}/{source}")
    if (head := CHART_FILE + TEMPLATE) in found:
        found[head] = _last_ones(found[head].decode()).encode()
    return found, tera.lookup


def _last_ones(text: str) -> str:
    """Return YAML without the parts of the top level whose key comes again, each line where it was."""
    parts = _TOP_LEVEL.split(text)
    last = {part.partition(":")[0]: number for number, part in enumerate(parts)}
    return "".join(
        part if number in (0, last[part.partition(":")[0]]) else "\n" * part.count("\n")
        for number, part in enumerate(parts)
    )


def _document(
    files: Mapping[str, bytes], name: str, directory: str, lookup: Lookup, written: str = ""
) -> Document | None:
    """Return one of the two files that are read, filled in if it is a template, or None if there is none.

    `written` is what the user calls the template, if that is another name.
    """
    if (template := name + TEMPLATE) in files:
        return bind_yaml(files[template], f"{directory}/{written or template}", lookup)
    return bind_yaml(files[name], f"{directory}/{name}", lambda _name: None) if name in files else None


def _checked(document: Document) -> dict[str, Any]:
    value = document.value
    if not isinstance(value, dict):
        value = {}
    faults = [
        document.finding("error", "SC2016", (key,), f"expected {expected}")
        for key, (pattern, expected) in _HEAD.items()
        if not re.fullmatch(pattern, str(value.get(key) or ""))
    ]
    if faults:
        raise InvalidInput(faults)
    return {key: item == "true" if key == "deprecated" else item for key, item in value.items()}
