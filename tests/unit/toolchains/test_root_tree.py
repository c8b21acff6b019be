"""Layers laid over each other: what engines would unpack, without unpacking."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sconectl.errors import BuildFailed
from sconectl.image.layers.layer_index import Member
from sconectl.image.layers.root_tree import RootTree, merge

from .root_tars import Entry, file, folder, hard, link, native_image, opaque, removed


def shown(tree: RootTree) -> dict[str, str]:
    """Return each path with what it is."""
    return {
        path: member.target if member.kind == "l" else member.kind + (tree.read(path).decode() if member.size else "")
        for path, member in tree.members.items()
        if path != "/"
    }


def tree_of(work: Path, *layers: list[Entry]) -> RootTree:
    return native_image(work, layers).tree


def test_upper_entries_replace_lower_ones(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path,
        [folder("a"), file("a/x", b"1"), file("a/y", b"1"), link("l", "a"), folder("gone"), file("gone/z")],
        [file("a/x", b"2"), folder("l"), file("l/in", b"3"), file("gone", b"4")],
    )
    assert shown(tree) == {"/a": "d", "/a/x": "f2", "/a/y": "f1", "/l": "d", "/l/in": "f3", "/gone": "f4"}
    assert [tree.layer_of[path] for path in ("/a", "/a/x", "/a/y", "/l")] == [0, 1, 0, 1]
    assert tree.names("/") == ["a", "gone", "l"] and tree.names("/a") == ["x", "y"] and tree.names("/gone") == []


@pytest.mark.parametrize("order", [1, -1])
def test_whiteouts_concern_lower_layers_only(tmp_path: Path, order: int) -> None:
    upper = [removed("a"), folder("a"), file("a/new", b"2"), removed("b/x"), opaque("c"), file("c/new", b"2")]
    tree = tree_of(
        tmp_path,
        [folder("a"), file("a/old"), folder("b"), file("b/x"), file("b/y", b"1"), folder("c"), file("c/old")],
        [removed("nothing/there"), *upper][::order],
    )
    assert shown(tree) == {
        "/a": "d", "/a/new": "f2", "/b": "d", "/b/y": "f1", "/c": "d", "/c/new": "f2",
    }  # fmt: skip
    assert tree.removed_in == {"/a/old": 1, "/b/x": 1, "/c/old": 1}


def test_what_comes_back_was_not_removed(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, [file("a", b"1")], [removed("a")], [file("a", b"1")])
    assert shown(tree) == {"/a": "f1"} and tree.layer_of["/a"] == 2 and tree.removed_in == {}


def test_an_entry_that_changes_nothing_stays_where_it_was(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path,
        [folder("d", mtime=1), file("d/f", b"1", mtime=1), file("d/g", b"1")],
        [folder("d", mtime=9), file("d/f", b"1", mtime=9), file("d/g", b"1", 0o600)],
    )
    assert tree.layer_of == {"/": 0, "/d": 0, "/d/f": 0, "/d/g": 1}


def test_hard_links_have_the_content_of_their_target(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path,
        [folder("b"), file("b/x", b"1", 0o755), hard("a", "./b/x"), hard("c", "/a"), link("l", "x"), hard("m", "l")],
        [file("b/x", b"2")],
    )
    assert shown(tree) == {"/b": "d", "/b/x": "f2", "/a": "f1", "/c": "f1", "/l": "x", "/m": "x"}
    found = {path: (tree.members[path].target, tree.members[path].mode) for path in ("/a", "/c")}
    assert found == {"/a": ("", 0o755), "/c": ("/a", 0o755)}


def test_the_first_name_of_a_file_does_not_depend_on_the_order(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    one = tree_of(tmp_path, [file("a", b"1"), hard("b", "a"), hard("c", "a")])
    two = tree_of(tmp_path / "other", [file("c", b"1"), hard("b", "c"), hard("a", "b")])
    assert [m.target for m in one.members.values()] == ["", "", "/a", "/a"]
    assert {p: m.target for p, m in one.members.items()} == {p: m.target for p, m in two.members.items()}


def test_directories_that_a_layer_lacks(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path,
        [folder("a", 0o700), file("b/c/f")],
        [file("a/x"), file("b/c/g"), folder("n"), file("n/f")],
        [file("n/g")],
    )
    assert tree.implied == {"/b": 0, "/b/c": 0, "/a": 1, "/n": 2}
    assert tree.members["/a"].mode == 0o700 and tree.members["/b/c"].mode == 0o755


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ([[hard("a", "nowhere")]], "hard link to /nowhere"),
        ([[file("a")], [hard("b", "a")]], "hard link to /a, which its layer does not have"),
        ([[folder("d"), hard("a", "d")]], "hard link to /d"),
        ([[hard("a", "a")]], "hard link to /a"),
        ([[file("a"), file("a/b")]], "below /a, which is no directory in it"),
        ([[link("a", "b"), file("a/b/c")]], "below /a, which is no directory in it"),
        ([[file("b"), link("a", "b")], [file("a/x")]], "below /a, which is no directory under it"),
    ],
)
def test_layers_that_engines_unpack_differently_are_refused(tmp_path: Path, layers: Any, reason: str) -> None:
    with pytest.raises(BuildFailed, match=reason):
        tree_of(tmp_path, *layers)


def test_very_deep_directories(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, [file("d/" * 2000 + "f", b"1")], [removed("d")])
    assert shown(tree) == {} and len(tree.removed_in) == 2001


def test_links_are_followed_inside_the_root(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path,
        [
            folder("usr"), folder("usr/bin"), file("usr/bin/p"), link("bin", "usr/bin"), link("up", "../../../bin/p"),
            link("abs", "/bin/p"), link("loop", "loop2"), link("loop2", "loop"), link("dead", "nowhere"),
            link("usr/back", ".."), link("self", "self/x"), link("file-slash", "usr/bin/p/../p"),
        ],
    )  # fmt: skip
    for path in ("/bin/p", "/up", "/abs", "/usr/back/bin/p", "/usr/../bin/./p", "/usr/back/usr/back/abs"):
        assert tree.resolve(path) == "/usr/bin/p", path
    for path in ("/loop", "/dead", "/self", "/bin/p/x", "/file-slash", "/nowhere/x"):
        assert tree.resolve(path) is None, path
    assert tree.resolve("/") == "/" and tree.resolve("/usr/back") == "/"
    assert tree.member("/bin") is not None and tree.member("/bin/p") is None


def test_content_is_read_in_parts(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, [file("a", b"0123456789"), file("b", b"x")])
    assert tree.read("/a") == b"0123456789" and tree.read("/a", 2, 3) == b"234"
    assert tree.read("/a", 8, 100) == b"89" and tree.read("/a", 100) == b""
    for path in ("/", "/nowhere"):
        with pytest.raises(BuildFailed, match="not a file"):
            tree.read(path)


# Any stack of layers is the same as laying one after the other over a model.

NAMES = st.sampled_from(["a", "b", "c", "ä\n", os.fsdecode(b"\xff")])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
CHANGES = st.one_of(
    st.tuples(st.just("f"), PATHS, st.sampled_from(["1", "2"])),
    st.tuples(st.just("d"), PATHS, st.sampled_from([0o755, 0o700])),
    st.tuples(st.just("l"), PATHS, st.sampled_from(["a", "/b"])),
    st.tuples(st.just("w"), PATHS),
    st.tuples(st.just("o"), PATHS),
)
LAYERS = st.lists(st.lists(CHANGES, max_size=6), max_size=4)


def members_of(changes: list[Any]) -> list[Member]:
    """Return a layer that engines agree on: what lies below something lies below directories of this layer."""
    made: dict[str, Member] = {}
    others: list[Member] = []
    for kind, path, *value in changes:
        if kind in "wo":
            others.append(Member(path, kind, 0))
            continue
        parents = [path[:cut] for cut in range(1, len(path)) if path[cut] == "/"]
        taken = [other for other in (*parents, path) if made.get(other, Member(other, "d", 0)).kind != "d"]
        if taken or (kind != "d" and any((other + "/").startswith(path + "/") for other in made)):
            continue
        for parent in parents:
            made.setdefault(parent, Member(parent, "d", 0o755))
        if kind == "f":
            made[path] = Member(path, "f", 0o644, size=1, digest=value[0])
        elif kind == "d":
            made[path] = Member(path, "d", value[0])
        else:
            made[path] = Member(path, "l", 0o777, target=value[0])
    return [*others, *(made[path] for path in sorted(made))]


def laid_over(model: dict[str, Member], layer: list[Member]) -> dict[str, Member]:
    """Do what an engine does with one layer."""
    result = dict(model)

    def drop(path: str, *, itself: bool) -> None:
        for other in list(result):
            if other.startswith(path + "/") or (itself and other == path):
                del result[other]

    for member in layer:
        if member.kind in "wo":
            drop(member.path, itself=member.kind == "w")
    for member in layer:
        if member.kind not in "wo":
            if member.kind != "d" or result.get(member.path, member).kind != "d":
                drop(member.path, itself=True)
            result[member.path] = member
    return result


@settings(max_examples=300, deadline=None)
@given(LAYERS)
def test_a_stack_is_what_its_layers_make_one_after_the_other(stack: list[list[Any]]) -> None:
    layers = [members_of(changes) for changes in stack]
    model: dict[str, Member] = {}
    for layer in layers:
        model = laid_over(model, layer)
    tree = merge(layers)
    assert {path: member for path, member in tree.members.items() if path != "/"} == model
    for path, member in tree.members.items():
        assert tree.names(path) == sorted(
            other[len(path.rstrip("/")) + 1 :] for other in model if posixpath.dirname(other) == path
        )
        assert path == "/" or member in layers[tree.layer_of[path]]
    assert not set(tree.removed_in) & set(model)
    seen = {member.path for layer in layers for member in layer if member.kind not in "wo"}
    assert set(tree.removed_in) == seen - set(model)
