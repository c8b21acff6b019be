"""All versions of a session, from the active one back to the first.

In: a session store and the name of a session. Out: its versions, each with what it changed. Raises `CasError`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from sconectl.errors import CasError
from sconectl.policy.diff.diff import Change, differences
from sconectl.policy.diff.fates import fates
from sconectl.policy.reading import Session, parse_session
from sconectl.ports import SessionStore, StoredSession


class BrokenHistory(CasError):
    """A CAS lacks a version that another one names as its predecessor."""


@dataclass(frozen=True)
class PastVersion:
    """One version of a session; the first has the number 1, and changes nothing.

    `drawn_anew` names the secrets whose value of the version before is gone, because the CAS drew another one.
    """

    number: int
    hash: str
    session: Session = field(repr=False)
    changes: tuple[Change, ...] = ()
    drawn_anew: tuple[str, ...] = ()

    def count(self, severity: str) -> int:
        """Return how many of the changes have this severity."""
        return sum(change.severity == severity for change in self.changes)


def history(store: SessionStore, name: str) -> list[PastVersion]:
    """Return the versions of a session, the active one first; none if there is no such session.

    Raises `BrokenHistory` if the CAS lacks a version that its successor names, or if one would be its own predecessor.
    """
    stored = store.read(name)
    if stored is None:
        return []
    session = parse_session(stored.text, file=name)
    found = [(stored.hash, session)]
    found += [(before.hash, read) for before, read in versions_before(store, session, stored.hash)]
    return _numbered(found[::-1])[::-1]


def versions_before(store: SessionStore, session: Session, hash_: str) -> Iterator[tuple[StoredSession, Session]]:
    """Yield the versions before the one with this hash, the youngest first. Raises `BrokenHistory`."""
    name, looked = session.name, {hash_}
    while (before := session.predecessor) is not None:
        if before in looked:
            raise _broken(store, name, before, "is its own predecessor")
        looked.add(before)
        stored = store.read(name, before)
        if stored is None:
            raise _broken(store, name, before, "is missing")
        session = parse_session(stored.text, file=name)
        yield stored, session


def _numbered(versions: Sequence[tuple[str, Session]]) -> list[PastVersion]:
    """Return versions, given oldest first, with what each of them changed."""
    found = [PastVersion(1, *versions[0])]
    for (_, before), (hash_, after) in pairwise(versions):
        drawn = tuple(fate.name for fate in fates(before, after) if fate.fate == "drawn anew")
        found.append(PastVersion(len(found) + 1, hash_, after, tuple(differences(before, after)), drawn))
    return found


def _broken(store: SessionStore, name: str, hash_: str, fault: str) -> BrokenHistory:
    return BrokenHistory(
        f"the history of the session {name} in CAS {store.address} is not whole: version {hash_} {fault}",
        hint="ask whoever runs the CAS what happened to it",
    )
