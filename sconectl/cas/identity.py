"""Who we are towards a CAS, and which CASes we know: the cas-config directory.

In: a directory (default `~/.cas`). Out: the client's key and certificate, created on first use, and the pinned key
hash of each CAS address. `config.json` keeps the entries that other tools wrote into it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509

from sconectl.cas import certificates
from sconectl.cas.private_files import locked, private_directory, read_private, write_private
from sconectl.errors import CasError
from sconectl.key_hash import key_hash

COMMON_NAME = "sconectl client"
_PINS = "sconectl_cas_keys"
_KEY_TYPES = "PRIVATE KEY-----"


@dataclass(frozen=True)
class ClientIdentity:
    """A client's private key and certificate; `file` holds both as PEM (0600), as TLS libraries want them."""

    certificate_pem: str
    file: Path
    key_pem: str = field(repr=False)

    @property
    def certificate_der(self) -> bytes:
        """The certificate as DER."""
        return certificates.certificate_der(x509.load_pem_x509_certificate(self.certificate_pem.encode()))

    @property
    def key_hash(self) -> str:
        """The key hash by which policies can name this client."""
        return key_hash(x509.load_pem_x509_certificate(self.certificate_pem.encode()).public_key())


class CasConfig:
    """The cas-config directory (0700) with `config.json` and `identity.pem` (0600)."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._file = directory / "config.json"

    def identity(self) -> ClientIdentity:
        """Return the client identity, made on first use; raises `CasError` if the directory is not usable."""
        private_directory(self.directory)
        with locked(self.directory):
            config = self._load()
            pem = config.get("identity")
            if pem is None:
                key = certificates.new_key()
                certificate = certificates.issue_client(key, COMMON_NAME)
                pem = certificates.key_pem(key) + certificates.certificate_pem(certificate)
                self._save(config | {"identity": pem})
            key_text, certificate_text = self._split(pem)
            file = self.directory / "identity.pem"
            content = (key_text + certificate_text).encode()
            if read_private(file) != content:
                write_private(file, content)
        return ClientIdentity(certificate_text, file, key_text)

    def pinned(self, address: str) -> str | None:
        """Return the key hash that was pinned for a CAS address, or None."""
        pin = self._pins(self._load()).get(address)
        return pin if isinstance(pin, str) else None

    def pin(self, address: str, cas_key: str) -> None:
        """Remember the key hash of a CAS address."""
        private_directory(self.directory)
        with locked(self.directory):
            config = self._load()
            self._save(config | {_PINS: self._pins(config) | {address: cas_key}})

    @staticmethod
    def _pins(config: dict[str, Any]) -> dict[str, Any]:
        pins = config.get(_PINS, {})
        return pins if isinstance(pins, dict) else {}

    def _load(self) -> dict[str, Any]:
        raw = read_private(self._file)
        if raw is None:
            return {}
        try:
            config = json.loads(raw)
        except ValueError as error:
            raise self._broken("it is not JSON") from error
        if not isinstance(config, dict):
            raise self._broken("it holds no JSON object")
        return config

    def _save(self, config: dict[str, Any]) -> None:
        write_private(self._file, json.dumps(config, indent=2, sort_keys=True).encode() + b"\n")

    def _split(self, pem: Any) -> tuple[str, str]:
        """Return key and certificate out of the one string that holds both."""
        key_text, marker, certificate_text = str(pem).partition("-----BEGIN CERTIFICATE-----")
        certificate_text = marker + certificate_text
        try:
            x509.load_pem_x509_certificate(certificate_text.encode())
        except ValueError as error:
            raise self._broken("its entry `identity` holds no certificate") from error
        if _KEY_TYPES not in key_text:
            raise self._broken("its entry `identity` holds no private key")
        return key_text, certificate_text

    def _broken(self, reason: str) -> CasError:
        return CasError(
            f"cannot use {self._file}: {reason}",
            hint="restore it from a backup; without it you get a new identity, which owns none of your sessions",
        )
