"""One request as the endpoints see it: who asks, for what, and with which body.

In: an ASGI scope and its stream. Out: names, principals and bodies, checked for form and size. Raises `CasRefusal`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs

from starlette.types import Receive, Scope

from sconectl.cas.access import Principal
from sconectl.cas.http_protocol import PEER_CERTIFICATE, PEER_CHAIN
from sconectl.cas.limits import Limits
from sconectl.cas.refusal import CasRefusal

NO_CERTIFICATE = "This needs a TLS client certificate"
MALFORMED = "The request is malformed"
_MISSING = object()


class Call:
    """A request that is being answered."""

    def __init__(self, scope: Scope, receive: Receive, limits: Limits) -> None:
        self._scope = scope
        self._receive = receive
        self._limits = limits

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
        """Return who owns the client certificate, or None without one; raises 401 if it cannot be used."""
        certificate = self._scope["state"].get(PEER_CERTIFICATE)
        if certificate is None:
            return None
        try:
            return _principal(certificate)
        except ValueError as error:
            raise CasRefusal(401, "The TLS client certificate cannot be used", str(error)) from error

    def channel(self) -> bytes:
        """Return the client certificate (DER); raises 401 without one."""
        certificate: bytes | None = self._scope["state"].get(PEER_CERTIFICATE)
        if certificate is None:
            raise CasRefusal(401, NO_CERTIFICATE)
        return certificate

    def peer_chain(self) -> list[bytes]:
        """Return what the client presented (DER), its own certificate first; raises 401 if it presented nothing."""
        self.channel()
        return list(self._scope["state"][PEER_CHAIN])

    async def body(self) -> bytes:
        """Return the body; raises 413 before reading it if its length is announced, 400 if the client hangs up."""
        limit = self._limits.body_bytes
        too_large = CasRefusal(413, f"The body has more than {limit} bytes")
        for name, value in self._scope["headers"]:
            if name == b"content-length" and int(value) > limit:
                raise too_large
        body: bytes = b""
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise CasRefusal(400, "The client hung up")
            body += message.get("body", b"")
            if len(body) > limit:
                raise too_large
            if not message.get("more_body", False):
                return body

    async def json(self, **kinds: type | tuple[type, ...]) -> dict[str, Any]:
        """Return the JSON object in the body. It has exactly the keys of `kinds`, with values of these types.

        A key whose types include `NoneType` may be missing and is then None.
        """
        try:
            found = json.loads(await self.body(), parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            raise CasRefusal(400, MALFORMED, "The body is not JSON") from error
        if not isinstance(found, Mapping) or not set(found) <= set(kinds):
            raise CasRefusal(400, MALFORMED, f"Expected a JSON object with {', '.join(sorted(kinds))}")
        message = {key: found.get(key, None if _optional(kind) else _MISSING) for key, kind in kinds.items()}
        for key, kind in kinds.items():
            if message[key] is _MISSING or not isinstance(message[key], kind):
                raise CasRefusal(400, MALFORMED, f"{key} is missing or of another type")
        return message

    async def json_object(self) -> dict[str, Any]:
        """Return the JSON object in the body, whatever its keys."""
        try:
            found = json.loads(await self.body(), parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            raise CasRefusal(400, MALFORMED, "The body is not JSON") from error
        if not isinstance(found, dict):
            raise CasRefusal(400, MALFORMED, "Expected a JSON object")
        return found


def _optional(kind: type | tuple[type, ...]) -> bool:
    return isinstance(kind, tuple) and type(None) in kind


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number")


@lru_cache(maxsize=256)
def _principal(certificate: bytes) -> Principal:
    return Principal.of(certificate)
