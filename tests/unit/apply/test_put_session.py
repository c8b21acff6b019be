"""Two who put the same session at the same time: nobody fails who wants the same, and nothing is overwritten unseen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes.stores import MemorySessionStore

from sconectl.apply.sessions import merged, put_session
from sconectl.artefacts.session import session_text
from sconectl.errors import CasRefused
from sconectl.ports import ListedSession, Receipt, StoredSession, VolumeState


def session(value: str = "1") -> dict[str, Any]:
    service = {"name": "s", "mrenclaves": ["ab" * 32], "command": "x", "environment": {"A": value}}
    security = {"attestation": {"mode": "simulation"}}
    return {"name": "ours", "version": "0.3.10", "security": security, "services": [service]}


class Rival:
    """A store in which somebody else puts sessions just before we do."""

    def __init__(self, store: MemorySessionStore, *theirs: dict[str, Any], tries: int = 1) -> None:
        self.store, self.theirs, self.tries = store, theirs, tries
        self.address = "rival"

    def read(self, name: str, hash_: str | None = None) -> StoredSession | None:
        return self.store.read(name, hash_)

    def list_sessions(self, namespace: str = "/") -> tuple[ListedSession, ...]:
        return self.store.list_sessions(namespace)

    def put(self, text: str) -> str:
        return self.upload(text).hash

    def upload(self, text: str) -> Receipt:
        if self.tries:
            self.tries -= 1
            for document in self.theirs:
                now = self.store.read("ours")
                self.store.put(session_text(document, predecessor=now.hash if now else ""))
        return self.store.upload(text)

    def hash_of(self, name: str) -> str | None:
        return self.store.hash_of(name)

    def volumes(self, session: str) -> tuple[VolumeState, ...]:
        return self.store.volumes(session)

    def accept(self, session: str, volume: str, old: str | None, new: str | None) -> None:
        self.store.accept(session, volume, old, new)

    def encryption_key(self) -> str:
        return ""


@pytest.mark.parametrize("begun", [False, True], ids=["both create", "both update"])
def test_the_same_from_both_is_unchanged(tmp_path: Path, begun: bool) -> None:
    store = MemorySessionStore(tmp_path)
    if begun:
        put_session(store, session("0"))
    assert put_session(Rival(store, session()), session()).outcome == "unchanged"


def test_another_version_of_what_was_there_is_replaced(tmp_path: Path) -> None:
    store = MemorySessionStore(tmp_path)
    put_session(store, session("0"))
    done = put_session(Rival(store, session("2"), session("0"), tries=3), session())
    assert done.outcome == "updated"


@pytest.mark.parametrize("begun", [False, True])
def test_another_content_is_not_overwritten(tmp_path: Path, begun: bool) -> None:
    store = MemorySessionStore(tmp_path)
    if begun:
        put_session(store, session("0"))
    with pytest.raises(CasRefused, match="somebody else changed the session ours at the same time: ") as caught:
        put_session(Rival(store, session("2")), session())
    assert caught.value.status == 409 and "apply again" in caught.value.hint
    assert "predecessor" not in caught.value.message
    if begun:
        assert "A" in caught.value.message, caught.value.message


def test_an_endless_rival_ends(tmp_path: Path) -> None:
    store = MemorySessionStore(tmp_path)
    put_session(store, session("0"))
    with pytest.raises(CasRefused):
        put_session(Rival(store, session("2"), session("0"), tries=100), session())


def _once(error: CasRefused) -> Callable[[], Any]:
    calls: list[int] = []

    def put() -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise error
        return len(calls)

    return put


def test_what_is_made_from_the_session_is_made_anew() -> None:
    done: Any = merged(_once(CasRefused("stale", status=409)))
    assert done == 2
    with pytest.raises(CasRefused, match="no"):
        merged(_once(CasRefused("no", status=403)))
