"""Volumes: who gets their keys, on which terms, and who moves their tags on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sconectl.cas.attest.volumes import volume_secrets
from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.keys.cas_keys import CasKeys
from sconectl.policy.reading import parse_session
from sconectl.policy.serialized.canonical import session_hash

from .enclave_world import CHANNEL, World, causes_of, make_keys, service

KEY, OTHER_KEY = "86b727" + "19" * 29, "4e" * 32
TAG, NEW, NEWER = "3d" * 16, "4e" * 16, "5f" * 16


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> CasKeys:
    return make_keys(tmp_path_factory.mktemp("keys") / "cas")


@pytest.fixture
def world(keys: CasKeys, tmp_path: Path) -> World:
    return World(keys, tmp_path)


def mounting(volumes: str, mounts: str, more: str = "") -> str:
    image = f"images:\n  - name: image\n    volumes: [{mounts}]\n"
    return service(more="    image_name: image\n") + image + f"volumes: [{volumes}]\n" + more


def volumes(world: World, config_id: str = "acme/app", channel: bytes = CHANNEL) -> list[dict[str, Any]]:
    found = world.attest(config_id, channel=channel)["volumes"]
    assert isinstance(found, list)
    return found


def test_what_a_program_gets(world: World) -> None:
    world.put(
        mounting(
            f"{{name: auto}}, {{name: given, fspf_key: {KEY}, fspf_tag: {TAG}, files: authenticated-only}},"
            f" {{name: behind, fspf_key: $$SCONE::k$$, fspf_tag: {TAG}}}, {{name: idle}}",
            "{name: auto, path: /a}, {name: given, path: /g, update_policy: ephemeral},"
            " {name: behind, path: /b, update_policy: no_rollback_protection}",
            f"secrets: [{{name: k, kind: binary, value: {OTHER_KEY}}}]\n",
        )
    )
    auto, given, behind = volumes(world)
    assert len(bytes.fromhex(auto.pop("key"))) == 32
    assert auto == {
        "name": "auto",
        "path": "/a",
        "tag": None,
        "files": "encrypted",
        "update_policy": "rollback_protected",
        "source": None,
    }
    assert given == {
        "name": "given",
        "path": "/g",
        "key": KEY,
        "tag": TAG,
        "files": "authenticated-only",
        "update_policy": "ephemeral",
        "source": None,
    }
    assert (behind["key"], behind["update_policy"]) == (OTHER_KEY, "no_rollback_protection")


@pytest.mark.parametrize("kind", ["kind: ascii, size: 32", "kind: binary, size: 31"])
def test_a_key_is_binary_with_32_bytes(world: World, kind: str) -> None:
    world.put(f"secrets: [{{name: k, {kind}, export: {{session: acme}}}}]", "owner")
    body = f"{{name: v, fspf_key: $$SCONE::k$$, fspf_tag: {TAG}}}"
    imported = "secrets: [{name: k, import: {session: owner, secret: k}}]\n"
    world.put(mounting(body, "{name: v, path: /v}", imported))
    assert world.refused() == ("The key of volume v refers to a secret that is not binary with 32 bytes",)


def test_a_key_is_drawn_once() -> None:
    text = 'name: acme\nversion: "0.3.12"\nvolumes: [{name: a}, {name: b}'
    session = parse_session(text + "]")
    rows = volume_secrets(session, {})
    assert set(rows) == {"volume:a", "volume:b"}
    assert all(len(row.content) == 32 and not row.public and row.kind == "binary" for row in rows.values())
    assert rows["volume:a"].content != rows["volume:b"].content
    assert rows["volume:a"].content.hex() not in repr(rows)
    later = parse_session(text.replace("{name: b}", f"{{name: b, fspf_key: {KEY}, fspf_tag: {TAG}}}") + ", {name: c}]")
    after = volume_secrets(later, rows)
    assert after["volume:a"] == rows["volume:a"] and set(after) == {"volume:a", "volume:c"}
    imported = parse_session(text.replace("{name: a}", "{name: a, import: {session: o, volume: v}}") + "]")
    assert set(volume_secrets(imported, rows)) == {"volume:b"}


def test_a_generated_key_survives_updates(world: World) -> None:
    body = mounting("{name: v}", "{name: v, path: /v}")
    world.put(body)
    (before,) = volumes(world)
    assert world.move("v", None, NEW) == NEW
    world.put(body + "salt: 04b1dfc79f9c3ba96cb009b9e7914497\n")
    (after,) = volumes(world)
    assert after == before | {"tag": NEW}


def test_a_volume_that_starts_anew_has_a_new_state(world: World) -> None:
    """Else the state of the old one would make the new one unusable."""
    world.put(mounting("{name: v}", "{name: v, path: /v}"))
    (before,) = volumes(world)
    world.move("v", None, NEW)
    world.put(mounting(f"{{name: v, fspf_key: {KEY}, fspf_tag: {TAG}}}", "{name: v, path: /v}"))
    (given,) = volumes(world)
    assert (given["key"], given["tag"]) == (KEY, TAG)
    world.move("v", TAG, NEWER)
    world.put(mounting("{name: v}", "{name: v, path: /v}"))
    (drawn,) = volumes(world)
    assert drawn["key"] not in (before["key"], KEY) and drawn["tag"] is None


def test_a_lost_key_is_a_refusal(world: World) -> None:
    world.put(mounting("{name: v}", "{name: v, path: /v}"))
    with world.store.writing() as transaction:
        transaction.replace_stored("acme", {})
    assert world.refused() == ("Volume v has no key yet", "Upload its session again")


def test_a_volume_may_be_called_like_the_main_file_system(world: World) -> None:
    world.put(mounting("{name: fspf}", "{name: fspf, path: /v}"))
    assert volumes(world)[0]["tag"] is None
    assert world.move("fspf", None, NEW) == NEW
    assert volumes(world)[0]["tag"] == NEW


# Sharing.


def share(
    world: World, export: str, importing: str = "session: owner, volume: v", policy: str = "rollback_protected"
) -> None:
    body = f"{{name: v, export: {export}}}"
    world.put(mounting(body, "{name: v, path: /v}"), "owner")
    imported = f"{{name: theirs, import: {{{importing}}}}}"
    world.put(mounting(imported, f"{{name: theirs, path: /t, update_policy: {policy}}}"))


def test_importers_share_key_and_state(world: World) -> None:
    share(world, "{session: acme}")
    (own,) = volumes(world, "owner/app", b"owner")
    (theirs,) = volumes(world)
    assert theirs == own | {"name": "theirs", "path": "/t", "source": {"session": "owner", "volume": "v"}}
    assert world.move("theirs", None, NEW) == NEW
    assert volumes(world, "owner/app", b"owner")[0]["tag"] == NEW
    with pytest.raises(CasRefusal, match="concurrent use"):
        world.move("v", None, NEWER, b"owner")
    assert world.move("v", NEW, NEWER, b"owner") == NEWER
    assert volumes(world)[0]["tag"] == NEWER


DENIED = "Session owner{} does not exist, or does not export a volume {} to session acme"


@pytest.mark.parametrize(
    ("export", "importing", "text"),
    [
        ("{session: partner}", "session: owner, volume: v", DENIED.format("", "v")),
        ("[]", "session: owner, volume: v", DENIED.format("", "v")),
        ("{session: acme/child}", "session: owner, volume: v", DENIED.format("", "v")),
        ("{session: acme}", "session: owner, volume: w", DENIED.format("", "w")),
        ("{session: acme}", "session: ghost, volume: v", DENIED.format("", "v").replace("owner", "ghost")),
        (f"{{session: acme, session_hash: {KEY}}}", "session: owner, volume: v", DENIED.format("", "v")),
        (
            "{session: acme}",
            f"session: owner, volume: v, session_hash: {KEY}",
            DENIED.format(" with the expected hash", "v"),
        ),
        ("{to: {session: acme}, volume_alias: input}", "session: owner, volume: v", DENIED.format("", "v")),
    ],
)
def test_who_may_not_have_a_volume(world: World, export: str, importing: str, text: str) -> None:
    share(world, export, importing)
    assert world.refused() == (text,)


def test_an_importer_uses_the_alias(world: World) -> None:
    share(world, "{to: {session: acme}, volume_alias: input}", "session: owner, volume: input")
    (theirs,) = volumes(world)
    assert theirs["source"] == {"session": "owner", "volume": "input"}
    assert theirs["key"] == volumes(world, "owner/app", b"owner")[0]["key"]


def test_an_alias_is_for_one_importer(world: World) -> None:
    share(world, "[{to: {session: partner}, volume_alias: input}, {session: acme}]")
    assert volumes(world)
    share(world, "[{to: {session: partner}, volume_alias: input}, {session: acme}]", "session: owner, volume: input")
    assert world.refused() == (DENIED.format("", "input"),)


def test_two_volumes_of_the_same_name_are_none(world: World) -> None:
    body = "{name: v, export: {session: acme}}, {name: w, export: {to: {session: acme}, volume_alias: v}}"
    world.put(mounting(body, "{name: v, path: /v}"), "owner")
    world.put(mounting("{name: theirs, import: {session: owner, volume: v}}", "{name: theirs, path: /t}"))
    assert world.refused() == (DENIED.format("", "v"),)


def test_pins_that_match(world: World) -> None:
    owner = world.put(mounting("{name: v, export: {session: acme}}", "{name: v, path: /v}"), "owner")
    pinned = f"{{name: theirs, import: {{session: owner, volume: v, session_hash: {session_hash(owner)}}}}}"
    importer = world.put(mounting(pinned, "{name: theirs, path: /t}"))
    assert volumes(world)
    unpinned = world.put(
        mounting("{name: theirs, import: {session: owner, volume: v}}", "{name: theirs, path: /t}"), "acme"
    )
    assert session_hash(importer) != session_hash(unpinned)
    export = f"{{session: acme, session_hash: {session_hash(unpinned)}}}"
    world.put(mounting(f"{{name: v, export: {export}}}", "{name: v, path: /v}"), "owner")
    assert volumes(world)
    world.put(mounting(pinned, "{name: theirs, path: /t}"))
    assert "does not export" in world.refused()[0]


@pytest.mark.parametrize(
    ("limit", "chosen", "effective"),
    [
        ("ephemeral", "rollback_protected", "ephemeral"),
        ("ephemeral", "ephemeral", "ephemeral"),
        ("ephemeral", "no_rollback_protection", "ephemeral"),
        ("rollback_protected", "rollback_protected", "rollback_protected"),
        ("rollback_protected", "ephemeral", "ephemeral"),
        ("rollback_protected", "no_rollback_protection", ""),
        ("no_rollback_protection", "rollback_protected", "rollback_protected"),
        ("no_rollback_protection", "ephemeral", "ephemeral"),
        ("no_rollback_protection", "no_rollback_protection", "no_rollback_protection"),
    ],
)
def test_the_exporter_limits_the_update_policy(world: World, limit: str, chosen: str, effective: str) -> None:
    share(world, f"{{to: {{session: acme}}, update_policy: {limit}}}", policy=chosen)
    if not effective:
        assert world.refused() == (
            "Mounting volume theirs failed",
            "The exporting session allows rollback_protected or ephemeral, not no_rollback_protection",
        )
        return
    (theirs,) = volumes(world)
    assert theirs["update_policy"] == effective
    moved = world.move("theirs", None, NEW)
    assert moved == (None if effective == "ephemeral" else NEW)
    assert volumes(world, "owner/app", b"owner")[0]["tag"] == moved


def test_a_grant_that_was_taken_back_ends_updates(world: World) -> None:
    share(world, "{session: acme}")
    assert volumes(world)
    world.put(mounting("{name: v}", "{name: v, path: /v}"), "owner")
    with pytest.raises(CasRefusal) as caught:
        world.move("theirs", None, NEW)
    assert caught.value.status == 403 and "does not export" in causes_of(caught)
