"""Reads YAML text into plain values that keep the exact spelling and the position of everything.

In: text and the name to show for it. Out: a `Document` of mappings, lists, strings and None. Scalars are never
interpreted: `0760`, `1e3` and `true` arrive as they were written. Shared by manifests and policies.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.cyaml import CParser  # type: ignore[attr-defined]
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from sconectl.errors import InvalidInput
from sconectl.findings import Finding, Position

Value = dict[str, Any] | list[Any] | str | None
Path = tuple[str | int, ...]

MAX_BYTES = 1 << 20
MAX_DEPTH = 64
SAFE_DEPTH = 400  # levels that the stack of any thread has room for
MAX_CHARACTERS = 4 << 20
MAX_WALKS = 64  # from the root to one place, before all places are collected
MAX_NODES = 200_000  # aliases count every time they are used, so a billion-laughs file runs into this


@dataclass
class Document:
    """One YAML document: its `value`, the position of each path in it, and the tags that were written."""

    file: str
    value: Value
    positions: Mapping[Path, Position]
    key_positions: Mapping[Path, Position] = field(default_factory=dict)
    tags: dict[Path, str] = field(default_factory=dict)
    quoted: Mapping[Path, bool] = field(default_factory=dict)

    def position(self, path: Path) -> Position:
        """Return where `path` stands, or where its nearest existing parent does."""
        while path and path not in self.positions:
            path = path[:-1]
        return self.positions[path]

    def key_position(self, path: Path) -> Position:
        """Return where the key of `path` stands (for messages about the key itself)."""
        return self.key_positions.get(path) or self.position(path)

    def is_plain(self, path: Path) -> bool:
        """Say whether the text at `path` is written without quotes, so that YAML may take it for a number."""
        return not self.quoted.get(path, True)


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
    value = reader.read(root) if root is not None else None
    if reader.findings:
        raise InvalidInput(reader.findings)
    places = _Places(file, root)
    return Document(file, value, places.view(0), places.view(1), reader.tags, places.view(2))


def _problem(error: MarkedYAMLError) -> str:
    """Say what the parser found, without the text that it found it in: it may be a secret that lacks its quotes."""
    if "undefined alias" in (error.problem or ""):
        return "an alias that is not defined (put text that begins with * in quotes)"
    if "tag" in (error.problem or "") or "tag" in (error.context or ""):
        return "a broken tag (put text that begins with ! in quotes)"
    return " ".join(part for part in (error.context, error.problem) if part)


class _Parser(CParser):  # type: ignore[misc]
    """The C parser without the resolver of implicit types: scalars stay text anyway."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        return ""

    def descend_resolver(self, parent: Any, index: Any) -> None:
        pass

    def ascend_resolver(self) -> None:
        pass


def _may_be_deep(text: str) -> bool:
    """Say whether collections might be nested so deep that composing them endangers the stack; quick, never too low.

    Nested block collections begin at growing columns, in front of the first text of a line; at each, a list may stand
    in a mapping without indentation. Everything else begins with a bracket.
    """
    if text.count("\r") != text.count("\r\n") or any(rare in text for rare in "\x85\u2028\u2029"):
        return True  # lines that end otherwise than the pattern below knows
    columns = (SAFE_DEPTH - text.count("[") - text.count("{")) // 2 - 2
    return columns <= 0 or re.search(rf"\n[ \t?:-]{{{columns}}}", "\n" + text) is not None


def _compose(text: str, file: str) -> Node | None:
    """Compose with the fast C parser; where that fails, the slower one decides.

    The C parser refuses a colon inside a plain scalar in flow style (`{A: $$SCONE::b$$}`), which YAML 1.2 allows.
    Its composer calls itself for every level and would end the process, so the depth of a text that looks deep is
    checked on its events first.
    """
    root: Node | None
    try:
        if _may_be_deep(text):
            _check_depth(text, file)
        root = _Parser(text).get_single_node()
    except MarkedYAMLError:
        root = YAML(typ="safe", pure=True).compose(text)
    return root


def _check_depth(text: str, file: str) -> None:
    depth = 0
    for event in YAML(typ="safe").parse(text):
        if isinstance(event, CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                mark = event.start_mark
                where = Position(file, mark.line + 1, mark.column + 1)
                raise _invalid(where, f"nested deeper than {MAX_DEPTH} levels")
        elif isinstance(event, CollectionEndEvent):
            depth -= 1


def _invalid(position: Position, message: str) -> InvalidInput:
    return InvalidInput([Finding("error", "SC1001", position, "", message)])


_SURROGATE = re.compile("[\ud800-\udfff]")
_PLAIN_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TAG = "tag:yaml.org,2002:"


class _Reader:
    """Walks the node tree once; collects faults instead of stopping at the first."""

    def __init__(self, file: str, tags: Mapping[str, str]) -> None:
        self.file = file
        self.allowed_tags = tags
        self.tags: dict[Path, str] = {}
        self.findings: list[Finding] = []
        self.path: list[str | int] = []
        self.nodes = 0
        self.characters = 0

    def fault(self, node: Node, path: Path, message: str, hint: str = "") -> None:
        self.findings.append(Finding("error", "SC1001", _position(self.file, node), show_path(path), message, hint))

    def read(self, node: Node) -> Value:
        self.nodes += 1
        if self.nodes > MAX_NODES or len(self.path) > MAX_DEPTH:
            limit = f"{MAX_NODES} values" if self.nodes > MAX_NODES else f"{MAX_DEPTH} levels"
            raise _invalid(_position(self.file, node), f"larger than {limit} after expanding aliases")
        if node.ctag.suffix:  # looked at first because the whole tag takes time to put together
            self._tag(node, str(node.tag))
        if isinstance(node, ScalarNode):
            text: str = node.value
            self.characters += len(text)
            if self.characters > MAX_CHARACTERS:
                raise _invalid(
                    _position(self.file, node), f"more than {MAX_CHARACTERS} characters after expanding aliases"
                )
            if node.style and not text.isascii() and _SURROGATE.search(text):
                return self._paired(node, text)
            return None if text in _PLAIN_NULLS and not node.style else text
        if isinstance(node, SequenceNode):
            items: list[Any] = []
            for index, item in enumerate(node.value):
                self.path.append(index)
                items.append(self.read(item))
                self.path.pop()
            return items
        if isinstance(node, MappingNode):
            return self._mapping(node)
        raise _invalid(_position(self.file, node), "not a mapping, list or scalar")  # pragma: no cover

    def _paired(self, node: Node, text: str) -> str:
        """Join what JSON escapes as two halves (surrogates); half a character alone is a fault."""
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self.fault(node, tuple(self.path), "half of a character that is escaped in two", "give both halves")
            return ""

    def _tag(self, node: Node, tag: str) -> None:
        path = tuple(self.path)
        if tag.startswith(_TAG):
            return
        if tag in self.allowed_tags:
            self.tags[path] = tag
        else:
            self.fault(node, path, "a tag that is not known here", "put text that begins with ! in quotes")

    def _mapping(self, node: MappingNode) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self.fault(key_node, tuple(self.path), "a key must be plain text", "quote values that hold braces")
                continue
            key: str = key_node.value
            if not key.isascii() and _SURROGATE.search(key):
                key = self._paired(key_node, key)
            if key == "<<" and not key_node.style:
                hint = "write the fields out"
                self.fault(key_node, tuple(self.path), "merge keys (<<) are not supported", hint)
                continue
            if key in result:
                self.fault(key_node, (*self.path, key), "the key is given twice", "remove one of them")
                continue
            self.path.append(key)
            result[key] = self.read(value_node)
            self.path.pop()
        return result


def _position(file: str, node: Node) -> Position:
    return Position(file, node.start_mark.line + 1, node.start_mark.column + 1)


class _Places:
    """Where everything stands, worked out when somebody asks, since most documents have no fault to point at.

    The first questions are answered by walking to the place; whoever asks more often gets the whole collected.
    """

    def __init__(self, file: str, root: Node | None) -> None:
        self._file = file
        self._root = root
        self._walks = 0

    def find(self, path: Path, part: int) -> Any:
        """Return the position (part 0), position of the key (1) or quoting (2) of `path`; None if it has none."""
        if "collected" not in self.__dict__:
            self._walks += 1
            if self._walks <= MAX_WALKS:
                return self._walk(path)[part]
        return self.collected[part].get(path)

    def _walk(self, path: Path) -> tuple[Position | None, Position | None, bool | None]:
        node, key = self._root, None
        for step in path:
            key, node = self._step(node, step)
        if node is None:
            return (None if path else Position(self._file, 1, 1)), None, None
        quoted = bool(node.style) if isinstance(node, ScalarNode) else None
        return _position(self._file, node), _position(self._file, key) if key else None, quoted

    def _step(self, node: Node | None, step: str | int) -> tuple[Node | None, Node | None]:
        if isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
            return None, node.value[step]
        if isinstance(node, MappingNode):
            # As in `_collect`, the last of equal keys counts.
            pairs = (pair for pair in reversed(node.value) if str(pair[0].value) == step)
            return next(pairs, (None, None))
        return None, None

    @cached_property
    def collected(self) -> tuple[dict[Path, Position], dict[Path, Position], dict[Path, bool]]:
        """Everything at once."""
        found: tuple[dict[Path, Position], dict[Path, Position], dict[Path, bool]] = ({}, {}, {})
        if self._root is not None:
            self._collect(self._root, (), found)
        found[0].setdefault((), Position(self._file, 1, 1))
        return found

    def _collect(
        self,
        node: Node,
        path: Path,
        found: tuple[dict[Path, Position], dict[Path, Position], dict[Path, bool]],
    ) -> None:
        found[0][path] = _position(self._file, node)
        if isinstance(node, ScalarNode):
            found[2][path] = bool(node.style)
        elif isinstance(node, SequenceNode):
            for index, item in enumerate(node.value):
                self._collect(item, (*path, index), found)
        else:
            for key_node, value_node in node.value:
                place = (*path, str(key_node.value))
                found[1][place] = _position(self._file, key_node)
                self._collect(value_node, place, found)

    def view(self, part: int) -> Mapping[Path, Any]:
        return _View(self, part)


class _View(Mapping[Path, Any]):
    """One kind of places as a mapping."""

    def __init__(self, places: _Places, part: int) -> None:
        self._places = places
        self._part = part

    def __getitem__(self, path: Path) -> Any:
        found = self._places.find(path, self._part)
        if found is None:
            raise KeyError(path)
        return found

    def __iter__(self) -> Iterator[Path]:
        return iter(self._places.collected[self._part])

    def __len__(self) -> int:
        return len(self._places.collected[self._part])
