"""What the lock says about a service or mesh that was applied.

In: manifests, and results of applying them. Out: entries of the lock, written into its file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from sconectl.apply.lock.lock_file import (
    Lock,
    LockedImage,
    LockedMesh,
    read_lock,
)
from sconectl.apply.lock.manifest_digest import manifest_digest
from sconectl.manifest.reading.reader import Manifest
from sconectl.plan.facts.image_facts import ImageFacts
from sconectl.plan.facts.image_label import ImageLabel
from sconectl.plan.facts.naming import with_tag
from sconectl.ports import LockFile
from sconectl.usecases.over_time.locked_session import locked_session

if TYPE_CHECKING:
    from sconectl.plan.mesh.mesh import MeshPlan
    from sconectl.usecases.apply_mesh import MeshResult
    from sconectl.usecases.apply_service import ServiceResult
    from sconectl.usecases.check_mesh import MeshCheck
    from sconectl.usecases.check_service import ServiceCheck

_OF_BASE_IMAGES = frozenset(
    "PATH LANG LANGUAGE LC_ALL GPG_KEY PYTHON_VERSION PYTHON_SHA256 PYTHON_PIP_VERSION PYTHON_SETUPTOOLS_VERSION "
    "PYTHON_GET_PIP_URL PYTHON_GET_PIP_SHA256 JAVA_HOME JAVA_VERSION".split()
)
"""The variables of the official base images; none of their values is a secret."""


def locked_image(check: ServiceCheck, done: ServiceResult) -> LockedImage:
    """Return the entry of an image that was applied."""
    plan = check.planned()
    label = ImageLabel.of(done.facts, simulated=plan.toolchain.simulated)
    public = plan.public or (_public(check.manifest, done.facts) and not plan.native)
    facts = done.facts.model_copy(update={"salt": ""}) if public else None
    return LockedImage(
        manifest=manifest_digest(check.manifest),
        base=done.base,
        image=done.digest or done.image,
        pushed=bool(done.digest),
        label=label,
        facts=facts,
    )


def _public(manifest: Manifest, facts: ImageFacts) -> bool:
    """Say whether everything in the facts stands in the manifest, which is committed, and no value is a secret's.

    A private base image may have a secret among its variables, so that only well-known ones are let in.
    """
    given = {variable.name for variable in (*facts.environment.image, *facts.environment.runtime)}
    own = not manifest.filled_in and not any(secret.value for secret in facts.secrets.global_)
    return own and given <= _OF_BASE_IMAGES


def place(check: MeshCheck, lock: str) -> str:
    """Return the path of a mesh's manifest from the directory of the lock."""
    return os.path.relpath(check.manifest.document.file, Path(lock).parent).replace(os.sep, "/")


def earlier(lock: Lock, check: MeshCheck, cas: str, file: str) -> LockedMesh | None:
    """Return the entry of the mesh from when the same manifest was applied to the same CAS.

    Another manifest of the same namespace is another mesh; its sessions are not those of this one.
    """
    entry = lock.meshes.get(check.mesh.policy.namespace)
    return entry if entry and (entry.cas, entry.file) == (cas, file) else None


def locked_mesh(
    check: MeshCheck, plan: MeshPlan, done: MeshResult, *, file: str = "", before: LockedMesh | None = None
) -> LockedMesh:
    """Return the entry of a mesh that was applied. What the one `before` names stays until nothing is left of it."""
    salt = done.updates[0].salt if done.updates else ""
    hashes = {entry.name: entry.hash for entry in done.sessions}
    left = dict(before.sessions) if before else {}
    if done.left is not None:
        still = {orphan.name for orphan in done.left.orphans}
        left = {name: entry for name, entry in left.items() if name in still}
    own = {update.name: locked_session(update, hashes[update.name], salt) for update in done.updates}
    return LockedMesh(
        manifest=manifest_digest(check.manifest, check.files),
        file=file,
        cas=plan.cas.cas_url,
        release=plan.chart.release,
        services={service.name: with_tag(service.image) for service in check.mesh.services},
        sessions=left | own,
        chart=done.chart,
        copies={copy.to: copy.digest for copy in done.copied},
        receipts={cas: {name: dict(one) for name, one in by.items()} for cas, by in done.shipped.receipts.items()},
    )


def lock_service(file: LockFile, check: ServiceCheck, done: ServiceResult) -> bool:
    """Write an image that was applied into the lock; say if that changes it. Raises `BuildFailed` and `Refused`."""
    image = locked_image(check, done)
    return file.update(lambda raw: read_lock(raw, file.name).with_image(done.facts.image, image).to_bytes())


def lock_mesh(file: LockFile, check: MeshCheck, plan: MeshPlan, done: MeshResult) -> bool:
    """Write a mesh that was applied into the lock; say if that changes it. Raises `BuildFailed` and `Refused`."""

    def change(raw: bytes | None) -> bytes:
        lock, file_ = read_lock(raw, file.name), place(check, file.name)
        before = earlier(lock, check, plan.cas.cas_url, file_)
        mesh = locked_mesh(check, plan, done, file=file_, before=before)
        return lock.with_mesh(check.mesh.policy.namespace, mesh).to_bytes()

    return file.update(change)
