"""A CAS behind its REST interface, trusted by its key and not by names or public authorities.

In: an address, the client identity and the expected or pinned key. Out: a `SessionStore`. Raises `CasUnreachable`,
`CasNotTrusted` and `CasRefused`, each with a remedy.
"""

from __future__ import annotations

import json
import secrets
import ssl
from collections.abc import Callable
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from cryptography import x509

from sconectl.cas.client import trust
from sconectl.cas.client.connection import ATTEMPTS, Answer, Connection
from sconectl.cas.client.identity import CasConfig
from sconectl.cas.client.refusal_hints import refused
from sconectl.cas.client.tolerance import Tolerance, judge
from sconectl.cas.keys import certificates
from sconectl.errors import CasError, CasNotTrusted, UsageError
from sconectl.key_hash import key_hash
from sconectl.ports import ListedSession, Receipt, StoredSession, VolumeState

DEFAULT_PORT = 8081
_CHAIN_PATH = "/v1/sim/certificate-chain"
_NONCE_BYTES = 32
_NO_RESOURCE = "There is no such resource"


def normal_address(cas_url: str) -> str:
    """Return `host:port` for `[https://]host[:port]`; raises `UsageError` for anything else."""
    bare = cas_url.removeprefix("https://").rstrip("/")
    try:
        parts = urlsplit(f"https://{bare}")
        host, port = parts.hostname, DEFAULT_PORT if parts.port is None else parts.port
    except ValueError:
        host, port = None, 0
    if not host or not port or "://" in bare or set("/?#@ ") & set(bare):
        raise UsageError(f"{cas_url!r} is no address of a CAS", hint="write local, HOST or HOST:PORT")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class HttpCas:
    """A `SessionStore` that speaks to a CAS over mutual TLS."""

    def __init__(
        self,
        cas_url: str,
        config: CasConfig,
        *,
        cas_key: str | None = None,
        tolerance: Tolerance | None = None,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        self._address = normal_address(cas_url)
        self._config = config
        self._notify = notify or (lambda _: None)
        tolerance = tolerance or Tolerance()
        expected = cas_key or tolerance.cas_key
        attempts = ATTEMPTS if tolerance.retries is None else tolerance.retries + 1
        self.chain_pem = self._fetch_chain(attempts)
        self.cas_key = self._trusted_key(expected)
        self._connection = Connection(self._address, self._trusting(), attempts=attempts)
        try:
            self.evidence = self._attested(tolerance)
        except BaseException:
            self.close()
            raise
        self._remember(told=expected is not None)

    @property
    def address(self) -> str:
        """The name of this CAS in messages."""
        return self._address

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def read(self, name: str, hash_: str | None = None) -> StoredSession | None:
        """Return the active session, or the version with this hash, or None; raises `CasRefused`."""
        answer = self._named("/v1/sessions/", name, "" if hash_ is None else f"?hash={quote(hash_, safe='')}")
        if answer is None:
            return None
        return StoredSession(_text(answer, "session", self._address), _text(answer, "hash", self._address))

    def hash_of(self, name: str) -> str | None:
        """Return the hash of the active session, or None; raises `CasRefused` if it may not be known."""
        answer = self._named("/v1/hashes/", name)
        return None if answer is None else _text(answer, "hash", self._address)

    def list_sessions(self, namespace: str = "/") -> tuple[ListedSession, ...]:
        """Return the sessions right in a namespace, `/` for the top level, sorted by name; raises `CasRefused`."""
        answer = self._answer(self._connection.get(f"/v1/sessions?namespace={quote(namespace, safe='/')}"))
        found = answer.get("sessions")
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            raise _not_understood(self._address)
        listed = [
            ListedSession(
                _text(item, "name", self._address), _text(item, "hash", self._address) if "hash" in item else None
            )
            for item in found
        ]
        return tuple(sorted(listed, key=lambda session: session.name))

    def put(self, text: str) -> str:
        """Create or update the session in `text` (YAML, or the JSON of a signed or encrypted one); return its hash.

        Raises `CasRefused`.
        """
        return self.upload(text).hash

    def upload(self, text: str) -> Receipt:
        """Do what `put` does, and tell what that was.

        It is sent once at most: repeated after a lost answer, it would tell of an unchanged session that was changed.
        """
        answer = self._answer(self._connection.post("/v1/sessions", text.encode()))
        for warning in answer.get("warnings") or ():
            self._notify(f"warning: the CAS {self._address} says: {warning}")
        return Receipt(_text(answer, "hash", self._address), _outcome(answer))

    def volumes(self, session: str) -> tuple[VolumeState, ...]:
        """Return the states of the volumes that a session owns; none if the CAS does not tell; raises `CasRefused`."""
        answer = self._named("/v1/sim/volumes/", session, otherwise=_NO_RESOURCE)
        return () if answer is None else volume_states(answer.get("volumes"), self._address)

    def accept(self, session: str, volume: str, old: str | None, new: str | None) -> None:
        """Make `new` the tag of a volume instead of `old`; raises `CasRefused`."""
        request = {"session": session, "volume": volume, "old": old, "new": new}
        self._answer(self._connection.post("/v1/sim/volumes", json.dumps(request).encode()))

    def encryption_key(self) -> str:
        """Return the key for which sessions are encrypted (64 hex digits), as the CAS has proved it."""
        return self.evidence.encryption_key

    def attest(self, nonce: str) -> Any:
        """Return the report of the CAS for `nonce` as it came, to be verified elsewhere; raises `CasRefused`."""
        return self._answer(self._connection.get(f"/v1/attest?nonce={nonce}"))

    def version(self) -> str:
        """Return the version of the CAS."""
        return _text(self._answer(self._connection.get("/v1/version")), "version", self._address)

    def _attested(self, tolerance: Tolerance) -> trust.Evidence:
        nonce = secrets.token_hex(_NONCE_BYTES)
        evidence = trust.verify_report(self.attest(nonce), nonce)
        if evidence.cas_key != self.cas_key:
            raise CasNotTrusted(
                f"the report of the CAS {self._address} is signed for another CAS key, {evidence.cas_key}",
                hint="an attacker may be between you and the CAS; do not go on before you know why",
            )
        if refusals := judge(tolerance, evidence):
            raise CasNotTrusted(
                f"the CAS {self._address} is not trustworthy: " + "; ".join(refusals),
                hint="correct the attestation flags (`tolerance`), or use the CAS that they describe",
            )
        return evidence

    def _fetch_chain(self, attempts: int) -> str:
        """Return the issuers that the CAS names; nothing is believed before their root matches the known key."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        stranger = Connection(self._address, context, attempts=attempts)
        try:
            response = stranger.get(_CHAIN_PATH)
        finally:
            stranger.close()
        if response.status != 200:
            raise CasNotTrusted(
                f"what answers at {self._address} is not a CAS that sconectl can identify",
                hint="check host and port; only the CAS of `sconectl cas serve` is supported in this version",
            )
        return response.body.decode("ascii", "replace")

    def _trusted_key(self, expected: str | None) -> str:
        try:
            chain = x509.load_pem_x509_certificates(self.chain_pem.encode())
        except ValueError as error:
            raise CasNotTrusted(
                f"the CAS {self._address} answers with a broken certificate chain", hint="check host and port"
            ) from error
        self._root = chain[-1]
        found = key_hash(self._root.public_key())
        known = expected or self._config.pinned(self._address)
        if known is not None and found != known:
            what = "the expected key" if expected else "the key known from before"
            raise CasNotTrusted(
                f"the CAS {self._address} has the key {found}, which is not {what} {known}",
                hint="an attacker may be between you and the CAS. If the CAS was set up anew, get its key hash on its "
                "machine with `sconectl cas show-identification` and give it as cas_key, or remove the address from "
                f"{self._config.directory / 'config.json'}",
            )
        return found

    def _trusting(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # The CAS is identified by its key; its names (`cas`, `localhost`) say nothing about where it runs.
        context.check_hostname = False
        context.load_verify_locations(cadata=certificates.certificate_pem(self._root))
        context.load_cert_chain(self._config.identity().file)
        return context

    def _remember(self, *, told: bool) -> None:
        if self._config.pinned(self._address) == self.cas_key:
            return
        self._config.pin(self._address, self.cas_key)
        if not told:
            self._notify(
                f"First contact with the CAS {self._address}: its key {self.cas_key} is trusted from now on. "
                "Compare it with what `sconectl cas show-identification` prints on the machine of the CAS."
            )

    def _named(
        self, path: str, name: str, query: str = "", *, otherwise: str = "Session not found"
    ) -> dict[str, Any] | None:
        response = self._connection.get(path + ("%2F" if name == "/" else quote(name, safe="/")) + query)
        if response.status == 404 and any(otherwise in cause for cause in response.causes()):
            return None
        return self._answer(response)

    def _answer(self, response: Answer) -> dict[str, Any]:
        if response.status not in (200, 201):
            raise refused(self._address, response.status, response.causes())
        answer = response.json()
        if not isinstance(answer, dict):
            raise _not_understood(self._address)
        return answer


def _outcome(answer: dict[str, Any]) -> Literal["created", "updated", "unchanged", "stored"]:
    if answer.get("unchanged") is True:
        return "unchanged"
    created = answer.get("created")
    return "stored" if not isinstance(created, bool) else "created" if created else "updated"


def _text(answer: dict[str, Any], key: str, address: str) -> str:
    value = answer.get(key)
    if not isinstance(value, str):
        raise CasError(f"the answer of the CAS {address} has no {key}", hint="check its version")
    return value


def volume_states(found: Any, address: str) -> tuple[VolumeState, ...]:
    """Return the states of volumes in the answer of a CAS; raises `CasError`."""
    try:
        return tuple(
            VolumeState(
                volume["name"],
                volume["tag"],
                (volume["in_use"]["by"], volume["in_use"]["until"]) if volume["in_use"] else None,
                (volume["accepted"]["by"], volume["accepted"]["at"]) if volume["accepted"] else None,
            )
            for volume in found
        )
    except (KeyError, TypeError) as error:
        raise _not_understood(address) from error


def _not_understood(address: str) -> CasError:
    return CasError(f"the CAS {address} gave an answer that is not understood", hint="check its version")
