"""Writes docs/conformance.md from the tests. After a change: `.venv/bin/python scripts/write_conformance.py`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from conformance import PAGE, TESTS, page

written = page((TESTS / "statements.toml").read_text(encoding="utf-8"), TESTS)
if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != written:
    PAGE.write_text(written, encoding="utf-8")
    print(PAGE)
