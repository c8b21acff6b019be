"""Who we are towards a CAS, and which CASes we know: the cas-config directory.

In: a directory (default `~/.cas`). Out: the client's key and certificate and the key that signs sessions, created on
first use, and the pinned key hash of each CAS address. `config.json` keeps the entries that other tools wrote into it.
The identity is in two files; each is made from the other if it is missing, and none is replaced by another key.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sconectl.cas.disk.private_files import (
    create_private,
    locked,
    private_directory,
    read_private,
    sync_directory,
    warn_if_open,
    write_private,
)
from sconectl.cas.keys import certificates
from sconectl.errors import CasError, UsageError
from sconectl.key_hash import key_hash
from sconectl.regular_files import first_bytes

COMMON_NAME = "sconectl client"
_PINS = "sconectl_cas_keys"
_ROTATED = "sconectl_rotated_in"
_SIGNING_KEY = "session_signing_key"
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

    @property
    def since(self) -> datetime:
        """When the certificate says that it was made."""
        return x509.load_pem_x509_certificate(self.certificate_pem.encode()).not_valid_before_utc


class CasConfig:
    """The cas-config directory (0700) with `config.json` and `identity.pem` (0600).

    With `identity_file`, key and certificate of the client are those in that PEM file, and not the directory's.
    """

    def __init__(self, directory: Path, identity_file: Path | None = None) -> None:
        self.directory = directory
        self._file = directory / "config.json"
        self._copy = directory / "identity.pem"
        self._next = directory / "next-identity.pem"
        self._old = directory / "old-identity.pem"
        self._identity_file = identity_file

    def identity(self) -> ClientIdentity:
        """Return the client identity, made on first use.

        Raises `CasError` if the directory is not usable, and `UsageError` for an unusable identity file.
        """
        if self._identity_file is not None:
            return read_identity(self._identity_file)
        private_directory(self.directory)
        with locked(self.directory):
            config, copy = self._load(), read_private(self._copy)
            pem = config.get("identity")
            if pem is None:
                pem = _new_identity() if copy is None else self._from_copy(copy)
                self._save(config | {"identity": pem})
            key_text, certificate_text = self._split(pem)
            self._keep_copy(copy, (key_text + certificate_text).encode())
        return ClientIdentity(certificate_text, self._copy, key_text)

    def existing(self) -> ClientIdentity | None:
        """Return the client identity if there is one, and make none; raises as `identity`."""
        if self._identity_file is None and self._load().get("identity") is None and read_private(self._copy) is None:
            return None
        return self.identity()

    def _from_copy(self, copy: bytes) -> str:
        """Return the identity that only `identity.pem` holds: a new one would replace the last copy of its key."""
        try:
            identity = _read_pem(copy)
        except _BAD_PEM:
            identity = None
        if identity is None:
            raise CasError(
                f"{self._file} holds no identity any more, and {self._copy} no usable one",
                hint="restore one of them from a backup. If you have none, move both away: then you get a new "
                "identity, which owns none of your sessions",
            )
        return "".join(identity)

    def _keep_copy(self, copy: bytes | None, content: bytes) -> None:
        """Let `identity.pem` hold `content`, unless another private key would be lost by that."""
        if copy == content:
            return
        if copy is None:
            create_private(self._copy, content)
            return
        if b"PRIVATE KEY" in copy and not _same_key(copy, content) and not _same_key(copy, read_private(self._old)):
            raise CasError(
                f"{self._copy} and {self._file} hold different identities",
                hint=f"keep both in a safe place; then move {self._copy.name} away to be who {self._file.name} says, "
                f"or remove the entry `identity` of {self._file.name} to be who {self._copy.name} says",
            )
        write_private(self._copy, content)

    def next_identity(self) -> ClientIdentity:
        """Return the identity that is to take the place of the present one, made on first use; raises `CasError`."""
        private_directory(self.directory)
        with locked(self.directory):
            if read_private(self._next) is None:
                create_private(self._next, _new_identity().encode())
        return read_identity(self._next)

    def old_identity(self) -> ClientIdentity | None:
        """Return the identity before the present one while it is kept; raises `CasError`."""
        return None if read_private(self._old) is None else read_identity(self._old)

    def switch(self) -> None:
        """Let the next identity take the place of the present one, which is kept; raises `CasError`.

        If this is interrupted at any point, it can be done again, and no key is lost.
        """
        self.identity()
        with locked(self.directory):
            following, present = read_private(self._next), read_private(self._copy)
            if following is None or present is None:
                return
            if not _same_key(following, present):
                if read_private(self._old) is None:
                    create_private(self._old, present)
                self._save(self._load() | {"identity": following.decode()})
                write_private(self._copy, following)
            self._next.unlink()
            sync_directory(self.directory)

    def forget_old(self) -> None:
        """Delete the identity before the present one for good."""
        with locked(self.directory):
            self._old.unlink(missing_ok=True)
            sync_directory(self.directory)

    def rotated_in(self) -> dict[str, list[str]]:
        """Return the addresses of the CASes that know a new identity beside the old one, each with the namespaces."""
        found = self._load().get(_ROTATED, {})
        return found if isinstance(found, dict) else {}

    def note_rotated(self, address: str, namespaces: Iterable[str]) -> None:
        """Remember that a CAS knows a new identity in these namespaces, too; in none: that it forgot the old one."""
        private_directory(self.directory)
        with locked(self.directory):
            config = self._load()
            rotated = {key: value for key, value in self.rotated_in().items() if key != address}
            if names := sorted(namespaces):
                rotated[address] = names
            others = {key: value for key, value in config.items() if key != _ROTATED}
            self._save(others | ({_ROTATED: rotated} if rotated else {}))

    def signing_key(self) -> Ed25519PrivateKey:
        """Return the key that signs sessions, made on first use; raises `CasError` if the directory is not usable."""
        private_directory(self.directory)
        with locked(self.directory):
            config = self._load()
            pem = config.get(_SIGNING_KEY)
            if pem is None:
                pem = certificates.key_pem(Ed25519PrivateKey.generate())
                self._save(config | {_SIGNING_KEY: pem})
        try:
            key = serialization.load_pem_private_key(str(pem).encode(), None)
        except (ValueError, TypeError) as error:
            raise self._broken(f"its entry `{_SIGNING_KEY}` holds no private key") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise self._broken(f"its entry `{_SIGNING_KEY}` holds no Ed25519 key")
        return key

    def pinned(self, address: str) -> str | None:
        """Return the key hash that was pinned for a CAS address, or None."""
        pin = self._pins(self._load()).get(address)
        return pin if isinstance(pin, str) else None

    def addresses(self) -> list[str]:
        """Return the CAS addresses whose key was pinned, sorted."""
        return sorted(self._pins(self._load()))

    def pin(self, address: str, cas_key: str) -> None:
        """Remember the key hash of a CAS address."""
        private_directory(self.directory)
        with locked(self.directory):
            config = self._load()
            self._save(config | {_PINS: self._pins(config) | {address: cas_key}})

    def _pins(self, config: dict[str, Any]) -> dict[str, Any]:
        pins = config.get(_PINS, {})
        if not isinstance(pins, dict):
            raise self._broken(f"its entry `{_PINS}` holds no list of CASes")
        return pins

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
        write = write_private if self._file.exists() else create_private
        write(self._file, json.dumps(config, indent=2, sort_keys=True).encode() + b"\n")

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
            hint=f"restore it from a backup. Without one, move it away: then your identity is taken from "
            f"{self._copy.name} if that is still there; pinned CAS keys and the key that signs sessions are lost",
        )


def read_identity(file: Path) -> ClientIdentity:
    """Return the identity in a PEM file with a private key and its certificate, in any order.

    Raises `UsageError` if the file cannot be read or holds something else; messages show nothing of it.
    """
    hint = "give a PEM file that holds an unencrypted private key and its certificate"
    try:
        found = _read_pem(first_bytes(file, _MAX_PEM))
        warn_if_open(file)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}", hint=hint) from error
    except _BAD_PEM as error:
        raise UsageError(f"{file} holds no usable private key with its certificate", hint=hint) from error
    if found is None:
        raise UsageError(f"the certificate in {file} belongs to another key", hint=hint)
    key_pem, certificate_pem = found
    return ClientIdentity(certificate_pem, file, key_pem)


_MAX_PEM = 1 << 20  # bytes of a file with a key and its certificate
_BAD_PEM = (ValueError, TypeError, UnsupportedAlgorithm)


def _read_pem(pem: bytes) -> tuple[str, str] | None:
    """Return private key and certificate as PEM, or None if they do not belong together; raises `_BAD_PEM`."""
    certificate = x509.load_pem_x509_certificate(pem)
    key = serialization.load_pem_private_key(pem, None)
    if key_hash(key.public_key()) != key_hash(certificate.public_key()):
        return None
    return certificates.key_pem(key), certificates.certificate_pem(certificate)


def _same_key(first: bytes, second: bytes | None) -> bool:
    if second is None:
        return False
    try:
        keys = [serialization.load_pem_private_key(pem, None).public_key() for pem in (first, second)]
    except _BAD_PEM:
        return False
    return key_hash(keys[0]) == key_hash(keys[1])


def _new_identity() -> str:
    key = certificates.new_key()
    return certificates.key_pem(key) + certificates.certificate_pem(certificates.issue_client(key, COMMON_NAME))
