"""A CAS behind its REST interface, trusted by its key and not by names or public authorities.

In: an address, the client identity and the expected or pinned key. Out: a `SessionStore`. Raises `CasUnreachable`,
`CasNotTrusted` and `CasRefused`, each with a remedy.
"""

from __future__ import annotations

import ipaddress
import json
import secrets
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
from cryptography import x509

from sconectl.cas import certificates
from sconectl.cas.explained import refused
from sconectl.cas.identity import CasConfig
from sconectl.errors import CasError, CasNotTrusted, CasUnreachable, UsageError
from sconectl.key_hash import key_hash
from sconectl.ports import StoredSession

DEFAULT_PORT = 8081
_CHAIN_PATH = "/v1/sim/certificate-chain"
_MAX_ANSWER = 1 << 23
_TIMEOUT = httpx.Timeout(30, connect=10)
_READ_ATTEMPTS = 3
_TRANSIENT = frozenset({502, 503, 504})


def normal_address(cas_url: str) -> str:
    """Return `host:port` for `[https://]host[:port]`; raises `UsageError` for anything else."""
    bare = cas_url.removeprefix("https://").rstrip("/")
    try:
        parts = urlsplit(f"https://{bare}")
        host, port = parts.hostname, parts.port or DEFAULT_PORT
    except ValueError:
        host, port = None, 0
    if not host or "://" in bare or set("/?#@ ") & set(bare):
        raise UsageError(f"{cas_url!r} is no address of a CAS", hint="write local, HOST or HOST:PORT")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes

    def json(self) -> Any:
        """Return the body as plain values, or None if it is not JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    def causes(self) -> list[str]:
        """Return what the CAS gives as reasons of a refusal, outermost first."""
        answer = self.json()
        causes = answer.get("msg") if isinstance(answer, dict) else None
        return [str(cause) for cause in causes] if isinstance(causes, list) else []


class HttpCas:
    """A `SessionStore` that speaks to a CAS over mutual TLS."""

    def __init__(
        self,
        cas_url: str,
        config: CasConfig,
        *,
        cas_key: str | None = None,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        self._address = normal_address(cas_url)
        self._config = config
        self._identity = config.identity()
        self.chain_pem = self._fetch_chain()
        self.cas_key = self._trusted_key(cas_key)
        self._context = self._trusting(self.chain_pem)
        self._remember(cas_key, notify or (lambda _: None))

    @property
    def address(self) -> str:
        """What messages call this CAS."""
        return self._address

    def read(self, name: str) -> StoredSession | None:
        """Return the active session, or None; raises `CasRefused` if it may not be read."""
        response = self._request("GET", f"/v1/sessions/{quote(name, safe='/')}", attempts=_READ_ATTEMPTS)
        if response.status == 404 and any("Session not found" in cause for cause in response.causes()):
            return None
        answer = self._answer(response)
        return StoredSession(_text(answer, "session", self._address), _text(answer, "hash", self._address))

    def put(self, text: str) -> str:
        """Create or update the session in `text` and return its hash; raises `CasRefused`."""
        # Never repeated: if an answer is lost, a repetition would be refused although the session was taken.
        response = self._request("POST", "/v1/sessions", content=text.encode())
        return _text(self._answer(response), "hash", self._address)

    def _fetch_chain(self) -> str:
        """Return the issuers that the CAS names; nothing is believed before their root matches the known key."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        response = self._request("GET", _CHAIN_PATH, attempts=_READ_ATTEMPTS, context=context)
        if response.status != 200:
            raise CasNotTrusted(
                f"what answers at {self._address} is not a CAS that sconectl can identify",
                hint="check host and port; only the CAS of `sconectl cas serve` is supported in this version",
            )
        return response.body.decode("ascii", "replace")

    def _trusted_key(self, cas_key: str | None) -> str:
        try:
            chain = x509.load_pem_x509_certificates(self.chain_pem.encode())
        except ValueError as error:
            raise CasNotTrusted(
                f"the CAS {self._address} answers with a broken certificate chain", hint="check host and port"
            ) from error
        self._root = chain[-1]
        found = key_hash(self._root.public_key())
        expected = cas_key or self._config.pinned(self._address)
        if expected is not None and found != expected:
            known = "the expected key" if cas_key else "the key known from before"
            raise CasNotTrusted(
                f"the CAS {self._address} has the key {found}, which is not {known} {expected}",
                hint="somebody may be in between. If the CAS was set up anew, get its key hash on its machine with "
                "`sconectl cas show-identification` and give it as cas_key, or remove the address from "
                f"{self._config.directory / 'config.json'}",
            )
        return found

    def _trusting(self, chain_pem: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # The CAS is identified by its key; its names (`cas`, `localhost`) say nothing about where it runs.
        context.check_hostname = False
        context.load_verify_locations(cadata=certificates.certificate_pem(self._root))
        context.load_cert_chain(self._identity.file)
        return context

    def _remember(self, cas_key: str | None, notify: Callable[[str], None]) -> None:
        if self._config.pinned(self._address) == self.cas_key:
            return
        self._request("GET", "/health", attempts=_READ_ATTEMPTS)  # only a CAS that owns the key is remembered
        self._config.pin(self._address, self.cas_key)
        if cas_key is None:
            notify(
                f"First contact with the CAS {self._address}: its key {self.cas_key} is trusted from now on. "
                "Compare it with what `sconectl cas show-identification` prints on the machine of the CAS."
            )

    def _request(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        attempts: int = 1,
        context: ssl.SSLContext | None = None,
    ) -> _Answer:
        for attempt in range(1, attempts + 1):
            try:
                with httpx.Client(
                    verify=context or self._context, timeout=_TIMEOUT, trust_env=not _is_here(self._address)
                ) as client:
                    response = self._exchange(client, method, path, content)
            except httpx.TransportError as error:
                failure = self._failure(error, sent=method != "GET")
                if attempt == attempts or isinstance(failure, CasNotTrusted):
                    raise failure from error
            else:
                if attempt == attempts or response.status not in _TRANSIENT:
                    return response
            time.sleep(0.2 * 2**attempt * secrets.SystemRandom().uniform(0.5, 1.5))
        raise AssertionError("unreachable")  # pragma: no cover

    def _failure(self, error: httpx.TransportError, *, sent: bool) -> CasError:
        causes = list(_cause_chain(error))
        if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
            return CasNotTrusted(
                f"the CAS {self._address} cannot prove that it owns the key {self.cas_key}",
                hint="somebody may be in between; do not go on before you know why",
            )
        if any(isinstance(cause, ssl.SSLError) for cause in causes):
            return CasUnreachable(f"{self._address} does not speak TLS as a CAS does", hint="check host and port")
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

    def _exchange(self, client: httpx.Client, method: str, path: str, content: bytes | None) -> _Answer:
        body = bytearray()
        with client.stream(method, f"https://{self._address}{path}", content=content) as response:
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > _MAX_ANSWER:  # also what nobody has vouched for yet is read here
                    raise CasError(f"the answer of the CAS {self._address} is too large", hint="check host and port")
        return _Answer(response.status_code, bytes(body))

    def _answer(self, response: _Answer) -> dict[str, Any]:
        if response.status not in (200, 201):
            raise refused(self._address, response.status, response.causes())
        answer = response.json()
        if not isinstance(answer, dict):
            raise CasError(f"the CAS {self._address} gave an answer that is not understood", hint="check its version")
        return answer


def _is_here(address: str) -> bool:
    """Say whether an address is on this machine, where a proxy from the environment must not be asked."""
    host = urlsplit(f"https://{address}").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _text(answer: dict[str, Any], key: str, address: str) -> str:
    value = answer.get(key)
    if not isinstance(value, str):
        raise CasError(f"the answer of the CAS {address} has no {key}", hint="check its version")
    return value


def _cause_chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in found:
        found.append(current)
        current = current.__cause__ or current.__context__
    return found
