"""`sconectl fspf` as a script uses it: the lines of docs/protected-filesystem.md, word for word."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from .world import REPOSITORY, SCONECTL, Outcome, run


def lines_of_the_document() -> str:
    text = (REPOSITORY / "docs" / "protected-filesystem.md").read_text()
    found = re.search(r"## By hand\n\n```sh\n(.*?)```", text, re.DOTALL)
    assert found
    return found[1]


def shell(script: str, folder: Path) -> Outcome:
    environment = {**os.environ, "PATH": f"{SCONECTL.parent}:{os.environ['PATH']}"}
    return run(["sh", "-euc", script], env=environment, cwd=folder)


@pytest.fixture
def protected(tmp_path: Path) -> Path:
    """A folder where the document's lines were run."""
    (tmp_path / "app" / "lib").mkdir(parents=True)
    (tmp_path / "app" / "main.py").write_text("print('a secret algorithm')\n")
    (tmp_path / "app" / "lib" / "data").write_bytes(b"a secret algorithm " * 20_000)
    (tmp_path / "app" / "link").symlink_to("main.py")
    (tmp_path / "fspf" / "app").mkdir(parents=True)
    done = shell(lines_of_the_document(), tmp_path)
    assert done.code == 0, done.text
    assert "2 files are as they were protected" in done.out
    return tmp_path


def verify(folder: Path) -> Outcome:
    return shell("sconectl fspf verify fs.fspf @key --tag \"$(awk '{print $9}' keytag)\" --root .", folder)


def test_the_lines_of_the_document(protected: Path) -> None:
    assert re.fullmatch(
        r"Encrypted file system protection file fs\.fspf AES-GCM tag: [0-9a-f]{32} key: [0-9a-f]{64}\n",
        (protected / "keytag").read_text(),
    )
    compared = shell("diff -r --no-dereference app plain/app && ls -l plain/app/link", protected)
    assert compared.code == 0 and "-> main.py" in compared.out, compared.text
    kept = [file for file in (*(protected / "fspf").rglob("*"), protected / "fs.fspf") if file.is_file()]
    assert not any(word in file.read_bytes() for file in kept for word in (b"secret", b"main.py"))


def test_what_was_changed_is_named(protected: Path) -> None:
    [pack] = [file for file in (protected / "fspf").rglob("*") if file.is_file()]
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 1
    pack.write_bytes(content)
    refused = verify(protected)
    assert refused.code == 7 and refused.out == "changed: /app/lib/data\n" and "Traceback" not in refused.err
    nothing = shell("sconectl fspf extract fs.fspf @key ./again --root . ; ls again 2>/dev/null", protected)
    assert nothing.code != 0 and not nothing.out


def test_an_older_state_is_refused(protected: Path) -> None:
    script = """
    cp fs.fspf older; cp -r fspf older-packs; printf 'print(2)' > app/main.py
    sconectl fspf addf --key @key fs.fspf /app ./app ./fspf/app
    sconectl fspf show --tag fs.fspf @key > newer-tag
    cp older fs.fspf; rm -r fspf; cp -r older-packs fspf
    sconectl fspf verify fs.fspf @key --root .
    sconectl fspf verify fs.fspf @key --root . --tag "$(cat newer-tag)"
    """
    refused = shell(script, protected)
    assert refused.code == 7 and "its tag differs" in refused.err, refused.text
