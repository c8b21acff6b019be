"""Output that nobody reads any more: the command ends as others do, and says nothing about it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "words", ["explain SC1003", "explain genservice", "schema mesh", "--help", "apply --help", "cas --help"]
)
def test_nobody_reads(tmp_path: Path, words: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "sconectl", *words.split()],
        stdout=writing,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        check=False,
        text=True,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")
