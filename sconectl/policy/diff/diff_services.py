"""What changes for the services of a session: which enclaves may run them, what they get, and their file systems.

In: the old and the new session. Out: changes. Arguments, variables and files are named, never shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from sconectl.policy.diff.change import Change, gained_and_lost, neutral, strengthens, weakens
from sconectl.policy.reading import Image, Service, Session, Variant, Volume

_NO_PROTECTION = "no_rollback_protection"
_Named = TypeVar("_Named", Service, Image, Volume)


def services(old: Session, new: Session) -> Iterator[Change]:
    """Yield the changes of each service: which enclaves may run it, its configuration and its file systems."""
    before, after = by_name(old.services), by_name(new.services)
    for name in before.keys() - after.keys():
        yield strengthens("attestation", f"service {name}", "is removed; no enclave may run it")
    for name, service in after.items():
        first = before.get(name)
        yield from _enclaves(first, service)
        if first is not None:
            yield from _platforms(first, service)
            yield from _configuration(first, service)
            yield from _file_system(first, service)
    yield from _images(by_name(old.images), by_name(new.images))


def by_name(entries: Sequence[_Named]) -> dict[str, _Named]:
    """Return the entries of a section by their names."""
    return {entry.name: entry for entry in entries}


def _enclaves(before: Service | None, after: Service) -> Iterator[Change]:
    subject = f"service {after.name}"
    first = [] if before is None else _acceptable(before)
    second = _acceptable(after)
    yield from gained_and_lost("attestation", subject, first, second, "may be run by {}", "may no longer be run by {}")
    if before is None:
        if not second:
            yield weakens("attestation", subject, "is new")
        return
    if before.one_time_password_shared_secret != after.one_time_password_shared_secret:
        removed = after.one_time_password_shared_secret is None
        text = "its own one-time password secret is removed" if removed else "its one-time password secret changed"
        yield (weakens if removed else neutral)("attestation", subject, text)


def _acceptable(service: Service) -> list[str]:
    found: list[str] = []
    for variant in service.attestation:
        if isinstance(variant, Variant):
            found.extend(_of_variant(variant))
        else:
            found.append(f"what the secret in {variant} says")
    return list(dict.fromkeys(found))


def _of_variant(variant: Variant) -> Iterator[str]:
    signer = ""
    if isinstance(variant.signer, str):
        signer = f"signed by the key that the secret in {variant.signer} names"
    elif variant.signer is not None:
        values = variant.signer.model_dump(exclude_none=True)
        signer = "signed by " + ", ".join(f"{key} {value}" for key, value in values.items())
    for measurement in variant.mrenclave or ("",):
        enclave = f"the enclave {measurement}" if measurement else "any enclave"
        yield " ".join(part for part in (enclave, signer) if part)


def _platforms(before: Service, after: Service) -> Iterator[Change]:
    first, second = before.platforms, after.platforms
    if set(first) == set(second):
        return
    subject = f"service {after.name}"
    if not second:
        yield weakens("attestation", subject, "may run on any platform")
    elif not first:
        yield strengthens("attestation", subject, f"may run only on {', '.join(second)}")
    else:
        yield from gained_and_lost("attestation", subject, first, second, "may run on {}", "may no longer run on {}")


def _configuration(before: Service, after: Service) -> Iterator[Change]:
    subject = f"service {after.name}"
    if before.command != after.command:
        yield neutral("configuration", subject, f"command: {_arguments(before.command, after.command)}")
    yield from _keys("configuration", subject, "variable", before.environment, after.environment)
    for key, words in (("pwd", "working directory"), ("image_name", "image")):
        if getattr(before, key) != getattr(after, key):
            yield neutral("configuration", subject, f"{words}: is {getattr(after, key) or 'not given'}")


def _arguments(before: Sequence[str], after: Sequence[str]) -> str:
    if len(before) != len(after):
        return f"has {len(after)} words instead of {len(before)}"
    changed = [str(number) for number, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]]
    return "changed in word " + ", ".join(changed) + " (the program is word 0)"


def _keys(group: str, subject: str, what: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for name in sorted(before.keys() | after.keys()):
        if name not in before:
            yield neutral(group, subject, f"{what} {name}: added")
        elif name not in after:
            yield neutral(group, subject, f"{what} {name}: removed")
        elif before[name] != after[name]:
            yield neutral(group, subject, f"{what} {name}: changed")


def _file_system(before: Service, after: Service) -> Iterator[Change]:
    subject = f"service {after.name}"
    for key in ("fspf_path", "fspf_key", "fspf_tag"):
        if getattr(before, key) != getattr(after, key):
            yield neutral("volumes", subject, f"{key}: changed")
    yield from _policy(subject, "fspf_update_policy", before.fspf_update_policy, after.fspf_update_policy)


def _policy(subject: str, what: str, before: str, after: str) -> Iterator[Change]:
    if before != after:
        change = neutral
        if _NO_PROTECTION in (before, after):
            change = weakens if after == _NO_PROTECTION else strengthens
        yield change("volumes", subject, f"{what}: was {before}, is {after}")


def _images(before: Mapping[str, Image], after: Mapping[str, Image]) -> Iterator[Change]:
    for name in sorted(before.keys() | after.keys()):
        first = before.get(name) or Image(name=name)
        second = after.get(name) or Image(name=name)
        subject = f"image {name}"
        files = ({file.path: file for file in image.injection_files} for image in (first, second))
        yield from _keys("configuration", subject, "file", *files)
        mounts_before, mounts_after = ({mount.path: mount for mount in image.volumes} for image in (first, second))
        for path in sorted(mounts_before.keys() | mounts_after.keys()):
            one, other = mounts_before.get(path), mounts_after.get(path)
            if one is None or other is None:
                yield neutral("volumes", subject, f"mount {path}: {'added' if one is None else 'removed'}")
                continue
            if one.name != other.name:
                yield neutral("volumes", subject, f"mount {path}: was volume {one.name}, is volume {other.name}")
            yield from _policy(subject, f"mount {path}", one.update_policy, other.update_policy)


def volumes(old: Session, new: Session) -> Iterator[Change]:
    """Yield the changes of volumes, and of the sessions that they are given to."""
    before, after = by_name(old.volumes), by_name(new.volumes)
    for name in sorted(before.keys() - after.keys()):
        yield neutral("volumes", f"volume {name}", "is removed; its key is lost unless it was given")
    for name, volume in after.items():
        first = before.get(name) or Volume(name=name)
        subject = f"volume {name}"
        if name not in before:
            yield neutral("volumes", subject, "is new")
        for key in ("fspf_key", "fspf_tag", "import_"):
            if getattr(first, key) != getattr(volume, key):
                yield neutral("volumes", subject, f"{key.rstrip('_')}: changed")
        if first.files != volume.files:
            change = weakens if volume.files == "authenticated-only" else strengthens
            yield change("volumes", subject, f"its files are {volume.files}")
        one, other = ([_exported(export) for export in each.export] for each in (first, volume))
        yield from gained_and_lost("volumes", subject, one, other, "is given to {}", "is no longer given to {}")


def _exported(export: Any) -> str:
    pinned = f" with hash {export.session_hash}" if export.session_hash else ""
    alias = f", as {export.volume_alias}" if export.volume_alias else ""
    return f"session {export.session}{pinned} ({export.update_policy}{alias})"
