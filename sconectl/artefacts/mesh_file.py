"""A mesh manifest with another env: the text that `apply -p --file` writes.

In: the document of the manifest and the sections of the new env, as they are to be written. Out: a manifest that ends
in `env:` with its items at the first column, so that more sections can be appended to the file. What else stands in the
manifest stays as it is written, comments included, where that gives the same values; otherwise it is written anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sconectl.errors import InvalidInput
from sconectl.plan.values.variables import Entry, Section
from sconectl.text import yaml_text
from sconectl.text.yaml_tree import Document, Path, lines_of, parse


def mesh_file(document: Document, sections: Sequence[Section]) -> str:
    """Return the text of the manifest."""
    given = document.value if isinstance(document.value, dict) else {}
    rest = {key: value for key, value in given.items() if key != "env"}
    env = list(_env(sections))
    kept = _as_written(document, rest)
    if kept and _gives("\n".join([*kept, *env]), rest):
        return "\n".join([*kept, *env]) + "\n"
    return yaml_text.dump(rest) + "\n".join(env) + "\n"


def _gives(text: str, rest: dict[str, Any]) -> bool:
    """Say whether `rest` is what the manifest `text` holds besides env."""
    read = _read(text)
    value = read.value if read else None
    return isinstance(value, dict) and {**value, "env": None} == {**rest, "env": None}


def _read(text: str) -> Document | None:
    """Return the one document in a text of any size, None if it is none."""
    try:
        return parse(text, "", limit=len(text.encode()))
    except InvalidInput:
        return None


def _env(sections: Sequence[Section]) -> Iterator[str]:
    yield "env:"
    for section in sections:
        yield from yaml_text.dump([{"service": section.service}]).splitlines()
        yield "  env:"
        for entry in section.entries:
            yield from _entry(entry)


def _entry(entry: Entry) -> Iterator[str]:
    comment = f"  # {entry.comment}" if entry.comment else ""
    if entry.value is None:
        yield f"  # - name: {yaml_text.dump(entry.name).rstrip()}{comment}"
        yield "  #   value:"
        return
    first, *more = yaml_text.dump([{"name": entry.name, "value": entry.value}]).removesuffix("\n").split("\n")
    yield f"  {first}{comment}"
    yield from (f"  {line}" if line else "" for line in more)


def _as_written(document: Document, rest: dict[str, Any]) -> list[str]:
    """Return the lines of the manifest without env, with variables in their places; nothing if that cannot be done."""
    lines = lines_of(document.text)[document.lines.start - 1 : document.lines.stop - 1]
    written = _read("\n".join(lines))
    if written is None or not _fill(lines, written, rest):
        return []
    return _without_env(lines, written)


def _fill(lines: list[str], written: Document, rest: dict[str, Any]) -> bool:
    """Replace values whose variables were filled in; say whether the text has a form in which all can be replaced."""
    changes = {written.position(path): (path, old, new) for path, old, new in _changes((), written.value, rest)}
    for position, (path, old, new) in sorted(changes.items(), reverse=True):
        line, start = lines[position.line - 1], position.column - 1
        quotes = ("",) if written.is_plain(path) else ('"', "'")
        source = next((q + old + q for q in quotes if line.startswith(q + old + q, start)), "")
        value = yaml_text.dump(new).removesuffix("\n")
        if not source or "\n" in value:
            return False
        lines[position.line - 1] = line[:start] + value + line[start + len(source) :]
    return True


def _changes(path: Path, written: Any, value: Any) -> Iterator[tuple[Path, str, str]]:
    if isinstance(written, dict) and isinstance(value, dict):
        for key in value:
            yield from _changes((*path, key), written.get(key), value[key])
    elif isinstance(written, list) and isinstance(value, list):
        for number, (old, new) in enumerate(zip(written, value, strict=False)):
            yield from _changes((*path, number), old, new)
    elif isinstance(written, str) and isinstance(value, str) and written != value:
        yield path, written, value


def _without_env(lines: list[str], written: Document) -> list[str]:
    """Return the lines without those of env; the comment above it goes to the end."""
    if not isinstance(written.value, dict) or "env" not in written.value:
        return [*_stripped(lines), ""]
    starts = sorted(written.key_position((key,)).line - 1 for key in written.value)
    start = written.key_position(("env",)).line - 1
    end = next((line for line in starts if line > start), len(lines))
    while end < len(lines) and end > start + 1 and _is_remark(lines[end - 1]):  # belongs to the next field
        end -= 1
    before = _stripped(lines[:start])
    above = len(before)
    while above and before[above - 1].startswith("#"):
        above -= 1
    head, comment = _stripped(before[:above]), before[above:]
    tail = _stripped(lines[end:])
    while tail and not tail[0].strip():
        del tail[0]
    return [*head, *(["", *tail] if tail else []), "", *comment]


def _is_remark(line: str) -> bool:
    return not line.strip() or line.startswith("#")


def _stripped(lines: list[str]) -> list[str]:
    """Return the lines without empty ones at the end."""
    end = len(lines)
    while end and not lines[end - 1].strip():
        end -= 1
    return lines[:end]
