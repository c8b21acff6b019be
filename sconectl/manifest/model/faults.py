"""Turns what pydantic found in a manifest into findings: position, field, expectation and remedy, never the value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails

from sconectl.manifest.spelling.alike import names_of
from sconectl.text.findings import Finding
from sconectl.text.yaml_tree import Document, Path, is_field, show_path

_T = TypeVar("_T")
_WORD = 3  # letters of a name that another one may go on from, like environment from env
_EXPECTED = {
    "dict_type": ("expected a mapping", "write one `field: value` in each line"),
    "model_type": ("expected a mapping", "write one `field: value` in each line"),
    "string_type": ("expected text", ""),
    "tuple_type": ("expected a list", "write each entry in a line of its own, beginning with `- `"),
    "too_short": ("expected at least one entry", ""),
    "string_too_short": ("expected some text", ""),
}


_REMOVE = "remove it"
_UNQUOTED = (
    "an unknown field beside a text that may lack its quotes",
    "put the text in quotes, or indent its lines; or remove the field",
)


class Unfit(ValueError):
    """A value that a field cannot have: what was expected, and what to do. Neither repeats the value."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Misfit(NamedTuple):
    """One of several fields that do not go together: where it is below their parent, what is wrong, what to do."""

    at: Path
    message: str
    hint: str = ""
    in_value: bool = False  # else it is wrong that the field is there


class Misfits(ValueError):
    """Fields that do not go together, all of them."""

    def __init__(self, found: Iterable[Misfit]) -> None:
        super().__init__("fields do not go together")
        self.found = tuple(found)


def with_misfits(value: Any, read: Callable[[Any], _T], found: Iterable[Misfit]) -> _T:
    """Read a part, and raise what is wrong with its fields together with what is wrong between them."""
    misfits = Misfits(found)
    try:
        part = read(value)
    except ValidationError as error:
        if not misfits.found:
            raise
        faults = [
            InitErrorDetails(type=fault["type"], loc=fault["loc"], input=None, ctx=fault.get("ctx", {}))
            for fault in error.errors(include_url=False, include_input=False)
        ]
        own = InitErrorDetails(type="value_error", loc=(), input=None, ctx={"error": misfits})
        raise ValidationError.from_exception_data("part", [*faults, own], hide_input=True) from None
    if misfits.found:
        raise misfits
    return part


def findings_of(error: ValidationError, document: Document, model: type[BaseModel]) -> list[Finding]:
    """Return one finding for each fault of the document."""
    findings: set[Finding] = set()
    missing: dict[Finding, tuple[Path, str]] = {}  # and the fault if it is misspelt
    unknown: set[tuple[Path, str]] = set()
    for fault in error.errors(include_url=False, include_input=False):
        path = _document_path(fault["loc"], document)
        kind = fault["type"]
        if kind == "too_short" and (*path, 0) in document.positions:
            continue  # its entries are there, but faulty
        raised = fault.get("ctx", {}).get("error")
        if isinstance(raised, Misfits):
            findings.update(_of_misfits(raised, path, document))
            continue
        message, hint = _explain(kind, fault, path, model)
        finding = document.finding("error", "SC1002", path, message, hint, at_key=kind == "extra_forbidden")
        if kind == "extra_forbidden" and hint == _REMOVE and _is_piece(path, document):
            path, (message, hint) = path[:-1], _UNQUOTED
            finding = replace(finding, path=show_path(path), message=message, hint=hint)
        findings.add(finding)
        if kind == "extra_forbidden":
            unknown.add((path[:-1], hint))
        elif kind == "missing":
            missing[finding] = (path[:-1], meaning(str(path[-1])))
    findings -= {finding for finding, misspelt in missing.items() if misspelt in unknown}
    return sorted(findings, key=lambda finding: (finding.position, finding.path, finding.message))


def _is_piece(path: Path, document: Document) -> bool:
    """Say whether an unknown field may be a piece of a secret without quotes: it is not named then."""
    parent: Any = document.value
    for step in path[:-1]:
        inside = parent if isinstance(parent, dict) else dict(enumerate(parent)) if isinstance(parent, list) else {}
        parent = inside.get(step)
    return not isinstance(parent, dict) or not is_field(str(path[-1]), parent)


def _of_misfits(raised: Misfits, path: Path, document: Document) -> Iterator[Finding]:
    for misfit in raised.found:
        place = (*path, *misfit.at)
        yield document.finding("error", "SC1013", place, misfit.message, misfit.hint, at_key=not misfit.in_value)


def _document_path(location: tuple[int | str, ...], document: Document) -> Path:
    """Drop the steps that name a member of a union instead of a field."""
    path: Path = ()
    for number, step in enumerate(location):
        if (*path, step) in document.positions or number == len(location) - 1:
            path = (*path, step)
    parent = path[:-1]
    last = path[-1:]
    return path if path in document.positions or not last or _is_field(last[0]) else parent


def _is_field(step: int | str) -> bool:
    return isinstance(step, str) and step.replace("_", "").isalnum()


def _explain(kind: str, fault: Any, path: Path, model: type[BaseModel]) -> tuple[str, str]:
    if kind == "extra_forbidden":
        return "unknown field", _remedy_of_unknown(path, model)
    if kind == "missing":
        return "this field is missing", f"add {path[-1]}"
    if kind in _EXPECTED:
        return _EXPECTED[kind]
    if kind == "value_error":
        error = fault["ctx"]["error"]
        return str(error), error.hint if isinstance(error, Unfit) else ""
    return str(fault["msg"]).replace("Input should be", "expected"), ""


def _remedy_of_unknown(path: Path, model: type[BaseModel]) -> str:
    """Name the field that was meant: one of its neighbours, or the only one of this name elsewhere."""
    name, parent = str(path[-1]), _part_at(model, path[:-1])
    fields = fields_of(parent) if parent else []
    near = did_you_mean(name, fields)
    if near:
        return near
    if name == "key" and "name" in fields:
        return "remove it; it is the older spelling of name"
    longer = next((field for field in fields if len(field) >= _WORD and name.startswith(field)), "")
    if longer:
        return meaning(longer)
    places = [place for place in _places(model, ()) if place[-1] == name]
    return f"this field belongs to {'.'.join(places[0][:-1]) or 'the top level'}" if len(places) == 1 else _REMOVE


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """Return a hint that names the candidate nearest to `word`, or nothing; case and punctuation hardly count."""
    return meaning(nearest(word, candidates))


def nearest(word: str, candidates: Iterable[str]) -> str:
    """Return the candidate that `did_you_mean` names, or nothing."""
    return names_of(tuple(candidates)).nearest(word) or ""


def meaning(name: str) -> str:
    """Return a hint that names the name that was meant, or nothing if there is none."""
    return f"did you mean {name}?" if name else ""


def fields_of(model: type[BaseModel]) -> list[str]:
    """Return the names of the fields of `model` as they are written in a manifest."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _part_at(model: type[BaseModel], path: Path) -> type[BaseModel] | None:
    """Return the part of `model` at `path`."""
    current: type[BaseModel] | None = model
    for step in path:
        if isinstance(step, int) or current is None:
            continue
        by_name = {field.alias or name: field for name, field in current.model_fields.items()}
        current = _model_in(by_name[step].annotation) if step in by_name else None
    return current


def _places(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        place = (*path, field.alias or name)
        yield place
        part = _model_in(field.annotation)
        if part:
            yield from _places(part, place)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)
