"""The part of a CAS that programs talk to, on a store of its own, with a clock that tests set."""

from __future__ import annotations

import base64
import json
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from sconectl.cas.attest.enclaves import Enclaves
from sconectl.cas.attest.quotes import report_data_for
from sconectl.cas.attest.volumes import volume_secrets
from sconectl.cas.audit import database_table
from sconectl.cas.audit.anchor import Anchor
from sconectl.cas.bounds.limits import DEFAULT
from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.keys.cas_keys import CasKeys, load_or_create
from sconectl.cas.keys.simulated_machine import Machine
from sconectl.cas.secrets.session_secrets import secrets_for
from sconectl.cas.sessions.sharing import Sharing
from sconectl.cas.store.audit_folding import Folding
from sconectl.cas.store.quota import Quota, Room
from sconectl.cas.store.store import FILE, Store
from sconectl.cas.store.versions import Version
from sconectl.policy.reading import Session, parse_session
from sconectl.policy.serialized.canonical import read_back, session_hash, to_json

MEASUREMENT = "ab" * 32
OTHER = "cd" * 32
PLATFORM = "5f" * 16
CHANNEL = b"the client certificate"
OF_EVERY_ENTRY = {"sequence", "time", "previous", "signature"}


class World:
    """Sessions, and the programs that attest against them."""

    def __init__(self, keys: CasKeys, directory: Path) -> None:
        self.keys = keys
        self.directory = directory
        self.time = datetime(2026, 3, 1, 12, 0, 10, tzinfo=UTC)
        self.sharing = Sharing(lambda: self.time, lambda *_: pytest.fail("asked another CAS"))
        self.details: tuple[str, ...] = ()
        self.restart()

    def restart(self, **platform: Any) -> None:
        anchor = Anchor(self.directory / "anchor", self.keys.sealing)
        state = self.directory / "state"
        self.store = Store(state, self.keys.sealing, audit_key=self.keys.audit, anchor=anchor, starting=False)
        self.machine = Machine(id=PLATFORM, **platform)
        room = Room(state, DEFAULT)
        self.folding = Folding(self.store, DEFAULT, lambda: self.time, room.is_there)
        quota = Quota(DEFAULT, room)
        self.enclaves = Enclaves(
            self.store, self.keys, self.machine, self.sharing, lambda: self.time, quota, self.folding
        )

    def wait(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    def put(self, body: str = "", name: str = "acme") -> Session:
        """Store a session, or update it; nobody's permission is asked."""
        with self.store.writing() as transaction:
            active = transaction.active_hash(name)
            before = f"predecessor: {active}\n" if active else ""
            session = simulated(parse_session(f'name: {name}\nversion: "0.3.12"\n{before}{body}'))
            version = Version(read_back(session), to_json(session), session_hash(session))
            previous = transaction.stored(name)
            rows = secrets_for(session, previous, None, lambda _: pytest.fail("imported"), self.time)
            transaction.append(name, version)
            transaction.replace_stored(name, rows | volume_secrets(session, previous))
        return session

    def quote(self, *, channel: bytes = CHANNEL, **report: Any) -> dict[str, Any]:
        base = {"toolchain": "sim", "measurement": MEASUREMENT, "debug": False, "report_data": report_data_for(channel)}
        return cast(dict[str, Any], self.enclaves.quote(base | report)["quote"])

    def attest(
        self, config_id: str = "acme/app", *, token: str | None = None, channel: bytes = CHANNEL, **report: Any
    ) -> dict[str, Any]:
        quote = self.quote(channel=channel, **report)
        return cast(dict[str, Any], self.enclaves.attest(config_id, quote, channel, token)["config"])

    def refused(self, config_id: str = "acme/app", status: int = 403, **settings: Any) -> tuple[str, ...]:
        """Return the causes below `CAS refused to attest …`; what only the log is told is in `details`."""
        with pytest.raises(CasRefusal) as caught:
            self.attest(config_id, **settings)
        assert caught.value.status == status, caught.value.causes
        self.details = caught.value.details
        head, *causes = caught.value.causes
        assert head.startswith("CAS refused to attest service ")
        return tuple(causes)

    def fill(self, path: str, content: bytes, channel: bytes = CHANNEL) -> bytes:
        files = [{"path": path, "content": base64.b64encode(content).decode()}]
        (file,) = self.enclaves.fill(channel, files)["files"]
        assert file["path"] == path
        return base64.b64decode(file["content"])

    def move(
        self, subject: str, old: str | None, new: str, channel: bytes = CHANNEL, holder: str | None = None
    ) -> str | None:
        return cast("str | None", self.enclaves.update_tag(channel, subject, old, new, holder)["tag"])

    def lease(self, volume: str, holder: str, name: str = "one", channel: bytes = CHANNEL) -> str | None:
        """Take the lease; return the tag that comes with it."""
        answer = self.enclaves.take_lease(channel, volume, holder, name)
        assert answer["seconds"] == 30
        return cast("str | None", answer["tag"])

    def sealed(self, table: str) -> int:
        """Return the number of rows in a table of the store."""
        with sqlite3.connect(self.directory / "state" / FILE) as connection:
            (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        return int(count)

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The events of the audit log, without what every entry has."""
        with sqlite3.connect(self.directory / "state" / FILE) as connection:
            found = [json.loads(line) for line in database_table.lines(connection)]
        return [{key: value for key, value in entry.items() if key not in OF_EVERY_ENTRY} for entry in found]


def simulated(session: Session) -> Session:
    """Return a session that names no mode as `apply` would write it; one that names hardware stays as it is."""
    security = session.security
    if isinstance(security, str) or isinstance(security.attestation, str):
        return session
    if "mode" in security.attestation.model_fields_set:
        return session
    attestation = security.attestation.model_copy(update={"mode": "simulation"})
    return session.model_copy(update={"security": security.model_copy(update={"attestation": attestation})})


def make_keys(directory: Path) -> CasKeys:
    """Return the keys of a new CAS."""
    return load_or_create(directory)


def causes_of(refusal: pytest.ExceptionInfo[CasRefusal]) -> str:
    """Return all causes as one text."""
    return "\n".join(refusal.value.causes)


def service(attestation: str = f"{{mrenclave: {MEASUREMENT}}}", more: str = "", name: str = "app") -> str:
    """Return the beginning of a services section with one service."""
    return f"services:\n  - name: {name}\n    command: app\n    pwd: /\n    attestation: {attestation}\n{more}"
