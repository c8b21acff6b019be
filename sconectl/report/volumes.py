"""The volumes of a plan in words: where they are, who shares them, what their storage shows, what can be taken back.

In: the plan of a service, or a mesh with its sessions. Out: plain values, and lines made from them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sconectl.plan.mesh.configuration_mark import as_the_cas_reads
from sconectl.plan.mesh.mesh import MeshPlan
from sconectl.plan.mesh.mesh_service import BoundService
from sconectl.plan.mesh.mesh_volumes import STORAGE
from sconectl.plan.service.service import ServicePlan

Entry = Mapping[str, Any]
_DEFAULT, _EPHEMERAL, _ANY_STATE = "rollback_protected", "ephemeral", "no_rollback_protection"
_STRICT, _BOUNDED = "strict", "bounded"
_PLAIN = "authenticated-only"


def service_volumes(plan: ServicePlan) -> list[dict[str, Any]]:
    """Return the volumes of an image as its manifest describes them, as plain values."""
    found = []
    for volume in plan.build.volumes:
        given = volume.import_
        source = {"session": given.session, "volume": given.volume or volume.name} if given else None
        found.append(
            {
                "name": volume.name,
                "path": volume.path,
                "storage": f"{STORAGE}/{volume.name}",
                "tags": volume.tags or _STRICT,
                "from": source,
                "shared_with": [_share(export.session, export.update_policy) for export in volume.export],
            }
        )
    return found


def mesh_volumes(services: Sequence[BoundService], plan: MeshPlan) -> list[dict[str, Any]]:
    """Return the volumes that the services of a mesh mount, as the sessions say it, as plain values."""
    named = {service.session_name: service for service in services}
    read = {
        session.name: as_the_cas_reads(session.document)
        for session in plan.sessions
        if session.name in named and "volumes" in session.document
    }
    return [
        {"service": named[name].name, **volume}
        for name, session in read.items()
        for volume in _mounted(session, read, json.loads(named[name].facts.parameters.get("volumes", "{}")))
    ]


def _mounted(session: Entry, others: Mapping[str, Entry], chosen: Mapping[str, Entry]) -> Iterator[dict[str, Any]]:
    declared = {volume["name"]: volume for volume in session.get("volumes", ())}
    for mount in (mount for image in session.get("images", ()) for mount in image.get("volumes", ())):
        name, volume = mount["name"], declared.get(mount["name"], {})
        source, policy, owned = volume.get("import"), mount.get("update_policy", _DEFAULT), volume
        if source:
            owned, terms = _exported(others.get(source["session"], {}), source["volume"], session["name"])
            policy = _EPHEMERAL if terms == _EPHEMERAL else policy
        yield {
            "name": name,
            "path": mount["path"],
            "storage": f"{STORAGE}/{name}",
            "tags": chosen.get(name, {}).get("tags", _STRICT),
            "update_policy": policy,
            "files": owned.get("files", "encrypted"),
            "from": {"session": source["session"], "volume": source["volume"]} if source else None,
            "shared_with": [_share(share["session"], share.get("update_policy")) for share in volume.get("export", ())],
        }


def _exported(owner: Entry, name: str, importer: str) -> tuple[Entry, str]:
    """Return a volume as the session that owns it declares it, and on which terms `importer` has it."""
    for volume in owner.get("volumes", ()):
        for export in volume.get("export", ()):
            if export["session"] == importer and name == export.get("volume_alias", volume["name"]):
                return volume, export.get("update_policy", _DEFAULT)
    return {}, _DEFAULT


def _share(session: str, policy: str | None) -> dict[str, str]:
    return {"session": session, "update_policy": policy or _DEFAULT}


def volume_line(volume: Entry) -> str:
    """Return where a volume is, and who shares it."""
    source = volume["from"]
    taken = [f"it is {source['volume']} of {source['session']}"] if source else []
    policy = volume.get("update_policy", _DEFAULT)
    terms = [policy] if policy != _DEFAULT else []
    shares = ", ".join(
        share["session"] + ("" if share["update_policy"] == _DEFAULT else f" ({share['update_policy']})")
        for share in volume["shared_with"]
    )
    parts = [*taken, *terms, f"tags {volume['tags']}", *([f"shared with {shares}"] if shares else [])]
    return f"{volume['name']} at {volume['path']}, storage at {volume['storage']}: {'; '.join(parts)}"


def storage_lines(volumes: Sequence[Entry]) -> list[str]:
    """Return what whoever has the storage sees, and what he can take back unnoticed."""
    kept = [volume for volume in volumes if volume.get("update_policy", _DEFAULT) == _DEFAULT]
    loose = [volume for volume in volumes if volume.get("update_policy") == _ANY_STATE]
    found = [
        (
            [volume for volume in volumes if volume.get("files") != _PLAIN],
            "names, directories, sizes and times of files, and no contents; a change stops the next start",
        ),
        (
            [volume for volume in volumes if volume.get("files") == _PLAIN],
            f"everything, as their files are {_PLAIN}; a change stops the next start",
        ),
        (
            [volume for volume in kept if volume["tags"] == _STRICT],
            "nothing that a sync of the program has acknowledged can be taken back unnoticed (tags strict)",
        ),
        (
            [volume for volume in kept if volume["tags"] == _BOUNDED],
            "at most what the CAS does not know yet, 100 ms of syncs, can be taken back unnoticed (tags bounded)",
        ),
        (loose, f"any older state can be brought back ({_ANY_STATE})"),
        (
            [volume for volume in volumes if volume.get("update_policy") == _EPHEMERAL],
            "nothing is written to the storage (ephemeral)",
        ),
    ]
    return [f"storage of {_names(which)}: {what}" for which, what in found if which]


def _names(volumes: Sequence[Entry]) -> str:
    return ", ".join(dict.fromkeys(_name(volume) for volume in volumes))


def _name(volume: Entry) -> str:
    return f"{volume['service']}'s {volume['name']}" if "service" in volume else str(volume["name"])
