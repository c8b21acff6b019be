"""Any tree comes back as it was; any edit to what is stored is refused, or touches no byte that anything refers to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sconectl.protect.chunks import TAG, SealBroken

from .trees import CHUNK, KEY, TREES, Tree, opened, protect, scratch


def slow(examples: int) -> settings:
    return settings(deadline=None, max_examples=examples, suppress_health_check=[HealthCheck.too_slow])


@slow(100)
@given(TREES, TREES)
def test_round_trip(one: Tree, two: Tree) -> None:
    with scratch() as folder:
        tag, stored = protect(folder, {"/one": one, "/two": two})
        assert opened(folder / "again", tag, stored) == {b"one": (0o755, one), b"two": (0o755, two)}


@slow(100)
@given(TREES)
def test_nothing_of_it_can_be_read(tree: Tree) -> None:
    with scratch() as folder:
        _, stored = protect(folder, {"/one": tree})
        everything = b"".join(stored.values())[HEADER:]
        for text in _texts(tree):
            assert len(text) < 8 or text not in everything


def _texts(tree: Tree) -> list[bytes]:
    found = []
    for name, item in tree.items():
        found.append(name)
        if isinstance(item, bytes):
            found.append(item)
        else:
            found += [item[1]] if isinstance(item[1], bytes) else _texts(item[1])
    return found


@slow(25)
@given(TREES)
def test_two_processes_do_what_one_does(tree: Tree) -> None:
    with scratch() as folder:
        one = protect(folder / "a", {"/one": tree}, processes=1)
        assert protect(folder / "b", {"/one": tree}, processes=2) == one
        assert opened(folder / "c", *one, processes=2) == opened(folder / "d", *one, processes=1)


# What somebody without the key can do to what is stored: each edit changes names or bytes of the dictionary.

OLD: Tree = {b"f": (0o644, b"o" * 200), b"g": (0o600, b"old"), b"same": (0o644, b"s" * 100)}
NEW: Tree = {b"f": (0o644, b"n" * 200), b"g": (0o640, b"new"), b"same": (0o644, b"s" * 100), b"l": b"f"}
OTHER: Tree = {b"f": (0o644, b"n" * 200), b"d": (0o700, {b"empty": (0o644, b"")})}
BLOCK = CHUNK + TAG
HEADER = 32

with scratch() as _folder:
    OLD_TAG, OLD_STORED = protect(_folder / "old", {"/one": OLD, "/two": OTHER})
    NEW_TAG, NEW_STORED = protect(_folder / "new", {"/one": NEW, "/two": OTHER})
    _, STRANGER = protect(_folder / "stranger", {"/one": NEW, "/two": OTHER}, key=bytes(32))
NAMES = st.sampled_from(["fs.fspf", "packs/0", "packs/1"])
PLACES = st.integers(0, 2000)
EDITS = st.one_of(
    st.tuples(st.just("flip"), NAMES, PLACES, st.integers(1, 255)),
    st.tuples(st.just("truncate"), NAMES, PLACES),
    st.tuples(st.just("cut"), NAMES, PLACES, st.integers(1, 200)),
    st.tuples(st.just("insert"), NAMES, PLACES, st.binary(min_size=1, max_size=2 * BLOCK)),
    st.tuples(st.just("extend"), NAMES, st.binary(min_size=1, max_size=2 * BLOCK)),
    st.tuples(st.just("swap chunks"), NAMES, st.integers(0, 9), st.integers(0, 9)),
    st.tuples(st.just("copy chunk"), NAMES, st.integers(0, 9), NAMES, st.integers(0, 9)),
    st.tuples(st.just("swap files"), NAMES, NAMES),
    st.tuples(st.just("rename"), NAMES, st.sampled_from(["packs/0", "packs/1", "packs/2", "fs.fspf"])),
    st.tuples(st.just("add"), st.sampled_from(["packs/2", "packs/0.old"]), st.binary(max_size=20)),
    st.tuples(st.just("delete"), NAMES),
    st.tuples(st.just("old version"), NAMES),
    st.tuples(st.just("of another key"), NAMES),
)


def edit(stored: dict[str, bytes], what: tuple[Any, ...]) -> None:
    """Apply one edit; what an edit before it removed, is empty."""
    kind, name, *more = what
    content = stored.get(name, b"")
    if kind == "delete":
        stored.pop(name, None)
    elif kind == "rename":
        stored[more[0]] = stored.pop(name, b"")
    elif kind == "swap files":
        stored[name], stored[more[0]] = stored.get(more[0], b""), content
    elif kind == "copy chunk":
        stored[name] = replaced(content, more[0] * BLOCK, BLOCK, block(stored.get(more[1], b""), more[2]))
    else:
        stored[name] = EDITED[kind](name, content, *more)


def replaced(content: bytes, start: int, length: int, new: bytes) -> bytes:
    return content[:start] + new + content[start + length :]


def block(content: bytes, number: int) -> bytes:
    return content[number * BLOCK : (number + 1) * BLOCK]


def flipped(_: str, content: bytes, place: int, bits: int) -> bytes:
    place %= len(content) or 1
    return replaced(content, place, 1, bytes([content[place] ^ bits])) if content else b""


def swapped(_: str, content: bytes, one: int, two: int) -> bytes:
    first, second = block(content, one), block(content, two)
    return replaced(replaced(content, one * BLOCK, BLOCK, second), two * BLOCK, BLOCK, first)


EDITED: dict[str, Callable[..., bytes]] = {
    "flip": flipped,
    "truncate": lambda _, content, place: content[:place],
    "cut": lambda _, content, place, length: replaced(content, place, length, b""),
    "insert": lambda _, content, place, new: replaced(content, place, 0, new),
    "extend": lambda _, content, new: content + new,
    "swap chunks": swapped,
    "add": lambda _, content, new: new,
    "old version": lambda name, _: OLD_STORED[name],
    "of another key": lambda name, _: STRANGER[name],
}


def refers_to(stored: dict[str, bytes]) -> dict[str, bytes | None]:
    return {name: stored.get(name) for name in NEW_STORED}


@slow(400)
@given(st.lists(EDITS, min_size=1, max_size=6))
def test_every_edit_is_refused_or_of_no_effect(edits: list[tuple[Any, ...]]) -> None:
    stored = dict(NEW_STORED)
    for what in edits:
        edit(stored, what)
    with scratch() as folder:
        if refers_to(stored) == refers_to(NEW_STORED):  # undone by another edit, or only files that nothing refers to
            assert opened(folder / "t", NEW_TAG, stored) == {b"one": (0o755, NEW), b"two": (0o755, OTHER)}
        else:
            with pytest.raises(SealBroken):
                opened(folder / "t", NEW_TAG, stored)


def test_every_byte_of_a_pack_counts() -> None:
    for position in range(len(NEW_STORED["packs/0"])):
        stored = dict(NEW_STORED)
        edit(stored, ("flip", "packs/0", position, 1))
        with scratch() as folder, pytest.raises(SealBroken):
            opened(folder / "t", NEW_TAG, stored)


@pytest.mark.parametrize("mixed", ["fs.fspf", "packs/0"])
def test_versions_do_not_mix_even_if_any_state_is_accepted(mixed: str) -> None:
    """A policy without rollback protection takes the tag that is there; parts of two versions it does not take."""
    stored = {**NEW_STORED, mixed: OLD_STORED[mixed]}
    tag = OLD_TAG if mixed == "fs.fspf" else NEW_TAG
    with scratch() as folder, pytest.raises(SealBroken):
        opened(folder / "t", tag, stored)


def test_an_old_state_needs_its_own_tag() -> None:
    with scratch() as folder:
        with pytest.raises(SealBroken, match="tag differs"):
            opened(folder / "a", NEW_TAG, OLD_STORED)
        assert opened(folder / "b", OLD_TAG, OLD_STORED)[b"one"] == (0o755, OLD)
        with pytest.raises(SealBroken):
            opened(folder / "c", NEW_TAG, NEW_STORED, key=bytes(32))


def test_equal_files_look_different_and_an_unchanged_one_stays_the_same() -> None:
    chunks = [NEW_STORED[pack][at : at + BLOCK] for pack in ("packs/0", "packs/1") for at in (0, BLOCK)]
    assert len(set(chunks)) == len(chunks)
    assert NEW_STORED["packs/1"] == OLD_STORED["packs/1"]
    assert KEY not in b"".join(NEW_STORED.values())
