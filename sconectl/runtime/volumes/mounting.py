"""Opens the volumes of a program, before it starts.

In: the volumes of the policy, and the CAS. Out: open volumes, whose states the CAS has. Raises `LaunchRefused` for what
is missing in image or container, and for storage that is not in a state that the CAS accepts.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from sconectl.protect.chunks import SealBroken
from sconectl.protect.volume.history import History, read_history, required_bytes
from sconectl.protect.volume.index import AUTHENTICATED, ENCRYPTED
from sconectl.protect.volume.opening import materialise
from sconectl.protect.volume.storage import Busy, Storage
from sconectl.protect.volume.volume import Volume, initialise
from sconectl.runtime import log
from sconectl.runtime.configuration import (
    AUTHENTICATED_ONLY,
    EPHEMERAL,
    NO_ROLLBACK_PROTECTION,
    VolumeKey,
)
from sconectl.runtime.files import (
    VOLUME_MEMORY,
    VOLUME_STORAGE,
    original_of,
    refuse_shared,
    require_memory,
    volume_storage,
    volume_target,
)
from sconectl.runtime.link import CasNotReady
from sconectl.runtime.log import LaunchRefused
from sconectl.runtime.mounts import mounts
from sconectl.runtime.volumes.attested_cas import AttestedCas, VolumeLost
from sconectl.runtime.volumes.interfaces import Mount
from sconectl.runtime.volumes.lease import Lease, this_holder
from sconectl.runtime.volumes.tags import CasTags
from sconectl.runtime.volumes.watch import Watcher

BOUND = 0.1
"""How many seconds the CAS may be behind, with bounded tags."""
_FOLDER = 0o755


def open_volumes(
    volumes: Sequence[VolumeKey], parameters: Mapping[str, str], cas: AttestedCas, patience: float
) -> tuple[Mount, ...]:
    """Open all volumes. `parameters` are those of the image, `patience` is in seconds, for each request to the CAS."""
    _prepare_memory(volumes)
    bounds = _bounds(parameters)
    for volume in volumes:
        _require_link(volume)
        _require_mount(volume)
    with contextlib.ExitStack() as undo:
        found = []
        for volume in volumes:
            if volume.update_policy == EPHEMERAL:
                _open_ephemeral(volume)
            else:
                lease = Lease(cas, volume.name, this_holder())
                tag = lease.take(patience)
                undo.callback(_release, lease)
                tags = CasTags(volume.name, lease, patience)
                undo.callback(tags.pause)
                tags.start()  # opening it, and others after it, may take longer than the lease lasts
                opened, watch = _open(volume, tag)
                undo.callback(opened.close)
                tags.pause()
                lease.bring(opened.state, patience)
                opened.confirm(opened.state)
                tags.start()
                found.append(Mount(opened, watch, tags, bounds.get(volume.name)))
            log.write("INFO", f"volume {volume.name} is open at {volume.path}")
        undo.pop_all()
        return tuple(found)


def _release(lease: Lease) -> None:
    """Let others have a volume that was not opened; the lease ends by itself if that is not possible."""
    with contextlib.suppress(VolumeLost, CasNotReady):
        lease.release()


def _bounds(parameters: Mapping[str, str]) -> dict[str, float]:
    """Return the volumes whose tags may follow within a bound; of others, a sync waits for the CAS."""
    try:
        found = json.loads(parameters.get("volumes", "{}"))
        return {name: BOUND for name, terms in found.items() if terms["tags"] == "bounded"}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise LaunchRefused("the image describes its volumes in a way that this launcher does not know") from error


def _prepare_memory(volumes: Sequence[VolumeKey]) -> None:
    """Make an empty directory for opened volumes, in memory of this container alone."""
    require_memory(VOLUME_MEMORY, option=f"docker run --tmpfs {VOLUME_MEMORY}, or an emptyDir of medium Memory there")
    refuse_shared(VOLUME_MEMORY)
    for mount in mounts():
        if mount.point.startswith(f"{VOLUME_MEMORY}/"):  # perhaps at a volume's path, which leads here
            raise LaunchRefused(
                f"something is mounted at {mount.point}, where a volume is to be opened",
                causes=(f"storage of a volume belongs at {VOLUME_STORAGE}/NAME, and not at the path of the volume",),
            )
    folder = Path(volume_target(volumes[0].name)).parent
    try:
        with contextlib.suppress(FileNotFoundError):
            status = folder.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
                raise LaunchRefused(f"{folder} is already there and does not belong to this container")
            shutil.rmtree(folder)  # of an earlier start in the same container or pod
        folder.mkdir(0o711)
        folder.chmod(0o711)
        for volume in volumes:
            _make_root(volume)
    except OSError as error:
        raise LaunchRefused(f"volumes cannot be opened in {VOLUME_MEMORY}", causes=(str(error),)) from error


def _make_root(volume: VolumeKey) -> None:
    """Make the volume's own directory, with owner and mode of the one that the native image has."""
    target, original = volume_target(volume.name), original_of(volume.path)
    os.mkdir(target, _FOLDER)  # noqa: PTH102
    try:
        status = os.stat(original)  # noqa: PTH116
    except FileNotFoundError:
        raise LaunchRefused(
            f"the policy mounts volume {volume.name} at {volume.path}, but the image was not built for that",
            causes=("name it in build.volumes of the service manifest, or with --volume, and build the image again",),
        ) from None
    with contextlib.suppress(PermissionError):
        os.chown(target, status.st_uid, status.st_gid)
    os.chmod(target, stat.S_IMODE(status.st_mode))  # noqa: PTH101


def _require_link(volume: VolumeKey) -> None:
    try:
        found = os.readlink(volume.path)  # noqa: PTH115
    except OSError:
        found = ""
    if found != volume_target(volume.name):
        raise LaunchRefused(
            f"the policy mounts volume {volume.name} at {volume.path}, but the image was not built for that",
            causes=("name it in build.volumes of the service manifest, or with --volume, and build the image again",),
        )


def _require_mount(volume: VolumeKey) -> None:
    place = volume_storage(volume.name)
    if place not in {mount.point for mount in mounts()}:
        raise LaunchRefused(
            f"volume {volume.name} has no storage: nothing is mounted at {place}",
            causes=(
                f"docker run -v {volume.name}:{place}; the chart mounts a claim or an emptyDir there",
                "what is written there is encrypted",
            ),
        )


def _open_ephemeral(volume: VolumeKey) -> None:
    """Open a volume of which nothing is kept: nothing is written to its storage."""
    storage = _storage(volume)
    try:
        history = _history(volume, storage, volume.tag)
        if history is not None:
            _materialise(volume, storage, history)
    finally:
        storage.close()


def _open(volume: VolumeKey, tag: bytes | None) -> tuple[Volume, Watcher]:
    storage = _storage(volume)
    target = volume_target(volume.name)
    inodes: dict[int, int] = {}
    try:
        try:
            storage.lock()
        except Busy as error:
            raise LaunchRefused(
                f"another container of this machine has the storage of volume {volume.name}",
                causes=("one instance at a time can use a volume",),
            ) from error
        history = _history(volume, storage, tag)
        if history is None:
            kind = AUTHENTICATED if volume.files == AUTHENTICATED_ONLY else ENCRYPTED
            history = initialise(storage, volume.key, kind, os.stat(target))  # noqa: PTH116
        else:
            inodes = _materialise(volume, storage, history)
        watch = Watcher(target)
        return Volume(volume.name, volume.path, target, storage, volume.key, history, watch, inodes), watch
    except OSError as error:
        storage.close()
        raise LaunchRefused(
            f"the storage of volume {volume.name} cannot be used", causes=(_explained(error, volume),)
        ) from error
    except BaseException:
        storage.close()
        raise


def _explained(error: OSError, volume: VolumeKey) -> str:
    place = volume_storage(volume.name)
    if error.errno == errno.EROFS:
        return f"{place} is mounted read-only"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"user {os.geteuid()} may not write to {place}: {error.strerror} (fsGroup of the pod, or chown)"
    return str(error)


def _storage(volume: VolumeKey) -> Storage:
    try:
        return Storage(volume_storage(volume.name))
    except OSError as error:
        raise LaunchRefused(
            f"the storage of volume {volume.name} cannot be used", causes=(_explained(error, volume),)
        ) from error


def _history(volume: VolumeKey, storage: Storage, tag: bytes | None) -> History | None:
    any_state = volume.update_policy == NO_ROLLBACK_PROTECTION
    try:
        return read_history(storage, volume.key, tag, any_state=any_state)
    except SealBroken as error:
        raise LaunchRefused(
            f"volume {volume.name} is not opened: its storage was changed", causes=(str(error),)
        ) from error


def _materialise(volume: VolumeKey, storage: Storage, history: History) -> dict[int, int]:
    """Write the files of a volume to memory, if they fit; return their inodes."""
    _require_room(volume, required_bytes(history))
    try:
        return materialise(storage, volume.key, history, volume_target(volume.name), path=volume.path)
    except SealBroken as error:
        raise LaunchRefused(
            f"volume {volume.name} is not opened: its storage was changed", causes=tuple(str(error).split("; "))
        ) from error


def _require_room(volume: VolumeKey, needed: int) -> None:
    status = os.statvfs(VOLUME_MEMORY)
    free = status.f_bavail * status.f_frsize
    if needed > free:
        raise LaunchRefused(
            f"volume {volume.name} does not fit into memory: its files need {_mib(needed)}, {VOLUME_MEMORY} has "
            f"{_mib(free)} left",
            causes=(f"make it larger: --tmpfs {VOLUME_MEMORY}:size=…, sizeLimit of the emptyDir",),
        )
    limit = _memory_left()
    if limit is not None and needed > limit:
        raise LaunchRefused(
            f"volume {volume.name} does not fit into memory: its files need {_mib(needed)}, the memory limit of the "
            f"container leaves {_mib(limit)}",
            causes=("raise it: --memory, resources.limits.memory of the chart",),
        )


def _memory_left() -> int | None:
    """Return how much memory the container may use besides what it uses now; None if it has no limit that we see."""
    group = Path("/sys/fs/cgroup")
    try:
        most = (group / "memory.max").read_text("ascii").strip()
        return None if most == "max" else int(most) - int((group / "memory.current").read_text("ascii"))
    except (OSError, ValueError):
        return None


def _mib(size: int) -> str:
    return f"{-(-size // (1 << 20))} MiB"
