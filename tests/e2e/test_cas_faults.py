"""A CAS on a disk that is full, read-only or damaged: every command says so, and none shows a trace."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .black_box import SCONECTL, Client, OutsideCas

SMALL = "size=4m"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A small file system that a test may fill."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", SMALL, "none", str(place)], check=False).returncode != 0:
        pytest.skip("this machine does not let us mount a tmpfs")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def cas(small: Path, tmp_path: Path) -> Iterator[OutsideCas]:
    outside = OutsideCas(tmp_path)
    outside.directory = small / "cas"
    outside.start()
    outside.upload(Client.new(tmp_path, "owner"), '{"name": "kept", "version": "0.3.12"}')
    yield outside
    subprocess.run([SCONECTL, "cas", "stop", "--dir", outside.directory], env=os.environ | outside.env, check=False)


def fill(place: Path) -> Path:
    """Take all space of a file system."""
    filler = place / "filler"
    with filler.open("ab", buffering=0) as stream, contextlib.suppress(OSError):
        while True:
            stream.write(bytes(1 << 12))
    return filler


def said(cas: OutsideCas, *arguments: object) -> tuple[int, str]:
    done = subprocess.run(
        [str(SCONECTL), *map(str, arguments)], env=os.environ | cas.env, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stdout + done.stderr, done
    assert done.returncode == 0 or "error: " in done.stderr or "verify-audit-log" in arguments, done
    return done.returncode, done.stdout + done.stderr


def commands(cas: OutsideCas, elsewhere: Path) -> dict[str, list[object]]:
    of_it = ["--dir", cas.directory]
    return {
        "serve": ["serve", *of_it, "--listen", "127.0.0.1:0", "--detach"],
        "backup": ["backup", elsewhere / "cas.tar", *of_it],
        "restore": ["restore", elsewhere / "good.tar", *of_it, "--replace"],
        "audit-log": ["audit-log", *of_it],
        "verify-audit-log": ["verify-audit-log", *of_it],
        "show-certificate": ["show-certificate", *of_it],
        "show-identification": ["show-identification", "--platform", *of_it],
        "list": ["list", *of_it],
        "status": ["status", *of_it],
        "stop": ["stop", *of_it],
    }


def test_a_backup_is_made_when_the_disk_is_full(cas: OutsideCas, small: Path, tmp_path: Path) -> None:
    for running in (True, False):
        if not running:
            cas.stop()
        filler = fill(small)
        file = tmp_path / f"running-{running}.tar"
        code, text = said(cas, "cas", "backup", file, "--dir", cas.directory)
        assert code == 0, text
        assert "its disk is full" in text or "the disk of the CAS is full" in text or running
        code, text = said(cas, "cas", "backup", small / "cas.tar", "--dir", cas.directory)
        assert code == 6
        assert not list(small.glob("cas.tar*"))
        filler.unlink()
    for running in (True, False):
        file, again = tmp_path / f"running-{running}.tar", tmp_path / f"again-{running}"
        assert said(cas, "cas", "restore", file, "--dir", again)[0] == 0


@pytest.mark.parametrize("fault", ["full", "read-only", "damaged"])
def test_every_command_has_a_message(cas: OutsideCas, small: Path, tmp_path: Path, fault: str) -> None:
    cas.command("cas", "backup", tmp_path / "good.tar", "--dir", cas.directory)
    cas.stop()
    match fault:
        case "full":
            fill(small)
        case "read-only":
            until = time.monotonic() + 20  # a process that has just ended may have files open for a moment
            while subprocess.run(["mount", "-o", "remount,ro", str(small)], check=False).returncode != 0:
                assert time.monotonic() < until
                time.sleep(0.1)
        case "damaged":
            database = cas.directory / "cas.db"
            with contextlib.closing(sqlite3.connect(database)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            content = database.read_bytes()
            database.write_bytes(content[:4096] + os.urandom(len(content) - 4096))
    codes = {name: said(cas, "cas", *arguments) for name, arguments in commands(cas, tmp_path).items()}
    assert codes["serve"][0] == 6, codes["serve"]
    reasons = {"full": os.strerror(errno.ENOSPC), "read-only": "read-only", "damaged": "malformed"}
    shown = codes["serve"][1].lower()
    assert reasons[fault].lower() in shown or "disk is full" in shown or "cannot write" in shown, shown
    assert codes["status"][0] == codes["stop"][0] == 6
    for name, (code, text) in codes.items():
        assert code in (0, 6, 7, 14, 15, 16, 17, 18, 19, 20), (name, code, text)
    if fault == "damaged":
        assert codes["backup"][0] == 6
        assert not (tmp_path / "cas.tar").exists()
        assert codes["restore"][0] == 0, "the way out"
