"""`sconectl init`: starter manifests for the program in a directory, or for an existing image.

In: a directory or the name of an image. Out: the files, and on stdout what to do next. Nothing is asked, and no file
is overwritten unless `--force` says so.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sconectl.cli.output.console import note, result
from sconectl.cli.output.printable import shown
from sconectl.errors import EngineUnreachable, UsageError

if TYPE_CHECKING:
    from sconectl.starter.init_program import Program


def init(
    directory: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where the program is.")] = Path(),
    kind: Annotated[
        str, typer.Option(metavar="KIND", help="Kind of program, like python or java21.", show_default="looks")
    ] = "",
    image: Annotated[str, typer.Option("--from", metavar="IMAGE", help="Convert this image instead.")] = "",
    name: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the service.", show_default="of the directory or image")
    ] = "",
    to: Annotated[str, typer.Option(metavar="IMAGE", help="The image to make.", show_default="NAME:1")] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
) -> None:
    """Write service.yaml and mesh.yaml for a program, with comments, valid as they are.

    Looks for a Dockerfile, a Python or a Java program in DIR: how it starts,
    what it needs, and which variables it reads. Runs nothing and asks nothing.
    """
    from sconectl.starter.init_files import starters, to_fill_in
    from sconectl.starter.init_program import program_in

    if not directory.is_dir():
        raise UsageError(f"{shown(str(directory))} is not a directory", hint="make it first, or name another one")
    _check_kind(kind, image)
    service = _name(name, image or directory.resolve().name)
    to = to or f"{service}:1"
    _check_image(to, "--to")
    if image:
        _check_image(image, "--from")
        program = _of_image(image)
    else:
        program = program_in(directory, kind=kind, name=service)
    files = starters(program, name=service, image=to, with_ignore=not (directory / ".dockerignore").exists())
    _write(directory, files, force=force)
    for file in files:
        result(f"{shown(str(directory / file))}: written")
    for remark in program.remarks:
        note(f"look at service.yaml: {shown(remark)}")
    if missing := to_fill_in(program):
        note(f"fill in the values in mesh.yaml: {', '.join(missing)}")
    if program.dockerfile:
        result(f"next: docker build -t {program.native} {shown(str(directory))}")
    manifests = [shown(str(directory / file)) for file in ("service.yaml", "mesh.yaml")]
    result(f"next: sconectl validate -f {manifests[0]} -f {manifests[1]}")


def _check_kind(kind: str, image: str) -> None:
    from sconectl.manifest.model.faults import did_you_mean
    from sconectl.plan.service.base_images import DEFAULT_BASES

    kinds = (*sorted(DEFAULT_BASES), "sconify_image")
    if kind and kind not in kinds:
        hint = did_you_mean(kind, kinds) or f"known are {', '.join(kinds)}"
        raise UsageError(f"--kind: {shown(kind)} is not a kind of program", hint=hint)
    if image and kind not in ("", "sconify_image"):
        raise UsageError("--from converts an image as it is; --kind is for programs in a directory")


def _name(given: str, found: str) -> str:
    """Return the name of the service: the given one, or one made of the name of a directory or image."""
    if not given:
        found = re.split("[:@]", found.rpartition("/")[2])[0]
    fitting = re.sub("[^a-z0-9]+", "-", (given or found).lower())[:63].strip("-")
    if given and given != fitting:
        hint = f"write --name {fitting}" if fitting else ""
        raise UsageError("--name: expected lower-case letters, digits and - (a DNS label)", hint=hint)
    return fitting or "service"


def _check_image(reference: str, option: str) -> None:
    from pydantic import TypeAdapter, ValidationError

    from sconectl.manifest.model.fields import ImageReference

    try:
        TypeAdapter(ImageReference).validate_python(reference)
    except ValidationError:
        raise UsageError(f"{option}: expected an image reference, like registry.example.org/app:1") from None


def _of_image(image: str) -> Program:
    """Return the program of an image, as the container engine knows it; without an engine the command is left open."""
    from sconectl.cli.wiring import Wiring
    from sconectl.starter.init_program import program_of_image

    try:
        found = Wiring().engine.inspect(image)
    except EngineUnreachable:
        found = None
    return program_of_image(image, found.config if found else None)


def _write(directory: Path, files: dict[str, bytes], *, force: bool) -> None:
    from sconectl.cli.wiring import Wiring

    paths = [directory / file for file in files]
    taken = [shown(str(path)) for path in paths if path.is_symlink() or path.exists()]
    if taken and not force:
        verb = "exists" if len(taken) == 1 else "exist"
        raise UsageError(
            f"{', '.join(taken)} already {verb}; nothing was written",
            hint="rename, or replace with --force, or write the starters for another directory",
        )
    Wiring(directory).workspace.write(files)
