"""Writes plain values as YAML text: the same value gives the same bytes, in a form that people like to review.

Strings are quoted unless every YAML 1.1 and 1.2 reader would take them for the same string; multi-line strings
become literal blocks where that is exact, and double-quoted text otherwise. Keys keep the order they are given in.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

_SAFE_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./+-]*(?: [A-Za-z0-9_./+-]+)*\Z")
_AMBIGUOUS = frozenset("y n yes no true false on off null nan inf none".split())
# Without U+2028 and U+2029: YAML 1.1 takes them for line breaks. The pattern compiles slowly, and few texts need it.
_BLOCK_TEXT = r"[\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff]+"
_ASCII_BLOCK_TEXT = re.compile(r"[\t\n\x20-\x7e]+")
_LONG_KEY = 1000  # readers look at most 1024 characters ahead for the colon that makes a text a key


@dataclass(frozen=True)
class Tagged:
    """A collection that is written behind a tag of its own, like `!akv`."""

    tag: str
    value: Mapping[str, Any] | Sequence[Any]


def dump(value: Any, *, comment: str = "") -> str:
    """Return `value` (mappings, sequences, str, int, finite float, bool, None) as one YAML document.

    Entries of mappings may be `Tagged`. `comment` is written above it, each of its lines behind `# `. Raises
    `TypeError` for other types.
    """
    head = _comment(comment) if comment else ""
    if not _is_collection(value) or not value:
        return head + _scalar(value) + "\n"
    lines: list[str] = []
    _block(value, 0, lines)
    return head + "\n".join(lines) + "\n"


@lru_cache(maxsize=16)
def _comment(text: str) -> str:
    visible = "".join(c if c.isprintable() or c == "\n" else " " for c in text)
    return "".join(f"# {line}".rstrip() + "\n" for line in visible.splitlines())


def _is_collection(value: Any) -> bool:
    if isinstance(value, (dict, list, tuple)):  # asked first because it is quick
        return True
    return isinstance(value, (Mapping, Sequence)) and not isinstance(value, (str, bytes))


def _block(value: Any, indent: int, lines: list[str]) -> None:
    pad = " " * indent
    if isinstance(value, (dict, Mapping)):
        for key, item in value.items():
            text = _text(str(key))
            if len(text) > _LONG_KEY:
                lines.append(f"{pad}? {text}")
                text = ""
            _entry(f"{pad}{text}:", item, indent, lines)
        return
    for item in value:
        if not isinstance(item, str) and _is_collection(item) and item:
            start = len(lines)
            _block(item, indent + 2, lines)
            lines[start] = f"{pad}- {lines[start][indent + 2 :]}"
        else:
            _entry(f"{pad}-", item, indent, lines)


def _entry(head: str, item: Any, indent: int, lines: list[str]) -> None:
    if isinstance(item, str):
        if "\n" in item and _fits_block(item):
            lines.extend(_literal(head, item, indent))
        else:
            lines.append(f"{head} {_text(item)}")
    elif isinstance(item, Tagged):
        _entry(f"{head} {item.tag}", item.value, indent, lines)
    elif _is_collection(item) and item:
        lines.append(head)
        _block(item, indent + 2, lines)
    else:
        lines.append(f"{head} {_scalar(item)}")


def _fits_block(text: str) -> bool:
    fits = _ASCII_BLOCK_TEXT.fullmatch(text) if text.isascii() else re.fullmatch(_BLOCK_TEXT, text)
    return bool(fits) and text.strip("\n ") != "" and not text.startswith("\n")


def _literal(head: str, text: str, indent: int) -> list[str]:
    body = text[:-1] if text.endswith("\n") else text
    chomp = "-" if body == text else ("+" if body.endswith("\n") else "")
    hint = "2" if text.startswith((" ", "\t")) else ""
    pad = " " * (indent + 2)
    return [f"{head} |{hint}{chomp}", *(pad + line if line else "" for line in body.split("\n"))]


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        text = repr(value)
        return text if "." in text else text.replace("e", ".0e")  # YAML 1.1 takes 1e-07 for a text
    if isinstance(value, Mapping) and not value:
        return "{}"
    if isinstance(value, Sequence) and not isinstance(value, bytes) and not value:
        return "[]"
    raise TypeError(f"cannot write {type(value).__name__} as YAML")


def _text(text: str) -> str:
    if _SAFE_PLAIN.match(text) and text.lower() not in _AMBIGUOUS:
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    if quoted.isprintable():
        return quoted
    return "".join(
        c if c.isprintable() else (f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}") for c in quoted
    )
