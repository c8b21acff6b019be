"""`sconectl inspect`: what a confidential image says about itself.

In: the name of an image. Out: text or JSON on stdout. Whatever comes from the image is escaped.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sconectl.cli.output.console import result
from sconectl.cli.output.printable import shown
from sconectl.cli.session.session_access import Format, one_of

if TYPE_CHECKING:
    from collections.abc import Iterator


def inspect(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="Its name, in the container engine or a registry.")],
    layers: Annotated[
        bool, typer.Option("--layers", help="Also read its layers: their sizes, and what the base image shares.")
    ] = False,
    output: Format = "text",
) -> None:
    """Show what a confidential image says about itself: measurement, signer, paths.

    Asks the container engine, else the registry, and pulls nothing. Whether
    its files agree with it says `sconectl measure`.
    """
    from sconectl.apply.inspect import as_document, inspect_image
    from sconectl.apply.local_layers import local_layers, remembered_layers
    from sconectl.cli.wiring import Wiring, cache_directory

    one_of("--output", output, ("text", "json"))
    wiring = Wiring()
    found = inspect_image(
        image,
        engine=lambda: wiring.engine,
        registry=lambda: wiring.registry,
        layers=lambda reference, info: (
            local_layers(wiring.engine, reference, info, cache_directory())
            if layers
            else remembered_layers(info, cache_directory())
        ),
    )
    document = as_document(found)
    if output == "json":
        result(json.dumps(document, indent=2))
        return
    for line in _lines(document):
        result(line)


def _lines(document: dict[str, Any]) -> Iterator[str]:
    from sconectl.report.plan_words import size_text

    signer = document["signer"]
    for title, value in (
        ("image", document["image"]),
        ("found in", document["found_in"]),
        ("id", document["id"]),
        ("name", document["name"]),
        ("toolchain", f"{document['toolchain']}{_SIMULATION if document['simulation'] else ''}"),
        ("measurement", document["measurement"]),
        *(("also valid", measurement) for measurement in document["stable"]),
        ("mode", document["mode"]),
        ("signer", signer["mrsigner"] if signer else "not signed"),
        *((("product", f"{signer['isvprodid']}, security version {signer['isvsvn']}"),) if signer else ()),
        ("parameters", _pairs(document["parameters"])),
        ("runs as", _account(document["user"], document["group"])),
        ("exposed ports", ", ".join(map(str, document["exposed"])) or "none"),
        ("session", document["image_session"]),
        ("facts", document["facts_digest"]),
    ):
        yield _line(title, value)
    protected = document["protected"]
    for title, values in (
        ("encrypted", protected["encrypted"]),
        ("unprotected", protected["unprotected"]),
        ("runtime-provided", protected["runtime_provided"]),
        ("fixed variables", document["variables"]["local"]),
        ("mesh's variables", document["variables"]["global"]),
        ("secrets", document["secrets"]),
        ("imported secrets", document["imports"]),
    ):
        yield _line(title, ", ".join(values) or "none")
    yield _line("protected root", protected["root"])
    yield from _public(document["public"])
    for layer in document["layers"]:
        size = "" if layer["size"] is None else f"{layer['origin']:<9}{size_text(layer['size']):>6}  "
        yield _line("layer", f"{size}{layer['digest'].removeprefix('sha256:')[:12]}")


def _account(user: int | None, group: int | None) -> str:
    return "not known as a number" if user is None else f"{user}:{group}{' (root)' if user == 0 else ''}"


def _public(public: dict[str, Any] | None) -> Iterator[str]:
    """Yield what the image declares for everybody to read."""
    if public is None or "fault" in public:
        yield _line("declaration", public["fault"] if public else "none")
        return
    yield _line("declaration", f"signed by {public['signer']}")
    yield _line("  command", f"{public['command']}  (in {public['pwd']})")
    for section in ("local", "global"):
        for variable in public["environment"].get(section, ()):
            value = variable.get("value")
            yield _line(f"  {section}", variable["name"] + ("" if value is None else f"={value}"))
    for secret in public["secrets"].get("global", ()):
        parts = " ".join(f"{name}={value}" for name, value in secret.items() if name not in ("name", "kind", "value"))
        yield _line("  secret", f"{secret['name']} ({secret['kind']}) {parts}".rstrip())
    for file in public["injection_files"]:
        yield _line("  injected", file["path"])
    for port in public.get("ports", ()):
        yield _line("  port", f"{port['number']} {port.get('name', '')}".rstrip())
    for volume in public.get("volumes", ()):
        yield _line("  volume", f"{volume['name']} at {volume['path']}")


_SIMULATION = " (SIMULATION: no hardware protects it)"


def _line(title: str, value: str) -> str:
    return f"{title:<17} {shown(value)}"


def _pairs(values: dict[str, str]) -> str:
    return ", ".join(f"{name}={values[name]}" for name in sorted(values) if name != "mode")
