"""What an attested program gets: everything that the session prescribes, and nothing else."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.keys.cas_keys import CasKeys

from .enclave_world import CHANNEL, MEASUREMENT, World, causes_of, make_keys, service

KEY, TAG, NEW = "86b727" + "19" * 29, "3d" * 16, "4e" * 16
SECRETS = """
secrets:
  - {name: word, kind: ascii, value: "pässword\\"x"}
  - {name: raw, kind: binary, value: 00ff}
  - {name: k, kind: binary, value: 'KEY'}
  - {name: made, kind: ascii, size: 12}
""".replace("KEY", KEY)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> CasKeys:
    return make_keys(tmp_path_factory.mktemp("keys") / "cas")


@pytest.fixture
def world(keys: CasKeys, tmp_path: Path) -> World:
    return World(keys, tmp_path)


def body(command: str = "[app]", environment: str = "{}", more: str = "", files: str = "", image: str = "") -> str:
    lines = (
        "services:\n  - name: app\n    pwd: /srv\n    image_name: image\n"
        f"    attestation: {{mrenclave: {MEASUREMENT}}}\n"
        f"    command: {command}\n    environment: {environment}\n{more}"
        f"images:\n  - name: image\n    injection_files: [{files}]\n{image}"
    )
    return lines + SECRETS


def test_the_least_that_there_can_be(world: World) -> None:
    world.put(f"services: [{{name: app, attestation: {{mrenclave: {MEASUREMENT}}}}}]")
    assert world.attest() == {
        "session": "acme",
        "service": "app",
        "argv": [],
        "environment": {},
        "host_environment": [],
        "pwd": "/",
        "files": [],
        "fs_files": [],
        "fspf": None,
        "volumes": [],
    }


def test_secrets_are_filled_in(world: World) -> None:
    files = (
        '{path: /a, content: "<$$SCONE::word|escape(json)$$>", permission: 0o440}, {path: /b, content: $$SCONE::raw$$}'
    )
    world.put(body('[app, "--x=$$SCONE::word$$", $$SCONE::raw:hex$$]', "{A: $$SCONE::made$$, B: plain}", files=files))
    config = world.attest()
    assert config["argv"] == ["app", '--x=pässword"x', "00ff"]
    assert len(config["environment"]["A"]) == 12 and config["environment"]["B"] == "plain"
    assert config["files"] == [
        {"path": "/a", "permission": 0o440, "content": base64.b64encode('<pässword\\"x>'.encode()).decode()},
        {"path": "/b", "permission": 0o700, "content": base64.b64encode(b"\0\xff").decode()},
    ]
    assert config["pwd"] == "/srv"


def test_host_arguments_are_named_and_not_filled_in(world: World) -> None:
    world.put(body('[app, "@@2", "@@1", "x@@3", "@@", "@@4x"]'))
    assert world.attest()["argv"] == ["app", {"host": 2}, {"host": 1}, "x@@3", "@@", "@@4x"]


def test_the_value_of_a_secret_is_no_host_argument(world: World) -> None:
    world.put(body("[app, $$SCONE::word$$]").replace('"pässword\\"x"', '"@@1"'))
    assert world.attest()["argv"] == ["app", "@@1"]


def test_host_variables_are_named_and_their_value_ignored(world: World) -> None:
    world.put(body(environment=r"{\@\@REGION: ignored, \@\@B: $$SCONE::word$$, B: own, C: c}"))
    config = world.attest()
    assert config["environment"] == {"B": "own", "C": "c"}
    assert config["host_environment"] == ["REGION"]  # what the policy says itself wins


def test_a_secret_that_does_not_fit(world: World) -> None:
    world.put("secrets: [{name: other, kind: binary, size: 4, export: {session: acme}}]", "owner")
    imported = "secrets:\n  - {name: word, import: {session: owner, secret: other}}\n"
    world.put(body("[app]", "{A: $$SCONE::word$$}").split("secrets:")[0] + imported)
    causes = world.refused()
    assert causes[0] == "Filling secrets into environment variable A failed"
    assert "raw bytes" in causes[1]


def test_a_secret_that_is_not_granted(world: World) -> None:
    imported = "secrets:\n  - {name: word, kind: ascii, import: {session: ghost, secret: other}}\n"
    world.put(body("[app, $$SCONE::word$$]").split("secrets:")[0] + imported)
    assert "ghost" in world.refused()[1]


def test_tokens_name_the_program(world: World) -> None:
    extra = (
        "  - {name: key, kind: private-key, key_type: P-384}\n"
        "  - {name: token, kind: jwt, signer: key, alg: ES384, validity: {for: 1h},"
        ' payload: {who: "$$SCONE::self::software_identity$$"}}\n'
    )
    world.put(body("[app, $$SCONE::token$$]") + extra)
    payload = world.attest()["argv"][1].split(".")[1]
    assert json.loads(base64.urlsafe_b64decode(payload + "=="))["who"] == MEASUREMENT


# The main file system.


def fspf(key: str = KEY, tag: str = TAG, policy: str = "rollback_protected_reinitializable") -> str:
    line = f"    fspf_path: /f\n    fspf_key: {key}\n    fspf_update_policy: {policy}\n"
    return line + (f"    fspf_tag: {tag}\n" if tag else "")


def test_the_file_system_and_its_current_tag(world: World) -> None:
    world.put(body(more=fspf("$$SCONE::k$$")))
    expected = {
        "path": "/f",
        "key": KEY,
        "tag": TAG,
        "initial_tag": TAG,
        "update_policy": "rollback_protected_reinitializable",
    }
    assert world.attest()["fspf"] == expected
    assert world.move("fspf", TAG, NEW) == NEW
    assert world.attest()["fspf"] == expected | {"tag": NEW}
    with pytest.raises(CasRefusal, match="Rollback"):
        world.move("fspf", "00" * 16, TAG)
    assert world.move("fspf", TAG, "5f" * 16) == "5f" * 16


def test_a_new_image_begins_with_its_own_tag(world: World) -> None:
    world.put(body(more=fspf()))
    world.attest()
    world.move("fspf", TAG, NEW)
    world.put(body(more=fspf(tag="77" * 16)))
    assert world.attest()["fspf"]["tag"] == "77" * 16


def test_a_file_system_without_rollback_protection(world: World) -> None:
    world.put(body(more=fspf(tag="", policy="no_rollback_protection")))
    found = world.attest()["fspf"]
    assert (found["tag"], found["initial_tag"]) == (None, None)
    assert world.move("fspf", "00" * 16, NEW) == NEW
    assert world.attest()["fspf"]["tag"] == NEW


def test_the_file_systems_of_services_are_apart(world: World) -> None:
    second = f"  - name: two\n    attestation: {{mrenclave: {MEASUREMENT}}}\n{fspf()}"
    world.put(body(more=fspf() + second))
    world.attest()
    world.move("fspf", TAG, NEW)
    assert world.attest("acme/two")["fspf"]["tag"] == TAG


# Files that are read through the file system.


FILES = "/etc/a.ini, {path: /etc/b, permission: 0o400}, {path: /etc/c, content: $$SCONE::word$$}"


def test_own_files_are_listed_and_filled_in(world: World) -> None:
    world.put(body(files=FILES))
    config = world.attest()
    assert config["fs_files"] == [
        {"path": "/etc/a.ini", "permission": 0o700},
        {"path": "/etc/b", "permission": 0o400},
    ]
    assert [file["path"] for file in config["files"]] == ["/etc/c"]
    assert world.fill("/etc/a.ini", "ü=$$SCONE::word$$\n".encode()) == 'ü=pässword"x\n'.encode()
    assert world.fill("/etc/b", b"$$SCONE::raw$$") == b"\0\xff"
    assert world.fill("/etc/b", b"$$SCONE") == b"$$SCONE"
    assert world.fill("/etc/b", b"\xff\0binary") == b"\xff\0binary"
    assert world.fill("/etc/b", b"") == b""


def refused(world: World, path: str, content: bytes, channel: bytes = CHANNEL, status: int = 403) -> str:
    with pytest.raises(CasRefusal) as caught:
        world.fill(path, content, channel)
    assert caught.value.status == status
    return causes_of(caught)


def test_files_that_are_refused(world: World) -> None:
    world.put(body(files=FILES))
    world.attest()
    assert refused(world, "/etc/x", b"x") == "The session does not inject /etc/x from the file system"
    assert refused(world, "/etc/c", b"x") == "The session does not inject /etc/c from the file system"
    head = "Filling secrets into file /etc/b failed\n"
    assert refused(world, "/etc/b", b"\xff$$SCONE::word$$") == head + "It is not UTF-8 text"
    assert refused(world, "/etc/b", b"$$SCONE::ghost$$").startswith(head + "the secret 'ghost' is not defined")
    assert refused(world, "/etc/b", b"$$SCONE::word").startswith(head + "malformed placeholder")
    assert "has no such format" in refused(world, "/etc/b", b"$$SCONE::word:hex$$")


def test_files_may_use_only_what_the_image_provides(world: World) -> None:
    world.put(body("[app, $$SCONE::word$$]", files=FILES, image="    provide_secrets: [raw]\n"))
    assert world.attest()["argv"][1] == 'pässword"x'  # arguments, environment and inline content are not restricted
    assert world.fill("/etc/b", b"$$SCONE::raw:hex$$") == b"00ff"
    assert refused(world, "/etc/b", b"$$SCONE::raw:hex$$$$SCONE::word$$") == (
        "Filling secrets into file /etc/b failed\nthe secret word is not among the provide_secrets of the image"
    )


def test_an_image_may_provide_no_secret(world: World) -> None:
    world.put(body(files=FILES, image="    provide_secrets: []\n"))
    world.attest()
    assert world.fill("/etc/b", b"x") == b"x"
    assert "not among the provide_secrets" in refused(world, "/etc/b", b"$$SCONE::raw$$")


@pytest.mark.parametrize(
    "files",
    [None, 7, "x", {}, [7], [{}], [{"path": "/etc/b"}], [{"path": "/etc/b", "content": 7}],
     [{"path": "/etc/b", "content": "***"}], [{"path": "/etc/b", "content": "é"}], [{"path": 7, "content": ""}],
     [{"path": ["/etc/b"], "content": ""}]],
)  # fmt: skip
def test_malformed_files(world: World, files: Any) -> None:
    world.put(body(files=FILES))
    world.attest()
    with pytest.raises(CasRefusal) as caught:
        world.enclaves.fill(CHANNEL, files)
    assert caught.value.status == 400 and caught.value.causes[0] == "The files are malformed"


def test_a_service_without_image_injects_nothing(world: World) -> None:
    world.put(service())
    world.attest()
    assert "does not inject" in refused(world, "/etc/b", b"x")
