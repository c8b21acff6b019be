"""The files that the command line names: manifests with their variables, and what lies around them.

In: the values of -f, as files, directories, patterns and - for stdin. Out: manifests, services first, or all that is
wrong with any of them. Nothing is read beyond the limit, wherever it comes from.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sconectl.cli.options.apply_options import ApplyOptions, with_options
from sconectl.cli.output.console import note
from sconectl.cli.output.printable import shown
from sconectl.cli.output.render import remember
from sconectl.errors import InvalidInput, UsageError
from sconectl.manifest.reading.reader import Manifest, read_document
from sconectl.plan.batch import in_order
from sconectl.regular_files import first_bytes
from sconectl.text.findings import Finding, Position
from sconectl.text.yaml_tree import MAX_BYTES, Document, parse_all

if TYPE_CHECKING:
    from sconectl.manifest.model.mesh import Mesh

_STDIN = "<stdin>"
_ENDINGS = (".yaml", ".yml", ".yaml.template", ".yml.template")
_KIND = re.compile(rb"^(?:\xef\xbb\xbf)?(?:[\"']?kind[\"']?[ \t]*:|\{)", re.MULTILINE)


class _Given(NamedTuple):
    """A file to read; `listed` if only its directory was named."""

    path: Path
    listed: bool = False

    @property
    def name(self) -> str:
        return _STDIN if str(self.path) == "-" else str(self.path)


def read_all(options: ApplyOptions) -> list[Manifest]:
    """Read the manifests that the options name, with their variables filled in, services before meshes.

    Raises `UsageError` for files that cannot be read, and `InvalidInput` with everything that is wrong with any of
    the manifests.
    """
    manifests, findings = read_each(options)
    if findings:
        warnings = [warning for manifest in manifests for warning in manifest.warnings]
        raise InvalidInput(sorted([*findings, *warnings], key=lambda finding: finding.position))
    return manifests


def read_mesh(options: ApplyOptions) -> tuple[Manifest, Mesh]:
    """Return the one mesh among the manifests that the options name. Raises as `read_all`."""
    found = [(each, each.model) for each in read_all(options) if each.model.kind == "mesh"]
    if len(found) != 1:
        raise UsageError(f"{len(found)} mesh manifests are given, and one is needed", hint="give it with -f mesh.yaml")
    return found[0]


def files_beside(options: ApplyOptions, mesh: Manifest) -> list[Path]:
    """Return the other files in the directory of a mesh that hold the manifest of one of its images.

    Raises what `read_each` raises, for faults of service manifests there.
    """
    from sconectl.plan.facts.naming import with_tag

    model, name = mesh.model, mesh.document.file
    assert model.kind == "mesh"  # noqa: S101 - narrows the type
    images = {with_tag(service.image) for service in model.services}
    given = {os.path.realpath(each.path) for each in _given_files(options.files)}
    if name == _STDIN:
        return []
    found = []
    for path in _visible(Path(name).parent):
        if os.path.realpath(path) in given or not _KIND.search(_bytes(path, MAX_BYTES)):
            continue
        try:
            manifests, _ = read_each(replace(options, files=[path]))
        except InvalidInput:
            continue  # no YAML: whatever it is, no image of the mesh is known to come from it
        kinds = {each.model.kind for each in manifests}
        made = {with_tag(each.model.build.to) for each in manifests if each.model.kind == "genservice"}
        if made & images and kinds == {"genservice"}:
            found.append(path)
    return found


def read_each(options: ApplyOptions) -> tuple[list[Manifest], list[Finding]]:
    """Return the manifests that are valid, services before meshes, and what is said about the others.

    Raises `UsageError` for files that cannot be read, and if there is no manifest.
    """
    manifests: list[Manifest] = []
    findings: list[Finding] = []
    variables = _variables(options)
    for given in _given_files(options.files):
        template = given.name.endswith(".template")
        known = {**os.environ, **variables} if template else variables
        try:
            documents = _documents(given, options.max_size or MAX_BYTES)
        except InvalidInput as error:
            findings += error.findings
            continue
        for document in documents:
            try:
                manifests.append(with_options(read_document(document, known), options))
            except InvalidInput as error:
                findings += error.findings
    if not manifests and not findings:
        names = ", ".join(str(path) for path in options.files)
        raise UsageError(f"{names}: no manifest there", hint="a manifest has a line `kind: genservice` or `kind: mesh`")
    return in_order(manifests), findings


def _documents(given: _Given, limit: int) -> list[Document]:
    """Return the manifests in a file before they are validated; of a listed one those that are ours."""
    if given.path == Path("-"):
        text = sys.stdin.buffer.read(limit + 1)
    else:
        text = _bytes(given.path, limit + 1)
    if len(text) > limit:
        message, hint = f"larger than {limit} bytes", "split it, or raise the limit with --max-size BYTES"
        raise InvalidInput([Finding("error", "SC1001", Position(given.name, 1, 1), "", message, hint)])
    if given.listed and not _KIND.search(text):
        note(f"note: {shown(given.name)}: no manifest (no line begins with `kind:`), left out")
        return []
    remember(given.name, text.decode("utf-8-sig", "replace"))
    documents = parse_all(text, given.name, limit=limit)
    return [document for document in documents if not (given.listed and _is_foreign(document))]


def _is_foreign(document: Document) -> bool:
    """Say whether a document belongs to another program, like Kubernetes; and tell the user."""
    version = document.value.get("apiVersion") if isinstance(document.value, dict) else None
    foreign = isinstance(version, str) and not version.startswith("scone/")
    if foreign:
        note(f"note: {shown(str(document.position(())))}: no manifest (its apiVersion is not scone/…), left out")
    return foreign


def _given_files(files: Sequence[Path]) -> list[_Given]:
    """Return each file that is named, once. Raises `UsageError` if there is nothing of that name."""
    found: dict[str, _Given] = {}
    for path in files:
        for given in _expanded(path):
            found.setdefault(os.path.realpath(given.path) if given.name != _STDIN else _STDIN, given)
    return list(found.values())


def _expanded(path: Path) -> list[_Given]:
    if str(path) == "-":
        return [_Given(path)]
    if path.is_dir():
        return [_Given(file, listed=True) for file in _listed(path)]
    if has_magic(str(path)) and not path.exists():
        matches = [Path(match) for match in sorted(glob(str(path), recursive=True))]  # noqa: PTH207 - also from /
        if not matches:
            raise UsageError(f"{path}: no file matches", hint="check the pattern and the current directory")
        return [_Given(match) for match in matches if match.is_file() or not match.exists()]
    return [_Given(path)]


def _listed(directory: Path) -> list[Path]:
    """Return the files of a directory that may be manifests. Raises `UsageError` if there is none."""
    if found := _visible(directory):
        return found
    hint = f"manifests end in {', '.join(_ENDINGS)}; directories in it are not searched"
    raise UsageError(f"{directory}: no manifest in this directory", hint=hint)


def _visible(directory: Path) -> list[Path]:
    """Return the files of a directory that may be manifests; not a template beside the file that is made from it."""
    try:
        files = sorted(path for path in directory.iterdir() if path.name.endswith(_ENDINGS) and path.is_file())
    except OSError as error:
        raise UsageError(f"{directory}: {error.strerror}", hint="give the manifests with -f FILE") from error
    visible = [path for path in files if not path.name.startswith(".")]
    made = {path.with_suffix("") for path in visible if path.suffix == ".template"} & set(visible)
    for path in sorted(made):
        note(f"note: {shown(path.name)}.template: left out, because {shown(path.name)} is there")
    return [path for path in visible if path.with_suffix("") not in made or path.suffix != ".template"]


def _bytes(path: Path, limit: int, hint: str = "give the manifest with -f FILE") -> bytes:
    try:
        return first_bytes(path, limit, streams=True)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", hint=hint) from error


def _variables(options: ApplyOptions) -> dict[str, str]:
    """Return the variables of options and files: options win over files, and a file over those before it."""
    values: dict[str, str] = {}
    faults: list[Finding] = []
    for path in options.env_file or ():
        content = _bytes(path, MAX_BYTES + 1, "give the file of variables with --env-file FILE")
        if len(content) > MAX_BYTES:
            raise UsageError(f"{path}: larger than {MAX_BYTES} bytes", hint="a file of variables has lines NAME=VALUE")
        from sconectl.manifest.reading.env_file import read_env_file

        try:
            values = read_env_file(content, str(path), options.variables, values, os.environ)
        except InvalidInput as error:
            faults += error.findings
    if faults:
        raise InvalidInput(faults)
    return {**values, **options.variables}


def private_paths(options: ApplyOptions) -> tuple[Path, ...]:
    """Return the files and directories with values that belong to the services alone."""
    manifests = (given.path for given in _given_files(options.files) if given.name != _STDIN)
    return (options.target, *manifests, *(options.env_file or ()))
