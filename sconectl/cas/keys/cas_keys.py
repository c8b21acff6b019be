"""The long-lived keys of an embedded CAS, in one file of mode 0600, sealed under the master key.

In: the directory of the CAS. Out: the CAS key (root), the software key (instance), the quoting key of the simulated
machine, the keys that sign the audit log and decrypt sessions, and the key that seals what is stored. Whoever has the
file and the master key is the CAS; that is what `simulation` means.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from sconectl.cas.audit.entries import AuditKey, bind
from sconectl.cas.disk.private_files import create_private, locked, private_directory, read_private, write_private
from sconectl.cas.disk.sealing import KEY_BYTES, SealBroken, Sealer, derived_key
from sconectl.cas.keys import certificates
from sconectl.cas.keys.certificates import Holder, Key
from sconectl.cas.keys.master_key import MasterKey, master_key
from sconectl.errors import CasError
from sconectl.key_hash import key_hash

FILE = "keys.json"
FORMAT = 2
_PRIVATE = ("root_key", "software_key", "quoting_key", "sealing_key", "audit_key", "encryption_key")
_CERTIFICATES = ("root_certificate", "software_certificate")


@dataclass(frozen=True)
class CasKeys:
    """All keys of one CAS."""

    root: Holder = field(repr=False)
    software: Holder = field(repr=False)
    quoting: Key = field(repr=False)
    sealing: bytes = field(repr=False)
    audit: AuditKey = field(repr=False)
    encryption: X25519PrivateKey = field(repr=False)

    @property
    def cas_key_hash(self) -> str:
        """The hash that names this CAS: of its root key."""
        return key_hash(self.root.key.public_key())

    @property
    def software_key_hash(self) -> str:
        """The hash of the key of this installation."""
        return key_hash(self.software.key.public_key())

    @property
    def encryption_key_hex(self) -> str:
        """The public key (64 hex digits) to which sessions for this CAS are encrypted."""
        return self.encryption.public_key().public_bytes_raw().hex()

    @property
    def chain_pem(self) -> str:
        """The issuers of the served certificate as PEM: instance first, root last."""
        holders = (self.software, self.root)
        return "".join(certificates.certificate_pem(holder.certificate) for holder in holders)

    def serve_as(self, host_names: Iterable[str]) -> Holder:
        """Return a fresh server key and certificate for `cas`, `localhost` and `host_names`."""
        key = certificates.new_key()
        names = ["cas", "localhost", *host_names]
        return Holder(key, certificates.issue_server(key, "cas server (simulation)", names, self.software))


def load_or_create(directory: Path) -> CasKeys:
    """Return the keys in `directory`, made on first use.

    The master key comes from where `SCONECTL_CAS_KEY` says, or from `master.key` in the directory. Keys that an older
    version stored unsealed are sealed. Raises `CasError` if the file or the master key is unusable.
    """
    private_directory(directory)
    path = directory / FILE
    with locked(directory):
        raw = read_private(path)
        document = None if raw is None else _document(raw, path)
        if document is not None and document.get("format") == FORMAT:
            used = master_key(directory, sealed=str(document["master"]["source"]))
            _check(document, used, path)
        else:
            if document is None and os.path.lexists(directory / "cas.db"):
                raise CasError(
                    f"{path} is missing, and without it nothing in {directory} can be read",
                    hint="restore keys.json from a backup, or start with an empty directory",
                )
            used = master_key(directory, sealed=None)
            entries = _create() if document is None else _completed(document, path)
            document = _sealed(entries, used)
            write = create_private if raw is None else write_private
            write(path, json.dumps(document, indent=2).encode() + b"\n")
        keys = _opened(document, used.key, path)
        if _starts_later(keys.root) or _starts_later(keys.software):
            keys = _reissued(keys)
            held = zip(_CERTIFICATES, (keys.root, keys.software), strict=True)
            newer = {name: certificates.certificate_pem(holder.certificate) for name, holder in held}
            write_private(path, json.dumps(document | newer, indent=2).encode() + b"\n")
    return keys


def cas_key_hash_of(raw: bytes) -> str:
    """Return the hash that names the CAS whose `keys.json` this is; raises `ValueError` if it is none."""
    try:
        certificate = x509.load_pem_x509_certificate(json.loads(raw)["root_certificate"].encode())
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("no root certificate") from error
    return key_hash(certificate.public_key())


def _document(raw: bytes, path: Path) -> dict[str, Any]:
    try:
        document = json.loads(raw)
    except ValueError as error:
        raise _damaged(path) from error
    if not isinstance(document, dict):
        raise _damaged(path)
    found = document.get("format", 1)
    if found == FORMAT and not (isinstance(document.get("master"), dict) and "source" in document["master"]):
        raise _damaged(path)
    if found not in (1, FORMAT):
        raise CasError(f"{path} was written by another version of sconectl (format {found})", hint="use that version")
    return document


def _damaged(path: Path) -> CasError:
    return CasError(f"{path} is damaged", hint="restore it from a backup")


def _issued(root_key: Key, software_key: Key) -> tuple[Holder, Holder]:
    """Return the keys of CAS and instance with new certificates."""
    root = Holder(root_key, certificates.issue_root(root_key, "cas (simulation)"))
    software = certificates.issue_intermediate(software_key, "cas-instance (simulation)", root)
    return root, Holder(software_key, software)


def _starts_later(holder: Holder) -> bool:
    return holder.certificate.not_valid_before_utc > datetime.now(UTC)


def _reissued(keys: CasKeys) -> CasKeys:
    """Return `keys` with new certificates for the same keys: theirs were issued while the clock was ahead."""
    root, software = _issued(keys.root.key, keys.software.key)
    return replace(keys, root=root, software=software)


def _create() -> dict[str, str]:
    root_key, software_key, quoting_key = (certificates.new_key() for _ in range(3))
    root, software = _issued(root_key, software_key)
    return _newer_keys() | {
        "root_key": certificates.key_pem(root_key),
        "root_certificate": certificates.certificate_pem(root.certificate),
        "software_key": certificates.key_pem(software_key),
        "software_certificate": certificates.certificate_pem(software.certificate),
        "quoting_key": certificates.key_pem(quoting_key),
        "sealing_key": _base64(os.urandom(KEY_BYTES)),
    }


def _newer_keys() -> dict[str, str]:
    """Return the keys that the first format did not have."""
    return {
        "audit_key": _base64(Ed25519PrivateKey.generate().private_bytes_raw()),
        "encryption_key": _base64(X25519PrivateKey.generate().private_bytes_raw()),
    }


def _completed(document: dict[str, Any], path: Path) -> dict[str, str]:
    """Return the entries of the first format, in which everything lay open, with the keys it did not have."""
    entries = _newer_keys() | document
    if any(not isinstance(entries.get(name), str) for name in (*_PRIVATE, *_CERTIFICATES)):
        raise _damaged(path)
    return entries


def _sealed(entries: dict[str, str], master: MasterKey) -> dict[str, Any]:
    sealer = Sealer(derived_key(master.key, "sconectl CAS keys v2"))
    return {
        "format": FORMAT,
        "master": {"source": master.source, "check": _check_value(master.key)},
        **{name: entries[name] for name in _CERTIFICATES},
        "sealed": {name: _base64(sealer.seal(entries[name].encode(), FILE, name)) for name in _PRIVATE},
    }


def _check_value(key: bytes) -> str:
    # Derived from 32 random bytes, it says whether a key is the right one and helps nobody to find it.
    return derived_key(key, "sconectl CAS master key check v2").hex()


def _check(document: dict[str, Any], master: MasterKey, path: Path) -> None:
    recorded = document["master"]
    if not hmac.compare_digest(_check_value(master.key), str(recorded.get("check"))):
        raise CasError(
            f"the master key (from: {master.source}) is not the one that {path} is sealed under"
            f" (it came from: {recorded['source']})",
            hint="set SCONECTL_CAS_KEY as when the keys were sealed, or restore master.key from a backup",
        )


def _opened(document: dict[str, Any], master: bytes, path: Path) -> CasKeys:
    sealer = Sealer(derived_key(master, "sconectl CAS keys v2"))
    try:
        entries = {
            name: sealer.open(base64.b64decode(document["sealed"][name], validate=True), FILE, name).decode()
            for name in _PRIVATE
        }
        root = _holder(entries["root_key"], document["root_certificate"])
        audit_key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(entries["audit_key"]))
        sealing = base64.b64decode(entries["sealing_key"], validate=True)
        if len(sealing) != KEY_BYTES:
            raise ValueError("the sealing key has not 32 bytes")
        return CasKeys(
            root=root,
            software=_holder(entries["software_key"], document["software_certificate"]),
            quoting=certificates.load_key(entries["quoting_key"]),
            sealing=sealing,
            audit=bind(audit_key, root.key),
            encryption=X25519PrivateKey.from_private_bytes(base64.b64decode(entries["encryption_key"])),
        )
    except (ValueError, KeyError, TypeError, AttributeError, SealBroken) as error:
        raise _damaged(path) from error


def _holder(key_pem: str, certificate_pem: str) -> Holder:
    key = certificates.load_key(key_pem)
    certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
    if certificate.public_key() != key.public_key():
        raise ValueError("a certificate of another key")
    return Holder(key, certificate)


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
