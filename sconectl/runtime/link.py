"""One TLS connection to a CAS, bound to an ephemeral key that only this process holds.

In: address, the key hash that the CAS must have, requests. Out: status and body. The key never touches a disk.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import http.client
import json
import os
import signal
import ssl
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sconectl.key_hash import key_hash
from sconectl.runtime.log import LaunchRefused

DEFAULT_PORT = 8081
_MAX_ANSWER = 16 << 20
_DATES = frozenset({9, 10})
"""OpenSSL's codes for a certificate that is not valid yet, or no more."""


class CasNotReady(Exception):
    """The CAS did not answer; trying again may help. `who` names it for the user."""

    def __init__(self, who: str, reason: str) -> None:
        super().__init__(reason)
        self.who = who


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Limit the time for all of a CAS's answer: one that sends single bytes passes the timeouts of reads.

    Raises `LaunchRefused`. It is for the main thread.
    """

    def expired(_number: int, _frame: object) -> NoReturn:
        raise LaunchRefused(f"the CAS did not finish its answer within {seconds:g} seconds")

    signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@dataclass(frozen=True)
class Channel:
    """The ephemeral identity of this start: certificate (DER) and the key that only this process holds."""

    certificate: bytes
    pem: bytes = field(repr=False)

    def report_data(self) -> str:
        """Return the report data that binds a quote to this channel: the SHA-512 of the certificate, 128 hex digits."""
        return hashlib.sha512(self.certificate).hexdigest()


def open_channel() -> Channel:
    """Draw a key and make a certificate for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "simulated enclave")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + certificate.public_bytes(serialization.Encoding.PEM)
    return Channel(certificate.public_bytes(serialization.Encoding.DER), pem)


def split_address(address: str) -> tuple[str, int]:
    """Split `host[:port]`. Raises `LaunchRefused` if `address` has another form."""
    try:
        parts = urllib.parse.urlsplit("//" + address.removeprefix("https://"))
        host, port = parts.hostname, parts.port or DEFAULT_PORT
    except ValueError as error:
        raise LaunchRefused(f"{address!r} is not an address of the form host[:port]") from error
    if not host:
        raise LaunchRefused(f"{address!r} is not an address of the form host[:port]")
    return host, port


class CasLink:
    """A connection of the launcher to one CAS; `cas_key` is the key hash that its root must have, or empty.

    The connection stays open between calls; `who` is the name of this CAS in messages.
    """

    def __init__(self, address: str, cas_key: str, channel: Channel, *, timeout: float, who: str = "CAS") -> None:
        self._host, self._port = split_address(address)
        self._channel = channel
        self._longest = self._timeout = timeout
        self._cas_key = cas_key
        self._who = who
        self._context = self._tls_context(root=None)
        self._verified = not cas_key
        self._connection: http.client.HTTPSConnection | None = None

    def _tls_context(self, *, root: str | None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False  # a CAS is known by its key, not by a name
        context.verify_mode = ssl.CERT_REQUIRED if root else ssl.CERT_NONE
        if root:
            context.load_verify_locations(cadata=root)
        handle = os.memfd_create("channel", os.MFD_CLOEXEC)  # the key must not touch the disk
        try:
            os.write(handle, self._channel.pem)
            context.load_cert_chain(f"/proc/self/fd/{handle}")
        finally:
            os.close(handle)
        return context

    def call(self, method: str, path: str, body: Any, *, deadline: float) -> tuple[int, bytes]:
        """Send one request and return status and body; wait for the CAS till `deadline`, but for a second at least.

        Raises `CasNotReady` and `LaunchRefused`.
        """
        self._timeout = min(self._longest, max(1.0, deadline - time.monotonic()))
        self._verify_root()
        return self._send(method, path, body)

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _send(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        payload = None if body is None else json.dumps(body).encode()
        reused = self._connection is not None
        try:
            try:
                status, content = self._exchange(method, path, payload)
            except (ConnectionError, ssl.SSLEOFError):
                if not reused:
                    raise
                self.close()  # closed by the CAS since the last call
                status, content = self._exchange(method, path, payload)
        except LaunchRefused:
            raise
        except Exception as error:
            self.close()
            raise self._failed(error) from error
        if len(content) > _MAX_ANSWER:
            self.close()
            raise LaunchRefused(f"the CAS answered with more than {_MAX_ANSWER} bytes")
        if status >= 500:
            raise CasNotReady(self._who, f"HTTP status {status}")
        return status, content

    def _exchange(self, method: str, path: str, payload: bytes | None) -> tuple[int, bytes]:
        connection = self._open()
        connection.request(method, path, payload, {"Content-Type": "application/json"} if payload else {})
        answer = connection.getresponse()
        return answer.status, answer.read(_MAX_ANSWER + 1)

    def _open(self) -> http.client.HTTPSConnection:
        if self._connection is None:
            try:
                self._connection = http.client.HTTPSConnection(
                    self._host, self._port, timeout=self._timeout, context=self._context
                )
            except http.client.InvalidURL as error:
                raise _no_host(self._host) from error
        self._connection.timeout = self._timeout
        if self._connection.sock is not None:
            self._connection.sock.settimeout(self._timeout)
        return self._connection

    def _failed(self, error: Exception) -> Exception:
        """Return our exception for an `error` of a connection."""
        if isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in _DATES:
            now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
            return LaunchRefused(
                "the clock of this machine or that of the CAS is wrong",
                causes=(f"here it is {now}, and the certificate of the CAS is not valid at that time: {error}",),
            )
        if isinstance(error, ssl.SSLCertVerificationError):
            return LaunchRefused("the CAS does not prove its key", causes=(str(error),))
        if isinstance(error, (OSError, http.client.HTTPException)):
            return CasNotReady(self._who, str(error) or type(error).__name__)
        if isinstance(error, ValueError):  # of the name, which fits neither DNS nor TLS
            return _no_host(self._host)
        return error

    def _verify_root(self) -> None:
        """Pin the CAS: its root key must hash to the expected value; later calls verify against that root."""
        if self._verified:
            return
        status, chain = self._send("GET", "/v1/sim/certificate-chain")
        try:
            root = x509.load_pem_x509_certificates(chain)[-1]
            found = key_hash(root.public_key())
            context = self._tls_context(root=root.public_bytes(serialization.Encoding.PEM).decode())
        except (ValueError, IndexError, UnsupportedAlgorithm, ssl.SSLError) as error:
            raise LaunchRefused(f"the CAS does not show a certificate chain (HTTP status {status})") from error
        if found != self._cas_key:
            raise LaunchRefused(
                "the CAS is not the expected one",
                causes=(f"its key hash is {found}, expected {self._cas_key}",),
            )
        self.close()  # until here, the CAS had not proved its key
        self._context = context
        self._verified = True


def _no_host(name: str) -> LaunchRefused:
    return LaunchRefused(f"{name!r} is not the name or address of a host")
