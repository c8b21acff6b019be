"""One request as the endpoints see it: its client, its parameters and its body.

In: an ASGI scope and its stream. Out: names, principals and bodies, checked for form and size. Raises `CasRefusal`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs

from starlette.types import Receive, Scope

from sconectl.cas.bounds.lanes import Abandoned, Customer
from sconectl.cas.bounds.limits import Limits
from sconectl.cas.bounds.memory_budget import SMALL, Budget
from sconectl.cas.bounds.refusal import Busy, CasRefusal
from sconectl.cas.http.http_protocol import CUSTOMER, PEER_CERTIFICATE, PEER_CHAIN
from sconectl.cas.sessions.access import Principal

NO_CERTIFICATE = "This needs a TLS client certificate"
MALFORMED = "The request is malformed"
_MISSING = object()
_CACHED_CERTIFICATE = 4096  # bytes; a cache that strangers fill holds nothing large


class Call:
    """A request that is being answered."""

    def __init__(self, scope: Scope, receive: Receive, limits: Limits, bodies: Budget) -> None:
        self._scope = scope
        self._receive = receive
        self._limits = limits
        self._bodies = bodies
        self._held = 0

    @property
    def customer(self) -> Customer:
        """The customer who waits for the answer."""
        found: Customer = self._scope["state"][CUSTOMER]
        return found

    @property
    def parameter(self) -> str:
        """The part of the path that the route leaves open, decoded."""
        [value] = self._scope["path_params"].values()
        return str(value)

    def query(self, key: str) -> str | None:
        """Return a value of the query, or None."""
        raw = self._scope["query_string"]
        if not raw:
            return None
        try:
            found = parse_qs(raw.decode("latin-1"), keep_blank_values=True, max_num_fields=8).get(key)
        except ValueError as error:
            raise CasRefusal(400, MALFORMED, "The query has too many fields") from error
        return found[0] if found else None

    def principal(self) -> Principal | None:
        """Return the owner of the client certificate, or None without one; raises 401 if it cannot be used."""
        certificate = self._scope["state"].get(PEER_CERTIFICATE)
        if certificate is None:
            return None
        try:
            return _principal(certificate) if len(certificate) <= _CACHED_CERTIFICATE else Principal.of(certificate)
        except ValueError as error:
            raise CasRefusal(401, "The TLS client certificate cannot be used", str(error)) from error

    def channel(self) -> bytes:
        """Return the client certificate (DER); raises 401 without one."""
        certificate: bytes | None = self._scope["state"].get(PEER_CERTIFICATE)
        if certificate is None:
            raise CasRefusal(401, NO_CERTIFICATE)
        return certificate

    def peer_chain(self) -> list[bytes]:
        """Return the certificates that the client presented (DER), its own first; raises 401 if there are none."""
        self.channel()
        return list(self._scope["state"][PEER_CHAIN]())

    async def body(self, limit: int | None = None) -> bytes:
        """Return the body, of at most `limit` bytes; one that announces more is not read.

        Raises `CasRefusal` 413, `Busy` if all bodies together take too much memory, `Abandoned` if the client hangs up.
        """
        limit = limit or self._limits.body_bytes
        too_large = CasRefusal(413, f"The body has more than {limit} bytes")
        for name, value in self._scope["headers"]:
            if name == b"content-length":
                if int(value) > limit:
                    raise too_large
                self._hold(int(value))
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Abandoned
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > limit:
                raise too_large
            self._hold(size)
            if not message.get("more_body", False):
                return b"".join(parts)

    def _hold(self, size: int) -> None:
        """Count a body of `size` bytes among all that are held."""
        if size > max(SMALL, self._held):
            if not self._bodies.take(self.customer.address, size - self._held):
                raise Busy("Too many large bodies are being worked on")
            self._held = size

    def release(self) -> None:
        """Count the body no more."""
        if self._held:
            self._bodies.give_back(self.customer.address, self._held)
            self._held = 0

    async def json(self, **kinds: type | tuple[type, ...]) -> dict[str, Any]:
        """Return the JSON object in a short body. It has exactly the keys of `kinds`, with values of these types.

        A key whose types include `NoneType` may be missing and is then None.
        """
        return message_in(await self.body(self._limits.attest_bytes), **kinds)

    async def json_object(self) -> dict[str, Any]:
        """Return the JSON object in a short body, whatever its keys."""
        found = _plain(await self.body(self._limits.attest_bytes))
        if not isinstance(found, dict):
            raise CasRefusal(400, MALFORMED, "Expected a JSON object")
        return found


def message_in(body: bytes, **kinds: type | tuple[type, ...]) -> dict[str, Any]:
    """Return the JSON object in `body`, which has exactly the keys of `kinds` (see `Call.json`)."""
    found = _plain(body)
    if not isinstance(found, Mapping) or not set(found) <= set(kinds):
        raise CasRefusal(400, MALFORMED, f"Expected a JSON object with {', '.join(sorted(kinds))}")
    message = {key: found.get(key, None if _optional(kind) else _MISSING) for key, kind in kinds.items()}
    for key, kind in kinds.items():
        if message[key] is _MISSING or not isinstance(message[key], kind):
            raise CasRefusal(400, MALFORMED, f"{key} is missing or of another type")
    return message


def _plain(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise CasRefusal(400, MALFORMED, "The body is not JSON") from error


def _optional(kind: type | tuple[type, ...]) -> bool:
    return isinstance(kind, tuple) and type(None) in kind


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number")


@lru_cache(maxsize=256)
def _principal(certificate: bytes) -> Principal:
    return Principal.of(certificate)
