"""Reads YAML text into plain values that keep the exact spelling and the position of everything.

In: text and the name to show for it. Out: a `Document` of mappings, lists, strings and None. Scalars are never
interpreted: `0760`, `1e3` and `true` arrive as they were written. Shared by manifests and policies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from sconectl.errors import InvalidInput
from sconectl.findings import Finding, Position

Value = dict[str, Any] | list[Any] | str | None
Path = tuple[str | int, ...]

MAX_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_CHARACTERS = 4 << 20
MAX_NODES = 200_000  # aliases count every time they are used, so a billion-laughs file runs into this


@dataclass
class Document:
    """One YAML document: its `value`, the position of each path in it, and the tags that were written."""

    file: str
    value: Value
    positions: dict[Path, Position]
    key_positions: dict[Path, Position] = field(default_factory=dict)
    tags: dict[Path, str] = field(default_factory=dict)

    def position(self, path: Path) -> Position:
        """Return where `path` stands, or where its nearest existing parent does."""
        while path and path not in self.positions:
            path = path[:-1]
        return self.positions[path]

    def key_position(self, path: Path) -> Position:
        """Return where the key of `path` stands (for messages about the key itself)."""
        return self.key_positions.get(path) or self.position(path)


def show_path(path: Path) -> str:
    """Render a path the way messages show it: `build.copy[0]`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else (f".{step}" if text else str(step))
    return text


def parse(text: str | bytes, file: str, *, tags: Mapping[str, str] | None = None) -> Document:
    """Read one YAML document.

    `tags` names the custom tags that are allowed, with the node they stand on (`mapping` or `empty`).
    Raises `InvalidInput` for everything that is wrong with the text: encoding, size, syntax, depth, alias
    expansion, duplicate or structured keys, unknown tags, more than one document.
    """
    raw = text.encode() if isinstance(text, str) else text
    start = Position(file, 1, 1)
    if len(raw) > MAX_BYTES:
        raise _invalid(start, f"the file has {len(raw)} bytes; at most {MAX_BYTES} are read")
    try:
        decoded = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise _invalid(Position(file, line, 1), "the file is not UTF-8 text") from error
    if "\0" in decoded:
        line = decoded[: decoded.index("\0")].count("\n") + 1
        raise _invalid(Position(file, line, 1), "the file contains a NUL character")
    try:
        root = _compose(decoded, file)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = Position(file, mark.line + 1, mark.column + 1) if mark else start
        raise _invalid(where, f"not valid YAML: {_problem(error)}") from error
    except YAMLError as error:
        raise _invalid(start, f"not valid YAML: {error}") from error
    except RecursionError as error:
        raise _invalid(start, f"nested deeper than {MAX_DEPTH} levels") from error
    reader = _Reader(file, tags or {})
    value = reader.read(root, ()) if root is not None else None
    if reader.findings:
        raise InvalidInput(reader.findings)
    reader.positions.setdefault((), start)
    return Document(file, value, reader.positions, reader.key_positions, reader.tags)


def _problem(error: MarkedYAMLError) -> str:
    """Say what the parser found, without the text that it found it in: it may be a secret that lacks its quotes."""
    if "undefined alias" in (error.problem or ""):
        return "an alias that is not defined (put text that begins with * in quotes)"
    if "tag" in (error.problem or "") or "tag" in (error.context or ""):
        return "a broken tag (put text that begins with ! in quotes)"
    return " ".join(part for part in (error.context, error.problem) if part)


def _compose(text: str, file: str) -> Node | None:
    """Compose with the fast C parser; where that fails, the slower one decides.

    The C parser refuses a colon inside a plain scalar in flow style (`{A: $$SCONE::b$$}`), which YAML 1.2 allows.
    Its composer calls itself for every level and would end the process, so depth is checked on its events.
    """
    root: Node | None
    depth = 0
    try:
        for event in YAML(typ="safe").parse(text):
            if isinstance(event, CollectionStartEvent):
                depth += 1
                if depth > MAX_DEPTH:
                    mark = event.start_mark
                    where = Position(file, mark.line + 1, mark.column + 1)
                    raise _invalid(where, f"nested deeper than {MAX_DEPTH} levels")
            elif isinstance(event, CollectionEndEvent):
                depth -= 1
        root = YAML(typ="safe").compose(text)
    except MarkedYAMLError:
        root = YAML(typ="safe", pure=True).compose(text)
    return root


def _invalid(position: Position, message: str) -> InvalidInput:
    return InvalidInput([Finding("error", "SC1001", position, "", message)])


_PLAIN_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TAG = "tag:yaml.org,2002:"


class _Reader:
    """Walks the node tree once; collects faults instead of stopping at the first."""

    def __init__(self, file: str, tags: Mapping[str, str]) -> None:
        self.file = file
        self.allowed_tags = tags
        self.positions: dict[Path, Position] = {}
        self.key_positions: dict[Path, Position] = {}
        self.tags: dict[Path, str] = {}
        self.findings: list[Finding] = []
        self.nodes = 0
        self.characters = 0

    def position(self, node: Node) -> Position:
        return Position(self.file, node.start_mark.line + 1, node.start_mark.column + 1)

    def fault(self, node: Node, path: Path, message: str, hint: str = "") -> None:
        self.findings.append(Finding("error", "SC1001", self.position(node), show_path(path), message, hint))

    def read(self, node: Node, path: Path) -> Value:
        self.nodes += 1
        if self.nodes > MAX_NODES or len(path) > MAX_DEPTH:
            limit = f"{MAX_NODES} values" if self.nodes > MAX_NODES else f"{MAX_DEPTH} levels"
            raise _invalid(self.position(node), f"larger than {limit} after expanding aliases")
        self.positions[path] = self.position(node)
        tag = str(node.tag or "")
        if tag and not tag.startswith(_TAG):
            if tag in self.allowed_tags:
                self.tags[path] = tag
            else:
                self.fault(node, path, "a tag that is not known here", "put text that begins with ! in quotes")
        if isinstance(node, ScalarNode):
            self.characters += len(node.value)
            if self.characters > MAX_CHARACTERS:
                raise _invalid(self.position(node), f"more than {MAX_CHARACTERS} characters after expanding aliases")
            plain = not node.style
            return None if plain and node.value in _PLAIN_NULLS else str(node.value)
        if isinstance(node, SequenceNode):
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        raise _invalid(self.position(node), "not a mapping, list or scalar")  # pragma: no cover

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self.fault(key_node, path, "a key must be plain text", "quote values that hold braces")
                continue
            key = str(key_node.value)
            if key == "<<" and not key_node.style:
                self.fault(key_node, path, "merge keys (<<) are not supported", "write the fields out")
                continue
            if key in result:
                self.fault(key_node, (*path, key), "the key is given twice", "remove one of them")
                continue
            self.key_positions[(*path, key)] = self.position(key_node)
            result[key] = self.read(value_node, (*path, key))
        return result
