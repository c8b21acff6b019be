"""The configuration as the launcher reads it: complete, understood, or refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sconectl.runtime.configuration import Configuration, FileSystemKey, Host, VolumeKey, read_configuration
from sconectl.runtime.log import LaunchRefused

NOTHING = Host()
GOOD: dict[str, Any] = {
    "session": "s", "service": "a", "argv": ["x"], "environment": {"A": "1"}, "pwd": "/",
    "files": [{"path": "/f", "permission": 384, "content": "eA=="}],
    "fspf": {"path": "/p", "key": "00" * 32, "tag": "11" * 16},
}  # fmt: skip
WRONG: list[Any] = [7, True, [7], {"a": 7}, [[]], "\udc80", "\0", None]
FILE = GOOD["files"][0]
ODD: list[dict[str, Any]] = [
    *({name: value} for name in GOOD for value in WRONG if (name, value) != ("fspf", None)),
    {"argv": "text"}, {"argv": {"x": "y"}}, {"environment": [["A", "1"]]}, {"environment": {"": "x"}},
    {"environment": {"A=B": "x"}}, {"environment": {"A\0": "x"}}, {"environment": {"A": "x\0"}},
    {"environment": {"A": "\ud800"}}, {"pwd": ""}, {"pwd": "relative"}, {"pwd": "/a/../b"}, {"files": {}},
    {"files": "text"}, {"fspf": {}}, {"fspf": False},
    *({"files": [FILE | {"path": path}]} for path in ("f", "/../f", 7)),
    *({"files": [FILE | {"permission": permission}]} for permission in ("384", True, -1, 1e3, 1 << 40)),
    *({"files": [FILE | {"content": content}]} for content in ("***", None, "eA")),
    *({"fspf": GOOD["fspf"] | {"key": key}} for key in ("zz", "", None, 7, "00" * 31)),
    *({"fspf": GOOD["fspf"] | changed} for changed in ({"path": None}, {"path": "p"}, {"tag": 7})),
]  # fmt: skip


@pytest.mark.parametrize("changes", ODD, ids=range(len(ODD)))
def test_configurations_of_the_wrong_form_are_refused(changes: dict[str, Any]) -> None:
    document = json.loads(json.dumps({"config": GOOD | changes}))
    with pytest.raises(LaunchRefused, match="does not understand"):
        read_configuration(document, NOTHING)


def read(host: Host = NOTHING, **changes: Any) -> Configuration:
    return read_configuration({"config": GOOD | changes}, host)


def refused(host: Host = NOTHING, **changes: Any) -> str:
    with pytest.raises(LaunchRefused) as caught:
        read(host, **changes)
    return "\n".join([caught.value.message, *caught.value.causes])


def test_the_right_form_is_taken() -> None:
    assert read().files == (("/f", 0o600, b"x"),)
    assert read(fspf=None, files=[], environment={}).fspf is None
    assert read(fs_files=[{"path": "/a//b", "permission": 256}]).fs_files == (("/a/b", 0o400),)
    assert read(session_hash="00", volumes=[], host_environment=[], fs_files=[]) == read()


@pytest.mark.parametrize(
    ("changes", "tags"),
    [
        ({}, ("11" * 16,)),
        ({"tag": None}, ()),
        ({"tag": "22" * 16, "initial_tag": "11" * 16}, ("22" * 16, "11" * 16)),
        ({"initial_tag": "11" * 16}, ("11" * 16,)),
        ({"tag": None, "initial_tag": None, "update_policy": "no_rollback_protection"}, None),
        ({"update_policy": "no_rollback_protection"}, None),
        ({"tag": None, "update_policy": "rollback_protected_reinitializable"}, ()),
    ],
)
def test_accepted_states_of_the_file_system(changes: dict[str, Any], tags: tuple[str, ...] | None) -> None:
    assert read(fspf=GOOD["fspf"] | changes).fspf == FileSystemKey("/p", bytes(32), tags)
    assert "key" not in repr(FileSystemKey("/p", b"key", tags)).replace("FileSystemKey", "")


def test_what_is_not_known_may_be_a_demand() -> None:
    assert refused(shield={"x": 1}, allow=[]) == (
        "the policy may demand something that this launcher does not know\n"
        "the CAS sent allow, shield\n"
        "build the image again with a newer sconectl"
    )


VOLUME: dict[str, Any] = {
    "name": "db", "path": "/var//db/", "key": "5e" * 32, "tag": "7a" * 16, "files": "encrypted",
    "update_policy": "rollback_protected", "source": None,
}  # fmt: skip


def test_volumes() -> None:
    shared = VOLUME | {"name": "in", "path": "/in", "tag": None, "files": "authenticated-only",
                       "update_policy": "ephemeral", "source": {"session": "o", "volume": "v"}}  # fmt: skip
    first, second = read(volumes=[VOLUME, shared]).volumes
    key = b"\x5e" * 32
    assert first == VolumeKey("db", "/var/db", key, b"\x7a" * 16, "encrypted", "rollback_protected")
    assert second == VolumeKey("in", "/in", key, None, "authenticated-only", "ephemeral")
    assert "5e" not in repr(first) and "^" not in repr(first)
    open_to_all = VOLUME | {"update_policy": "no_rollback_protection"}
    assert read(volumes=[open_to_all]).volumes[0].update_policy == "no_rollback_protection"


@pytest.mark.parametrize(
    ("changes", "sent"),
    [
        ({"compression": "zstd", "a": 1}, "a, compression"),
        ({"files": "plain"}, "files plain, update_policy rollback_protected"),
        ({"update_policy": "append_only"}, "files encrypted, update_policy append_only"),
    ],
)
def test_what_is_not_known_of_a_volume_may_be_a_demand(changes: dict[str, Any], sent: str) -> None:
    assert refused(volumes=[VOLUME | changes]) == (
        "the policy may demand something that this launcher does not know\n"
        f"the CAS sent volume db with {sent}\n"
        "build the image again with a newer sconectl"
    )


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "n" * 256])
def test_a_name_that_no_directory_can_have(name: str) -> None:
    assert "that no directory can have" in refused(volumes=[VOLUME | {"name": name}])


@pytest.mark.parametrize(
    ("outer", "inner"), [("/db", "/db"), ("/db", "/db/x"), ("/db/x", "/db"), ("/a/b/c", "/a/b/c/d/e")]
)
def test_volumes_inside_of_each_other(outer: str, inner: str) -> None:
    pair = [VOLUME | {"path": outer}, VOLUME | {"name": "x", "path": "/other"}, VOLUME | {"name": "y", "path": inner}]
    assert "inside of, the place of another one" in refused(volumes=pair)
    assert len(read(volumes=[*pair[:2], VOLUME | {"name": "y", "path": "/dbx"}]).volumes) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"key": None}, {"key": "5e" * 31}, {"key": "x"}, {"tag": ""}, {"tag": "7a" * 15}, {"tag": 7}, {"path": "db"},
        {"path": "/a/../b"}, {"path": "/"}, {"path": "//"}, {"name": None}, {"files": None}, {"update_policy": None},
    ],
)  # fmt: skip
def test_volumes_of_the_wrong_form(changes: dict[str, Any]) -> None:
    assert "does not understand" in refused(volumes=[VOLUME | changes])


@pytest.mark.parametrize("missing", ["name", "path", "key", "tag", "files", "update_policy"])
def test_volumes_that_lack_something(missing: str) -> None:
    volume = {name: value for name, value in VOLUME.items() if name != missing}
    assert "does not understand" in refused(volumes=[volume])
    assert "does not understand" in refused(volumes=[VOLUME, VOLUME | {"path": "/same-name"}])


@pytest.mark.parametrize(
    "changes",
    [
        {"volumes": {}}, {"volumes": None}, {"volumes": [{}]}, {"volumes": [7]}, {"volumes": "x"},
        {"fs_files": {}}, {"fs_files": [{"path": "/a"}]}, {"fs_files": [{"path": "a", "permission": 1}]},
        {"fs_files": [{"path": "/a", "permission": "1"}]}, {"fs_files": None},
        {"host_environment": "A"}, {"host_environment": [7]}, {"host_environment": [""]},
        {"host_environment": ["A=B"]}, {"host_environment": {"A": "b"}},
        {"argv": [{"host": 0}]}, {"argv": [{"host": -1}]}, {"argv": [{"host": "1"}]}, {"argv": [{"host": True}]},
        {"argv": [{"host": 1.0}]}, {"argv": [{}]}, {"argv": [{"host": 1, "x": 2}]}, {"argv": [{"guest": 1}]},
        {"fspf": GOOD["fspf"] | {"initial_tag": 7}},
    ],
)  # fmt: skip
def test_more_configurations_of_the_wrong_form(changes: dict[str, Any]) -> None:
    assert "does not understand" in refused(Host(("a", "b")), **changes)


def test_arguments_of_the_container() -> None:
    host = Host(("one", "", "@@1"))
    assert read(host, argv=["x", {"host": 3}, {"host": 1}, "@@2"]).argv == ("x", "@@1", "one", "@@2")
    assert read(host, argv=["x", {"host": 2}]).argv == ("x", "")
    assert read(host).argv == ("x",)
    assert refused(host, argv=[{"host": 4}, {"host": 5}]) == (
        "the policy takes argument 5 of the container, but it was started with 3"
    )
    assert "but it was started with 0" in refused(argv=[{"host": 1}])
    assert refused(host, argv=[{"host": 1}, {"host": 1}]) == "the policy uses an argument of the container twice"


def test_variables_of_the_container() -> None:
    host = Host((), {"A": "theirs", "B": "b", "PATH": "/evil"})
    assert read(host).environment == {"A": "1"}
    assert read(host, host_environment=["B", "C"]).environment == {"A": "1", "B": "b", "C": ""}
    assert read(host, host_environment=["A"]).environment == {"A": "1"}  # never against the policy
    assert "theirs" not in repr(host)


@pytest.mark.parametrize("document", [{}, {"config": None}, {"config": []}, {"config": "x"}, {"config": {}}])
def test_no_configuration(document: dict[str, Any]) -> None:
    with pytest.raises(LaunchRefused, match="does not understand"):
        read_configuration(document, NOTHING)
