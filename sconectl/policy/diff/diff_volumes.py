"""What changes for the file systems of a session: of services, volumes and mounts (LANG §5, §14, §15).

In: the old and the new session. Out: changes. Keys are compared and never shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from sconectl.policy.diff.change import Change, neutral, ranked
from sconectl.policy.diff.diff_making import elsewhere
from sconectl.policy.diff.diff_services import by_name
from sconectl.policy.diff.gains import gained_and_lost
from sconectl.policy.reading import Image, Service, Session, Volume, VolumeExport
from sconectl.text.secret_placeholders import is_reference

_GROUP = "volumes"
_NO_PROTECTION = "no_rollback_protection"
_RIGHTS = ("ephemeral", "rollback_protected", _NO_PROTECTION)  # each allows what those before it allow


def volumes(old: Session, new: Session) -> Iterator[Change]:
    """Yield the changes of the file systems of services, of mounts, and of volumes and who is given them."""
    before, after = by_name(old.services), by_name(new.services)
    for name, service in after.items():
        if name in before:
            yield from _file_system(before[name], service)
    yield from _mounts(by_name(old.images), by_name(new.images))
    yield from _volumes(by_name(old.volumes), by_name(new.volumes))


def _file_system(before: Service, after: Service) -> Iterator[Change]:
    subject = f"service {after.name}"
    if before.fspf_path != after.fspf_path:
        text = f"fspf_path: is {after.fspf_path or 'not given: its file system is not protected'}"
        yield ranked(_GROUP, subject, text, "SC5076", bool(before.fspf_path), bool(after.fspf_path))
    if before.fspf_path is not None:
        yield from _key(subject, before.fspf_key, after.fspf_key)
    if before.fspf_tag != after.fspf_tag:
        text = f"fspf_tag: {'changed' if after.fspf_tag else 'is removed: any state is accepted at first'}"
        strict = before.fspf_path is not None and after.fspf_path is not None
        first, second = bool(before.fspf_tag), bool(after.fspf_tag)
        yield ranked(_GROUP, subject, text, "SC5076", strict and first, strict and second)
    yield from _policy(subject, "fspf_update_policy", before.fspf_update_policy, after.fspf_update_policy)


def _key(subject: str, before: str | None, after: str | None) -> Iterator[Change]:
    """Yield the change of the key of a file system; one that is written in the session is seen by its readers."""
    if before != after:
        written = after is not None and not is_reference(after)
        was = before is not None and not is_reference(before)
        text = f"fspf_key: {'is written in the session' if written and not was else 'changed'}"
        yield ranked(_GROUP, subject, text, "SC5075", not was, not written)


def _policy(subject: str, what: str, before: str, after: str) -> Iterator[Change]:
    if before != after:
        first, second = before != _NO_PROTECTION, after != _NO_PROTECTION
        yield ranked(_GROUP, subject, f"{what}: was {before}, is {after}", "SC5071", first, second)


def _mounts(before: Mapping[str, Image], after: Mapping[str, Image]) -> Iterator[Change]:
    for name in sorted(before.keys() | after.keys()):
        subject = f"image {name}"
        first, second = (
            {mount.path: mount for mount in (image.volumes if image else ())}
            for image in (before.get(name), after.get(name))
        )
        for path in sorted(first.keys() | second.keys()):
            one, other = first.get(path), second.get(path)
            if one is None or other is None:
                yield neutral(_GROUP, subject, f"mount {path}: {'added' if one is None else 'removed'}")
                continue
            if one.name != other.name:
                yield neutral(_GROUP, subject, f"mount {path}: was volume {one.name}, is volume {other.name}")
            yield from _policy(subject, f"mount {path}", one.update_policy, other.update_policy)


def _volumes(before: Mapping[str, Volume], after: Mapping[str, Volume]) -> Iterator[Change]:
    for name in sorted(before.keys() - after.keys()):
        yield neutral(_GROUP, f"volume {name}", "is removed; its key is lost unless it was given")
    for name, volume in after.items():
        first = before.get(name) or Volume(name=name)
        subject = f"volume {name}"
        if name in before:
            yield from _key(subject, first.fspf_key, volume.fspf_key)
            if first.fspf_tag != volume.fspf_tag:
                yield neutral(_GROUP, subject, "fspf_tag: changed")
            yield from elsewhere(_GROUP, subject, "what is on it", first.import_, volume.import_)
        else:
            yield neutral(_GROUP, subject, "is new")
        fresh = name not in before and volume.import_ is None and volume.fspf_key is None
        for change in _uses(subject, first, volume):
            yield replace(change, severity="neutral", code="") if fresh else change


def _uses(subject: str, before: Volume, after: Volume) -> Iterator[Change]:
    """Yield how the files of a volume are protected, and who is given it; of a new one, this weakens nothing."""
    if before.files != after.files:
        encrypted = before.files == "encrypted"
        yield ranked(_GROUP, subject, f"its files are {after.files}", "SC5072", encrypted, not encrypted)
    yield from _exports(subject, before.export, after.export)


def _exports(subject: str, before: tuple[VolumeExport, ...], after: tuple[VolumeExport, ...]) -> Iterator[Change]:
    yield from gained_and_lost(
        _GROUP,
        subject,
        before,
        after,
        "is given to {}",
        "is no longer given to {}",
        _code,
        covers=_covers,
        within=lambda export: (export.session,),
        words=_given_to,
    )


def _covers(wide: VolumeExport, narrow: VolumeExport) -> bool:
    """Say whether `wide` gives whatever `narrow` gives; the name that the importer uses makes no difference."""
    if wide.session != narrow.session or wide.session_hash not in (None, narrow.session_hash):
        return False
    return _RIGHTS.index(wide.update_policy) >= _RIGHTS.index(narrow.update_policy)


def _code(export: VolumeExport, covered: Sequence[VolumeExport]) -> str:
    if any(export.session_hash != other.session_hash for other in covered):
        return "SC5043"
    return "SC5074" if covered else "SC5073"


def _given_to(export: VolumeExport) -> str:
    pinned = f" with hash {export.session_hash}" if export.session_hash else ""
    alias = f", as {export.volume_alias}" if export.volume_alias else ""
    return f"session {export.session}{pinned} ({export.update_policy}{alias})"
