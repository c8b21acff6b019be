"""`sconectl explain`: what a code of a message means, and what a field of a manifest is for.

In: a code like SC1002, or a field like genservice.build.dirs. Out: a page on stdout.
"""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sconectl.cli.output.console import result
from sconectl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sconectl.codes.code import Code

_CODE = re.compile(r"SC[0-9]{4}\Z", re.IGNORECASE)


def explain(
    topic: Annotated[
        str, typer.Argument(metavar="CODE|FIELD", help="Like SC1002, genservice.build.dirs or mesh.services[].image.")
    ],
) -> None:
    """Explain a code of a message, or a field of a manifest or session.

    A kind alone shows its fields: sconectl explain genservice. The others
    are mesh and session.
    """
    lines = _code_page(topic.strip().upper()) if _CODE.match(topic.strip()) else _field_page(topic)
    for line in lines:
        result(line)


def _code_page(name: str) -> Iterator[str]:
    from sconectl.codes.all_codes import all_codes
    from sconectl.manifest.model.faults import did_you_mean

    codes = all_codes()
    if name not in codes:
        family = [code for code in codes if code[:3] == name[:3]]
        hint = did_you_mean(name, family) or "the codes stand in docs/diagnostics.md"
        raise UsageError(f"there is no code {name}", hint=hint)
    return _lines_of(name, codes[name])


def _lines_of(name: str, code: Code) -> Iterator[str]:
    yield f"{name}: {code.title}"
    for paragraph in code.text.split("\n\n"):
        yield ""
        yield from textwrap.wrap(paragraph, 80, break_on_hyphens=False)
    for title, sample in (("wrong", code.wrong), ("right", code.right)):
        if sample:
            yield from ("", f"{title}:")
            yield from (f"    {line}".rstrip() for line in textwrap.dedent(sample).strip("\n").splitlines())


def _schema(kind: str) -> dict[str, Any]:
    import json

    from sconectl import assets

    schema: dict[str, Any] = json.loads(assets.read(f"schemas/{kind}.json"))
    return schema


def _field_page(topic: str) -> list[str]:
    from sconectl.cli.commands.schema_cmd import KINDS
    from sconectl.learn.field_pages import NoSuchField, field_page, steps_of
    from sconectl.manifest.model.faults import did_you_mean

    kind, *steps = steps_of(topic) or [""]
    if kind not in KINDS:
        raise UsageError(
            f"{topic} is no code and no field",
            hint=_meant([kind, *steps]) or did_you_mean(kind, KINDS) or "try `sconectl explain genservice`",
        )
    try:
        return field_page(kind, _schema(kind), steps)
    except NoSuchField as missing:
        near = did_you_mean(missing.name, missing.known)
        names = ", ".join(missing.known)
        hint = near or (f"there are {names}" if names else f"{missing.place} has no fields of its own")
        raise UsageError(missing.message, hint=hint) from None


def _meant(steps: list[str]) -> str:
    """Return the full names of a field that was named without its kind."""
    from sconectl.cli.commands.schema_cmd import KINDS
    from sconectl.learn.field_pages import NoSuchField, field_page

    found = []
    for kind in KINDS:
        try:
            found.append(field_page(kind, _schema(kind), steps)[0])
        except NoSuchField:
            continue
    return f"did you mean {' or '.join(found)}?" if found else ""
