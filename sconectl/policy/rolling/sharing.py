"""What services that stay import from other sessions goes on being exported to them.

In: the sessions of a mesh that are being put together. Out: nothing; they export what is imported, as the active ones
do, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping

from sconectl.policy.model.secret import Secret
from sconectl.policy.model.session import Session
from sconectl.policy.model.volumes import Volume
from sconectl.policy.rolling.overlap import Overlap
from sconectl.policy.rolling.versions import Fault


def share(sessions: Mapping[str, Overlap]) -> None:
    """Let sessions, by name, give each other what services that stay import."""
    done: set[tuple[str, str, str]] = set()
    while waiting := [
        (importer, section, name, imported)
        for importer, session in sessions.items()
        for (section, name), imported in session.imported.items()
        if (importer, section, name) not in done
    ]:
        for importer, section, name, imported in waiting:  # which may make others import more
            done.add((importer, section, name))
            owner = sessions.get(imported.import_.session) if imported.import_ else None
            if owner is None or owner.seen is None:
                continue
            if isinstance(imported, Secret):
                _share_secret(owner, importer, imported)
            else:
                _share_volume(owner, importer, imported)


def _share_secret(owner: Overlap, importer: str, imported: Secret) -> None:
    source = imported.import_
    before = owner.seen.secret(source.secret) if owner.seen and source and not source.cas_url else None
    if before is None or not _is_given(before, importer):
        return
    owner.keep_secrets([before.name])
    after = owner.wanted.secret(before.name)
    if after is None or not _is_given(after, importer):
        owner.export("secrets", before.name, {"session": importer})


def is_shared(session: Session, secret: str, importer: str) -> bool:
    """Say whether a session gives a secret to another one."""
    found = session.secret(secret)
    return found is not None and _is_given(found, importer)


def _is_given(secret: Secret, importer: str) -> bool:
    return any(
        export.cas_url is None
        and export.session_hash is None
        and (export.session == importer or (export.namespace and f"{importer}/".startswith(f"{export.namespace}/")))
        for export in secret.export
    )


def _share_volume(owner: Overlap, importer: str, imported: Volume) -> None:
    wanted = imported.import_.volume if imported.import_ else ""
    for volume in owner.seen.volumes if owner.seen else ():
        written = owner.written_exports("volumes", volume.name)
        for export, text in zip(volume.export, written, strict=True):
            if export.session != importer or (export.volume_alias or volume.name) != wanted:
                continue
            owner.keep_volumes([volume.name])
            after = owner.wanted.volume(volume.name)
            given = [each for each in (after.export if after else ()) if each.session == importer]
            if not given:
                owner.export("volumes", volume.name, text)
            elif export not in given:
                hint = "leave its export as it was until the old version is gone"
                owner.faults.append(Fault(f"volume {volume.name} is exported to {importer} on other terms", hint))
