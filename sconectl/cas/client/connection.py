"""Requests to one CAS over one kept connection, repeated where that is safe.

In: an address, a TLS context, requests. Out: answers of bounded size. A GET is repeated after any failure of the
transport or a transient status; anything else only if nothing was done: no connection could be made, or the CAS says
that it is busy. Raises `CasUnreachable` and `CasNotTrusted`.
"""

from __future__ import annotations

import json
import secrets
import socket
import ssl
import time
import weakref
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from sconectl.errors import CasError, CasNotTrusted, CasUnreachable, UsageError
from sconectl.proxies import proxy_for, shown_proxy

ATTEMPTS = 3
_MAX_ANSWER = 1 << 23
_TIMEOUT = httpx.Timeout(30, connect=10)
# Less than the 75 seconds after which the server closes: a kept connection must not be closed while we write to it.
_LIMITS = httpx.Limits(max_keepalive_connections=4, keepalive_expiry=30)
_TRANSIENT = frozenset({502, 503, 504})
_FIRST_PAUSE = 0.2
_DATES = frozenset({9, 10})
"""X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL."""
_PROXY_HINT = "correct HTTPS_PROXY (or ALL_PROXY), or add {} to NO_PROXY if it is reached directly"


@dataclass(frozen=True)
class Answer:
    """Status and body of an answer."""

    status: int
    body: bytes
    again: bool = False
    """Whether the CAS was too busy and did nothing, so that the request may be repeated in a moment."""

    def json(self) -> Any:
        """Return the body as plain values, or None if it is not JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    def causes(self) -> list[str]:
        """Return the reasons of a refusal, outermost first."""
        answer = self.json()
        causes = answer.get("msg") if isinstance(answer, dict) else None
        return [str(cause) for cause in causes] if isinstance(causes, list) else []


class Connection:
    """A kept connection to `address` (host:port); may be used by many threads."""

    def __init__(self, address: str, context: ssl.SSLContext, *, attempts: int = ATTEMPTS) -> None:
        self._address = address
        self._attempts = attempts
        parts = urlsplit(f"https://{address}")
        self._proxy = proxy_for(parts.hostname or "", parts.port or 0)
        try:
            self._client = httpx.Client(
                verify=context, timeout=_TIMEOUT, limits=_LIMITS, trust_env=False, proxy=self._proxy
            )
        except (ValueError, ImportError, httpx.InvalidURL) as error:
            raise UsageError(
                f"the proxy {shown_proxy(self._proxy or '')} cannot be used", hint=_PROXY_HINT.format(address)
            ) from error
        weakref.finalize(self, self._client.close)  # for owners that just drop it

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def get(self, path: str) -> Answer:
        """Ask for `path`, several times if need be."""
        for attempt in range(1, self._attempts):
            try:
                answer = self._exchange("GET", path, None)
                if answer.status not in _TRANSIENT:
                    return answer
            except httpx.TransportError as error:
                failure = self._failure(error, sent=False)
                if isinstance(failure, CasNotTrusted):
                    raise failure from error
            _pause(attempt)
        try:
            return self._exchange("GET", path, None)
        except httpx.TransportError as error:
            raise self._failure(error, sent=False) from error

    def post(self, path: str, content: bytes) -> Answer:
        """Send `content` to `path`; the CAS acts on it once at most."""
        for attempt in range(1, self._attempts + 1):
            try:
                answer = self._exchange("POST", path, content)
                if not answer.again or attempt == self._attempts:
                    return answer
            except httpx.TransportError as error:
                failure = self._failure(error, sent=True)
                unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
                if not unsent or attempt == self._attempts or isinstance(failure, CasNotTrusted):
                    raise failure from error
            _pause(attempt)
        raise AssertionError("unreachable")  # pragma: no cover

    def _exchange(self, method: str, path: str, content: bytes | None) -> Answer:
        body = bytearray()
        with self._client.stream(method, f"https://{self._address}{path}", content=content) as response:
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > _MAX_ANSWER:  # also what nobody has vouched for yet is read here
                    raise CasError(f"the answer of the CAS {self._address} is too large", hint="check host and port")
        again = response.status_code == httpx.codes.SERVICE_UNAVAILABLE and "retry-after" in response.headers
        return Answer(response.status_code, bytes(body), again)

    def _failure(self, error: httpx.TransportError, *, sent: bool) -> CasError:
        causes = _cause_chain(error)
        if any(wrong_time(cause) for cause in causes):
            return CasNotTrusted(
                f"the clock of this machine or that of the CAS {self._address} is wrong: here it is "
                f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, and the certificate of the CAS is not valid at that time",
                hint="compare `date -u` on both machines. If both are right, start the CAS again: it makes a new one",
            )
        if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
            return CasNotTrusted(
                f"the CAS {self._address} cannot prove that it owns its key",
                hint="an attacker may be between you and the CAS; do not go on before you know why",
            )
        if any(isinstance(cause, ssl.SSLError) for cause in causes):
            return CasUnreachable(f"{self._address} does not speak TLS as a CAS does", hint="check host and port")
        if self._proxy is not None and isinstance(error, httpx.ProxyError | httpx.ConnectError | httpx.ConnectTimeout):
            why = f"refuses: {error}" if isinstance(error, httpx.ProxyError) else "does not answer"
            return CasUnreachable(
                f"the CAS {self._address} was not asked: the proxy {shown_proxy(self._proxy)} {why}",
                hint=_PROXY_HINT.format(self._address),
            )
        if any(isinstance(cause, socket.gaierror) for cause in causes):
            return CasUnreachable(f"the host of the CAS {self._address} is not known", hint="check the host name")
        hint = "start one with `sconectl cas serve --detach`, or check host and port"
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return CasUnreachable(f"no CAS answers at {self._address}", hint=hint)
        if sent:
            return CasUnreachable(
                f"the CAS {self._address} gave no answer, and whether it took the session is not known",
                hint="repeat the command; it looks at what is stored first",
            )
        return CasUnreachable(f"the CAS {self._address} gave no answer", hint=hint)


def wrong_time(error: BaseException) -> bool:
    """Say whether a certificate was refused because of its dates: that tells of a wrong clock, not of an attacker."""
    return isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in _DATES


def _pause(attempt: int) -> None:
    time.sleep(_FIRST_PAUSE * 2 ** (attempt - 1) * secrets.SystemRandom().uniform(0.5, 1.5))


def _cause_chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in found:
        found.append(current)
        current = current.__cause__ or current.__context__
    return found
