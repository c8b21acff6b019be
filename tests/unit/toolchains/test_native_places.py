"""Places in native images: normalised as runtimes take them, links followed, and what cannot be, refused."""

from __future__ import annotations

import posixpath
import re

import pytest
from fakes.roots import Content, MemoryRoot
from hypothesis import given
from hypothesis import strategies as st

from sconectl.errors import PlanImpossible
from sconectl.image.settings.native_places import (
    MAX_LAYERS,
    image_pwd,
    image_volumes,
    real_paths,
    require_buildable,
    require_room,
)
from sconectl.plan.service.protection import default_rules, rule_for
from sconectl.ports import ImageInfo


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("rel/x", "/rel/x"), ("/a/", "/a"), ("//a", "/a"), ("/a/../b", "/b"), ("./x", "/x"), ("../x", "/x"),
        ("/a b", "/a b"), ("/ünï", "/ünï"), ("/{{x}}$#", "/{{x}}$#"),
        ("/" + "n" * 255, "/" + "n" * 255),
    ],
)  # fmt: skip
def test_paths_of_a_configuration(written: str, found: str) -> None:
    assert image_volumes({"Volumes": {written: {}}}) == (found,)
    assert image_pwd({"WorkingDir": written}) == found


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40))
def test_any_path_becomes_an_absolute_one(text: str) -> None:
    pwd = image_pwd({"WorkingDir": text})
    assert pwd.startswith("/") and not pwd.startswith("//") and posixpath.normpath(pwd) == pwd
    assert ".." not in pwd.split("/")
    assert rule_for(default_rules(), pwd)  # this ends
    if pwd == "/":
        with pytest.raises(PlanImpossible, match="root directory as a volume"):
            image_volumes({"Volumes": {text: {}}})
    elif re.search(r"[\x00-\x1f\x7f-\x9f]", pwd):
        with pytest.raises(PlanImpossible, match=r"declares a volume at .*control characters"):
            image_volumes({"Volumes": {"/fine": {}, text: {}}})
    else:
        assert image_volumes({"Volumes": {text: None}}) == (pwd,)


def test_no_configuration() -> None:
    assert image_volumes({}) == image_volumes({"Volumes": None}) == ()
    assert image_pwd({}) == image_pwd({"WorkingDir": ""}) == "/"


LINKS: dict[str, Content] = {
    "/data": "/srv/data", "/srv/data/x": b"1", "/relative": "srv/data", "/first": "/second", "/second": "/data/../data",
    "/into": "/srv", "/away": "/srv/missing", "/loop": "/pool", "/pool": "loop", "/self": "self", "/top": "/",
    "/up": "../../..", "/srv/var": "/var/run", "/var/run": "/run",
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "real"),
    [
        ("/data", "/srv/data"), ("/relative", "/srv/data"), ("/first", "/srv/data"), ("/into/data", "/srv/data"),
        ("/into/new/folder", "/srv/new/folder"), ("/away", "/srv/missing"), ("/plain/new", "/plain/new"),
        ("/data/x", "/srv/data/x"), ("/srv/var/lock", "/run/lock"),
    ],
)  # fmt: skip
def test_links_are_followed_to_where_a_runtime_mounts(path: str, real: str) -> None:
    assert real_paths(MemoryRoot(LINKS), [path]) == (real,)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/loop", "in a circle"), ("/pool", "in a circle"), ("/self/x", "in a circle"), ("/top", "the root directory"),
        ("/up", "the root directory"),
    ],
)  # fmt: skip
def test_links_that_lead_nowhere_are_refused(path: str, words: str) -> None:
    with pytest.raises(PlanImpossible, match=words) as caught:
        real_paths(MemoryRoot(LINKS), [path])
    assert path in caught.value.message


def test_a_base_image_with_triggers() -> None:
    require_buildable("base:1", ImageInfo("sha256:1", "amd64", {"OnBuild": None}))
    with pytest.raises(PlanImpossible, match=r"ONBUILD triggers.*: RUN a; COPY . /app") as caught:
        require_buildable("base:1", ImageInfo("sha256:1", "amd64", {"OnBuild": ["RUN a", "COPY . /app"]}))
    assert "docker build" in caught.value.hint


def test_room_for_our_layers() -> None:
    require_room("x:1", MAX_LAYERS - 2)
    with pytest.raises(PlanImpossible, match="would have 126 layers"):
        require_room("x:1", MAX_LAYERS - 1)
