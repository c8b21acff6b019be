"""The sessions of a namespace, as far as one identity may see them.

In: a session store and the name of a namespace. Out: what is found in it, with the text of each session if it may be
read. Raises what the store raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from sconectl.errors import CasRefused
from sconectl.policy.reading import Session, examine
from sconectl.ports import SessionStore

_Answer = TypeVar("_Answer")
_FORBIDDEN = 403


@dataclass(frozen=True)
class FoundSession:
    """A session of a namespace. `hash` is None if it may not be known, `session` if it may not be read.

    With `closed`, sessions may be in it that this identity may not list.
    """

    name: str
    hash: str | None
    session: Session | None = field(default=None, repr=False)
    closed: bool = False


def sessions_below(store: SessionStore, namespace: str, *, recursive: bool) -> Iterator[FoundSession]:
    """Yield the sessions in a namespace, sorted by name; with `recursive` also those in each of them, behind it."""
    for listed in store.list_sessions(namespace):
        yield from _found(store, listed.name, listed.hash, recursive)


def _found(store: SessionStore, name: str, hash_: str | None, recursive: bool) -> Iterator[FoundSession]:
    session = None
    stored = _unless_forbidden(lambda: store.read(name))
    if stored is not None:
        hash_, session = stored.hash, examine(stored.text).session
    inside = _unless_forbidden(lambda: store.list_sessions(name)) if recursive else ()
    yield FoundSession(name, hash_, session, closed=inside is None)
    for listed in inside or ():
        yield from _found(store, listed.name, listed.hash, recursive)


def _unless_forbidden(ask: Callable[[], _Answer]) -> _Answer | None:
    try:
        return ask()
    except CasRefused as error:
        if error.status != _FORBIDDEN:
            raise
        return None
