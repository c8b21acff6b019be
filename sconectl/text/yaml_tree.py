"""Reads YAML text into plain values that keep the exact spelling and the position of everything.

In: text and the name to show for it. Out: a `Document` of mappings, lists, strings and None. Scalars are never
interpreted: `0760`, `1e3` and `true` arrive as they were written. Shared by manifests and policies.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from sconectl.errors import InvalidInput
from sconectl.text.findings import Cause, Finding, Position, Severity
from sconectl.text.yaml_nodes import LINE_BREAK, compose, decode, node_position, refusal
from sconectl.text.yaml_nodes import MAX_BYTES as MAX_BYTES
from sconectl.text.yaml_nodes import MAX_DEPTH as MAX_DEPTH
from sconectl.text.yaml_nodes import MAX_NODES as MAX_NODES

Value = dict[str, Any] | list[Any] | str | None
Path = tuple[str | int, ...]

SECRETS = frozenset({"value", "content"})  # fields of manifests and policies whose content no message may show
_FIELD = re.compile("[a-z][a-z_]*\\Z")
MAX_FAULTS = 1000  # of one file; whoever has more does not read them
MAX_SHOWN = 1000  # characters of a path
MAX_WALKS = 64  # from the root to one place, before all places are collected


@dataclass
class Document:
    """One YAML document: its `value`, the position of each path in it, and the tags that were written.

    `text` is the whole file, for messages that show it (`lines_of`), and `lines` are the numbers of the lines in it
    that belong to this document.
    """

    file: str
    value: Value
    positions: Mapping[Path, Position]
    key_positions: Mapping[Path, Position] = field(default_factory=dict)
    tags: dict[Path, str] = field(default_factory=dict)
    quoted: Mapping[Path, bool] = field(default_factory=dict)
    text: str = ""
    lines: range = range(1, sys.maxsize)

    def position(self, path: Path) -> Position:
        """Return where `path` stands, or where its nearest existing parent does."""
        while path and path not in self.positions:
            path = path[:-1]
        return self.positions[path]

    def key_position(self, path: Path) -> Position:
        """Return where the key of `path` stands (for messages about the key itself)."""
        return self.key_positions.get(path) or self.position(path)

    def finding(
        self,
        severity: Severity,
        code: str,
        path: Path,
        message: str,
        hint: str = "",
        cause: Cause | None = None,
        *,
        at_key: bool = False,
    ) -> Finding:
        """Return a finding about the field at `path`, at its value, or with `at_key` at its key."""
        position = self.key_position(path) if at_key else self.position(path)
        return Finding(severity, code, position, show_path(path), message, hint, cause)

    def is_plain(self, path: Path) -> bool:
        """Say whether the text at `path` is written without quotes, so that YAML may take it for a number."""
        return not self.quoted.get(path, True)


def show_path(path: Path) -> str:
    """Render a path the way messages show it: `build.copy[0]`; an absurdly long one is cut off."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else (f".{step}" if text else str(step))
        if len(text) > MAX_SHOWN:  # one long key above many faults would be repeated in all of them
            return f"{text[:MAX_SHOWN]}…"
    return text


def texts_in(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Yield each text in mappings and lists, with its path; `path` is that of `value`. Keys are no texts."""
    if isinstance(value, str):
        yield path, value
        return
    entries = enumerate(value) if isinstance(value, list | tuple) else ()
    for step, item in value.items() if isinstance(value, Mapping) else entries:
        if isinstance(item, str):  # here, and not by calling oneself, which takes longer than all the rest
            yield (*path, step), item
        elif item is not None:
            yield from texts_in(item, (*path, step))


def with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Return a value with `change` applied to each of its texts, but for keys; tuples become lists."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: with_texts(item, change) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [with_texts(item, change) for item in value]
    return value


def is_field(key: str, mapping: Mapping[str, Any]) -> bool:
    """Say whether a key is surely a field's name, and no piece of a secret without quotes: `{value: this, that}`."""
    if key in SECRETS or SECRETS.isdisjoint(mapping):
        return True
    return mapping.get(key) is not None and _FIELD.match(key) is not None


def lines_of(text: str) -> list[str]:
    """Return the lines of a text as positions count them, without their ends.

    The last one is empty: a finding about something missing at the end has its position there.
    """
    lines = LINE_BREAK.split(text)
    return [*lines, ""] if lines[-1] else lines


def parse(
    text: str | bytes,
    file: str,
    *,
    tags: Mapping[str, str] | None = None,
    limit: int = MAX_BYTES,
    most_nodes: int = MAX_NODES,
) -> Document:
    """Read one YAML document.

    `tags` names the custom tags that are allowed, with the node they stand on (`mapping` or `empty`); `limit` is in
    bytes, and `most_nodes` is for texts of up to 1 MiB. Raises `InvalidInput` for everything that is wrong with the
    text: encoding, size, syntax, depth, alias expansion, duplicate or structured keys, unknown tags, more than one
    document.
    """
    documents = _documents(text, file, tags or {}, limit, most_nodes)
    if len(documents) > 1:
        second = Position(file, documents[1].lines.start, 1)
        raise refusal(second, "expected a single document; a second one begins here", "put it into a file of its own")
    return documents[0]


def parse_all(
    text: str | bytes, file: str, *, tags: Mapping[str, str] | None = None, limit: int = MAX_BYTES
) -> list[Document]:
    """Read all YAML documents of a file; positions are those in the file.

    Documents without content are left out; if there is no other, one of them is returned. The limits are those of one
    document (see `parse`) and hold for all of them together. Raises `InvalidInput`.
    """
    documents = _documents(text, file, tags or {}, limit, MAX_NODES)
    return [document for document in documents if document.value is not None] or documents[:1]


def _documents(text: str | bytes, file: str, tags: Mapping[str, str], limit: int, most_nodes: int) -> list[Document]:
    raw = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    decoded = decode(raw, file, limit)
    roots: list[Node | None] = [*compose(decoded, file, limit, most_nodes)] or [None]
    spans = _spans(decoded, len(roots)) if len(roots) > 1 else [range(1, sys.maxsize)]
    documents, findings = [], []
    for root, span in zip(roots, spans, strict=True):
        reader = _Reader(file, tags)
        value = reader.read(root) if root is not None else None
        findings += reader.findings
        places = _Places(file, root)
        views = (places.view(0), places.view(1), reader.tags, places.view(2))
        documents.append(Document(file, value, *views, text=decoded, lines=span))
    if findings:
        raise InvalidInput(findings)
    return documents


_MARKER = re.compile(r"---(?!\S)")


def _spans(text: str, count: int) -> list[range]:
    """Return the lines of each of several documents; all but the first begin with a marker of their own."""
    markers = [number for number, line in enumerate(lines_of(text), 1) if _MARKER.match(line)]
    starts = [1, *markers[1 - count :]]
    return [range(start, end) for start, end in zip(starts, [*starts[1:], sys.maxsize], strict=True)]


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

    def fault(self, node: Node, path: Path, message: str, hint: str = "") -> None:
        secret = next((number for number, step in enumerate(path) if step in SECRETS), len(path))
        field = show_path(path[: secret + 1])
        self.findings.append(Finding("error", "SC1001", node_position(self.file, node), field, message, hint))
        if len(self.findings) == MAX_FAULTS:
            raise InvalidInput(self.findings)

    def read(self, node: Node) -> Value:
        if len(self.path) > MAX_DEPTH:
            raise refusal(node_position(self.file, node), f"nested deeper than {MAX_DEPTH} levels")
        node.end_mark = None  # nobody asks for it, and a large file has a million
        if node.ctag.suffix:  # looked at first because the whole tag takes time to put together
            self._tag(node, str(node.tag))
        if isinstance(node, ScalarNode):
            text: str = node.value
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
        raise refusal(node_position(self.file, node), "not a mapping, list or scalar")  # pragma: no cover

    def _paired(self, node: Node, text: str) -> str:
        """Join characters that JSON escapes as two halves (surrogates); half a character alone is a fault."""
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
            key = key_node.value = sys.intern(key)  # most keys are there many times
            key_node.end_mark = None
            if key == "<<" and not key_node.style:
                hint = "write the fields out"
                self.fault(key_node, tuple(self.path), "merge keys (<<) are not supported", hint)
                continue
            if key in result:
                place = (*self.path, key) if is_field(key, result) else tuple(self.path)
                self.fault(key_node, place, "the key is given twice", "remove one of them")
                continue
            self.path.append(key)
            result[key] = self.read(value_node)
            self.path.pop()
        return result


class _Places:
    """The positions in a document, worked out on demand, since most documents have no fault to point at.

    The first positions are found by walking to each; after `MAX_WALKS` all of them are collected.
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
        return node_position(self._file, node), node_position(self._file, key) if key else None, quoted

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
        """Positions of values, positions of keys, and quoting, each by path."""
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
        found[0][path] = node_position(self._file, node)
        if isinstance(node, ScalarNode):
            found[2][path] = bool(node.style)
        elif isinstance(node, SequenceNode):
            for index, item in enumerate(node.value):
                self._collect(item, (*path, index), found)
        else:
            for key_node, value_node in node.value:
                place = (*path, str(key_node.value))
                found[1][place] = node_position(self._file, key_node)
                self._collect(value_node, place, found)

    def view(self, part: int) -> Mapping[Path, Any]:
        return _View(self, part)


class _View(Mapping[Path, Any]):
    """One kind of positions as a mapping."""

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
