"""Volumes: their keys, which sessions share them, and on which terms (LANG §14).

In: a session, the transaction that holds it and those it imports from, and the values of secrets. Out: what a program
needs to open each volume. A key that no policy names is drawn once and kept like a secret, in a row `volume:NAME`;
no secret can have such a name. Refusals to import have one text: an importer learns nothing about foreign sessions.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sconectl.cas.attest.placeholder_filling import SecretValues, key_behind
from sconectl.cas.attest.tags import EPHEMERAL, PROTECTED, UNPROTECTED, Subject, current_tag
from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.secrets.session_secrets import Stored
from sconectl.policy.reading import Mount, Service, Session, Volume, VolumeExport, VolumeImport
from sconectl.text.secret_placeholders import is_reference

if TYPE_CHECKING:
    from sconectl.cas.store.store import Transaction

KEY_BYTES = 32
_ALLOWED: Mapping[str, tuple[str, ...]] = {
    EPHEMERAL: (EPHEMERAL,),
    PROTECTED: (PROTECTED, EPHEMERAL),
    UNPROTECTED: (UNPROTECTED, PROTECTED, EPHEMERAL),
}
"""The update policies that an importer may choose, by the update policy of the export."""


@dataclass(frozen=True)
class Opened:
    """A volume as one service gets it; `source` is what the session imports, or None for its own."""

    name: str
    path: str
    key: bytes = field(repr=False)
    tag: str | None
    files: str
    update_policy: str
    source: dict[str, str] | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, with the key."""
        return {
            "name": self.name,
            "path": self.path,
            "key": self.key.hex(),
            "tag": self.tag,
            "files": self.files,
            "update_policy": self.update_policy,
            "source": self.source,
        }


@dataclass(frozen=True)
class _Located:
    """A mounted volume with the session that owns it, and the update policy that holds for this mount."""

    owner: Session
    volume: Volume
    update_policy: str


def volume_secrets(session: Session, previous: Mapping[str, Stored]) -> dict[str, Stored]:
    """Return the rows of the generated volume keys of `session`: those in `previous`, and new ones.

    To be called at every upload, beside `secrets_for`; `previous` are the rows of the active version.
    """
    return {
        row: previous.get(row) or _drawn()
        for row in (_row(volume) for volume in session.volumes if _is_generated(volume))
    }


def opened_volumes(
    transaction: Transaction, values: SecretValues, session: Session, session_hash: str, service: Service
) -> tuple[Opened, ...]:
    """Return the volumes that `service` mounts; raises `CasRefusal` 403 if one cannot be had on these terms."""
    return tuple(_opened(transaction, values, session, session_hash, mount) for mount in _mounts(session, service))


def volume_subject(
    transaction: Transaction, session: Session, session_hash: str, service: Service, name: str
) -> Subject | None:
    """Return the volume `name` of `service`, as the owner of a tag; None if the service mounts no such volume."""
    mount = next((mount for mount in _mounts(session, service) if mount.name == name), None)
    return None if mount is None else _subject(transaction, _locate(transaction, session, session_hash, mount))


def own_subject(transaction: Transaction, session: Session, volume: Volume) -> Subject:
    """Return a volume that `session` does not import, as the owner of a tag."""
    return _subject(transaction, _Located(session, volume, PROTECTED))


def _mounts(session: Session, service: Service) -> tuple[Mount, ...]:
    image = session.image(service.image_name) if service.image_name is not None else None
    return image.volumes if image is not None else ()


def _opened(
    transaction: Transaction, values: SecretValues, session: Session, session_hash: str, mount: Mount
) -> Opened:
    located = _locate(transaction, session, session_hash, mount)
    declared = session.volume(mount.name)
    imported = declared.import_ if declared else None
    return Opened(
        name=mount.name,
        path=mount.path,
        key=_key(transaction, values, located),
        tag=current_tag(transaction, _subject(transaction, located)),
        files=located.volume.files,
        update_policy=located.update_policy,
        source={"session": imported.session, "volume": imported.volume} if imported else None,
    )


def _locate(transaction: Transaction, session: Session, session_hash: str, mount: Mount) -> _Located:
    volume = session.volume(mount.name)
    if volume is None:
        raise CasRefusal(403, f"The session defines no volume {mount.name}")
    if volume.import_ is None:
        return _Located(session, volume, mount.update_policy)
    owner, shared, export = _exported(transaction, volume.import_, session.name, session_hash)
    if export.update_policy == EPHEMERAL:
        return _Located(owner, shared, EPHEMERAL)
    if mount.update_policy not in _ALLOWED[export.update_policy]:
        raise CasRefusal(
            403,
            f"Mounting volume {mount.name} failed",
            f"The exporting session allows {' or '.join(_ALLOWED[export.update_policy])}, not {mount.update_policy}",
        )
    return _Located(owner, shared, mount.update_policy)


def _exported(
    transaction: Transaction, wanted: VolumeImport, importer: str, importer_hash: str
) -> tuple[Session, Volume, VolumeExport]:
    version = transaction.session(wanted.session)
    owner = version.session() if version and wanted.session_hash in (None, version.hash) else None
    found = list(_grants(owner, wanted.volume, importer, importer_hash)) if owner else []
    if owner is None or len({volume.name for volume, _ in found}) != 1:
        pinned = " with the expected hash" if wanted.session_hash else ""
        raise CasRefusal(
            403,
            f"Session {wanted.session}{pinned} does not exist, or does not export a volume {wanted.volume}"
            f" to session {importer}",
        )
    return owner, *found[0]


def _grants(owner: Session, name: str, importer: str, importer_hash: str) -> Iterator[tuple[Volume, VolumeExport]]:
    """Find the volumes that the importer knows as `name`: a volume with an alias is known by that alone."""
    for volume in owner.volumes:
        for export in volume.export:
            meant = export.session == importer and export.session_hash in (None, importer_hash)
            if meant and name == (export.volume_alias or volume.name):
                yield volume, export


def _key(transaction: Transaction, values: SecretValues, located: _Located) -> bytes:
    owner, volume = located.owner, located.volume
    if volume.fspf_key is None:
        return _generated(transaction, located).content
    if is_reference(volume.fspf_key):
        return key_behind(transaction, values, owner, volume.fspf_key, f"volume {volume.name}")
    return bytes.fromhex(volume.fspf_key)


def _subject(transaction: Transaction, located: _Located) -> Subject:
    volume = located.volume
    state = _generated(transaction, located).parameters if _is_generated(volume) else volume.fspf_tag or ""
    return Subject(located.owner.name, f"volume:{volume.name}:{state}", volume.fspf_tag, located.update_policy)


def _generated(transaction: Transaction, located: _Located) -> Stored:
    stored = transaction.stored_secret(located.owner.name, _row(located.volume))
    if stored is None:
        raise CasRefusal(403, f"Volume {located.volume.name} has no key yet", "Upload its session again")
    return stored


def _is_generated(volume: Volume) -> bool:
    return volume.import_ is None and volume.fspf_key is None


def _row(volume: Volume) -> str:
    return f"volume:{volume.name}"


def _drawn() -> Stored:
    """Draw a key; the parameters tell this key from a later one of a volume with the same name."""
    return Stored(
        kind="binary",
        parameters=secrets.token_hex(8),
        content=secrets.token_bytes(KEY_BYTES),
        public=False,
        expires=None,
        renew=None,
    )
