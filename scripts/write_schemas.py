"""Writes schemas/*.json from the models; to be run after a change: `.venv/bin/python scripts/write_schemas.py`."""

from __future__ import annotations

from pathlib import Path

from sconectl.learn.json_schema import KINDS, schema_text

for kind in KINDS:
    path = Path(__file__).resolve().parent.parent / "schemas" / f"{kind}.json"
    path.write_text(schema_text(kind), encoding="utf-8")
    print(path)
