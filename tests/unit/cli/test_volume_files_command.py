"""`sconectl volume create`, `show`, `backup` and so on: the life of a volume, as its owner sees it."""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
from pathlib import Path

import pytest

from .conftest import Outcome, Run

SESSION = """\
name: shop
version: "0.3.11"
security: {attestation: {mode: simulation}}
services:
- {name: app, command: app, image_name: i, attestation: {mrenclave: "%s"}}
images: [{name: i, volumes: [{name: data, path: /data}]}]
volumes: [{name: data, fspf_key: %s, fspf_tag: %s}]
"""
OTHER = "0b" * 16


def ok(outcome: Outcome) -> str:
    assert outcome.code == 0, outcome.err
    return outcome.out


class Owned:
    """A volume with some files, whose key its owner knows."""

    def __init__(self, run: Run) -> None:
        source = Path("plain")
        (source / "deep").mkdir(parents=True)
        (source / "num").write_text("41")
        (source / "deep" / "big").write_bytes(os.urandom(200_000))
        (source / "deep" / "twice").hardlink_to(source / "num")
        (source / "link").symlink_to("num")
        Path("storage").mkdir()
        printed = ok(run("volume", "create", "storage", "plain"))
        found = re.fullmatch(r"fspf_key: ([0-9a-f]{64})\nfspf_tag: ([0-9a-f]{32})\n", printed)
        assert found is not None, printed
        self.key, self.state = found.groups()
        Path("key").write_text(self.key)


@pytest.fixture
def owned(run: Run, project: Path) -> Owned:
    del project
    return Owned(run)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_data_in_and_out(run: Run, owned: Owned) -> None:
    assert b"41" not in (Path("storage") / "num").read_bytes()
    done = run("volume", "verify", "storage", "--key", "@key", "--state", owned.state)
    assert (done.code, done.out) == (0, f"{owned.state}\n")
    assert done.err == "2 files with 200002 bytes are as they were written\n"
    assert ok(run("volume", "extract", "storage", "out", "--key", "@key")) == f"{owned.state}\n"
    assert files(Path("out")) == files(Path("plain"))
    assert (Path("out") / "link").readlink() == Path("num")
    assert (Path("out") / "num").stat().st_ino == (Path("out") / "deep" / "twice").stat().st_ino
    Path("again").mkdir()
    Path("other-key").write_text("5e" * 32)
    printed = ok(run("volume", "create", "again", "out", "--key", "@other-key"))  # a new key, by copying
    assert re.fullmatch(r"fspf_tag: [0-9a-f]{32}\n", printed)
    assert ok(run("volume", "verify", "again", "--key", "@other-key")) in printed


def test_a_volume_that_is_only_authenticated(run: Run, owned: Owned) -> None:
    assert owned.key
    Path("readable").mkdir()
    ok(run("volume", "create", "readable", "plain", "--key", "@key", "--files", "authenticated-only"))
    assert b"41" in (Path("readable") / "num").read_bytes()
    assert "files authenticated-only, 0 journals, not in use\n" in ok(run("volume", "show", "readable"))
    assert run("volume", "create", "readable", "plain", "--files", "plain").code == 2


def test_what_was_changed_is_named(run: Run, owned: Owned) -> None:
    content = bytearray((Path("storage") / "num").read_bytes())
    content[-1] ^= 1
    (Path("storage") / "num").write_bytes(content)
    done = run("volume", "verify", "storage", "--key", owned.key)
    assert (done.code, done.out) == (7, "") and "/num" in done.err and owned.key not in done.err
    done = run("volume", "extract", "storage", "out", "--key", "@key")
    assert done.code == 7 and not Path("out").exists() and not list(Path().glob(".out*"))


def test_what_the_storage_says_without_a_key(run: Run, owned: Owned) -> None:
    assert ok(run("volume", "show", "storage")) == f"state {owned.state}\nfiles encrypted, 0 journals, not in use\n"
    found = json.loads(ok(run("volume", "show", "storage", "--output", "json")))
    assert found == {"state": owned.state, "files": "encrypted", "journals": 0, "in_use": False}
    with (Path("storage") / "volume.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "in use\n" in ok(run("volume", "show", "storage")).replace("not in use", "")
        for words in (("verify", "storage"), ("extract", "storage", "out")):
            done = run("volume", *words, "--key", "@key")
            assert done.code == 7 and "a program is using this storage" in done.err


def test_a_backup_is_restored_and_accepted(run: Run, owned: Owned) -> None:
    Path("session.yaml").write_text(SESSION % ("0a" * 32, owned.key, owned.state))
    ok(run("session", "create", "session.yaml"))
    done = run("volume", "backup", "storage", "backup", "--of", "shop/data")
    assert (done.code, done.out) == (0, f"{owned.state}\n")
    ok(run("volume", "accept", "shop", "data", OTHER))  # as if a program had written since
    found = json.loads(ok(run("volume", "show", "storage", "--of", "shop/data", "--output", "json")))
    assert (found["cas"], found["holds_it"]) == (OTHER, False)
    late = run("volume", "backup", "storage", "late", "--of", "shop/data")
    assert (late.code, late.out) == (7, "")
    assert f"the CAS knows state {OTHER}, which this storage does not show" in late.err
    assert run("volume", "restore", "backup", "storage").code == 7
    assert ok(run("volume", "restore", "backup", "storage", "--replace")) == f"{owned.state}\n"
    ok(run("volume", "accept", "shop", "data", owned.state))
    shown = ok(run("volume", "show", "storage", "--of", "shop/data"))
    assert f"the CAS knows state {owned.state}, which this storage holds\n" in shown
    ok(run("volume", "verify", "storage", "--key", "@key", "--state", owned.state))


def test_a_backup_without_a_cas_says_that_nothing_vouches_for_it(run: Run, owned: Owned) -> None:
    done = run("volume", "backup", "storage", "backup")
    assert (done.code, done.out) == (0, f"{owned.state}\n") and "nothing vouches for this state" in done.err


def test_what_cannot_be_in_a_volume_is_named(run: Run, project: Path) -> None:
    del project
    Path("plain").mkdir()
    (Path("plain") / "kept").write_text("x")
    os.mknod("plain/sock\net", stat.S_IFSOCK | 0o600)
    Path("storage").mkdir()
    done = run("volume", "create", "storage", "plain")
    assert done.code == 0 and "left out sock\\net, which cannot be in a volume\n" in done.err


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("verify", "storage"), 2, "a key that the CAS has drawn is told to nobody"),
        (("verify", "storage", "--key", "12"), 2, "a key has 64 hex digits"),
        (("verify", "storage", "--key", "@key", "--state", "12"), 2, "12 is no state of a volume"),
        (("verify", "storage", "--key", "@key", "--state", OTHER), 7, f"the CAS knows state {OTHER}"),
        (("verify", "storage", "--key", "5e" * 32), 7, "was changed, or belongs to another key"),
        (("verify", "plain", "--key", "@key"), 7, "holds no volume"),
        (("verify", "nothing", "--key", "@key"), 2, "nothing: No such file"),
        (("extract", "storage", "plain", "--key", "@key"), 2, "plain is there already"),
        (("create", "storage", "plain"), 7, "something in storage already"),
        (("create", "storage", "nothing"), 2, "nothing is no directory"),
        (("show", "plain"), 7, "there is no volume here"),
        (("show", "storage", "--of", "data"), 2, "--of data names no volume"),
        (("show", "storage", "--of", "gone/data"), 6, "no session gone"),
        (("backup", "storage", "plain"), 2, "plain is there already"),
        (("restore", "plain", "storage"), 7, "there is no volume here"),
    ],
)
def test_what_cannot_be_done(run: Run, owned: Owned, words: tuple[str, ...], code: int, text: str) -> None:
    done = run("volume", *words)
    assert (done.code, done.out) == (code, "") and text in done.err and "hint:" in done.err
    assert "Traceback" not in done.err and owned.key not in done.err
