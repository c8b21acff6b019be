"""`sconectl apply -p`: every variable of services and meshes, its default, its value and who set it; nothing is made.

In: manifests and options. Out: tables on stdout, what is missing on stderr, and with --file the mesh with all its
variables. Values of an image's local variables are shown for service manifests only: those are the user's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sconectl.apply.sources.service_files import read_service_files
from sconectl.cli.output.console import Console, note, result, show_findings
from sconectl.cli.output.printable import shown
from sconectl.cli.runs.worlds import learner
from sconectl.cli.wiring import Wiring, toolchains
from sconectl.errors import Refused, UsageError
from sconectl.manifest.model.faults import did_you_mean
from sconectl.manifest.model.genservice import GenService
from sconectl.manifest.model.mesh import Mesh
from sconectl.manifest.reading.reader import Manifest
from sconectl.plan.mesh.mesh_input import builtin_names
from sconectl.plan.secrets.image_secrets import with_variables
from sconectl.plan.values.variables import (
    RELEASE_NAMES,
    Row,
    Section,
    all_sections,
    mesh_rows,
    service_rows,
    unused_values,
)
from sconectl.usecases.check_run import planned_facts
from sconectl.usecases.check_service import ServiceCheck, check_service

if TYPE_CHECKING:
    from sconectl.cli.options.apply_options import ApplyOptions
    from sconectl.plan.facts.image_facts import ImageFacts
    from sconectl.text.yaml_tree import Document

_HEAD = ("VARIABLE", "DEFAULT", "VALUE", "SET BY")
_MAX_REMARKS = 10
_WIDTHS = (26, 16, 24)  # more is cut off in values, and pushes the rest aside in names


def show_defaults(
    manifests: Sequence[Manifest], curated: Sequence[Manifest], options: ApplyOptions, console: Console
) -> None:
    """Show the variables of all manifests; write the mesh file if one is asked for. Raises `SconectlError`.

    `curated` are the manifests of the curated services that the meshes name.
    """
    meshes = [manifest for manifest in manifests if isinstance(manifest.model, Mesh)]
    if options.out is not None:
        _check_out(manifests, meshes, options)
    chosen = toolchains()[options.toolchain].traits

    def checked(manifest: Manifest) -> ServiceCheck:
        return check_service(manifest, mode=options.mode, bases=options.bases, toolchain=chosen)

    services = list(map(checked, curated))
    for number, manifest in enumerate(manifests):
        if number:
            result("")
        if isinstance(manifest.model, GenService):
            services.append(checked(manifest))
            show_findings(services[-1].uses)
            missing = _show_service(manifest, manifest.model)
            if missing and not meshes:
                note(f"note: a mesh has to give values to: {', '.join(map(shown, missing))}")
        elif isinstance(manifest.model, Mesh):
            _show_mesh(manifest, manifest.model, options, console, planned_facts(services))


def _check_out(manifests: Sequence[Manifest], meshes: Sequence[Manifest], options: ApplyOptions) -> None:
    if len(meshes) != 1:
        raise UsageError("--file writes one mesh", hint="give one mesh manifest with -f")
    given = [*(Path(manifest.document.file) for manifest in manifests), *(options.env_file or ())]
    out = options.out
    if out is not None and out.exists() and any(file.exists() and file.samefile(out) for file in given):
        raise Refused("--file names a file that is read here", hint="give the new mesh another name")


def _show_service(manifest: Manifest, model: GenService) -> list[str]:
    """Show the variables of a service, and return those that need a value from the mesh."""
    rows = service_rows(model)
    result(f"service {model.build.name} ({model.build.to})")
    for line in _table(rows, manifest.document):
        result(line)
    return [row.name for row in rows if row.missing]


def _show_mesh(
    manifest: Manifest,
    mesh: Mesh,
    options: ApplyOptions,
    console: Console,
    planned: Mapping[str, ImageFacts],
) -> None:
    files = read_service_files(mesh, manifest.document, manifest.directory)
    wiring = Wiring(options.target, options.cas_config, reached=options.config.reached)
    with console.working():
        facts = dict(learner(options, wiring, console)(mesh, manifest.document, planned))
    for name, given in files.items():
        if given.variables is not None:
            facts[name] = with_variables(facts[name], given.variables.content, given.variables.name)
    builtin = {
        service.name: builtin_names(mesh, options.release, service, facts[service.name]) for service in mesh.services
    }
    rows = mesh_rows(mesh, facts, builtin)
    _show_rows(mesh, rows, manifest.document)
    _show_remarks(mesh, rows, manifest.document)
    if options.out is not None:
        if files and options.out.parent.resolve() != manifest.directory.resolve():
            note(f"note: {options.out} names files that are beside {manifest.document.file}: put it there, too")
        _write(options.out, manifest.document, all_sections(mesh, rows))


def _show_rows(mesh: Mesh, rows: Iterable[Row], document: Document) -> None:
    by_service: dict[str, list[Row]] = {}
    for row in rows:
        by_service.setdefault(row.service, []).append(row)
    for number, service in enumerate(mesh.services):
        if number:
            result("")
        result(f"service {service.name} ({service.image})")
        for line in _table(by_service.get(service.name, ()), document):
            result(line)


def _show_remarks(mesh: Mesh, rows: Sequence[Row], document: Document) -> None:
    """Name the values that nobody asks for, and those that are missing."""
    unused = unused_values(mesh, rows)
    for name, path, candidates in unused[:_MAX_REMARKS]:
        near = did_you_mean(name, candidates)
        where = shown(str(document.position(path)))
        note(f"note: {where}: no service asks for {shown(name)}{f' ({near})' if near else ''}")
    if len(unused) > _MAX_REMARKS:
        note(f"note: and {len(unused) - _MAX_REMARKS} more that no service asks for")
    missing: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.missing:
            missing.setdefault(row.name, {})[row.service] = None
    for name, services in missing.items():
        remedy = "; give the release with --release" if name in RELEASE_NAMES else ""
        note(f"note: {shown(name)} has no value; needed by {', '.join(services)}{remedy}")


def _write(out: Path, document: Document, sections: Sequence[Section]) -> None:
    from sconectl.artefacts.mesh_file import mesh_file
    from sconectl.manifest.reading.variables import escape
    from sconectl.text.yaml_tree import with_texts

    # Variables are filled in already: a `$` that they brought along is no other variable.
    entries = [
        replace(section, entries=tuple(replace(each, value=with_texts(each.value, escape)) for each in section.entries))
        for section in sections
    ]
    text = mesh_file(replace(document, value=with_texts(document.value, escape)), entries)
    folder = Wiring(out.parent).workspace
    changed = folder.write({out.name: text.encode()})
    result("")
    result(f"{out}: {'written' if changed else 'unchanged'}")


def _table(rows: Iterable[Row], document: Document) -> Iterator[str]:
    lines = [_line(row, document) for row in rows]
    if not lines:
        yield "  no variables"
        return
    for line in (_HEAD, *lines):
        cells = [f"{cell:<{width}}" for cell, width in zip(line, _WIDTHS, strict=False)]
        yield f"  {' '.join(cells)} {line[-1]}".rstrip()


def _line(row: Row, document: Document) -> tuple[str, str, str, str]:
    if row.role == "local":
        value = "fixed" if row.value is None else _cut(row.value, _WIDTHS[2])
    else:
        value = "MISSING" if row.missing or row.value is None else _cut(row.value, _WIDTHS[2])
    where = f" ({document.position(row.path).file}:{document.position(row.path).line})" if row.path else ""
    default = "-" if row.default is None else _cut(row.default, _WIDTHS[1])
    return shown(row.name), default, value, f"{row.set_by}{where}"


def _cut(value: str, width: int) -> str:
    """Return a value as one line of at most `width` characters."""
    text = shown(value) or '""'
    return text if len(text) <= width else text[: width - 1] + "…"
