"""Files that hold keys, any of them missing, empty or damaged: a private key that was in one of them is never lost."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sconectl.cas.client.identity import CasConfig
from sconectl.cas.disk.private_files import create_private, read_private, write_private
from sconectl.cas.sessions.embedded import EmbeddedCas
from sconectl.errors import CasError

SCONECTL = Path(sys.executable).with_name("sconectl")
STATES = ("whole", "missing", "empty", "damaged")


def put(path: Path, state: str, whole: bytes) -> None:
    """Bring a file into a state; `damaged` is the first two thirds of it."""
    if state != "missing":
        path.write_bytes(
            {"whole": whole, "empty": b"", "damaged": whole[: len(whole) * 2 // 3]}.get(state, state.encode())
        )


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes, str]:
    """The two files of an identity with a pin, and its key hash."""
    config = CasConfig(tmp_path_factory.mktemp("identity"))
    config.pin("cas:1", "5Kq")
    found = config.identity()
    return (config.directory / "config.json").read_bytes(), found.file.read_bytes(), found.key_hash


@pytest.mark.parametrize("config_state", [*STATES, "{}", '{"scone": {"other": "tool"}}', '{"identity": null}', "[]"])
@pytest.mark.parametrize("copy_state", STATES)
def test_an_identity_is_kept(
    tmp_path: Path, identity: tuple[bytes, bytes, str], config_state: str, copy_state: str
) -> None:
    config, copy, key_hash = identity
    put(tmp_path / "config.json", config_state, config)
    put(tmp_path / "identity.pem", copy_state, copy)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    try:
        found = CasConfig(tmp_path).identity()
    except CasError as error:
        assert "backup" in error.hint or "safe place" in error.hint
        assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name != ".lock"}
        # It is refused only where no file is whole, or where a file that is not whole might hold something.
        assert (
            "whole" not in (config_state, copy_state)
            or "damaged" in (config_state, copy_state)
            or config_state
            in (
                "empty",
                "[]",
            )
        )
        return
    first_use = copy_state == "missing" and config_state not in ("whole", "damaged", "empty", "[]")
    assert (found.key_hash == key_hash) is not first_use
    assert found.file.read_bytes() == found.key_pem.encode() + found.certificate_pem.encode()
    assert CasConfig(tmp_path).identity().key_hash == found.key_hash
    assert json.loads((tmp_path / "config.json").read_bytes()).get("scone") == (
        {"other": "tool"} if "other" in config_state else None
    )


def test_two_identities_are_never_made_one(tmp_path: Path, identity: tuple[bytes, bytes, str]) -> None:
    other = CasConfig(tmp_path / "other").identity()
    (tmp_path / "config.json").write_bytes(identity[0])
    (tmp_path / "identity.pem").write_bytes(other.file.read_bytes())
    with pytest.raises(CasError, match="hold different identities") as caught:
        CasConfig(tmp_path).identity()
    assert "config.json" in caught.value.hint
    assert (tmp_path / "identity.pem").read_bytes() == other.file.read_bytes()


def test_the_same_key_in_other_words_is_a_copy(tmp_path: Path, identity: tuple[bytes, bytes, str]) -> None:
    (tmp_path / "config.json").write_bytes(identity[0])
    (tmp_path / "identity.pem").write_bytes(b"mine\n" + identity[1])
    assert CasConfig(tmp_path).identity().key_hash == identity[2]


def test_a_link_to_nothing_is_no_first_use(tmp_path: Path, identity: tuple[bytes, bytes, str]) -> None:
    """A home directory whose files lie on a disk that is not mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    for name in ("config.json", "identity.pem"):
        (tmp_path / name).symlink_to(disk / name)
    with pytest.raises(CasError, match="link to a file that is missing"):
        CasConfig(tmp_path).identity()
    (disk / "config.json").write_bytes(identity[0])
    (disk / "identity.pem").write_bytes(identity[1])
    config = CasConfig(tmp_path)
    assert config.identity().key_hash == identity[2]
    config.pin("cas:2", "6Lr")
    assert (tmp_path / "config.json").is_symlink() and b"6Lr" in (disk / "config.json").read_bytes()


def test_the_keys_of_a_cas_are_kept(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Every combination of states of the files that a CAS makes when it is first used."""
    source = tmp_path_factory.mktemp("source")
    cas = EmbeddedCas(source / "cas", anchor=source / "anchor")
    key_hash = cas.keys.cas_key_hash
    cas.close()
    names = ("keys.json", "master.key", "cas.db")
    whole = {name: (source / "cas" / name).read_bytes() for name in names}
    outcomes = set()
    for number, states in enumerate(itertools.product(STATES, repeat=len(names))):
        place = tmp_path_factory.mktemp(f"cas-{number}")
        (place / "cas").mkdir()
        for name, state in zip(names, states, strict=True):
            put(place / "cas" / name, state, whole[name])
        before = {name: (place / "cas" / name).read_bytes() for name in names[:2] if (place / "cas" / name).exists()}
        try:
            again = EmbeddedCas(place / "cas", anchor=place / "anchor")
        except CasError as error:
            assert error.hint or states[2] != "whole", states
            outcomes.add("refused")
        else:
            again.close()
            assert states[0] != "whole" or again.keys.cas_key_hash == key_hash, states
            outcomes.add("kept" if states[0] == "whole" else "new")
            assert states[0] in ("whole", "missing") and states[2] != "damaged", states
        for name, content in before.items():
            assert (place / "cas" / name).read_bytes() == content, (states, name)
    assert outcomes == {"refused", "kept", "new"}


def test_a_new_file_never_replaces_one(tmp_path: Path) -> None:
    create_private(tmp_path / "key", b"first")
    with pytest.raises(CasError, match="appeared"):
        create_private(tmp_path / "key", b"second")
    assert read_private(tmp_path / "key") == b"first"
    write_private(tmp_path / "key", b"third")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key"]
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def together(*commands: list[str], **env: str) -> list[str]:
    """Run commands at the same time and return what they print; every one of them has to succeed."""
    started = [
        subprocess.Popen([SCONECTL, *command], env=os.environ | env, stdout=-1, stderr=-1, text=True)
        for command in commands
    ]
    done = [process.communicate(timeout=120) for process in started]
    assert all(process.returncode == 0 for process in started), done
    return [out for out, _ in done]


def test_first_uses_at_the_same_time_end_with_one_key(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data"), "XDG_STATE_HOME": str(tmp_path / "state")}
    assert len(set(together(*[["self", "show-key-hash"]] * 4, **env))) == 1
    assert len(set(together(*[["self", "show-session-signing-key"]] * 2, **env))) == 1
    assert len(set(together(*[["cas", "show-identification", "--dir", str(tmp_path / "cas")]] * 3, **env))) == 1


def test_a_lost_configuration_keeps_the_owner(tmp_path: Path) -> None:
    """As a user does it: what identity.pem holds stays who one is."""
    env = {"HOME": str(tmp_path)}
    [first] = together(["self", "show-key-hash"], **env)
    for content in ("{}", None):
        (tmp_path / ".cas/config.json").unlink() if content is None else (tmp_path / ".cas/config.json").write_text(
            content
        )
        assert together(["self", "show-key-hash"], **env) == [first]
