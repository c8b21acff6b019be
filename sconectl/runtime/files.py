"""Brings decrypted and injected files into memory, where the links of the image point to.

In: the configuration, the measured index, and what fills secrets into files of the image. Out: files below
/dev/shm/scone. Plaintext is written to memory only; where that is not possible the start is refused.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from sconectl.protect.chunks import SealBroken
from sconectl.protect.extract import extract
from sconectl.protect.fspf import ProtectedFiles, open_index, tag_of
from sconectl.protect.index import Index, file_entry, is_below
from sconectl.protect.measure import LAUNCHER_ROOT, MEMORY_DIR, VOLUMES_DIR
from sconectl.protect.regions import ENCRYPTED, KERNEL, NOT_PROTECTED, Region
from sconectl.runtime.configuration import Configuration, FileSystemKey
from sconectl.runtime.log import LaunchRefused
from sconectl.runtime.mounts import mounts

MEMORY = "/dev/shm/scone"  # noqa: S108 - checked to be memory
ORIGINALS = "/usr/lib/scone/originals"
"""Where an image keeps the files that it was built to inject, and an empty directory for each of its volumes, which has
the owner and mode of the one that the native image has there: protected and measured like any other file."""
VOLUME_MEMORY = f"{LAUNCHER_ROOT}/{MEMORY_DIR}"
"""A tmpfs of its own, in which opened volumes are."""
VOLUME_STORAGE = f"{LAUNCHER_ROOT}/{VOLUMES_DIR}"
"""Where the storage of each volume is mounted, in a directory of the volume's name."""
IN_PLACE = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
"""Container runtimes mount these; they are written where they are."""
_RENEWED = ".renewed"
"""A file in memory that is to take the place of another one."""
_ENTER_ONLY, _OWNER = 0o711, 0o700
_TERMINALS = "/dev/pts"
_MACHINE_IPC = "ipc:[4026531839]"
"""The IPC name space of the machine itself: its number is part of the kernel's interface (PROC_IPC_INIT_INO)."""


def sealed_target(path: str) -> str:
    """Return where the content of the encrypted directory `path` appears."""
    return f"{MEMORY}/sealed{path}"


def injected_target(path: str) -> str:
    """Return where the injected file `path` appears."""
    return f"{MEMORY}/files{path}"


def volume_target(name: str) -> str:
    """Return where the content of the volume `name` appears: its path in the image is a link there."""
    return f"{VOLUME_MEMORY}/volumes/{name}"


def volume_storage(name: str) -> str:
    """Return where the storage of the volume `name` is mounted."""
    return f"{VOLUME_STORAGE}/{name}"


def original_of(path: str) -> str:
    """Return where the image keeps what was at `path`: a file that is read and filled in, or a volume's directory."""
    return f"{ORIGINALS}{path}"


Fill = Callable[[str, bytes], bytes]
"""From path and content of a file to its content with secrets in it."""


@dataclass
class Given:
    """What the CAS gave for the files of a program: to be asked for again when certificates among it are renewed."""

    config: Configuration
    contents: dict[str, bytes] = field(init=False, repr=False)
    """By path, as they were written the last time."""
    originals: dict[str, bytes] = field(init=False, repr=False)
    """Files of the image as they were before secrets were filled in."""
    renew_in: int | None = field(init=False)
    """Seconds until one of them is another, from when the CAS was asked; None: that is not foreseen."""

    def __post_init__(self) -> None:
        self.contents = {path: content for path, _, content in self.config.files}
        self.originals = {}
        self.renew_in = self.config.renew_in

    def filled(self, path: str, original: bytes, content: bytes, renew_in: int | None) -> bytes:
        """Note a file of the image that the CAS has filled in; return its content."""
        self.originals[path], self.contents[path] = original, content
        self.renew_in = min((time for time in (self.renew_in, renew_in) if time is not None), default=None)
        return content


def replace_files(files: Iterable[tuple[str, int, bytes]], index: Index) -> None:
    """Write files again that were brought in before, with other contents: each is the old one or the new one.

    Owner and mode stay as the program has set them. Raises `OSError`, and `LaunchRefused` if a link leads elsewhere, or
    the memory is somebody else's now.
    """
    _require_own(Path(MEMORY))
    for path, permission, content in files:
        if path in IN_PLACE:
            _overwrite(path, content)
            continue
        target = Path(sealed_target(path) if is_below(path, index.sealed) else injected_target(path))
        _make_folder_above(target)
        fresh = Path(MEMORY) / _RENEWED
        fresh.unlink(missing_ok=True)  # of an attempt for which there was no memory
        with _create(fresh, permission) as file:
            _resemble(file, target)
            file.write(content)
        fresh.replace(target)


def _resemble(file: BinaryIO, other: Path) -> None:
    """Give an open file the owner and the mode of another one, if that is there."""
    with contextlib.suppress(FileNotFoundError):
        status = other.lstat()
        if stat.S_ISREG(status.st_mode):
            os.fchmod(file.fileno(), stat.S_IMODE(status.st_mode) & 0o777)
            os.fchown(file.fileno(), status.st_uid, status.st_gid)


def bring_in(config: Configuration, index: Index, fill: Fill) -> None:
    """Decrypt the sealed directories and write the injected files. Raises `LaunchRefused`."""
    if not (config.files or config.fs_files or index.sealed):
        return
    try:
        _prepare_memory()
        if index.sealed:
            _open_sealed(config, index)
        for path, permission, content in config.files:
            _inject(path, permission, content)
        for path, permission in config.fs_files:
            _inject_from_image(path, permission, index, fill)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.ENOMEM)
        hint = "make /dev/shm larger (docker run --shm-size, memory.sizeLimit of the chart)"
        raise LaunchRefused(
            "the files of the policy cannot be written", causes=(str(error), *([hint] if full else []))
        ) from error


def _prepare_memory() -> None:
    """Make a new, empty folder in memory."""
    folder = Path(MEMORY)
    require_memory(str(folder.parent))
    refuse_shared(str(folder.parent))
    where = os.path.realpath(MEMORY)
    for mount in mounts():
        if f"{mount.point}/".startswith(f"{where}/"):
            raise LaunchRefused(f"something is mounted at {mount.point}, where decrypted files are to be written")
    with contextlib.suppress(FileNotFoundError):
        _require_own(folder)
        shutil.rmtree(folder)  # of an earlier start in the same container
    _make_folder(folder)


def _require_own(folder: Path) -> None:
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise LaunchRefused(
            f"{folder} is already there and does not belong to this container",
            causes=("do not share /dev/shm with the host or with other containers",),
        )


def require_memory(folder: str, *, option: str = "") -> None:
    """Refuse a directory that is not in memory; `option` says how a container gets one."""
    try:
        status = os.stat(folder)  # noqa: PTH116
        device = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    except FileNotFoundError:
        device = ""
    if device not in {mount.device for mount in mounts() if mount.kind in ("tmpfs", "ramfs")}:
        raise LaunchRefused(
            f"{folder} is not in memory; decrypted files would reach the disk",
            causes=(option or f"mount a tmpfs at {folder}",),
        )


def refuse_shared(folder: str) -> None:
    """Refuse memory that other containers may have mounted, too, as far as that can be seen.

    A container's own memory is made with the container, after its terminals. An older one was made elsewhere and
    mounted here: called `shm`, it is the memory of a shareable container or of a whole pod; in the machine's own IPC
    name space, it is the machine's. Any other one was mounted on purpose, such as the volume of the chart.
    """
    found = {mount.point: mount for mount in mounts()}  # of several at one place, the last is the one that is seen
    memory, terminals = found.get(os.path.realpath(folder)), found.get(_TERMINALS)
    if memory is None or terminals is None or terminals.kind != "devpts":
        return
    older = os.stat(folder).st_ctime_ns < os.stat(_TERMINALS).st_ctime_ns  # noqa: PTH116
    if older and (memory.source == "shm" or os.readlink("/proc/self/ns/ipc") == _MACHINE_IPC):  # noqa: PTH115
        raise LaunchRefused(
            f"{folder} is shared with other containers, which could read decrypted files",
            causes=(
                "it was there before this container (--ipc=shareable, container:NAME or host; a pod without a volume)",
                f"use --ipc=private, or mount a tmpfs at {folder}: --tmpfs {folder}, or an emptyDir of medium Memory",
            ),
        )


def _make_folder(folder: Path) -> None:
    """Create a folder and those above it; the umask of the container does not matter.

    Programs may change their user, so it is the mode of each file that decides who reads it.
    """
    if not folder.parent.is_dir():
        _make_folder(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(_OWNER)
    if folder.is_symlink():
        raise LaunchRefused(f"the way to {folder} leads through a link")
    folder.chmod(_ENTER_ONLY)


def _open_sealed(config: Configuration, index: Index) -> None:
    """Verify and decrypt all encrypted directories; no program is started unless every byte is as it was sealed."""
    if config.fspf is None:
        raise LaunchRefused(
            "the image has encrypted directories, but the policy brings no key for them",
            causes=tuple(index.sealed),
        )
    try:
        found = _read_fspf(config.fspf)
        _check_regions(found, index)
        for path in index.sealed:
            _make_folder_above(Path(sealed_target(path)))
        extract(found, f"{MEMORY}/sealed", folder_bits=_OWNER)
    except (SealBroken, FileNotFoundError) as error:
        raise LaunchRefused("the encrypted files of the image were changed", causes=(str(error),)) from error


def _read_fspf(fspf: FileSystemKey) -> ProtectedFiles:
    """Return the content of the file system protection file, if the policy accepts its state."""
    path = Path(fspf.path)
    if not path.is_file():
        raise SealBroken(f"{path} is missing")
    data = path.read_bytes()
    found = tag_of(data)
    accepted = (found,) if fspf.tags is None else fspf.tags
    return open_index(fspf.key, found if found in accepted else "", data)


def _check_regions(found: ProtectedFiles, index: Index) -> None:
    """Require that the encrypted regions are exactly the directories that were measured as such."""
    for path in index.sealed:
        if found.regions.get(path, Region(path, NOT_PROTECTED)).protection != ENCRYPTED:
            raise SealBroken(f"{path} was measured as encrypted, but is not in the file system protection file")
    for region in found.regions.values():
        if region.protection == ENCRYPTED and not is_below(region.path, index.sealed):
            raise SealBroken(f"{region.path} does not belong to the encrypted directories")
        in_place = region.protection == NOT_PROTECTED and region.source == region.path
        if region.storage != KERNEL or not (region.protection == ENCRYPTED or in_place):
            raise LaunchRefused(
                f"this launcher cannot provide region {region.path}: {region.protection} {region.storage}"
            )


def _inject(path: str, permission: int, content: bytes) -> None:
    if path in IN_PLACE:
        _overwrite(path, content)
        return
    _require_link(path)
    target = Path(injected_target(path))
    _make_folder_above(target)
    with _create(target, permission) as file:
        file.write(content)


def _require_link(path: str) -> None:
    try:
        found = os.readlink(path)  # noqa: PTH115
    except PermissionError as error:
        raise _closed(path) from error
    except OSError:
        found = ""
    if found != injected_target(path):
        raise LaunchRefused(
            f"the policy injects {path}, but the image was not built for that",
            causes=("name the path in injection_files of the service manifest and build the image again",),
        )


def _closed(path: str) -> LaunchRefused:
    """Say which directory above `path` the user of the container may not enter."""
    above = next(f for f in [*Path(path).parents][::-1] if not os.access(f, os.X_OK))
    status = above.stat()
    return LaunchRefused(
        f"the policy injects {path}, which the program could not read: user {os.geteuid()} may not enter {above}",
        causes=(
            f"{above} belongs to user {status.st_uid}, group {status.st_gid}, and has the mode "
            f"{stat.S_IMODE(status.st_mode):04o}",
            f"start the container as that user (docker run --user {status.st_uid}:{status.st_gid}, or runAsUser and "
            "runAsGroup in podSecurityContext of the chart),",
            "or as root with DAC_OVERRIDE (--cap-add DAC_OVERRIDE), or open the directory while the image is made",
        ),
    )


def _inject_from_image(path: str, permission: int, index: Index, fill: Fill) -> None:
    """Fill secrets into a protected file of the image (LANG section 9); the original stays as it is."""
    if is_below(path, index.sealed):
        target = Path(sealed_target(path))
        _make_folder_above(target)  # it is there: this checks that no link leads out
        content = _read_regular(target, path)
        target.unlink()
        with _create(target, permission) as file:
            file.write(fill(path, content))
        return
    if path in IN_PLACE:
        raise LaunchRefused(f"the policy reads {path} from the image, but the container runtime provides it")
    _require_link(path)
    original = original_of(path)
    content = _read_regular(Path(original), path)
    known = index.entries.get(original, ("",))
    if known != file_entry(
        int(known[1], 8) if known[0] == "f" else 0, len(content), hashlib.sha256(content).hexdigest()
    ):
        raise LaunchRefused(f"the policy reads {path} from the image, but {original} differs from the measured file")
    _inject(path, permission, fill(path, content))


def _read_regular(file: Path, path: str) -> bytes:
    """Read a file without following a link at its end."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise LaunchRefused(
            f"the policy reads {path} from the image, which cannot be read there", causes=(str(error),)
        ) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise LaunchRefused(f"the policy reads {path} from the image, which is no file there")
    with os.fdopen(handle, "rb") as opened:
        return opened.read()


def _make_folder_above(path: Path) -> None:
    if not path.parent.is_dir():
        _make_folder(path.parent)
    if os.path.realpath(path.parent) != os.path.realpath(MEMORY) + str(path.parent).removeprefix(MEMORY):
        raise LaunchRefused(f"the way to {path} leads through a link")


def _overwrite(path: str, content: bytes) -> None:
    """Write a file that the container runtime keeps, on its disk; it is never replaced and never followed."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise LaunchRefused(
            f"the policy injects {path}, which the container runtime provides and cannot be written",
            causes=(
                str(error),
                f"the container runs as user {os.geteuid()}; it takes root, and a root file system that can be written",
                "or let the container runtime fill the file: --add-host, --dns, hostAliases and dnsConfig of a pod",
            ),
        ) from error
    with os.fdopen(handle, "wb") as file:
        file.write(content)


def _create(path: Path, mode: int) -> BinaryIO:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    os.fchmod(handle, mode & 0o777)
    return os.fdopen(handle, "wb")
