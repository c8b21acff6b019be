"""Which secrets a text names, and whether what it takes of them is confidential.

In: text with `$$SCONE::name:format$$`. Out: names and uses. Malformed placeholders are left to `secret_use`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sconectl.text.secret_placeholders import placeholders

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
    for found in filter(None, placeholders(text)):
        stem, _, suffix = found.name.rpartition(".")
        old = suffix if stem and suffix in _OLD_SUFFIXES else ""
        yield Use(found.name, stem if old else found.name, found.suffix or old)


def used_in(text: str) -> set[str]:
    """Return the names of the secrets in `text`, those with an old suffix also without it."""
    return {name for use in uses_in(text) for name in (use.name, use.stem)}
