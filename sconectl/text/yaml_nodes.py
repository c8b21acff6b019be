"""From the bytes of a file to YAML nodes, whoever wrote them.

In: bytes, the name to show for them, how many are read at most. Out: the decoded text and the root node of each
document in it. What is too large, too deep, not text or not YAML becomes one finding in plain words; messages hold
nothing of the text, because a secret that lacks its quotes may be the very place of the fault.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.cyaml import CParser  # type: ignore[attr-defined]
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent, NodeEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode
from ruamel.yaml.tag import Tag

from sconectl.errors import InvalidInput
from sconectl.text.findings import Finding, Position
from sconectl.text.yaml_stand_ins import Restore, hide

MAX_BYTES = 1 << 20
MAX_DEPTH = 64
SAFE_DEPTH = 400  # levels that the stack of any thread has room for
MAX_NODES = 200_000  # of 1 MiB; aliases count every time they are used, so a billion-laughs file runs into this
MAX_CHARACTERS = 4 << 20  # of 1 MiB
MAX_DOCUMENTS = 10_000

_NO_TYPE = Tag(suffix="")
_CLOSED = re.compile(r"\{\{[ \w.-]*\}\}|[\[{][\w ,:./+=$-]*[\]}]", re.ASCII)
LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_CONTROL = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\ufffe\uffff]")


def decode(raw: bytes, file: str, limit: int) -> str:
    """Return the text of a file without its byte order mark. Raises `InvalidInput`."""
    if len(raw) > limit:
        raise refusal(Position(file, 1, 1), f"the file has {len(raw)} bytes; at most {limit} are read")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise refusal(Position(file, line, 1), "the file is not UTF-8 text", "save it as UTF-8") from None
    if "\0" in text:
        raise refusal(_place(text, text.index("\0"), file), "the file contains a NUL character", "remove it")
    return text


def refusal(position: Position, message: str, hint: str = "") -> InvalidInput:
    """Return the error for text that cannot be read."""
    return InvalidInput([Finding("error", "SC1001", position, "", message, hint)])


def node_position(file: str, node: Node) -> Position:
    """Return where a node begins."""
    return Position(file, node.start_mark.line + 1, node.start_mark.column + 1)


def compose(text: str, file: str, limit: int, most_nodes: int = MAX_NODES) -> list[Node]:
    """Return the root of each document; an empty document between others is an empty scalar.

    Raises `InvalidInput` for broken syntax, and for texts beyond the limits (that of bytes scales the others).
    """
    restores: list[Restore] = []
    try:
        while True:
            try:
                return _restored(_roots(text, file, limit, most_nodes), restores)
            except MarkedYAMLError as error:
                hidden = hide(text, error.problem or "")
                if hidden is None:
                    raise
                text = hidden[0]
                restores.append(hidden[1])
    except MarkedYAMLError as error:
        raise _syntax_error(error, text, file) from None
    except YAMLError:
        found = _CONTROL.search(text)
        where = _place(text, found.start() if found else 0, file)
        message = f"a control character (U+{ord(found[0]):04X})" if found else "a character that YAML does not allow"
        raise refusal(where, f"not valid YAML: {message}", "remove it, or write it as an escape in quotes") from None


def _place(text: str, index: int, file: str) -> Position:
    breaks = list(LINE_BREAK.finditer(text, 0, index))
    return Position(file, len(breaks) + 1, index - (breaks[-1].end() if breaks else 0) + 1)


class _Parser(CParser):  # type: ignore[misc]
    """The C parser without the resolver of implicit types: scalars stay text anyway, and share the tag of no type."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Tag:
        return _NO_TYPE

    def descend_resolver(self, parent: Any, index: Any) -> None:
        pass

    def ascend_resolver(self) -> None:
        pass


def _roots(text: str, file: str, limit: int, most_nodes: int) -> list[Node]:
    # The composer calls itself for every level and would end the process, and a node takes a few hundred bytes:
    # a text that looks deep or full is counted on its events first.
    most_nodes = max(most_nodes, most_nodes * limit // MAX_BYTES)
    if _may_be_deep(text) or _may_be_full(text, most_nodes):
        _check_shape(text, file, most_nodes)
    parser = _Parser(text)
    roots = []
    while parser.check_node():
        roots.append(parser.get_node())
        if len(roots) > MAX_DOCUMENTS:
            raise refusal(node_position(file, roots[-1]), f"more than {MAX_DOCUMENTS} documents in one file")
    if "*" in text and "&" in text:
        for root in roots:
            _Expansion(file, most_nodes, max(MAX_CHARACTERS, 4 * limit)).check(root)
    return roots


def _may_be_deep(text: str) -> bool:
    """Say whether collections might be nested so deep that composing them endangers the stack; quick, never too low.

    Nested block collections begin at growing columns, in front of the first text of a line; at each, a list may stand
    in a mapping without indentation. Everything else begins with a bracket. Of brackets that are closed right behind
    plain text, no more than two are open at a time, so they are not counted.
    """
    if text.count("\r") != text.count("\r\n") or any(rare in text for rare in "\x85\u2028\u2029"):
        return True  # lines that end otherwise than the pattern below knows
    closed = sum(2 if found.startswith("{{") else 1 for found in _CLOSED.findall(text))
    columns = (SAFE_DEPTH - text.count("[") - text.count("{") + closed - 2) // 2 - 2
    return columns <= 0 or re.search(rf"\n[ \t?:-]{{{columns}}}", "\n" + text) is not None


def _may_be_full(text: str, most_nodes: int) -> bool:
    """Say whether there might be more than `most_nodes`; quick, never too low: each follows one of these signs."""
    if 2 * len(text) < most_nodes:
        return False
    pairs = text.count(":") + text.count("?") + text.count("{") + text.count(",")
    return 2 * pairs + text.count("-") + text.count("[") >= most_nodes


def _check_shape(text: str, file: str, most_nodes: int) -> None:
    depth = nodes = 0
    for event in YAML(typ="safe").parse(text):
        nodes += isinstance(event, NodeEvent)
        if isinstance(event, CollectionStartEvent):
            depth += 1
        elif isinstance(event, CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH or nodes > most_nodes:
            limit = f"nested deeper than {MAX_DEPTH} levels" if depth > MAX_DEPTH else f"more than {most_nodes} values"
            raise refusal(Position(file, event.start_mark.line + 1, event.start_mark.column + 1), limit)


def _children(node: Node) -> Iterator[Node]:
    if isinstance(node, MappingNode):
        for pair in node.value:
            yield from pair
    elif not isinstance(node, ScalarNode):
        yield from node.value


class _Expansion:
    """Computes how large a document becomes once its aliases are replaced by their nodes, without replacing them."""

    def __init__(self, file: str, most_nodes: int, most_characters: int) -> None:
        self._file = file
        self._limits = (most_nodes, most_characters)
        self._sizes: dict[int, tuple[int, int]] = {}  # nodes and characters
        self._open: set[int] = set()

    def check(self, root: Node) -> None:
        """Raise `InvalidInput` if it is too large, or if an alias stands inside of its own node."""
        waiting = [(root, False)]
        while waiting:
            node, children_counted = waiting.pop()
            if children_counted:
                self._open.remove(id(node))
                self._sizes[id(node)] = self._size(node)
            elif id(node) in self._open:
                raise self._too_large(node, f"nested deeper than {MAX_DEPTH} levels")
            elif id(node) not in self._sizes:
                self._open.add(id(node))
                waiting.append((node, True))
                waiting += [(child, False) for child in _children(node)]

    def _size(self, node: Node) -> tuple[int, int]:
        sizes = [self._sizes[id(child)] for child in _children(node)]
        nodes = 1 + sum(size[0] for size in sizes)
        characters = sum(size[1] for size in sizes) + (len(node.value) if isinstance(node, ScalarNode) else 0)
        if nodes > self._limits[0]:
            raise self._too_large(node, f"more than {self._limits[0]} values")
        if characters > self._limits[1]:
            raise self._too_large(node, f"more than {self._limits[1]} characters")
        return nodes, characters

    def _too_large(self, node: Node, limit: str) -> InvalidInput:
        return refusal(node_position(self._file, node), f"{limit} after expanding aliases", "write the values out")


def _restored(roots: list[Node], restores: list[Restore]) -> list[Node]:
    seen: set[int] = set()
    waiting = list(roots) if restores else []
    while waiting:
        node = waiting.pop()
        if id(node) not in seen:
            seen.add(id(node))
            waiting += _children(node)
            if isinstance(node, ScalarNode):
                for restore in restores:
                    node.value = restore(node.value)
    return roots


_FIT = "begin the keys of one mapping, or the items of one list, in the same column"
_WORDS = (  # what the parser says, what we say, and what to do
    ("undefined alias", "an alias that is not defined", "put text that begins with * in quotes"),
    ("duplicate anchor", "an anchor that is defined twice", "put text that begins with & in quotes"),
    ("scanning an alias", "text cannot begin with *", "put it in quotes"),
    ("scanning an anchor", "text cannot begin with &", "put it in quotes"),
    ("tab character", "a tab where spaces are expected", "indent with spaces"),
    ("mapping values are not allowed", "a key is not expected here", f"put text that holds ': ' in quotes; {_FIT}"),
    ("scanning a quoted scalar found unexpected", "a quote that is never closed", "close it, or write '' for ' in it"),
    ("',' or ']'", "a list in brackets is not closed, or lacks a comma", "put text that begins with [ in quotes"),
    ("',' or '}'", "a mapping in braces is not closed, or lacks a comma", "put text that begins with { in quotes"),
    ("unexpected ':'", "a colon inside of unquoted text", "put the text in quotes"),
    ("expected ':'", "text without a colon among the keys of a mapping", "write `key: value`"),
    ("parsing a quoted scalar", "a \\ that begins no escape", "write \\\\ for it, or use single quotes"),
    ("flow node", "something is missing between brackets or braces", "close each [ and {, or put the text in quotes"),
    ("node content", "a value cannot begin with this character", "put the text in quotes"),
    ("block scalar", "something that does not belong after | or >", "begin the text on the next line"),
    ("directive", "a line that begins with % and is not known", "remove it"),
    ("incompatible YAML", "another version of YAML", "remove the line that begins with %YAML"),
    ("tag", "a broken tag", "put text that begins with ! in quotes"),
    ("", "the indentation does not fit what stands above", _FIT),
)
_AT_THE_BEGINNING = ("scanning a quoted scalar", "',' or ']'", "',' or '}'")  # where the open quote or bracket stands


def _syntax_error(error: MarkedYAMLError, text: str, file: str) -> InvalidInput:
    said = f"{error.context or ''} {error.problem or ''}"
    mark = error.problem_mark or error.context_mark
    if error.context_mark is not None and any(words in said for words in _AT_THE_BEGINNING):
        mark = error.context_mark
    where = Position(file, mark.line + 1, mark.column + 1) if mark else Position(file, 1, 1)
    if "cannot start any token" in said:
        lines = LINE_BREAK.split(text)
        if mark and lines[mark.line][mark.column : mark.column + 1] == "\t":
            message, hint = "a tab where spaces are expected", "indent with spaces"
        else:
            message, hint = "text cannot begin with this character", "put text that begins with @, ` or % in quotes"
    else:
        message, hint = next((ours, hint) for words, ours, hint in _WORDS if words in said)
    return refusal(where, f"not valid YAML: {message}", hint)
