"""The plan as Markdown, for the description of a pull request.

In: plans as plain values. Out: text in GitHub-flavoured Markdown. Names come from manifests, so every value is escaped.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sconectl.report.left_behind import gift_lines, origin_of
from sconectl.report.mesh_document import service_lines
from sconectl.report.secret_fates import is_touched
from sconectl.report.volumes import storage_lines, volume_line
from sconectl.text.rendering import render

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~@&$^-])")
_MARKS = {"weakens": ":warning: weakens", "strengthens": "strengthens", "neutral": ""}
_LOSS = ":warning: loss"


def as_markdown(plans: Sequence[Mapping[str, Any]]) -> str:
    """Return the plans, each below a heading."""
    return render("report/plan.md", _written, plans=[_mesh(p) if p["kind"] == "mesh" else _service(p) for p in plans])


class _Mark(str):
    """Text of ours, which is written as it is."""


def _written(value: Any) -> str:
    """Write a value so that it is nothing but text in a cell of a table."""
    if isinstance(value, _Mark):
        return value
    return _SPECIAL.sub(r"\\\1", " ".join(str(value).split()))


def _service(plan: Mapping[str, Any]) -> dict[str, Any]:
    built = any(step["state"] == "to do" for step in plan["steps"])
    return {
        "kind": "service",
        "name": plan["name"],
        "image": plan["image"],
        "state": "built" if built else "unchanged",
        **_volumes(plan["volumes"]),
    }


def _volumes(volumes: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    service = "service"
    lines = [(f"{volume[service]}: " if service in volume else "") + volume_line(volume) for volume in volumes]
    return {"volumes": [*lines, *storage_lines(volumes)]}


def _mesh(plan: Mapping[str, Any]) -> dict[str, Any]:
    fates = [(session, fate) for session in plan["sessions"] for fate in session.get("secrets", ())]
    touched = [_secret(session["name"], fate) for session, fate in fates if is_touched(fate)]
    return {
        "kind": "mesh",
        "namespace": plan["namespace"],
        "services": [line for service in plan["services"] for line in _pods(service)],
        "secrets": touched,
        "kept": len(fates) - len(touched),
        "changes": list(_changes(plan["sessions"])),
        "rollouts": [
            {"session": session["name"], **session["rollout"]} for session in plan["sessions"] if "rollout" in session
        ],
        "orphans": list(map(_orphan, plan["orphans"])),
        **_volumes(plan["volumes"]),
        "sessions": _counted(plan["sessions"]),
        "files": _counted(plan["files"]),
    }


def _pods(service: Mapping[str, Any]) -> Iterator[str]:
    facts = "; ".join(service_lines(service))
    if facts:
        yield f"{service['name']}: {facts}"


def _secret(session: str, fate: Mapping[str, Any]) -> dict[str, str]:
    gains, loses = (", ".join(fate[key]) for key in ("gains", "loses"))
    who = [*([f"now also: {gains}"] if gains else []), *([f"no longer: {loses}"] if loses else [])]
    mark = _Mark(_LOSS if fate["loss"] else "")
    return {
        **{key: fate[key] for key in ("name", "fate", "rule")},
        "session": session,
        "mark": mark,
        "who": "; ".join(who),
    }


def _orphan(orphan: Mapping[str, Any]) -> dict[str, str]:
    mark = _Mark("retired" if orphan["state"] == "retire" else ":warning: stays")
    return {"name": orphan["name"], "mark": mark, "whose": origin_of(orphan), "gives": "; ".join(gift_lines(orphan))}


def _changes(sessions: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    for session in sessions:
        for change in session.get("changes", ()) if session["state"] == "update" else ():
            code = f" [{change['code']}]" if change["code"] else ""
            text = f"{change['subject']}: {change['message']}{code}"
            yield {"mark": _Mark(_MARKS[change["severity"]]), "session": session["name"], "text": text}


def _counted(entries: Iterable[Mapping[str, Any]]) -> str:
    counts = Counter(entry["state"] for entry in entries)
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "none"
