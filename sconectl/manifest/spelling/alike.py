"""Finds the known name that an unknown one probably means, quickly even if there are thousands of both.

In: names, and a word. Out: the name that is most like it.
"""

from __future__ import annotations

import difflib
from functools import cached_property, lru_cache

_FEW = 50  # a model has fewer fields; of more names, only those that differ in one character count
_LONGEST = 100  # nobody meant another name by a longer word
_SHORTEST = 3
_CUTOFF = 0.6


class Names:
    """Names, as they are compared: case and punctuation hardly count."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names: dict[str, str] = {}
        for name in names:
            self._names.setdefault(_plain(name), name)

    def nearest(self, word: str) -> str | None:
        """Return the name that is most like `word`, or None."""
        key = _plain(word)
        if key in self._names:
            return self._names[key]
        if len(key) > _LONGEST:
            return None
        near = difflib.get_close_matches(key, self._short, 1, _CUTOFF) if len(self._short) <= _FEW else self._near(key)
        return self._names[near[0]] if near else None

    def _near(self, key: str) -> list[str]:
        if len(key) < _SHORTEST:
            return []
        return sorted({name for form in _shortened(key) for name in self._by_form.get(form, ())})

    @cached_property
    def _short(self) -> list[str]:
        return [name for name in self._names if len(name) <= _LONGEST]

    @cached_property
    def _by_form(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in self._short:
            for form in _shortened(name):
                found.setdefault(form, []).append(name)
        return found


@lru_cache(maxsize=4)
def names_of(names: tuple[str, ...]) -> Names:
    """Return these names; the last few are kept, since a manifest often asks for the same ones again."""
    return Names(names)


def differ_in_one_character(one: str, other: str) -> bool:
    """Say whether a character was left out, put in, changed, or exchanged with its neighbour."""
    return one != other and not _shortened(one).isdisjoint(_shortened(other))


def _shortened(key: str) -> set[str]:
    """Return a text, and what is left of it without one of its characters."""
    return {key, *(key[:place] + key[place + 1 :] for place in range(len(key)))}


def _plain(word: str) -> str:
    return "".join(character for character in word.casefold() if character.isalnum()) or word
