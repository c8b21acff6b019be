"""What the CAS keeps through kill -9, a full disk and older copies of its directory, and hides from its files."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nightly.kill_loop import loop

from .black_box import SCONECTL, Client, OutsideCas, run


@pytest.fixture
def cas(tmp_path: Path) -> Iterator[OutsideCas]:
    outside = OutsideCas(tmp_path)
    outside.start()
    yield outside
    subprocess.run([SCONECTL, "cas", "stop", "--dir", outside.directory], env=os.environ | outside.env, check=False)


@pytest.fixture
def owner(tmp_path: Path) -> Client:
    return Client.new(tmp_path, "owner")


def session(name: str, **rest: Any) -> str:
    return json.dumps({"name": name, "version": "0.3.12", **rest})


def refusal(cas: OutsideCas, *arguments: object, code: int) -> str:
    done = subprocess.run(
        [str(SCONECTL), *map(str, arguments)], env=os.environ | cas.env, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr
    return done.stderr


def test_killed_under_load() -> None:
    """A short run of `make nightly`'s campaign."""
    assert loop(kills=5, clients=8, seed=int.from_bytes(os.urandom(4)), report=False) > 0


def test_an_older_copy_of_the_directory_is_noticed(cas: OutsideCas, owner: Client, tmp_path: Path) -> None:
    first = cas.upload(owner, session("kept"))
    cas.stop()
    older = tmp_path / "older"
    shutil.copytree(cas.directory, older)
    cas.start()
    backup = tmp_path / "backup.tar"
    cas.command("cas", "backup", backup, "--dir", cas.directory)
    assert backup.stat().st_mode & 0o777 == 0o600
    second = cas.upload(owner, session("kept", predecessor=first, salt="ab" * 16))
    cas.stop()
    newer = tmp_path / "newer"
    cas.directory.rename(newer)
    shutil.copytree(older, cas.directory)
    for arguments, code in (((), 7), (("--detach",), 6)):
        text = refusal(cas, "cas", "serve", "--dir", cas.directory, "--listen", "127.0.0.1:0", *arguments, code=code)
        assert "older" in text
    shutil.rmtree(cas.directory)
    newer.rename(cas.directory)
    cas.start()
    assert cas.curl("/v1/sessions/kept", client=owner).json()["hash"] == second
    assert "running" in refusal(cas, "cas", "restore", backup, "--dir", cas.directory, "--replace", code=6)
    cas.stop()
    cas.command("cas", "restore", backup, "--dir", cas.directory, "--replace")
    cas.start()
    assert cas.curl("/v1/sessions/kept", client=owner).json()["hash"] == first
    log = cas.command("cas", "audit-log", "--dir", cas.directory).decode()
    assert "store_restored" in log
    cas.command("cas", "verify-audit-log", "--dir", cas.directory)


def test_a_missing_anchor_is_said(cas: OutsideCas, owner: Client) -> None:
    cas.upload(owner, session("kept"))
    cas.stop()
    anchors = (cas.home / ".local" / "state" / "sconectl" / "anchors").iterdir()
    [anchor] = (path for path in anchors if path.suffix != ".lock")
    anchor.unlink()
    done = subprocess.run(
        [str(SCONECTL), "cas", "serve", "--detach", "--dir", str(cas.directory), "--listen", "127.0.0.1:0"],
        env=os.environ | cas.env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "no freshness anchor" in done.stderr
    assert anchor.is_file()


def test_a_second_server_refuses(cas: OutsideCas) -> None:
    text = refusal(cas, "cas", "serve", "--dir", cas.directory, "--listen", "127.0.0.1:0", code=6)
    assert "already running" in text
    assert cas.address in text


def test_a_full_disk(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(small)], check=False)
    if mounted.returncode != 0:
        pytest.skip("this machine does not let us mount a tmpfs")
    cas = OutsideCas(tmp_path)
    cas.directory = small / "cas"
    try:
        cas.start()
        client = Client.new(tmp_path, "owner")
        kept: dict[str, str] = {}
        for number in range(200):
            filler = [{"name": "v", "kind": "ascii", "value": "x" * 60_000}]
            answer = cas.curl("/v1/sessions", client=client, body=session(f"s{number}", secrets=filler))
            if answer.status != 201:
                break
            kept[f"s{number}"] = answer.json()["hash"]
        assert answer.status == 507, answer
        assert "disk is full" in answer.problem()[0]
        assert kept
        cas.stop()
        os.truncate(cas.directory / "server.log", 0)
        subprocess.run(["mount", "-o", "remount,size=16m", str(small)], check=True)
        cas.start()
        for name, hash_ in kept.items():
            assert cas.curl(f"/v1/sessions/{name}", client=client).json()["hash"] == hash_
        cas.upload(client, session("more"))
        cas.command("cas", "verify-audit-log", "--dir", cas.directory)
    finally:
        subprocess.run([SCONECTL, "cas", "stop", "--dir", cas.directory], env=os.environ | cas.env, check=False)
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_nobody_reads_a_secret_out_of_the_files(cas: OutsideCas, owner: Client) -> None:
    secrets = [
        {"name": "word", "kind": "ascii", "size": 32},
        {"name": "raw", "kind": "binary", "size": 32},
        {"name": "key", "kind": "private-key"},
        {"name": "given", "kind": "ascii", "value": "an-explicit-value-of-the-owner"},
    ]
    files = [{"path": f"/{name}", "content": f"$$SCONE::{name}$$"} for name in ("word", "key", "given")]
    files.append({"path": "/raw", "content": "$$SCONE::raw:hex$$"})
    services = [{"name": "s", "image_name": "i", "command": "x", "pwd": "/"}]
    images = [{"name": "i", "injection_files": files}]
    rest = {"secrets": secrets, "services": services, "images": images}
    cas.upload(owner, session("s", security={"attestation": {"mode": "none"}}, **rest))
    values = [base64.b64decode(file["content"]) for file in _attested(cas, owner)["files"]]
    assert len(values) == 4
    needles = [value.decode() for value in values[:1]] + values[1].decode().splitlines()[1:3]
    needles += [values[2].decode(), values[3].decode()]
    dump = run(["sqlite3", f"file:{cas.directory}/cas.db?mode=ro", ".dump"]).decode("utf-8", "replace").lower()
    assert "session_created" in dump, "the dump shows something"
    shown = dump
    for file in cas.directory.iterdir():
        shown += run(["strings", "-n", "6", file]).decode("utf-8", "replace").lower()
    for needle in needles:
        assert needle.lower() not in shown
    assert cas.directory.stat().st_mode & 0o077 == 0
    assert all(file.stat().st_mode & 0o077 == 0 for file in cas.directory.iterdir())


def _attested(cas: OutsideCas, client: Client) -> dict[str, list[dict[str, str]]]:
    der = run(["openssl", "x509", "-in", client.certificate, "-outform", "der"])
    report = {"toolchain": "sim", "measurement": "00" * 32, "debug": False}
    report["report_data"] = hashlib.sha512(der).hexdigest()
    quoted = cas.curl("/v1/sim/quote", client=client, body=json.dumps({"report": report})).json()
    request = json.dumps({"config_id": "s/s", "quote": quoted["quote"]})
    config = cas.curl("/v1/sim/attest", client=client, body=request).json()["config"]
    assert isinstance(config, dict)
    return config
