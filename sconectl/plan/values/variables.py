"""Every variable of a service or mesh, for people: its default, its value, who set it, and whether one is missing.

In: a service manifest, or a mesh with the facts of its images. Out: rows, and the sections of env that give them all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sconectl.manifest.model.genservice import GenService
from sconectl.manifest.model.mesh import Mesh, MeshService
from sconectl.manifest.model.program_input import Secrets
from sconectl.manifest.model.texts import texts_of
from sconectl.manifest.spelling.placeholders import Expression, expressions
from sconectl.plan.facts.image_facts import ImageFacts
from sconectl.plan.values.environment import SHARED_SECTIONS, MeshValues, unpasted
from sconectl.text.yaml_tree import Path, texts_in

CHART_NAMES = ("APP_SERVICE_PORT", "imagePullSecrets", "restartPolicy", "useSGXDevPlugin", "sgxEpcMem")
"""Names that the chart of every service looks at."""
RELEASE_NAMES = frozenset({"release", "service_name"})
"""Built-in names that --release gives, and not env."""


@dataclass(frozen=True)
class Row:
    """One variable of one service.

    `local` ones are fixed in the service manifest, `global` ones declared there, and a `name` is only used as
    `{{name}}`, or by the chart. `value` is None if there is none, or if it is the business of the image's owner.
    `set_by` says who gave the value (empty: nobody did), and `path` where in the manifest. `inner` is the default
    that `{{name | default(value="…")}}` brings along.
    """

    service: str
    name: str
    role: Literal["local", "global", "name"]
    default: str | None
    value: str | None
    set_by: str
    path: Path | None = None
    inner: bool = False

    @property
    def missing(self) -> bool:
        """Say whether the variable has to be given before the mesh compiles."""
        return not self.set_by


def service_rows(model: GenService) -> tuple[Row, ...]:
    """Return the variables of a service manifest; those that a mesh has to give are missing."""
    name, declared = model.build.name, model.environment.global_
    rows = [
        Row(name, variable.name, "global", variable.value, variable.value, *_default(variable.value, number))
        for number, variable in enumerate(declared)
    ]
    texts = [
        *(text for _, text in texts_of(model)),
        *_in_secrets(model.secrets),
        *model.secrets.import_,
    ]
    rows += [
        Row(name, used.name, "name", used.default, used.default, "" if used.default is None else "its use", inner=True)
        for used in _used(texts, {variable.name for variable in declared})
    ]
    rows += [
        Row(name, variable.name, "local", None, variable.value, "local", ("environment", "local", number, "value"))
        for number, variable in enumerate(model.environment.local)
    ]
    return tuple(rows)


def _default(value: str | None, number: int) -> tuple[str, Path | None]:
    return ("", None) if value is None else ("default", ("environment", "global", number, "value"))


def mesh_rows(mesh: Mesh, facts: Mapping[str, ImageFacts], builtin: Mapping[str, Mapping[str, str]]) -> tuple[Row, ...]:
    """Return the variables of all services; `builtin` are the names that each service has anyway."""
    values = MeshValues(mesh, facts)
    rows: list[Row] = []
    for service in mesh.services:
        rows += _service_rows(service, facts[service.name], values, builtin[service.name])
    return tuple(rows)


def _service_rows(
    service: MeshService, image: ImageFacts, values: MeshValues, builtin: Mapping[str, str]
) -> Iterator[Row]:
    known, declared = values.of(service.name), image.environment.global_
    for variable in declared:
        name = variable.name
        yield Row(
            service.name, name, "global", variable.value, known.get(name), *_giver(service.name, image, name, values)
        )
    taken = {*(variable.name for variable in declared), *builtin}
    asked = [known[name] for name in (*(variable.name for variable in declared), *CHART_NAMES) if name in known]
    for used in _used(_with_values([*_texts(service, image), *asked], known, builtin), taken):
        value, giver = known.get(used.name), _giver(service.name, image, used.name, values)
        if value is None and used.default is not None:
            yield Row(service.name, used.name, "name", used.default, used.default, "its use", inner=True)
        else:
            yield Row(service.name, used.name, "name", used.default, value, *giver)
        taken.add(used.name)
    for name in CHART_NAMES:
        if name in known and name not in taken:
            yield Row(service.name, name, "name", None, known[name], *_giver(service.name, image, name, values))
    for fixed in image.environment.local:
        yield Row(service.name, fixed.name, "local", None, None, "its image")


def _giver(service: str, image: ImageFacts, name: str, values: MeshValues) -> tuple[str, Path | None]:
    """Return who gives a service the value of a variable, and where in the mesh."""
    if given := values.given(service, name):
        return given
    if any(variable.name == name and variable.value is not None for variable in image.environment.global_):
        return "default", None
    lender = values.lender(name)
    return (f"default of {lender}" if lender else ""), None


def _used(texts: Sequence[str], taken: set[str]) -> tuple[Expression, ...]:
    """Return the names that texts use besides those in `taken`, each once; a use without a default counts most."""
    found: dict[str, Expression] = {}
    for text in texts:
        for expression in expressions(text):
            if expression.name in taken:
                continue
            if expression.name not in found or expression.default is None:
                found[expression.name] = expression
    return tuple(found.values())


def _texts(service: MeshService, image: ImageFacts) -> list[str]:
    """Return the texts of an image that names are filled into; secrets only if the mesh does not replace them."""
    return [
        *(text for path, text in texts_of(image) if path != ("command",) or not image.literal_command),
        *(() if service.image_secrets else _in_secrets(image.secrets)),
        *image.secrets.import_,
    ]


def _with_values(texts: list[str], known: Mapping[str, str], builtin: Mapping[str, str]) -> list[str]:
    """Return texts with the values of the names in them, and of the names in these: all are filled in, too."""
    found, seen = list(texts), set(builtin)
    for text in found:  # grows on the way
        new = [used.name for used in expressions(text) if used.name not in seen]
        seen.update(new)
        found += [known[name] for name in dict.fromkeys(new) if name in known]
    return found


def _in_secrets(secrets: Secrets) -> Iterator[str]:
    return (text for secret in secrets.global_ for _, text in texts_in(secret.model_dump()))


def unused_values(mesh: Mesh, rows: Sequence[Row]) -> list[tuple[str, Path, Collection[str]]]:
    """Return the values of a mesh that no service asks for: name, place, and the names that are asked for there."""
    asked: dict[str, set[str]] = {}
    for row in rows:
        if row.role != "local":
            asked.setdefault(row.service, set()).add(row.name)
    everywhere = set().union(*asked.values())
    found: list[tuple[str, Path, Collection[str]]] = []
    for number, section in enumerate(mesh.env):
        names = everywhere if section.service in SHARED_SECTIONS else asked.get(section.service, set())
        found += [
            (variable.name, ("env", number, "env", entry, "name"), names)
            for entry, variable in enumerate(section.env)
            if variable.name not in names
        ]
    return found


@dataclass(frozen=True)
class Entry:
    """A variable in a section of env; without a value it is a comment that asks for one."""

    name: str
    value: str | None
    comment: str = ""


@dataclass(frozen=True)
class Section:
    """A section of env."""

    service: str
    entries: tuple[Entry, ...]


def all_sections(mesh: Mesh, rows: Sequence[Row]) -> tuple[Section, ...]:
    """Return sections of env with every variable of every service, from which the same sessions come.

    What the mesh gives stays in its section. A default that all who need it share becomes global, so that it is
    easily changed for all; otherwise each service gets its own.
    """
    sections: dict[str, dict[str, Entry]] = {"global": {}, "helm": {}, **{s.name: {} for s in mesh.services}}
    for section in mesh.env:
        entries = sections.setdefault(section.service, {})
        entries |= {variable.name: Entry(variable.name, variable.value) for variable in section.env}
    open_rows: dict[str, list[Row]] = {}
    for row in rows:
        if row.role != "local" and row.path is None and row.name not in RELEASE_NAMES:
            open_rows.setdefault(row.name, []).append(row)
    asked: dict[str, Entry] = {}
    for name, found in open_rows.items():
        who = ", ".join(dict.fromkeys(row.service for row in found))
        if any(row.value is None or row.inner or unpasted(row.value) != row.value for row in found):
            needed = any(row.missing for row in found)
            asked[name] = Entry(name, None, f"{'needed by' if needed else 'optional for'} {who}")
        elif len({row.value for row in found}) == 1:
            owners = ", ".join(dict.fromkeys(_owner(row) for row in found))
            sections["global"].setdefault(name, Entry(name, found[0].value, f"default of {owners}"))
        else:
            for row in found:
                sections[row.service].setdefault(name, Entry(name, row.value, "default"))
    filled = {service: (*entries.values(),) for service, entries in sections.items()}
    filled["global"] = (*asked.values(), *filled["global"])
    return tuple(Section(service, entries) for service, entries in filled.items() if entries)


_LENT = "default of "


def _owner(row: Row) -> str:
    """Return the service whose default a row shows: its own, or the one that lends it."""
    return row.set_by.removeprefix(_LENT) if row.set_by.startswith(_LENT) else row.service
