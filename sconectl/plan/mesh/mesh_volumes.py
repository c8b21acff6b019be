"""Volumes of the services of a mesh: what stands about them in sessions, and where the chart mounts them.

In: the volumes of an image, names filled in. Out: sections of a session, values of the chart, and faults. Where a
volume names a session, the name of a service of the mesh stands for that service's session.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from sconectl.manifest.model.faults import did_you_mean
from sconectl.plan.facts.naming import volume_label

_TERMS = ("update_policy", "volume_alias")
_DEFAULT = "rollback_protected"
STORAGE = "/scone/volumes"
"""Where the launcher looks for the storage of volumes."""

KEPT = MappingProxyType({"helm.sh/resource-policy": "keep"})
"""Annotations of claims: Helm lets them be when the chart is removed, or does not name them any more."""


@dataclass(frozen=True)
class ServiceVolumes:
    """The volumes of one service as its image declares them, with names filled in; `chart` is the name of its chart."""

    session: str
    chart: str
    declared: Sequence[Mapping[str, Any]]

    def exported(self, volume: str, session: str) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
        """Return the volume that `session` knows by this name, and the terms on which it is exported."""
        found = (
            (declared, export)
            for declared in self.declared
            for export in declared.get("export") or ()
            if export.get("session") == session and volume == (export.get("volume_alias") or declared["name"])
        )
        return next(found, None)

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


Owners = Mapping[str, ServiceVolumes]
"""The services of the mesh, by the names of their sessions."""


def mounts(volumes: ServiceVolumes, owners: Owners) -> list[dict[str, Any]]:
    """Return the volumes of the image in the service's session: where each appears, and how its tag moves on.

    A service of the mesh mounts what another one exports on the terms of the export.
    """
    found = []
    for volume in volumes.declared:
        mount = {"name": volume["name"], "path": volume["path"]}
        shared = _shared(volume, volumes, owners)
        if shared and (terms := shared[2].get("update_policy") or _DEFAULT) != _DEFAULT:
            mount["update_policy"] = terms
        found.append(mount)
    return found


def _shared(
    volume: Mapping[str, Any], importer: ServiceVolumes, owners: Owners
) -> tuple[ServiceVolumes, Mapping[str, Any], Mapping[str, Any]] | None:
    """Return the service of the mesh that a volume is imported from, the volume there, and the terms of its export."""
    given = volume.get("import")
    owner = owners.get(str(given["session"])) if given else None
    found = owner.exported(str(given["volume"]), importer.session) if owner and given else None
    return (owner, *found) if owner and found else None


def chart_values(volumes: ServiceVolumes, owners: Owners, group: int | None) -> dict[str, Any]:
    """Return the values of the chart: one block for each volume, which says where and on what its storage is.

    What is imported from a service of the mesh is on the claim of that service. `group` is that of the image's user, if
    it is not root: Kubernetes gives new claims to root.
    """
    values: dict[str, Any] = {}
    if group is not None and volumes.declared:
        values["podSecurityContext"] = {"fsGroup": group, "fsGroupChangePolicy": "OnRootMismatch"}
    for volume in volumes.declared:
        block = volume_block(f"{STORAGE}/{volume['name']}", encrypted=True)
        if volume.get("import"):
            shared = _shared(volume, volumes, owners)
            owner = {"service": shared[0].chart, "volume": volume_label(shared[1]["name"])} if shared else {}
            block["importedFrom"] = owner
        values[volume_label(volume["name"])] = block
    return values


def volume_block(place: str, *, encrypted: bool) -> dict[str, Any]:
    """Return the values of one volume that is mounted at `place`: gone with the pod, until something else is chosen."""
    return {
        "mountPath": place,
        "encrypted": encrypted,
        "persistence": {
            "enabled": False,
            "existingClaim": "",
            "storageClass": "",
            "size": "1Gi",
            "accessModes": ["ReadWriteOnce"],
            "annotations": dict(KEPT),
        },
    }


def on_volumes(extra: Mapping[str, Any], volumes: ServiceVolumes) -> Mapping[str, Any]:
    """Return the values of a manifest with `persistence` as that of the volume which is at its `mountPath`.

    Charts in use know one claim, mounted where the program has its data. Nothing can be mounted there if that is an
    encrypted volume: its storage is elsewhere.
    """
    given = extra.get("persistence")
    place = given.get("mountPath") if isinstance(given, Mapping) else None
    label = next((volume_label(each["name"]) for each in volumes.declared if each["path"] == place), "")
    if not isinstance(given, Mapping) or not isinstance(place, str) or not label:
        return extra
    rest = {key: value for key, value in extra.items() if key != "persistence"}
    own = rest.get(label)
    own = own if isinstance(own, Mapping) else {}
    below = own.get("persistence")
    claim = {key: value for key, value in given.items() if key != "mountPath"}
    return {**rest, label: {**own, "persistence": {**claim, **(below if isinstance(below, Mapping) else {})}}}


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
