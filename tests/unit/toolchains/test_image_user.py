"""The user of an image, and what it could not reach when the policy injects it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.members import readable_tree

from sconectl.image.layers.layer_index import Member
from sconectl.image.layers.root_tree import RootTree
from sconectl.image.settings.image_user import ImageUser, image_user, why_out_of_reach

PASSWD = b"root:x:0:0::/root:/bin/sh\nredis:x:102:103::/:/bin/sh\nbroken\n1000:x:7:7::/:\n"
GROUP = b"root:x:0:\nredis:x:103:\nssl:x:110:redis,other\nother:x:5:other\n"


@pytest.fixture
def tree(tmp_path: Path) -> RootTree:
    closed = [Member(f"/etc/{name}", "d", mode, uid, gid) for name, mode, uid, gid in FOLDERS]
    return readable_tree(tmp_path, {"/etc/passwd": PASSWD, "/etc/group": GROUP}, *closed, modes={})


FOLDERS = [("redis", 0o750, 102, 103), ("ssl", 0o710, 0, 110), ("root", 0o700, 0, 0), ("odd", 0o701, 0, 103)]


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("", ImageUser(0, 0, frozenset({0}))),
        ("redis", ImageUser(102, 103, frozenset({103, 110}))),
        ("102", ImageUser(102, 103, frozenset({103, 110}))),
        ("redis:ssl", ImageUser(102, 110, frozenset({110}))),
        ("33:44", ImageUser(33, 44, frozenset({44}))),
        ("33", ImageUser(33, 0, frozenset({0}))),
        ("1000", ImageUser(7, 7, frozenset({7}))),  # a name, first
        ("nobody", None),
        ("0:nobody", None),
        ("9" * 5000, None),
        (f"0:{'9' * 5000}", None),
        ("0" * 5000 + "33", ImageUser(33, 0, frozenset({0}))),
        ("\u0663", None),  # a digit, and no number for container runtimes
    ],
)
def test_who_it_is(tree: RootTree, text: str, user: ImageUser | None) -> None:
    assert image_user({"User": text}, tree) == user


@pytest.mark.parametrize(
    ("text", "path", "reason"),
    [
        (
            "0",
            "/etc/redis/redis.conf",
            "root without capabilities, as the chart starts it, may not",
        ),
        ("redis", "/etc/redis/deep/redis.conf", ""),
        (
            "33",
            "/etc/redis/deep/redis.conf",
            "user 33 of the image may not enter /etc/redis (user 102, group 103, mode",
        ),
        ("redis", "/etc/ssl/key", ""),
        ("33", "/etc/ssl/key", "user 33 of the image may not enter /etc/ssl"),
        ("redis", "/etc/root/x", "user 102 of the image may not enter /etc/root"),
        ("redis", "/etc/odd/x", "user 102 of the image may not enter /etc/odd"),  # its group decides, not the others
        ("33", "/etc/odd/x", ""),
        ("33", "/new/place", ""),
        ("0", "/etc/hosts", ""),
        ("33", "/etc/resolv.conf", "/etc/resolv.conf is written where the container runtime has it, which user 33"),
    ],
)
def test_what_is_out_of_its_reach(tree: RootTree, text: str, path: str, reason: str) -> None:
    user = image_user({"User": text}, tree)
    assert user is not None
    found, hint = why_out_of_reach(user, path, tree)
    assert found.startswith(reason) and bool(found) == bool(reason) == bool(hint)
    assert ("DAC_OVERRIDE" in hint) == (text == "0" and bool(reason))
