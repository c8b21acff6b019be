"""`sconectl curated`: the services that a mesh may name without a manifest: what there is, what one needs, building it.

In: the options of the command line. Out: text on stdout.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

import sconectl
from sconectl.cli.options.apply_options import ApplyOptions, check_toolchain, warn_of_simulation
from sconectl.cli.options.groups import Only, grouped
from sconectl.cli.output.console import Console, result
from sconectl.cli.output.printable import shown
from sconectl.errors import UsageError

if TYPE_CHECKING:
    from sconectl.apply.curated.catalogue import CuratedService
    from sconectl.manifest.model.genservice import GenService
    from sconectl.plan.facts.image_facts import ImageFacts

curated_app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

_PLACE = "registry.example.org/{name}:1"
"""Stands for the image where a manifest is only shown."""


@curated_app.callback()
def curated() -> None:
    """Curated services: name one by its image in a mesh, and it is built."""


@curated_app.command("list")
def list_command() -> None:
    """List the curated services, those of sconectl.toml among them."""
    from sconectl.cli.runs.curated import known_services

    for name, service in known_services(ApplyOptions()).items():
        result(f"{name:<16} {shown(next(iter(service.words), ''))}".rstrip())


@curated_app.command()
def show(name: Annotated[str, typer.Argument(metavar="NAME", help="The curated service.")]) -> None:
    """Show what a curated service needs of a mesh, and what it gives to others."""
    service = _service(name, ApplyOptions())
    model = service.service(_PLACE.format(name=name))
    for number, paragraph in enumerate(service.words):
        if number:
            result("")
        for line in _folded(shown(paragraph)):
            result(line)
    for line in _facts(model):
        result(line)
    result("")
    result(f"folder     {shown(str(service.folder))}")


@curated_app.command()
@grouped
def build(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The curated service.")],
    options: Annotated[
        ApplyOptions,
        Only("target no_push mode base_image cas lock toolchain cas_config", no_push="Do not push the image."),
    ],
    to: Annotated[
        str, typer.Option(metavar="REF", help="The image to make.", show_default="sconectl-curated/NAME:VERSION")
    ] = "",
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="Show what tools print.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Build the image of a curated service, push it, and write its session.

    Without --to, the image stays on this machine.
    """
    from dataclasses import replace

    from sconectl.cli.runs.one_service import apply_one
    from sconectl.cli.runs.worlds import terms_of
    from sconectl.cli.wiring import Wiring
    from sconectl.plan.facts.naming import with_tag
    from sconectl.usecases.check_run import check_run

    options.check()
    check_toolchain(options.toolchain)
    service = _service(name, options)
    image = _reference(to) if to else f"sconectl-curated/{name}:{sconectl.__version__}"
    options = replace(options, no_push=options.no_push or not to)
    manifest = service.manifest(with_tag(image))
    warn_of_simulation(options.toolchain)
    console = Console(-1 if quiet else verbose)
    wiring = Wiring(options.target, options.cas_config, options.lock, options.config.reached)
    [check] = check_run([manifest], terms_of(options, refused=("genservice",)), _no_mesh).services
    apply_one(check, (), options, wiring, console, service)


def _service(name: str, options: ApplyOptions) -> CuratedService:
    from sconectl.cli.runs.curated import known_services
    from sconectl.manifest.model.faults import did_you_mean

    known = known_services(options)
    if name not in known:
        hint = did_you_mean(name, known) or f"there are {', '.join(known)}"
        raise UsageError(f"{shown(name)} is no curated service", hint=hint)
    return known[name]


def _no_mesh(*_asked: object) -> dict[str, ImageFacts]:
    return {}


def _reference(text: str) -> str:
    from pydantic import TypeAdapter, ValidationError

    from sconectl.manifest.model.fields import ImageReference

    try:
        TypeAdapter(ImageReference).validate_python(text)
    except ValidationError:
        raise UsageError("--to: expected an image reference, like registry.example.org/redis:1") from None
    return text


def _facts(model: GenService) -> Iterator[str]:
    """Yield the lines about variables, secrets and volumes; of secrets those that others can make use of."""
    variables = model.environment.global_
    if variables:
        yield ""
        yield "VARIABLE                       WITHOUT A VALUE"
        for variable in variables:
            yield f"{variable.name:<30} {_default(variable.value)}"
    rows: list[tuple[str, Sequence[str]]] = [
        ("secrets", [f"{secret.name} ({secret.kind})" for secret in model.secrets.global_ if not _is_key(secret.kind)]),
        ("imports", list(model.secrets.import_)),
        ("volumes", [f"{volume.name} at {volume.path}" for volume in model.build.volumes]),
        ("chart", [model.build.name]),
    ]
    yield ""
    for head, entries in rows:
        for number, entry in enumerate(entries):
            yield f"{'' if number else head:<10} {shown(entry)}"


def _is_key(kind: str) -> bool:
    return kind == "private-key"


def _default(value: str | None) -> str:
    if value is None:
        return "the mesh has to give one"
    first, *more = shown(value.strip()).split("\\n")
    return f"{first} …" if more else first or '""'


def _folded(text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, 100, break_long_words=False, break_on_hyphens=False)
