"""What a list allows that it did not allow before, and the other way round.

In: the entries before and after, and which of them allow more than which. Out: changes. Entries are compared with those
only that may cover them, so that long lists take no longer than short ones for each entry.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from operator import eq
from typing import TypeVar

from sconectl.policy.diff.change import Change, neutral, strengthens, weakens

Entry = TypeVar("Entry", bound=Hashable)
Covers = Callable[[Entry, Entry], bool]
"""`covers(wide, narrow)` says that everything that the second allows is allowed by the first."""
Within = Callable[[Entry], Sequence[Hashable]]
"""`within(entry)` gives the key of the entry, and then those of all others that may cover it."""


def _itself(entry: Entry) -> Sequence[Hashable]:
    return (entry,)


def gained_and_lost(
    group: str,
    subject: str,
    before: Iterable[Entry],
    after: Iterable[Entry],
    gained: str,
    lost: str,
    code: str | Callable[[Entry, Sequence[Entry]], str],
    *,
    covers: Covers[Entry] = eq,
    within: Within[Entry] = _itself,
    words: Callable[[Entry], str] = str,
) -> Iterator[Change]:
    """Yield a change for each entry that allows something new, and for each that allowed what is allowed no longer.

    Where there are none, but other entries or another order, that is told. `{}` in the messages is the entry in
    `words`. A `code` that depends is asked with the entry, and with the old ones that it covers.
    """
    first, second = tuple(before), tuple(after)
    if first == second:
        return
    first, second = tuple(dict.fromkeys(first)), tuple(dict.fromkeys(second))
    narrower = _covered(first, covers, within)
    come, gone = added(first, second, covers, within), added(second, first, covers, within)
    for entry in come:
        old = narrower(entry)
        text = gained.format(words(entry)) + (f"; so far: {', '.join(map(words, old))}" if old else "")
        yield weakens(group, subject, text, code if isinstance(code, str) else code(entry, old))
    left = _covered(second, covers, within)
    for entry in gone:
        rest = ", ".join(map(words, left(entry)))
        yield strengthens(group, subject, lost.format(words(entry)) + (f"; still: {rest}" if rest else ""))
    if not come and not gone:
        yield neutral(group, subject, "is written differently, and allows the same")


def added(
    before: Iterable[Entry], after: Iterable[Entry], covers: Covers[Entry] = eq, within: Within[Entry] = _itself
) -> list[Entry]:
    """Return the entries of `after` that allow something that no entry of `before` allows."""
    known: dict[Hashable, list[Entry]] = {}
    for entry in before:
        known.setdefault(within(entry)[0], []).append(entry)
    return [
        entry
        for entry in after
        if not any(covers(other, entry) for key in within(entry) for other in known.get(key, ()))
    ]


def _covered(
    entries: Iterable[Entry], covers: Covers[Entry], within: Within[Entry]
) -> Callable[[Entry], Sequence[Entry]]:
    """Return a function that gives the entries that one covers."""
    known: dict[Hashable, list[Entry]] = {}
    for entry in entries:
        for key in dict.fromkeys(within(entry)):
            known.setdefault(key, []).append(entry)
    return lambda wide: [other for other in known.get(within(wide)[0], ()) if covers(wide, other)]
