"""What placeholders for secrets stand for (`text.secret_placeholders` reads them): checking, formatting, replacing.

In: text from a policy, and the kinds or values of secrets. Out: placeholders, problems, or the text with the values
in their places. One pass: what a secret's value looks like is never interpreted again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sconectl.text.secret_placeholders import Placeholder, placeholders

_NOT_PRINTABLE_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff]")

_PEM_KEY = {"": "pem", "pem": "pem", "pkcs8:pem": "pem", "der": "der", "pkcs8:der": "der"}
_CERTIFICATE = {
    "": "crt:pem",
    "crt": "crt:pem",
    "crt:pem": "crt:pem",
    "crt:der": "crt:der",
    "privatekey": "privatekey:pem",
    "privatekey:pem": "privatekey:pem",
    "privatekey:pkcs8:pem": "privatekey:pem",
    "privatekey:der": "privatekey:der",
    "privatekey:pkcs8:der": "privatekey:der",
    "chain": "chain",
    "pkcs12-with-private-key": "pkcs12",
}
_PGP = {
    f"{half}:{form}": f"{half}:{form}"
    for half in ("privatekey", "publickey")
    for form in ("asciiarmored", "binary", "base64")
}
_BINARY = {"": "bin", **{name: name for name in ("bin", "hex", "base64", "base64url", "base32", "base32nopad")}}

FORMATS: Mapping[str, Mapping[str, str]] = {
    "ascii": {"": "text"},
    "binary": _BINARY,
    "private-key": _PEM_KEY,
    "public-key": {"": "spki:pem", "spki:pem": "spki:pem", "spki:der": "spki:der"},
    "x509": _CERTIFICATE,
    "x509-ca": _CERTIFICATE,
    "pgp-key": _PGP,
    "aad-token": {"": "text"},
    "config-fragment": {"": "structure"},
    "jwt": {"": "text"},
}
"""The formats of each kind of secret: suffix → format."""

LEGACY: Mapping[str, Mapping[str, str]] = {
    "binary": {"hex": "hex"},
    "x509": {"crt": "crt:pem", "key": "privatekey:pem", "chain": "legacy-chain"},
    "x509-ca": {"crt": "crt:pem", "key": "privatekey:pem", "chain": "legacy-chain"},
}
"""The deprecated suffixes behind a dot."""

BYTES_FORMATS = frozenset(
    {"bin", "der", "spki:der", "crt:der", "privatekey:der", "pkcs12", "privatekey:binary", "publickey:binary"}
)
"""Formats that are not text and so fit injected files only."""

_LEGACY_SUFFIXES = frozenset({"hex", "crt", "key", "chain"})


class PlaceholderError(ValueError):
    """A placeholder is malformed or cannot be filled; `rule` is the broken rule of the language."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule
        self.message = message


@dataclass(frozen=True)
class Target:
    """The secret and format that a placeholder means; `kind` is None for an import without a kind."""

    secret: str
    kind: str | None
    format: str
    legacy: bool


def find(text: str) -> list[Placeholder]:
    """Return the placeholders in `text` from left to right; raises `PlaceholderError` (P1) for a malformed one."""
    found: list[Placeholder] = []
    for placeholder in placeholders(text):
        if placeholder is None:
            raise PlaceholderError(
                "P1", "malformed placeholder; expected $$SCONE::name$$ or $$SCONE::name:format|escape(json)$$"
            )
        found.append(placeholder)
    return found


def target_of(placeholder: Placeholder, kinds: Mapping[str, str | None]) -> Target:
    """Return the secret and format that `placeholder` means among the declared secrets `kinds` (name → kind).

    The full name wins over a legacy dot suffix. Raises `PlaceholderError`: P1 for an undefined secret, P2 for a
    format that the kind does not have.
    """
    name, suffix = placeholder.name, placeholder.suffix
    if name in kinds:
        kind = kinds[name]
        if kind is None:
            return Target(name, None, suffix, legacy=False)
        formats = FORMATS[kind]
        if suffix not in formats:
            allowed = ", ".join(f":{known}" for known in formats if known) or "none"
            raise PlaceholderError("P2", f"a secret of kind {kind} has no such format (possible: {allowed})")
        return Target(name, kind, formats[suffix], legacy=False)
    stem, dot, old = name.rpartition(".")
    if dot and stem in kinds and old in _LEGACY_SUFFIXES and not suffix:
        kind = kinds[stem]
        if kind is None or old in LEGACY.get(kind, {}):
            return Target(stem, kind, LEGACY[kind][old] if kind else f".{old}", legacy=True)
        raise PlaceholderError("P2", f"a secret of kind {kind} has no old format .{old}")
    raise PlaceholderError("P1", f"the secret {name!r} is not defined in this session")


def check(placeholder: Placeholder, kinds: Mapping[str, str | None], *, text_only: bool) -> Target:
    """Check one placeholder (P1, P2, P3) and return its target; `text_only` for arguments and environment."""
    target = target_of(placeholder, kinds)
    if target.format == "structure":
        raise PlaceholderError("P3", "a config-fragment can only stand in sections of the policy itself")
    raw = target.kind is not None and target.format in BYTES_FORMATS
    if raw and text_only:
        raise PlaceholderError("P3", "raw bytes cannot stand here; add a text format such as :hex or :base64")
    if raw and placeholder.escape_json:
        raise PlaceholderError("P3", "raw bytes cannot be escaped as JSON; add a text format such as :hex")
    return target


def escape_json(value: bytes) -> bytes:
    """Return text escaped for the inside of a JSON string, without the quotes."""
    try:
        escaped = json.dumps(value.decode(), ensure_ascii=False)[1:-1]
        return _NOT_PRINTABLE_IN_YAML.sub(lambda match: f"\\u{ord(match[0]):04x}", escaped).encode()
    except UnicodeDecodeError as error:
        raise PlaceholderError("P3", "only text can be escaped as JSON") from error


def substitute(
    text: str, resolve: Callable[[Placeholder], bytes], reserve: Callable[[int], None] = lambda size: None
) -> bytes:
    """Return `text` with each placeholder replaced by the bytes that `resolve` gives for it, in a single pass.

    `resolve` formats the value and is asked once for each spelling; `|escape(json)` is applied here. `reserve` is told
    the size of each piece before the result is put together, and raises if it becomes too large.
    """
    parts: list[bytes] = []
    values: dict[str, bytes] = {}
    at = 0
    for placeholder in find(text):
        if placeholder.text not in values:
            value = resolve(placeholder)
            values[placeholder.text] = escape_json(value) if placeholder.escape_json else value
        before = text[at : placeholder.start].encode()
        reserve(len(before) + len(values[placeholder.text]))
        parts += (before, values[placeholder.text])
        at = placeholder.end
    parts.append(text[at:].encode())
    reserve(len(parts[-1]))
    return b"".join(parts)


def substitute_text(
    text: str, resolve: Callable[[Placeholder], bytes], reserve: Callable[[int], None] = lambda size: None
) -> str:
    """Return `substitute` as text for an argument or variable; raises `PlaceholderError` (P3, S2) if it cannot be."""
    try:
        result = substitute(text, resolve, reserve).decode()
    except UnicodeDecodeError as error:
        raise PlaceholderError("P3", "the value of a secret is not text") from error
    if "\0" in result:
        raise PlaceholderError("S2", "the value of a secret contains a NUL character")
    return result
