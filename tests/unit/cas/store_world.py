"""A store of its own for a test, with everything it needs, opened as often as a test wants."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from sconectl.cas.audit.anchor import Anchor
from sconectl.cas.keys.cas_keys import CasKeys, load_or_create
from sconectl.cas.secrets.session_secrets import Stored
from sconectl.cas.store.store import Store
from sconectl.cas.store.versions import Version

SECRET = b"a-very-secret-value"


class StoreWorld:
    """A directory, its keys and its anchor."""

    def __init__(self, root: Path) -> None:
        self.directory = root / "cas"
        self.anchor_path = root / "elsewhere" / "anchor"

    @property
    def keys(self) -> CasKeys:
        return load_or_create(self.directory)

    @property
    def anchor(self) -> Anchor:
        return Anchor(self.anchor_path, self.keys.sealing)

    @contextlib.contextmanager
    def opened(self, *, starting: bool = True) -> Iterator[Store]:
        keys = self.keys
        anchor = Anchor(self.anchor_path, keys.sealing)
        store = Store(self.directory, keys.sealing, audit_key=keys.audit, anchor=anchor, starting=starting)
        with contextlib.closing(store):
            yield store


def version(hash_: str = "h1", text: str = "a confidential text") -> Version:
    return Version(text, '{"a": "confidential document"}', hash_)


def row(content: bytes = SECRET, *, public: bool = False, renew: int | None = None) -> Stored:
    return Stored("ascii", '{"size":20}', content, public, None, renew)


def put(store: Store, name: str = "acme", hash_: str = "h1") -> None:
    with store.writing() as transaction:
        transaction.append(name, version(hash_))
        transaction.replace_stored(name, {"password": row()})
        transaction.record("session_created", session=name)
