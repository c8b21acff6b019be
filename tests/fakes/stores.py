"""A session store that keeps every rule of a CAS (it is the embedded one), and can be made to fail."""

from __future__ import annotations

from pathlib import Path

from sconectl.cas.client.identity import CasConfig
from sconectl.cas.local import LocalCas
from sconectl.errors import CasUnreachable
from sconectl.policy.reading import parse_session
from sconectl.ports import ListedSession, Receipt, StoredSession, VolumeState


class MemorySessionStore:
    """Implements `ports.SessionStore` for one identity.

    `fail_on` names sessions whose upload finds no CAS; `lost_answers` names those that the CAS takes although its
    answer is lost. `read_log` and `put_log` say what was asked.
    """

    address = "fake"

    def __init__(self, directory: Path, identity: str = "me") -> None:
        self._cas = LocalCas(directory / "cas", CasConfig(directory / "identities" / identity))
        self.fail_on: set[str] = set()
        self.lost_answers: set[str] = set()
        self.unreachable = False
        self.read_log: list[str] = []
        self.put_log: list[str] = []
        self.texts: list[str] = []

    def read(self, name: str, hash_: str | None = None) -> StoredSession | None:
        self.read_log.append(name)
        self._reach()
        return self._cas.read(name, hash_)

    def list_sessions(self, namespace: str = "/") -> tuple[ListedSession, ...]:
        self._reach()
        return self._cas.list_sessions(namespace)

    def hash_of(self, name: str) -> str | None:
        self._reach()
        return self._cas.hash_of(name)

    def put(self, text: str) -> str:
        return self.upload(text).hash

    def upload(self, text: str) -> Receipt:
        name = parse_session(text).name
        if self.unreachable or name in self.fail_on:
            raise CasUnreachable("the CAS fake gave no answer", hint="repeat the command")
        self.put_log.append(name)
        self.texts.append(text)
        receipt = self._cas.upload(text)
        if name in self.lost_answers:
            raise CasUnreachable("the CAS fake gave no answer", hint="repeat the command")
        return receipt

    def _reach(self) -> None:
        if self.unreachable:
            raise CasUnreachable("no CAS answers at fake", hint="start one")

    def volumes(self, session: str) -> tuple[VolumeState, ...]:
        self._reach()
        return self._cas.volumes(session)

    def accept(self, session: str, volume: str, old: str | None, new: str | None) -> None:
        self._reach()
        self._cas.accept(session, volume, old, new)

    def encryption_key(self) -> str:
        return self._cas.encryption_key()
