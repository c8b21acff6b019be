"""Attests to a CAS: a TLS channel bound to an ephemeral key, a quote over measurement and channel, the configuration.

In: address, configuration id and measurement. Out: the configuration that the policy prescribes.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import http.client
import json
import os
import random
import ssl
import time
import urllib.parse
from dataclasses import dataclass, field
from typing import Any, cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sconectl.key_hash import key_hash
from sconectl.runtime import log
from sconectl.runtime.log import LaunchRefused

DEFAULT_PORT = 8081
_MAX_ANSWER = 16 << 20


@dataclass(frozen=True)
class Configuration:
    """What the policy prescribes for this service."""

    session: str
    service: str
    argv: tuple[str, ...] = field(repr=False)
    environment: dict[str, str] = field(repr=False)
    pwd: str
    files: tuple[tuple[str, int, bytes], ...] = field(repr=False)
    fspf: tuple[str, bytes, str] | None = field(repr=False)


class CasNotReady(Exception):
    """The CAS did not answer; trying again may help."""


@dataclass(frozen=True)
class Channel:
    """The ephemeral identity of this start: certificate (DER) and the key that only this process holds."""

    certificate: bytes
    pem: bytes = field(repr=False)

    def report_data(self) -> str:
        """Return what binds a quote to this channel: the SHA-512 of the certificate, 128 hex digits."""
        return hashlib.sha512(self.certificate).hexdigest()


def open_channel() -> Channel:
    """Draw a key and make the certificate that stands for it in TLS."""
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
    """Split `host[:port]`. Raises `LaunchRefused` if that is not what `address` is."""
    try:
        parts = urllib.parse.urlsplit("//" + address.removeprefix("https://"))
        host, port = parts.hostname, parts.port or DEFAULT_PORT
    except ValueError as error:
        raise LaunchRefused(f"{address!r} is not an address of the form host[:port]") from error
    if not host:
        raise LaunchRefused(f"{address!r} is not an address of the form host[:port]")
    return host, port


class CasLink:
    """One CAS as the launcher talks to it; `cas_key` is the key hash that its root must have, or empty."""

    def __init__(self, address: str, cas_key: str, channel: Channel, *, timeout: float) -> None:
        self._host, self._port = split_address(address)
        self._channel = channel
        self._longest = self._timeout = timeout
        self._cas_key = cas_key
        self._context = self._tls_context(root=None)
        self._verified = not cas_key

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

    def _send(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        try:
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout, context=self._context
            )
        except http.client.InvalidURL as error:
            raise _no_host(self._host) from error
        try:
            payload = None if body is None else json.dumps(body).encode()
            connection.request(method, path, payload, {"Content-Type": "application/json"} if payload else {})
            answer = connection.getresponse()
            content = answer.read(_MAX_ANSWER + 1)
        except ssl.SSLCertVerificationError as error:
            raise LaunchRefused("the CAS does not prove its key", causes=(str(error),)) from error
        except (OSError, http.client.HTTPException) as error:
            raise CasNotReady(str(error) or type(error).__name__) from error
        except ValueError as error:  # of the name, which fits neither DNS nor TLS
            raise _no_host(self._host) from error
        finally:
            connection.close()
        if len(content) > _MAX_ANSWER:
            raise LaunchRefused(f"the CAS answered with more than {_MAX_ANSWER} bytes")
        if answer.status >= 500:
            raise CasNotReady(f"HTTP status {answer.status}")
        return answer.status, content

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
        self._context = context
        self._verified = True


def _no_host(name: str) -> LaunchRefused:
    return LaunchRefused(f"{name!r} is not the name or address of a host")


def fetch_configuration(
    cas: CasLink,
    las: CasLink,
    channel: Channel,
    *,
    config_id: str,
    measurement: str,
    debug: bool,
    patience: float,
) -> Configuration:
    """Get a quote and exchange it for the configuration.

    A CAS or LAS that does not answer is tried again with growing pauses, for `patience` seconds in all. Raises
    `LaunchRefused` if it refuses, or stays silent.
    """
    deadline = time.monotonic() + patience
    report = {
        "toolchain": "sim",
        "measurement": measurement,
        "debug": debug,
        "report_data": channel.report_data(),
    }
    status, content = _patiently(
        las, "/v1/sim/quote", {"report": report}, "CAS" if las is cas else "LAS (quoting)", deadline, patience
    )
    if status != 200:
        raise LaunchRefused("no quote could be had", causes=_reasons(status, content))
    request = {"config_id": config_id, "quote": _json(content).get("quote")}
    status, content = _patiently(cas, "/v1/sim/attest", request, "CAS", deadline, patience)
    if status != 200:
        raise LaunchRefused("attestation failed", causes=_reasons(status, content))
    return _configuration(_json(content))


def _patiently(
    link: CasLink, path: str, body: dict[str, Any], who: str, deadline: float, patience: float
) -> tuple[int, bytes]:
    pause = 0.25
    while True:
        try:
            return link.call("POST", path, body, deadline=deadline)
        except CasNotReady as error:
            left = deadline - time.monotonic()
            if left <= 0:
                raise LaunchRefused(
                    f"the {who} did not answer within {patience:g} seconds",
                    causes=(str(error), "check SCONE_CAS_ADDR and that the CAS is running"),
                ) from error
            log.write("WARNING", f"the {who} does not answer ({error}); trying again")
            time.sleep(min(pause * random.uniform(0.8, 1.2), left))  # noqa: S311 - jitter, not a secret
            pause = min(pause * 2, 8.0)


def _json(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise LaunchRefused("the CAS answered with something that is not JSON") from error
    if not isinstance(document, dict):
        raise LaunchRefused("the CAS answered with unexpected JSON")
    return cast(dict[str, Any], document)


def _reasons(status: int, content: bytes) -> tuple[str, ...]:
    try:
        causes = json.loads(content)["msg"]
    except (ValueError, KeyError, TypeError, RecursionError):
        causes = None
    if isinstance(causes, list) and causes and all(isinstance(cause, str) for cause in causes):
        return tuple(causes)
    return (f"HTTP status {status}",)


def _configuration(document: dict[str, Any]) -> Configuration:
    try:
        config = document["config"]
        if not isinstance(config["argv"], list) or not isinstance(config["files"], list):
            raise TypeError("not a list")
        return Configuration(
            session=_text(config["session"]),
            service=_text(config["service"]),
            argv=tuple(_text(word) for word in config["argv"]),
            environment={_variable(name): _text(value) for name, value in config["environment"].items()},
            pwd=_absolute(config["pwd"]),
            files=tuple(_file(file) for file in config["files"]),
            fspf=_file_system_key(config["fspf"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LaunchRefused("the CAS sent a configuration that this launcher does not understand") from error


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise TypeError("not a text")
    value.encode()  # a lone surrogate cannot be given to the program
    return value


def _variable(name: Any) -> str:
    if not name or "=" in name:
        raise ValueError("not the name of a variable")
    return _text(name)


def _absolute(path: Any) -> str:
    text = _text(path)
    if not text.startswith("/") or ".." in text.split("/"):
        raise ValueError("not an absolute path")
    return os.path.normpath("/" + text.lstrip("/"))


def _file_system_key(fspf: Any) -> tuple[str, bytes, str] | None:
    if fspf is None:
        return None
    key = bytes.fromhex(_text(fspf["key"]))
    if len(key) != 32:
        raise ValueError("not a key")
    return _absolute(fspf["path"]), key, _text(fspf["tag"] or "")


def _file(file: Any) -> tuple[str, int, bytes]:
    permission = file["permission"]
    if type(permission) is not int or not 0 <= permission <= 0o7777:
        raise ValueError("not a permission")
    return _absolute(file["path"]), permission, base64.b64decode(_text(file["content"]), validate=True)
