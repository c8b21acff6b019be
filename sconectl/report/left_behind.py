"""Sessions that no service owns any more, in the form that programs read, and in words.

In: what is left behind, or its plain values. Out: plain values, or lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sconectl.apply.retiring.orphans import LeftBehind, Orphan
from sconectl.usecases.over_time.left_behind import Rename

_ORIGINS = {
    "mesh": "this mesh wrote it",
    "changed": "this mesh wrote it, and it was changed since",
    "unknown": "written by somebody else, or before there was a lock",
}


def orphan_documents(left: LeftBehind, renames: Mapping[str, Rename]) -> list[dict[str, Any]]:
    """Return the sessions as plain values; `state` says what this run does about each."""
    staying = {orphan.name for orphan in left.staying}
    return [
        _document(orphan, "stays" if orphan.name in staying else "retire", renames.get(orphan.name))
        for orphan in left.orphans
    ]


def _document(orphan: Orphan, state: str, rename: Rename | None) -> dict[str, Any]:
    return {
        "name": orphan.name,
        "origin": orphan.origin,
        "state": state,
        "readable": orphan.session is not None,
        "services": [{"name": name, "measurements": list(each)} for name, each in orphan.programs.items()],
        "secrets": [{"name": name, "for": who} for name, who in orphan.secrets.items()],
        "volumes": [{"name": name, "for": who} for name, who in orphan.volumes.items()],
        "imported_by": list(orphan.importers),
        "renamed_to": rename.new if rename else None,
        "drawn_anew": list(rename.drawn) if rename else [],
    }


def origin_of(orphan: Mapping[str, Any]) -> str:
    """Return whose session it is, in words."""
    return _ORIGINS[orphan["origin"]]


def gift_lines(orphan: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a session still gives, and to whom."""
    if not orphan["readable"]:
        yield "what it gives cannot be told: it may not be read with your identity"
    for service in orphan["services"]:
        measured = f" (measurement {', '.join(service['measurements'])})" if service["measurements"] else ""
        yield f"{service['name']}{measured} may start"
    for kind in ("secret", "volume"):
        for given in orphan[f"{kind}s"]:
            yield f"{kind} {given['name']} for {', '.join(given['for'])}"
    if orphan["imported_by"]:
        yield f"{', '.join(orphan['imported_by'])} of this mesh imports from it, so that it is not retired"
    if orphan["renamed_to"]:
        anew = f"; made anew for it: {', '.join(orphan['drawn_anew'])}" if orphan["drawn_anew"] else ""
        yield f"looks like it was renamed to {orphan['renamed_to']}{anew}"
