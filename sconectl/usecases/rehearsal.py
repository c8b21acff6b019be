"""The outside world of a run that changes nothing: reads go through, writes are only remembered.

In: a session store, a workspace. Out: stand-ins for them that know what a run would have written.
"""

from __future__ import annotations

from collections.abc import Mapping

from sconectl.ports import ListedSession, Receipt, SessionStore, StoredSession, VolumeState, Workspace
from sconectl.text.yaml_tree import parse

_NO_HASH = "0" * 64


class RehearsalStore:
    """Implements `ports.SessionStore`; `outcomes` holds by name whether a session would be created, updated or left."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self.outcomes: dict[str, str] = {}
        self._there: set[str] = set()

    @property
    def address(self) -> str:
        """What messages call this CAS."""
        return self._store.address

    def read(self, name: str, hash_: str | None = None) -> StoredSession | None:
        """Return the active session called `name`. As every session is read before it is put, it is noted, too.

        An older version, by its hash, is not: nothing is put in its place.
        """
        found = self._store.read(name, hash_)
        if hash_ is None:
            self.outcomes.setdefault(name, "unchanged")
            self._there |= {name} if found else set()
        return found

    def list_sessions(self, namespace: str = "/") -> tuple[ListedSession, ...]:
        """Return the sessions that are right in a namespace now."""
        return self._store.list_sessions(namespace)

    def hash_of(self, name: str) -> str | None:
        """Return the hash of the session that is active now."""
        return self._store.hash_of(name)

    def volumes(self, session: str) -> tuple[VolumeState, ...]:
        """Return the volumes of the session that is active now."""
        return self._store.volumes(session)

    def accept(self, session: str, volume: str, old: str | None, new: str | None) -> None:
        """Nothing that is rehearsed moves a tag."""
        raise AssertionError("no plan accepts a state")

    def put(self, text: str) -> str:
        """Note that the session would be created or updated."""
        return self.upload(text).hash

    def upload(self, text: str) -> Receipt:
        """Do what `put` does, and tell what that was."""
        head = parse(text.partition("\n")[0], "session").value  # documents of ours begin with the name
        assert isinstance(head, dict)  # noqa: S101 - narrows the type
        name = str(head["name"])
        there = name in self._there
        self.outcomes[name] = "update" if there else "create"
        return Receipt(_NO_HASH, "updated" if there else "created")

    def encryption_key(self) -> str:
        """Return the public key to which sessions for this CAS are encrypted."""
        return self._store.encryption_key()


class RehearsalWorkspace:
    """Implements `ports.Workspace`; `outcomes` says by path what would become of files that differ."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self.outcomes: dict[str, str] = {}

    def read(self, path: str) -> bytes | None:
        """Return the content of a file, or None."""
        return self._workspace.read(path)

    def files(self, folder: str) -> tuple[str, ...]:
        """Return the paths of all files below `folder`, sorted."""
        return self._workspace.files(folder)

    def write(self, files: Mapping[str, bytes], *, replaces: tuple[str, ...] = (), private: bool = False) -> int:
        """Note what would be written and removed."""
        found = {}
        for path, content in files.items():
            old = self.read(path)
            if old != content:
                found[path] = "create" if old is None else "update"
        found |= {path: "remove" for folder in replaces for path in self.files(folder) if path not in files}
        self.outcomes |= found
        return len(found)
