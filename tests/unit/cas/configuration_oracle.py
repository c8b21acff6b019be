"""What a CAS hands out for a mesh whose every field has a choice of values; what it draws is drawn by name."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sconectl.cas.attest.program_configuration import configuration, filled_files
from sconectl.cas.attest.volumes import volume_secrets
from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.keys.cas_keys import CasKeys
from sconectl.cas.secrets import generate, session_secrets
from sconectl.cas.secrets.session_secrets import secrets_for
from sconectl.cas.store.versions import Version
from sconectl.plan.mesh.configuration_mark import Configurations, as_the_cas_reads
from sconectl.policy.reading import Secret, parse_session
from sconectl.policy.serialized.canonical import read_back, session_hash, to_json
from sconectl.text import yaml_text

from .enclave_world import MEASUREMENT, World, make_keys

Sessions = list[dict[str, Any]]
NONE: Any = None  # the field is not there
TAGS = ["3d" * 16, "4e" * 16]
CERTIFICATE = "$$SCONE::cert:crt$$ $$SCONE::cert:chain$$ $$SCONE::cert:privatekey$$"
# Every field with the values that it may have; of the first ones the base consists. Fields in RECEIVED change what the
# pod gets with each value, those in IGNORED with none of them; others have values that mean the same, too.
RECEIVED: dict[str, list[Any]] = {
    "command": [["app", "x"], ["app", "y"], ["app", "@@1"]],
    "variable": ["1", "2", "$$SCONE::size$$"],
    "host": [[], ["REGION"]],
    "file": ["a", "b", "$$SCONE::key:pem$$"],
    "file of the image": [False, True],
    "fspf_tag": TAGS,
    "mount": ["/data", "/other"],
    "files of the volume": [NONE, "authenticated-only"],
    "tag of the volume": [NONE, *TAGS],
    "endpoint": [NONE, "server"],
    "names": [["db.example.org"], ["other.example.org"], ["db.example.org", "db"]],
    "key of the certificate": ["Ed25519", "P-256"],
    "key of the CA": ["Ed25519", "P-256"],
    "name of the CA": [NONE, "our CA", "another CA"],
    "token": ["one", "two", NONE],
}
IGNORED: dict[str, list[Any]] = {
    "unused": [NONE, "one", "two"],
    "migrate": [NONE, True],
    "export": [NONE, [{"session": "shop/other"}]],
    "export_public": [NONE, True],
    "salt": [NONE, "5a" * 16],
    "read": [["CREATOR"], ["ANY"]],
    "tolerate": [[], ["hyperthreading"]],
    "mrenclave": [[MEASUREMENT], [MEASUREMENT, "cd" * 32]],
    "ignored by the host": ["", "x", "$$SCONE::raw:hex$$"],
    "command of the exporter": ["db", "other"],
    "neighbour": [NONE, "python"],
}
SPELLINGS: dict[str, list[Any]] = {
    "pwd": [NONE, "/", "/srv"],
    "size": [NONE, 20, 24],
    "raw": ["00ff", "00FF", "0100"],
    "permission": [NONE, "0o700", "0o400"],
    "key type": [NONE, "P-256", "Ed25519"],
    "common name": [NONE, "db.example.org", "third"],
    "form of names": ["dns", "san"],
    "lifetime of the CA": ["90 days", "90d", "91 days"],
    "lifetime": ["10 days", "240h", "11d"],
    "provided": [NONE, ["raw"], ["cert"]],
    "policy of the export": [NONE, "no_rollback_protection", "ephemeral"],
    "alias": [NONE, "data", "shared"],
}
FIELDS = RECEIVED | IGNORED | SPELLINGS
BASE = {name: values[0] for name, values in FIELDS.items()}


def entry(**fields: Any) -> dict[str, Any]:
    return {key.rstrip("_"): value for key, value in fields.items() if value is not NONE}


def mesh(choice: Mapping[str, Any]) -> Sessions:
    """Return a session that exports (`shop/db`) and one that imports (`shop/web`) with these fields."""
    to = [{"session": "shop/web"}]
    names = choice["names"] if choice["form of names"] == "dns" else [f"dns:{name}" for name in choice["names"]]
    certificate = entry(
        name="cert", kind="x509", private_key="cert-key", issuer="ca", endpoint=choice["endpoint"], export=to,
        common_name=choice["common name"], valid_for=choice["lifetime"], **{choice["form of names"]: names},
    )  # fmt: skip
    authority = entry(
        name="ca", kind="x509-ca", private_key="ca-key", valid_for=choice["lifetime of the CA"],
        common_name=choice["name of the CA"],
    )  # fmt: skip
    shared = entry(
        name="data",
        fspf_key="ab" * 32 if choice["tag of the volume"] else NONE,
        fspf_tag=choice["tag of the volume"],
        files=choice["files of the volume"],
        export=[{"to": to[0], **entry(update_policy=choice["policy of the export"], volume_alias=choice["alias"])}],
    )
    exporter = {
        "name": "shop/db",
        "version": "0.3.12",
        "services": [{"name": "app", "command": choice["command of the exporter"], "pwd": "/"}],
        "security": {"attestation": {"mode": "none"}},
        "secrets": [
            certificate,
            authority,
            {"name": "ca-key", "kind": "private-key", "key_type": choice["key of the CA"]},
            {"name": "cert-key", "kind": "private-key", "key_type": choice["key of the certificate"], "export": to},
            entry(name="token", kind="ascii", value=choice["token"], export=to),
        ],
        "volumes": [shared],
    }
    file = entry(path="/etc/app", content=f"{choice['file']} {CERTIFICATE}", permission=choice["permission"])
    environment = {"A": choice["variable"], "T": "$$SCONE::token$$", "R": "$$SCONE::raw.hex$$"}
    environment |= {f"\\@\\@{name}": choice["ignored by the host"] for name in choice["host"]}
    enclaves = [{"mrenclave": choice["mrenclave"]}]
    service = entry(
        name="app", image_name="image", command=choice["command"], environment=environment, pwd=choice["pwd"],
        attestation=enclaves, fspf_path="/fs", fspf_key="$$SCONE::fs$$",
        fspf_tag=choice["fspf_tag"],
    )  # fmt: skip
    image = entry(
        name="image",
        injection_files=[file, *(["/etc/more"] if choice["file of the image"] else ())],
        volumes=[{"name": "mounted", "path": choice["mount"], "update_policy": "ephemeral"}],
        provide_secrets=choice["provided"],
    )
    beside = (
        [{"name": "beside", "command": choice["neighbour"], "attestation": enclaves}] if choice["neighbour"] else []
    )
    importer = entry(
        name="shop/web",
        version="0.3.12",
        salt=choice["salt"],
        access_policy={"read": choice["read"], "update": ["CREATOR"]},
        security={"attestation": {"mode": "simulation", "tolerate": choice["tolerate"]}},
        services=[service, *beside],
        images=[image],
        volumes=[entry(name="mounted", import_={"session": "shop/db", "volume": choice["alias"] or "data"})],
        secrets=[
            entry(name="size", kind="ascii", size=choice["size"], export=choice["export"]),
            entry(name="raw", kind="binary", value=choice["raw"], export_public=choice["export_public"]),
            entry(name="key", kind="private-key", key_type=choice["key type"], migrate=choice["migrate"]),
            {"name": "fs", "kind": "binary", "size": 32},
            entry(name="unused", kind="ascii", value=choice["unused"]),
            {"name": "cert", "import": {"session": "shop/db", "secret": "cert"}},
            {"name": "cert-key", "import": {"session": "shop/db", "secret": "cert-key"}},
            {"name": "token", "import": {"session": "shop/db", "secret": "token"}},
        ],
    )
    return [exporter, importer]


def mark(sessions: Sessions, salt: str = "salt") -> str:
    return Configurations(map(as_the_cas_reads, sessions)).mark("shop/web", "app", salt)


class _ByName(session_secrets._Generation):
    """Draws the same value for the same name, kind and parameters, and keys that sign without chance."""

    def _generated(self, secret: Secret) -> bytes:
        seed = hashlib.sha256(f"{self._session.name} {secret.name} {self._parameters(secret)}".encode()).digest()
        if secret.kind != "private-key":
            return seed.hex().encode()[: secret.size] if secret.kind == "ascii" else seed[: secret.size]
        key = Ed25519PrivateKey.from_private_bytes(seed)
        self._keys.made(secret.name, key)
        return generate.private_key_pem(key)


class Oracle:
    """A CAS that draws by name; what it hands out for the same mesh is worked out once."""

    def __init__(self, keys: CasKeys, root: Path) -> None:
        self.keys = keys
        self.root = root
        self.numbers = itertools.count()
        self.known: dict[str, str] = {}

    def handed_out(self, sessions: Sessions) -> str:
        text = json.dumps(sessions)
        if text not in self.known:
            self.known[text] = json.dumps(self.configuration(sessions), sort_keys=True)
        return self.known[text]

    def configuration(self, sessions: Sessions, name: str = "app") -> Any:
        world = World(self.keys, self.root / str(next(self.numbers)))
        for session in (parse_session(yaml_text.dump(document)) for document in sessions):
            with world.store.writing() as transaction:
                imported = world.sharing.imported(transaction, session)
                rows = secrets_for(session, {}, None, imported, world.time)
                for row, stored in volume_secrets(session, {}).items():
                    drawn = hashlib.sha256(f"{session.name} {row}".encode()).digest()
                    rows[row] = replace(stored, content=drawn, parameters="")
                transaction.append(session.name, Version(read_back(session), to_json(session), session_hash(session)))
                transaction.replace_stored(session.name, rows)
        with world.store.reading() as transaction:
            session = parse_session(yaml_text.dump(sessions[-1]))
            service = next(each for each in session.services if each.name == name)
            found, _ = configuration(
                transaction, world.sharing, session, session_hash(session), service, MEASUREMENT
            )  # fmt: skip
            found.pop("session_hash", None)  # names the version, and is no part of the configuration
            for name in ("raw", "size", "unused", "key") if found["fs_files"] else ():
                content = base64.b64encode(f"$$SCONE::{name}{':hex' * (name == 'raw')}$$".encode()).decode()
                file = {"path": "/etc/more", "content": content}
                try:
                    filled, _ = filled_files(transaction, world.sharing, session, service, MEASUREMENT, [file])
                except CasRefusal as refusal:
                    found[name] = refusal.causes
                else:
                    found[name] = filled
        world.store.close()
        return found


@contextmanager
def oracle_in(folder: Path) -> Iterator[Oracle]:
    """Yield an oracle that works in a folder; what the CAS draws is drawn by name meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session_secrets, "_Generation", _ByName)
        patch.setattr(x509, "random_serial_number", lambda: 1)
        yield Oracle(make_keys(folder / "cas"), folder)
