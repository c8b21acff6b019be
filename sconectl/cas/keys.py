"""The long-lived keys of an embedded CAS, in one file of mode 0600.

In: the directory of the CAS. Out: the CAS key (root), the software key (instance), the quoting key of the simulated
machine, and the key that seals stored secrets. Whoever can read the file is the CAS; that is what `simulation` means.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509

from sconectl.cas import certificates
from sconectl.cas.certificates import Holder, Key
from sconectl.cas.private_files import locked, private_directory, read_private, write_private
from sconectl.errors import CasError
from sconectl.key_hash import key_hash

FILE = "keys.json"


@dataclass(frozen=True)
class CasKeys:
    """All keys of one CAS."""

    root: Holder = field(repr=False)
    software: Holder = field(repr=False)
    quoting: Key = field(repr=False)
    sealing: bytes = field(repr=False)

    @property
    def cas_key_hash(self) -> str:
        """The hash that names this CAS: of its root key."""
        return key_hash(self.root.key.public_key())

    @property
    def software_key_hash(self) -> str:
        """The hash of the key of this installation."""
        return key_hash(self.software.key.public_key())

    @property
    def quoting_key_hash(self) -> str:
        """The hash of the key that signs simulated quotes."""
        return key_hash(self.quoting.public_key())

    @property
    def chain_pem(self) -> str:
        """The issuers of the served certificate as PEM: instance first, root last."""
        holders = (self.software, self.root)
        return "".join(certificates.certificate_pem(holder.certificate) for holder in holders)

    def serve_as(self, host_names: Iterable[str]) -> Holder:
        """Return a fresh server key and certificate for `cas`, `localhost` and `host_names`."""
        key = certificates.new_key()
        names = ["cas", "localhost", *host_names]
        return Holder(key, certificates.issue_server(key, "cas", names, self.software))


def load_or_create(directory: Path) -> CasKeys:
    """Return the keys in `directory`, made on first use; raises `CasError` if the file is unusable."""
    private_directory(directory)
    path = directory / FILE
    with locked(directory):
        raw = read_private(path)
        if raw is None:
            if (directory / "cas.db").exists():
                raise CasError(
                    f"{path} is missing, and without it nothing in {directory} can be read",
                    hint="restore keys.json from a backup, or start with an empty directory",
                )
            raw = json.dumps(_create(), indent=2).encode()
            write_private(path, raw)
    try:
        return _load(json.loads(raw))
    except (ValueError, KeyError, TypeError) as error:
        raise CasError(f"{path} is damaged", hint="restore it from a backup") from error


def _create() -> dict[str, str]:
    root_key, software_key, quoting_key = (certificates.new_key() for _ in range(3))
    root = Holder(root_key, certificates.issue_root(root_key, "cas (simulation)"))
    software = certificates.issue_intermediate(software_key, "cas-instance (simulation)", root)
    return {
        "root_key": certificates.key_pem(root_key),
        "root_certificate": certificates.certificate_pem(root.certificate),
        "software_key": certificates.key_pem(software_key),
        "software_certificate": certificates.certificate_pem(software),
        "quoting_key": certificates.key_pem(quoting_key),
        "sealing_key": base64.b64encode(os.urandom(32)).decode(),
    }


def _load(entries: dict[str, str]) -> CasKeys:
    sealing = base64.b64decode(entries["sealing_key"], validate=True)
    if len(sealing) != 32:
        raise ValueError("the sealing key has not 32 bytes")
    return CasKeys(
        root=_holder(entries, "root"),
        software=_holder(entries, "software"),
        quoting=certificates.load_key(entries["quoting_key"]),
        sealing=sealing,
    )


def _holder(entries: dict[str, str], name: str) -> Holder:
    return Holder(
        certificates.load_key(entries[f"{name}_key"]),
        x509.load_pem_x509_certificate(entries[f"{name}_certificate"].encode()),
    )
