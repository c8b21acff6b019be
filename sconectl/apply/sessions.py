"""Brings sessions into a CAS: created, updated with their predecessor, or left alone because nothing changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sconectl.artefacts.session import session_text
from sconectl.policy.canonical import same_content
from sconectl.policy.model import parse_session
from sconectl.ports import SessionStore


@dataclass(frozen=True)
class Uploaded:
    """What happened to one session."""

    name: str
    outcome: Literal["created", "updated", "unchanged"]
    hash: str


def put_session(store: SessionStore, document: Mapping[str, Any]) -> Uploaded:
    """Create or update one session unless the CAS has this content already. Raises `CasError`."""
    name = str(document["name"])
    current = store.read(name)
    if current is None:
        return Uploaded(name, "created", store.put(session_text(document)))
    wanted = parse_session(session_text(document), file=name)
    if same_content(wanted, parse_session(current.text, file=name)):
        return Uploaded(name, "unchanged", current.hash)
    return Uploaded(name, "updated", store.put(session_text(document, predecessor=current.hash)))
