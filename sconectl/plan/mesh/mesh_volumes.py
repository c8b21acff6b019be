"""Volumes of the services of a mesh: what stands about them in sessions, and where the chart mounts them.

In: the volumes of an image, names filled in. Out: sections of a session, values of the chart, and faults. Where a
volume names a session, the name of a service of the mesh stands for that service's session.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sconectl.manifest.model.faults import did_you_mean

_TERMS = ("update_policy", "volume_alias")


@dataclass(frozen=True)
class ServiceVolumes:
    """The volumes of one service as its image declares them, with names filled in."""

    session: str
    declared: Sequence[Mapping[str, Any]]

    def offered(self, session: str) -> list[str]:
        """Return the names by which `session` may import volumes of this service."""
        return [
            str(export.get("volume_alias") or volume["name"])
            for volume in self.declared
            for export in volume.get("export") or ()
            if export.get("session") == session
        ]


def with_sessions(volume: Mapping[str, Any], sessions: Mapping[str, str]) -> dict[str, Any]:
    """Return a declared volume in which names of services are those of their sessions, and every import is whole."""
    found = dict(volume)
    if volume.get("import"):
        found["import"] = {"volume": volume["name"], **_resolved(volume["import"], sessions)}
    if volume.get("export"):
        found["export"] = [_resolved(export, sessions) for export in volume["export"]]
    return found


def _resolved(reference: Mapping[str, Any], sessions: Mapping[str, str]) -> dict[str, Any]:
    name = str(reference["session"]).lstrip("/")
    return {**reference, "session": sessions.get(name, name)}


def session_volumes(volumes: ServiceVolumes) -> list[dict[str, Any]]:
    """Return the section `volumes` of the service's session."""
    found = []
    for volume in volumes.declared:
        entry: dict[str, Any] = {"name": volume["name"]}
        if volume.get("import"):
            entry["import"] = dict(volume["import"])
        if volume.get("export"):
            entry["export"] = [_export(export) for export in volume["export"]]
        found.append(entry)
    return found


def _export(export: Mapping[str, Any]) -> dict[str, Any]:
    target = {key: export[key] for key in ("session", "session_hash") if export.get(key)}
    terms = {key: export[key] for key in _TERMS if export.get(key)}
    return {"to": target, **terms} if terms else target


def mounts(volumes: ServiceVolumes) -> list[dict[str, Any]]:
    """Return the volumes of the image in the service's session: where each appears."""
    return [{"name": volume["name"], "path": volume["path"]} for volume in volumes.declared]


def chart_values(service: str, volumes: ServiceVolumes) -> dict[str, Any]:
    """Return the values of the chart: a claim of its own for the first volume, and claims by name for others.

    An imported volume needs the claim of the service that it comes from, so that is not made here, either.
    """
    values: dict[str, Any] = {}
    claims: list[tuple[str, str, str]] = []
    for volume in volumes.declared:
        if not claims and not values and not volume.get("import"):
            values["persistence"] = {"enabled": True, "mountPath": volume["path"]}
        else:
            claims.append((f"sconectl-volume-{len(claims)}", f"{service}-{volume['name']}", volume["path"]))
    if claims:
        values["extraVolumes"] = [
            {"name": name, "persistentVolumeClaim": {"claimName": claim}} for name, claim, _ in claims
        ]
        values["extraVolumeMounts"] = [{"name": name, "mountPath": path} for name, _, path in claims]
    return values


def volume_faults(services: Mapping[str, ServiceVolumes]) -> Iterator[tuple[str, str, str]]:
    """Yield a service, what is wrong with its volumes, and a hint."""
    by_session = {volumes.session: name for name, volumes in services.items()}
    for service, volumes in services.items():
        for volume in volumes.declared:
            given = volume.get("import")
            owner = by_session.get(str(given["session"])) if given else None
            if not given or owner is None:
                continue
            offered = services[owner].offered(volumes.session)
            if str(given["volume"]) not in offered:
                hint = did_you_mean(str(given["volume"]), offered) or (
                    f"add export: [{{session: {service}}}] to the volume in the service manifest of {owner}"
                )
                yield service, f"service {owner} exports no volume {given['volume']} to {service}", hint
