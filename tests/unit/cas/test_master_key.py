"""The master key: from each source, the right one or a clear message, and never a new one over sealed keys."""

from __future__ import annotations

import base64
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from sconectl.cas.keys import cas_keys, master_key
from sconectl.cas.keys.cas_keys import CasKeys, load_or_create
from sconectl.errors import CasError
from sconectl.key_hash import key_hash

KEY = bytes(range(32))
OTHER = "ff" * 32


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "cas"


def identity(keys: CasKeys) -> tuple[Any, ...]:
    return (
        keys.cas_key_hash,
        keys.software_key_hash,
        key_hash(keys.quoting.public_key()),
        keys.sealing,
        keys.audit.private.private_bytes_raw(),
        keys.encryption.private_bytes_raw(),
    )


def test_a_file_in_the_directory_is_the_default(directory: Path) -> None:
    first = load_or_create(directory)
    for name in ("master.key", "keys.json"):
        assert (directory / name).stat().st_mode & 0o777 == 0o600
    assert identity(load_or_create(directory)) == identity(first)
    assert load_or_create(directory).encryption_key_hex == first.encryption.public_key().public_bytes_raw().hex()
    assert master_key.lies_in(directory)


def test_no_private_key_lies_open(directory: Path) -> None:
    keys = load_or_create(directory)
    text = (directory / "keys.json").read_text()
    assert "PRIVATE KEY" not in text
    assert json.loads(text)["master"]["source"] == "directory"
    raw = [keys.sealing, keys.audit.private.private_bytes_raw(), keys.encryption.private_bytes_raw()]
    for value in raw:
        assert base64.b64encode(value).decode() not in text
        assert value.hex() not in text
    assert (directory / "master.key").read_text().strip() not in text
    assert all(value.hex() not in repr(keys) for value in raw)
    assert repr(master_key.MasterKey("hex", KEY)) == "MasterKey(source='hex')"


@pytest.mark.parametrize("form", [KEY.hex(), KEY.hex().upper() + "\n", base64.b64encode(KEY).decode() + "\n", KEY])
@pytest.mark.parametrize("source", ["file", "credential", "command"])
def test_sources_and_forms(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, form: str | bytes
) -> None:
    file = tmp_path / "a key"
    file.write_bytes(form if isinstance(form, bytes) else form.encode())
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("FILE", str(file))
    settings = {"file": f"file:{file}", "credential": "credential:a key", "command": f"command:cat '{file}'"}
    monkeypatch.setenv("SCONECTL_CAS_KEY", settings[source])
    first = load_or_create(directory)
    assert not (directory / "master.key").exists()
    assert not master_key.lies_in(directory)
    assert json.loads((directory / "keys.json").read_bytes())["master"]["source"] == source
    monkeypatch.setenv("SCONECTL_CAS_KEY", f"hex:{KEY.hex()}")
    assert identity(load_or_create(directory)) == identity(first)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (KEY.hex(), "not understood"),
        ("hex:", "not understood"),
        ("hexx:00", "not understood"),
        (f"hex:{KEY.hex()}0", "is not a key"),
        (f"hex:{'g' * 64}", "is not a key"),
        ("file:{tmp}/none", "cannot be read"),
        ("file:{tmp}", "cannot be read"),
        ("file:{tmp}/short", "is not a key"),
        ("credential:none", "cannot be read"),
        ("credential:../short", "no systemd credential"),
        ("command:false", "exit code 1"),
        ("command:echo short", "is not a key"),
        ("command:/nonexistent/program", "cannot be run"),
        ("command:'", "cannot be run"),
        ("command: ", "cannot be run"),
        ("command:echo `date`; $(date)", "is not a key"),
    ],
)
def test_bad_settings(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, message: str
) -> None:
    (tmp_path / "short").write_bytes(b"x" * 31)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("SCONECTL_CAS_KEY", setting.format(tmp=tmp_path))
    with pytest.raises(CasError, match=message) as caught:
        load_or_create(directory)
    assert caught.value.hint
    assert KEY.hex()[:20] not in caught.value.message + caught.value.hint
    assert not (directory / "keys.json").exists()


def test_no_systemd(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setenv("SCONECTL_CAS_KEY", "credential:name")
    with pytest.raises(CasError, match="no systemd credential"):
        load_or_create(directory)


def test_a_command_that_hangs(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(master_key, "_COMMAND_SECONDS", 0.1)
    monkeypatch.setenv("SCONECTL_CAS_KEY", "command:sleep 20")
    with pytest.raises(CasError, match="ran longer"):
        load_or_create(directory)


class Keyring(SimpleNamespace):
    """A keyring in memory."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.entries: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, name: str) -> str | None:
        if hasattr(self, "locked"):
            raise RuntimeError("locked: nobody must see this text")
        return self.entries.get((service, name))

    def set_password(self, service: str, name: str, value: str) -> None:
        if not hasattr(self, "forgets"):
            self.entries[service, name] = value


def test_keyring(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = Keyring()
    monkeypatch.setitem(sys.modules, "keyring", ring)
    monkeypatch.setenv("SCONECTL_CAS_KEY", "keyring")
    first = load_or_create(directory)
    assert list(ring.entries) == [("sconectl-cas", "default")]
    assert identity(load_or_create(directory)) == identity(first)
    ring.entries.clear()
    with pytest.raises(CasError, match="no master key default"):
        load_or_create(directory)
    assert not ring.entries
    monkeypatch.setenv("SCONECTL_CAS_KEY", "keyring:second")
    load_or_create(tmp_path / "second")
    assert list(ring.entries) == [("sconectl-cas", "second")]


@pytest.mark.parametrize(("trouble", "message"), [("locked", "RuntimeError"), ("forgets", "does not keep")])
def test_a_keyring_that_does_not_work(
    directory: Path, monkeypatch: pytest.MonkeyPatch, trouble: str, message: str
) -> None:
    monkeypatch.setitem(sys.modules, "keyring", Keyring(**{trouble: True}))
    monkeypatch.setenv("SCONECTL_CAS_KEY", "keyring")
    with pytest.raises(CasError, match=message) as caught:
        load_or_create(directory)
    assert "nobody" not in caught.value.message


def test_no_keyring(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    monkeypatch.setenv("SCONECTL_CAS_KEY", "keyring")
    with pytest.raises(CasError, match="not installed") as caught:
        load_or_create(directory)
    assert "pip install" in caught.value.hint


def test_a_missing_or_other_key_is_named_and_not_replaced(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_or_create(directory)
    sealed = (directory / "keys.json").read_bytes()
    own = (directory / "master.key").read_bytes()
    (directory / "master.key").unlink()
    with pytest.raises(CasError, match=r"master\.key is missing"):
        load_or_create(directory)
    assert not (directory / "master.key").exists()
    (directory / "master.key").write_text(OTHER)
    with pytest.raises(CasError, match=r"not the one .* sealed under .*came from: directory"):
        load_or_create(directory)
    monkeypatch.setenv("SCONECTL_CAS_KEY", f"hex:{OTHER}")
    with pytest.raises(CasError, match=r"from: hex.* is not the one"):
        load_or_create(directory)
    assert (directory / "keys.json").read_bytes() == sealed
    monkeypatch.setenv("SCONECTL_CAS_KEY", f"hex:{own.decode().strip()}")
    load_or_create(directory)


def test_a_source_that_is_not_set_any_more(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCONECTL_CAS_KEY", f"hex:{OTHER}")
    load_or_create(directory)
    monkeypatch.delenv("SCONECTL_CAS_KEY")
    with pytest.raises(CasError, match=r"another place .hex., which is not set") as caught:
        load_or_create(directory)
    assert "SCONECTL_CAS_KEY" in caught.value.hint
    assert not (directory / "master.key").exists()


def old_document(directory: Path) -> dict[str, str]:
    """Return `keys.json` as the first version wrote it, for the keys in `directory`."""
    keys = load_or_create(directory)
    pem = [
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        for key in (keys.root.key, keys.software.key, keys.quoting)
    ]
    new = json.loads((directory / "keys.json").read_bytes())
    return {
        "root_key": pem[0],
        "root_certificate": new["root_certificate"],
        "software_key": pem[1],
        "software_certificate": new["software_certificate"],
        "quoting_key": pem[2],
        "sealing_key": base64.b64encode(keys.sealing).decode(),
    }


def test_open_keys_of_the_first_version_are_sealed(directory: Path) -> None:
    before = load_or_create(directory)
    document = old_document(directory)
    (directory / "master.key").unlink()
    (directory / "keys.json").write_text(json.dumps(document))
    (directory / "cas.db").touch()
    after = load_or_create(directory)
    assert identity(after)[:4] == identity(before)[:4]
    assert identity(after)[4:] != identity(before)[4:]  # made when migrating
    assert "PRIVATE KEY" not in (directory / "keys.json").read_text()
    assert identity(load_or_create(directory)) == identity(after)


@pytest.mark.parametrize("change", ["{", "[]", "{}", '{"format": 2}', '{"format": 2, "master": {"source": "hex"}}'])
def test_damaged_files(directory: Path, change: str) -> None:
    load_or_create(directory)
    (directory / "keys.json").write_text(change)
    with pytest.raises(CasError) as caught:
        load_or_create(directory)
    assert caught.value.hint
    (directory / "keys.json").write_text('{"format": 3}')
    with pytest.raises(CasError, match="format 3"):
        load_or_create(directory)


def test_sealed_keys_are_bound_to_their_names_and_certificates(directory: Path, tmp_path: Path) -> None:
    load_or_create(directory)
    (tmp_path / "other").mkdir(mode=0o700)
    shutil.copy(directory / "master.key", tmp_path / "other")
    load_or_create(tmp_path / "other")
    path = directory / "keys.json"
    good = path.read_bytes()

    def changed(**sealed: str) -> None:
        document = json.loads(good)
        document["sealed"] |= sealed
        path.write_text(json.dumps(document))
        with pytest.raises(CasError, match="damaged"):
            load_or_create(directory)

    sealed = json.loads(good)["sealed"]
    changed(audit_key=sealed["encryption_key"])
    changed(root_key="AAAA")
    changed(root_key=json.loads((tmp_path / "other" / "keys.json").read_bytes())["sealed"]["root_key"])
    path.write_bytes(good)
    load_or_create(directory)


def test_a_store_without_keys_gets_no_new_ones(directory: Path) -> None:
    directory.mkdir()
    (directory / "cas.db").touch()
    with pytest.raises(CasError, match="is missing"):
        load_or_create(directory)
    assert sorted(path.name for path in directory.iterdir()) == [".lock", "cas.db"]


def test_the_key_hash_of_a_file(directory: Path) -> None:
    keys = load_or_create(directory)
    assert cas_keys.cas_key_hash_of((directory / "keys.json").read_bytes()) == keys.cas_key_hash
    for raw in (b"{}", b"[]", b"x", b'{"root_certificate": 1}', b'{"root_certificate": "x"}'):
        with pytest.raises(ValueError, match=r".*"):
            cas_keys.cas_key_hash_of(raw)
