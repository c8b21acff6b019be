"""Reads the facts about images that `apply` wrote: the files of target/images, or of --facts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sconectl.errors import UsageError
from sconectl.plan.facts.image_facts import BuildRecord, is_of_another_version
from sconectl.regular_files import first_bytes

MAX_BYTES = 64 << 20  # of one record


def read_records(path: Path) -> tuple[BuildRecord, ...]:
    """Read the record in a file, or all in a directory. Raises `UsageError` if one cannot be read."""
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    records = []
    for file in files:
        try:
            text = first_bytes(file, MAX_BYTES + 1)
        except OSError as error:
            hint = "name the facts of an image, or remove what is in their place"
            raise UsageError(f"{file}: {error.strerror}", hint=hint) from error
        if len(text) > MAX_BYTES:
            raise UsageError(f"{file}: larger than {MAX_BYTES} bytes", hint="name the facts of an image")
        try:
            records.append(BuildRecord.read(text))
        except ValidationError as error:
            what = "does not hold the facts of an image"
            if is_of_another_version(json_mapping(text).get("facts")):
                what = "is about an image that was built by another version of sconectl"
            hint = "write it again with `sconectl apply -f <service manifest>`"
            raise UsageError(f"{file} {what}", hint=hint) from error
    return tuple(records)


def json_mapping(text: str | bytes) -> dict[str, Any]:
    """Return the JSON object in a text; an empty one if there is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
