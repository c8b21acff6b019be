"""The value of a secret: as programs get it (`Value`), and as a row of the store (`Stored`).

In: the fields of a value, or the plain JSON values in which another CAS sends one. Out: `Value` and `Stored`. Raises
`ValueError` for other JSON values.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sconectl.policy.forms.placeholders import FORMATS
from sconectl.policy.reading import Secret

EXPLICIT = "explicit"
"""The parameters of a value that the session states itself."""

Chain = tuple[str, ...]

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True)
class Value:
    """The value of a secret in use.

    `content` is UTF-8 text for ascii, raw bytes for binary, PEM for keys and certificates, ASCII armor for pgp-key,
    a compact token for jwt and JSON for config-fragment. Certificates have their issuers in `chain`, nearest first
    and without themselves, and their PKCS#8 PEM in `private_key` where it is accessible. `renew` is the unix time from
    which on they, or one of their issuers, are made anew.
    """

    kind: str
    content: bytes = field(repr=False)
    chain: Chain = ()
    private_key: bytes | None = field(default=None, repr=False)
    renew: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the value as plain JSON, for another CAS."""
        return {
            "kind": self.kind,
            "content": base64.b64encode(self.content).decode(),
            "chain": list(self.chain),
            "private_key": None if self.private_key is None else base64.b64encode(self.private_key).decode(),
            **({} if self.renew is None else {"renew": self.renew}),
        }

    @classmethod
    def from_dict(cls, document: Any) -> Value:
        """Return the value that `to_dict` wrote; raises `ValueError` for anything else."""
        if not isinstance(document, dict):
            raise ValueError("not a value")
        kind, content = document.get("kind"), document.get("content")
        chain, private_key, renew = (document.get(name) for name in ("chain", "private_key", "renew"))
        if not isinstance(kind, str) or kind not in FORMATS or not isinstance(content, str):
            raise ValueError("not a value")
        if not isinstance(private_key, str | None):
            raise ValueError("not a private key")
        if renew is not None and type(renew) is not int:
            raise ValueError("not a time")
        if not isinstance(chain, list) or not all(isinstance(item, str) for item in chain):
            raise ValueError("not a chain of certificates")
        key = None if private_key is None else base64.b64decode(private_key, validate=True)
        return cls(kind, base64.b64decode(content, validate=True), tuple(chain), key, renew)


@dataclass(frozen=True)
class Stored:
    """One secret that a session has itself, generated or explicit; times are unix seconds.

    `parameters` are those that the value was made with, as JSON, or `explicit`; with other ones, a new value is made.
    """

    kind: str
    parameters: str
    content: bytes = field(repr=False)
    public: bool
    expires: int | None
    renew: int | None


def earliest(*times: int | None) -> int | None:
    """Return the first of some times; those that are None never come."""
    return min((time for time in times if time is not None), default=None)


ImportedValue = Callable[[Secret], Value]
"""Returns the value behind a secret that is imported; raises `CasRefusal`."""

Row = Callable[[str], Stored]
"""Returns the row of a secret that the session has itself; raises `CasRefusal`."""


def written(parameters: Mapping[str, Any]) -> str:
    """Return parameters as canonical JSON."""
    return _ENCODER.encode(parameters)
