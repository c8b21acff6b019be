"""Which secrets a text names, and whether what it takes of them is confidential.

In: text with `$$SCONE::name:format$$`. Out: names and uses. Malformed placeholders are left to `secret_use`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

START = "$$SCONE::"
_USE = re.compile(r"\$\$SCONE::(?P<name>[^\s\0$:|/]+)(?P<form>(?::[a-z0-9-]+)*)(?:\|escape\(json\))?\$\$")
_OLD_SUFFIXES = frozenset({"crt", "key", "chain", "hex"})
_PUBLIC_FORMS = ("crt", "chain", "spki", "publickey")
_CERTIFICATES = frozenset({"x509", "x509-ca"})


class Use(NamedTuple):
    """One placeholder: the name as written, the name without an old suffix (`.crt`), and the form."""

    name: str
    stem: str
    form: str

    def is_public(self, kind: str | None) -> bool:
        """Say whether this form of a secret of this kind may be known to everybody."""
        if kind == "public-key" or self.form.startswith(_PUBLIC_FORMS):
            return True
        return kind in _CERTIFICATES and not self.form


def uses_in(text: str) -> Iterator[Use]:
    """Yield the placeholders in `text`."""
    if START in text:
        for found in _USE.finditer(text):
            name, form = found["name"], found["form"].removeprefix(":")
            stem, _, suffix = name.rpartition(".")
            old = suffix if stem and suffix in _OLD_SUFFIXES else ""
            yield Use(name, stem if old else name, form or old)


def used_in(text: str) -> set[str]:
    """Return the names of the secrets in `text`, those with an old suffix also without it."""
    return {name for use in uses_in(text) for name in (use.name, use.stem)}
