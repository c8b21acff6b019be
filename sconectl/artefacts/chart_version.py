"""The version of a chart, which changes when its content does: Flux and registries look at nothing else.

In: the files of a chart before versions are written into them, and Chart.yaml of the chart that was there before. Out:
a digest of the content, and the next version.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from sconectl.errors import InvalidInput
from sconectl.text.yaml_tree import parse

CONTENT = "sconectl.io/content"
"""The annotation of the umbrella chart that holds the digest of its content."""
FIRST_VERSION = "0.1.0"
LONGEST_VERSION = 128  # characters of a tag in a registry
_NUMBER = "(?:0|[1-9][0-9]{0,17})"  # Helm counts with 64 bits
_WORD = "(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION = re.compile(
    rf"({_NUMBER})\.({_NUMBER})\.{_NUMBER}(?:-{_WORD}(?:\.{_WORD})*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_OF_VERSIONS = frozenset({"sconectl.io/version", CONTENT})
"""Annotations that say which version wrote a chart, and not what is in it."""


def is_version(text: str) -> bool:
    """Say whether a text is a semantic version, as Helm takes it."""
    return len(text) <= LONGEST_VERSION and _VERSION.fullmatch(text) is not None


def next_version(previous: str | None, same_content: bool) -> str:
    """Return the version of a chart: the previous one while the content is the same, else the next minor version."""
    found = _VERSION.fullmatch(previous) if previous is not None and is_version(previous) else None
    if found is None or previous is None:
        return FIRST_VERSION
    return previous if same_content else f"{found[1]}.{int(found[2]) + 1}.0"


def written_version(chart: bytes | None) -> tuple[str | None, str]:
    """Return the version and the digest of the content that an umbrella's Chart.yaml gives, as far as it does."""
    try:
        value = parse(chart or b"", "Chart.yaml").value
    except InvalidInput:
        value = None
    head: Mapping[str, Any] = value if isinstance(value, dict) else {}
    version, annotations = head.get("version"), head.get("annotations")
    digest = annotations.get(CONTENT) if isinstance(annotations, dict) else None
    return version if isinstance(version, str) else None, str(digest or "")


def content_digest(files: Mapping[str, bytes], heads: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the SHA-256 of the content of a chart; `heads` are its Chart.yaml by path, without versions of ours."""
    known: dict[bytes, str] = {}  # most services have the same templates
    paths: dict[str, list[str]] = {}
    for path, content in files.items():
        if content not in known:
            known[content] = hashlib.sha256(content).hexdigest()
        paths.setdefault(known[content], []).append(path)
    for path, head in heads.items():
        text = json.dumps(_without_versions(head), sort_keys=True)
        paths.setdefault(hashlib.sha256(text.encode()).hexdigest(), []).append(path)
    found = hashlib.sha256()
    for digest in sorted(paths):
        for path in sorted(paths[digest]):
            found.update(f"{digest} {path}\n".encode())
    return found.hexdigest()


def _without_versions(head: Mapping[str, Any]) -> dict[str, Any]:
    annotations = {key: text for key, text in (head.get("annotations") or {}).items() if key not in _OF_VERSIONS}
    return {**head, "annotations": annotations}
