"""Writes the tables of docs/*.md from models and codes. After a change: `.venv/bin/python scripts/write_docs.py`."""

from __future__ import annotations

from pathlib import Path

from sconectl.learn.doc_tables import with_tables

for path in sorted((Path(__file__).resolve().parent.parent / "docs").glob("*.md")):
    page = path.read_text(encoding="utf-8")
    if (written := with_tables(page)) != page:
        path.write_text(written, encoding="utf-8")
        print(path)
