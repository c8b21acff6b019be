"""Keeps facts about running programs in memory: the numbers that were given out, and the channels that were attested.

In: TLS certificates and times (unix seconds). Out: the program behind a channel. Everything expires, is bounded in
number, and is gone after a restart: then programs attest again.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass

from sconectl.cas.bounds.refusal import CasRefusal

NONCE_SECONDS = 120
CHANNEL_SECONDS = 24 * 3600
_MAX_NONCES = 16384
_MAX_CHANNELS = 4096


class Nonces:
    """Numbers that make a report fresh: each is good for one attestation, soon."""

    def __init__(self) -> None:
        self._given: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def give(self, now: float) -> str:
        """Return a new number as 64 hex digits."""
        nonce = secrets.token_hex(32)
        with self._lock:
            self._given[nonce] = now
            while len(self._given) > _MAX_NONCES:
                self._given.popitem(last=False)
        return nonce

    def take(self, nonce: str | None, now: float) -> bool:
        """Say whether `nonce` was given out, is not too old, and is taken for the first time."""
        with self._lock:
            given = self._given.pop(nonce, None) if nonce is not None else None
        return given is not None and abs(now - given) <= NONCE_SECONDS


@dataclass(frozen=True)
class Attested:
    """The program behind a channel."""

    session: str
    session_hash: str
    service: str
    measurement: str
    since: float


class Channels:
    """The channels whose program was attested; the one that was used longest ago is forgotten first."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Attested] = OrderedDict()
        self._lock = threading.Lock()

    def remember(self, certificate_der: bytes, attested: Attested) -> None:
        """Take note of the program behind the channel with this client certificate."""
        key = _key(certificate_der)
        with self._lock:
            self._known[key] = attested
            self._known.move_to_end(key)
            while len(self._known) > _MAX_CHANNELS:
                self._known.popitem(last=False)

    def behind(self, certificate_der: bytes, now: float) -> Attested:
        """Return the program behind the channel; raises `CasRefusal` 403 if no program attested over it lately."""
        key = _key(certificate_der)
        with self._lock:
            found = self._known.get(key)
            if found is not None and abs(now - found.since) > CHANNEL_SECONDS:
                del self._known[key]
                found = None
            if found is None:
                raise CasRefusal(403, "This connection is not attested", "Attest first, with the same certificate")
            self._known.move_to_end(key)
        return found


def _key(certificate_der: bytes) -> bytes:
    return hashlib.sha256(certificate_der).digest()
