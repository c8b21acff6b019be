"""`sconectl fspf`: the lines that scripts read, and what it refuses."""

from __future__ import annotations

import errno
import json
import os
import shutil
from io import StringIO
from pathlib import Path

import pytest

from sconectl.protect import packs
from sconectl.toolchains import fspf_file

from .conftest import Outcome, Run

HEX32, HEX64 = r"[0-9a-f]{32}", r"[0-9a-f]{64}"
SECRET = b"nobody may read this"


@pytest.fixture
def source(project: Path) -> Path:
    folder = project / "native"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/secret").write_bytes(SECRET * 10_000)
    (folder / "line\nbreak").write_bytes(b"x")
    (folder / "link").symlink_to("sub/secret")
    (folder / "sub/secret").chmod(0o600)
    return folder


@pytest.fixture
def ready(run: Run, source: Path) -> str:
    """Return the key of fs.fspf, which encrypts /app, its pack being in out."""
    ok(run("fspf", "create", "fs.fspf"))
    ok(run("fspf", "addr", "fs.fspf", "/", "--not-protected", "--kernel", "/"))
    ok(run("fspf", "addr", "fs.fspf", "/app", "--encrypted", "--kernel", Path("out").absolute()))
    ok(run("fspf", "addf", "fs.fspf", "/app", source, "out"))
    return ok(run("fspf", "encrypt", "fs.fspf")).split()[10]


def ok(outcome: Outcome) -> str:
    assert outcome.code == 0, outcome.err
    return outcome.out


def refused(outcome: Outcome, code: int, *texts: str) -> None:
    assert outcome.code == code, outcome.err
    for text in texts:
        assert text in outcome.err


def words(outcome: Outcome) -> list[str]:
    """Return the words of the only line, from 1 on as awk counts them."""
    (line,) = ok(outcome).splitlines()
    return ["", *line.split()]


def mode(path: str) -> int:
    return Path(path).stat().st_mode & 0o777


def test_lines_are_those_that_scripts_read(run: Run, source: Path) -> None:
    done = run("fspf", "create", "fs.fspf")
    assert ok(done).startswith("Created empty file system protection file in fs.fspf. AES-GCM tag: ")
    tags = [words(done)[11]]
    done = run("fspf", "addr", "fs.fspf", "/", "--not-protected", "--kernel", "/")
    assert ok(done).startswith("Added region / to file system protection file fs.fspf new AES-GCM tag: ")
    tags.append(words(done)[-1])
    tags.append(words(run("fspf", "addr", "--kernel", "/e", "fs.fspf", "-e", "/app", "-c", "4096", "-k", "32"))[-1])
    done = run("fspf", "addf", "fs.fspf", "/app", source, "out")
    assert ok(done).startswith("Added files to file system protection file fs.fspf new AES-GCM tag: ")
    tags.append(words(done)[-1])
    assert ok(run("fspf", "show", "--tag", "fs.fspf")) == f"{tags[-1]}\n"
    assert mode("fs.fspf") == 0o600
    done = run("fspf", "encrypt", "fs.fspf")
    assert ok(done).startswith("Encrypted file system protection file fs.fspf AES-GCM tag: ")
    assert words(done)[6] == "fs.fspf" and words(done)[10] == "key:"
    tags.append(words(done)[9])
    key = words(done)[11]
    assert len(key) == 64 and {len(tag) for tag in tags} == {32} and len(set(tags)) == 5
    assert mode("fs.fspf") == 0o644 and mode("out/1.pack") == 0o644
    for arguments in (("-t", "fs.fspf", key), ("--tag", "fs.fspf"), ("fs.fspf", key, "--tag")):
        assert ok(run("fspf", "show", *arguments)) == f"{tags[-1]}\n"
    assert all(SECRET not in path.read_bytes() for path in (Path("fs.fspf"), Path("out/1.pack")))


def test_show(run: Run, ready: str) -> None:
    text = ok(run("fspf", "show", "fs.fspf", ready))
    assert "region /app: encrypted, kernel " in text and "/app/line\\nbreak" in text and "link -> sub/secret" in text
    document = json.loads(ok(run("fspf", "show", "fs.fspf", ready, "--output", "json")))
    assert document["encrypted"] is True
    assert [region["path"] for region in document["regions"]] == ["/", "/app"]
    files = {file["path"]: file for file in document["files"]}
    assert (files["/app/sub/secret"]["mode"], files["/app/sub/secret"]["size"]) == ("0600", 200_000)
    assert "data_key" not in json.dumps(document) and ready not in json.dumps(document)
    refused(run("fspf", "show", "fs.fspf"), 2, "is encrypted", "give its key")
    refused(run("fspf", "show", "fs.fspf", ready, "--output", "xml"), 2)


def test_the_key_need_not_be_in_the_process_list(run: Run, ready: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("key").write_text(f"{ready}\n")
    assert "/app/link" in ok(run("fspf", "show", "fs.fspf", "@key"))
    monkeypatch.setattr("sys.stdin", StringIO(f"{ready}\n"))
    assert "/app/link" in ok(run("fspf", "show", "fs.fspf", "-"))
    refused(run("fspf", "show", "fs.fspf", "@ghost"), 2, "ghost")
    done = run("fspf", "show", "fs.fspf", ready[:-1])
    refused(done, 2, "64 hex digits")
    assert ready[:-1] not in done.err
    refused(run("fspf", "show", "fs.fspf", "0" * 64), 7, "wrong key")


def test_verify(run: Run, ready: str) -> None:
    tag = ok(run("fspf", "show", "-t", "fs.fspf")).strip()
    assert "2 files are as they were protected" in ok(run("fspf", "verify", "fs.fspf", ready, "--tag", tag))
    refused(run("fspf", "verify", "fs.fspf", ready, "--tag", "0" * 32), 7, "its tag differs")
    refused(run("fspf", "verify", "fs.fspf", ready, "--tag", "0"), 2, "32 hex digits")
    pack = Path("out/1.pack").read_bytes()
    Path("out/1.pack").write_bytes(pack[:-1] + bytes([pack[-1] ^ 1]))
    done = run("fspf", "verify", "fs.fspf", ready)
    refused(done, 7, "not as they were protected")
    assert done.out == "changed: /app/sub/secret\n"
    shutil.rmtree("out")
    assert run("fspf", "verify", "fs.fspf", ready).out.startswith("missing: ")
    Path("elsewhere", *Path("out").absolute().parts[1:]).mkdir(parents=True)
    Path("elsewhere", *Path("out").absolute().parts[1:], "1.pack").write_bytes(pack)
    ok(run("fspf", "verify", "fs.fspf", ready, "--root", "elsewhere"))


def test_an_old_index_with_its_old_pack_is_noticed_by_its_tag(run: Run, source: Path, ready: str) -> None:
    old = {name: Path(name).read_bytes() for name in ("fs.fspf", "out/1.pack")}
    (source / "line\nbreak").write_bytes(b"y")
    tag = words(run("fspf", "addf", "fs.fspf", "/app", source, "out", "--key", ready))[-1]
    ok(run("fspf", "verify", "fs.fspf", ready, "--tag", tag))
    for name, content in old.items():
        Path(name).write_bytes(content)
    ok(run("fspf", "verify", "fs.fspf", ready))
    refused(run("fspf", "verify", "fs.fspf", ready, "--tag", tag), 7, "its tag differs")


def test_extract(run: Run, source: Path, ready: str) -> None:
    ok(run("fspf", "extract", "fs.fspf", ready, "plain"))
    assert (Path("plain/app/sub/secret")).read_bytes() == SECRET * 10_000
    assert mode("plain") == 0o700 and mode("plain/app/sub/secret") == 0o600
    assert os.readlink("plain/app/link") == "sub/secret"  # noqa: PTH115
    refused(run("fspf", "extract", "fs.fspf", ready, "plain"), 2, "not empty")
    pack = Path("out/1.pack").read_bytes()
    Path("out/1.pack").write_bytes(bytes(len(pack)))
    refused(run("fspf", "extract", "fs.fspf", ready, "broken"), 7, "not what was sealed", "fspf verify")
    assert not Path("broken").exists()


def test_extract_without_a_key(run: Run, source: Path) -> None:
    ok(run("fspf", "create", "fs.fspf", "1"))
    ok(run("fspf", "addr", "fs.fspf", "/", "-e", "--kernel", Path("out").absolute()))
    ok(run("fspf", "addf", "fs.fspf", "/", source, "out"))
    ok(run("fspf", "extract", "fs.fspf", "plain"))
    assert Path("plain/sub/secret").read_bytes() == SECRET * 10_000


def test_adding_again_replaces_what_was_there(run: Run, source: Path, ready: str) -> None:
    (source / "link").unlink()
    (source / "new").write_text("new")
    ok(run("fspf", "addf", "fs.fspf", "/app", source, "out", "--key", ready))
    assert [path.name for path in Path("out").iterdir()] == ["2.pack"]
    text = ok(run("fspf", "show", "fs.fspf", ready))
    assert "/app/new" in text and "/app/link" not in text
    ok(run("fspf", "verify", "fs.fspf", ready))
    assert mode("fs.fspf") == 0o644


def test_authenticated_files_stay_where_they_are(run: Run, source: Path) -> None:
    ok(run("fspf", "create", "fs.fspf"))
    ok(run("fspf", "addr", "fs.fspf", "/lib/", "--authenticated", "--kernel", source))
    ok(run("fspf", "addf", "fs.fspf", "/lib", source))
    ok(run("fspf", "verify", "fs.fspf"))
    (source / "sub/secret").chmod(0o644)
    (source / "more").touch()
    done = run("fspf", "verify", "fs.fspf")
    refused(done, 7)
    assert done.out == "added: /lib/more\nchanged: /lib/sub/secret\n"
    ok(run("fspf", "addf", "fs.fspf", "/lib", source, "copy"))
    assert Path("copy/sub/secret").read_bytes() == SECRET * 10_000
    refused(run("fspf", "addf", "fs.fspf", "/lib", source, "copy"), 2, "not empty")


def test_another_region_is_left_out(run: Run, source: Path) -> None:
    ok(run("fspf", "create", "fs.fspf"))
    ok(run("fspf", "addr", "fs.fspf", "/", "-a", "--kernel", "/"))
    ok(run("fspf", "addr", "fs.fspf", "/sub", "-e", "--kernel", "/packs"))
    done = run("fspf", "addf", "fs.fspf", "/", source, "copy")
    assert "left out /sub" in done.err and ok(done)
    assert not Path("copy/sub").exists()
    assert "secret" not in ok(run("fspf", "show", "fs.fspf")).replace("link -> sub/secret", "")


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("create", "fs.fspf"), 2, "exists"),
        (("create", "x", "v3"), 2, "no format v3"),
        (("addr", "fs.fspf", "/x", "-e", "-a", "--kernel", "/"), 2, "give one of"),
        (("addr", "fs.fspf", "/x", "--kernel", "/"), 2, "give one of"),
        (("addr", "fs.fspf", "/x", "-e"), 2, "give one of"),
        (("addr", "fs.fspf", "/x", "-e", "--kernel", "/", "--ephemeral"), 2, "give one of"),
        (("addr", "fs.fspf", "x", "-e", "--kernel", "/"), 2, "absolute"),
        (("addr", "fs.fspf", "/x", "-e", "--kernel", "p"), 2, "absolute"),
        (("addr", "fs.fspf", "/x", "-e", "--kernel", "/p", "-k", "16"), 2, "32 bytes"),
        (("addr", "fs.fspf", "/x", "-e", "--kernel", "/p", "-c", "1"), 2, "chunk length"),
        (("addr", "fs.fspf", "/app", "-e", "--kernel", "/p"), 2, "already has a region /app"),
        (("addr", "fs.fspf", "/y", "-e", "--kernel", "/p"), 2, "there must be one for /"),
        (("addr", "ghost", "/y", "-e", "--kernel", "/p"), 2, "no file ghost"),
        (("addf", "fs.fspf", "/ghost", "native", "out"), 2, "not a region"),
        (("addf", "fs.fspf", "/app", "native"), 2, "give the directory"),
        (("addf", "fs.fspf", "/app", "ghost", "out"), 2, "not a directory"),
        (("addf", "fs.fspf", "/app", "native", "native/out"), 2, "in the source directory"),
        (("show", "native"), 2, "no file native"),
        (("show", "native/sub/secret"), 7, "not a file system protection file"),
        (("verify", "fs.fspf", "0" * 64), 7, "not encrypted, but there is a key"),
    ],
)
def test_what_does_not_fit(run: Run, source: Path, arguments: tuple[str, ...], code: int, text: str) -> None:
    ok(run("fspf", "create", "fs.fspf"))
    ok(run("fspf", "addr", "fs.fspf", "/app", "-e", "--kernel", "/out"))
    before = Path("fs.fspf").read_bytes()
    refused(run("fspf", *arguments), code, text)
    assert Path("fs.fspf").read_bytes() == before
    assert not Path("out").exists() and not Path("native/out").exists()


def test_more_that_does_not_fit(run: Run, source: Path, ready: str) -> None:
    refused(run("fspf", "encrypt", "fs.fspf"), 2, "is encrypted")
    refused(run("fspf", "addf", "fs.fspf", "/app", source, "out"), 2, "is encrypted")
    refused(run("fspf", "addf", "fs.fspf", "/", source, "out", "--key", ready), 2, "not-protected")
    refused(run("fspf", "addr", "fs.fspf", "/app/sub", "-e", "--kernel", "/", "--key", ready), 2, "belongs to another")
    ok(run("fspf", "addr", "fs.fspf", "/tmp/x", "-e", "--ephemeral", "--key", ready))
    refused(run("fspf", "addf", "fs.fspf", "/tmp/x", source, "out", "--key", ready), 2, "ephemeral")


def test_what_cannot_be_protected_is_named(run: Run, source: Path, ready: str) -> None:
    os.mkfifo(source / "pipe")
    before = {path: path.read_bytes() for path in (Path("fs.fspf"), Path("out/1.pack"))}
    refused(run("fspf", "addf", "fs.fspf", "/app", source, "out", "--key", ready), 4, "/app/pipe", "neither a file")
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("where", ["pack", "index"])
def test_nothing_half_made_is_left(
    run: Run, source: Path, ready: str, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    before = {path: path.read_bytes() for path in (Path("fs.fspf"), Path("out/1.pack"))}

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "out")

    if where == "pack":
        monkeypatch.setattr(packs._Output, "flush", full)
    else:
        monkeypatch.setattr(fspf_file, "seal_index", full)
    refused(run("fspf", "addf", "fs.fspf", "/app", source, "out", "--key", ready), 5, "No space left on device")
    assert {path: path.read_bytes() for path in (Path("fs.fspf"), *Path("out").iterdir())} == before
    assert not list(Path().glob(".fspf*"))
