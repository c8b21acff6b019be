"""Brings decrypted and injected files into memory, where the links of the image point to.

In: the configuration and the measured index. Out: files below /dev/shm/scone. Plaintext is written to memory
only; where that is not possible the start is refused.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from pathlib import Path
from typing import BinaryIO

from sconectl.protect.index import Index, is_below
from sconectl.protect.sealed import SealBroken, SealedFile, open_content, open_index
from sconectl.runtime.attest import Configuration
from sconectl.runtime.log import LaunchRefused
from sconectl.runtime.mounts import mounts

MEMORY = "/dev/shm/scone"  # noqa: S108 - checked to be memory
BLOBS = "/scone/image/blobs"
IN_PLACE = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
"""Container runtimes mount these; they are written where they are."""
_ENTER_ONLY = 0o711


def sealed_target(path: str) -> str:
    """Return where the content of the encrypted directory `path` appears."""
    return f"{MEMORY}/sealed{path}"


def injected_target(path: str) -> str:
    """Return where the injected file `path` appears."""
    return f"{MEMORY}/files{path}"


def bring_in(config: Configuration, index: Index) -> None:
    """Decrypt the sealed directories and write the injected files. Raises `LaunchRefused`."""
    if not (config.files or index.sealed):
        return
    try:
        _prepare_memory()
        if index.sealed:
            _open_sealed(config, index)
        for path, permission, content in config.files:
            _inject(path, permission, content)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.ENOMEM)
        hint = "make /dev/shm larger (docker run --shm-size, memory.sizeLimit of the chart)"
        raise LaunchRefused(
            "the files of the policy cannot be written", causes=(str(error), *([hint] if full else []))
        ) from error


def _prepare_memory() -> None:
    """Make a new, empty folder in memory."""
    folder = Path(MEMORY)
    _require_memory(str(folder.parent))
    where = os.path.realpath(MEMORY)
    for mount in mounts():
        if f"{mount.point}/".startswith(f"{where}/"):
            raise LaunchRefused(f"something is mounted at {mount.point}, where decrypted files are to be written")
    with contextlib.suppress(FileNotFoundError):
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise LaunchRefused(
                f"{MEMORY} is already there and does not belong to this container",
                causes=("do not share /dev/shm with the host or with other containers",),
            )
        shutil.rmtree(folder)  # of an earlier start in the same container
    _make_folder(folder)


def _require_memory(folder: str) -> None:
    try:
        status = os.stat(folder)  # noqa: PTH116
        device = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    except FileNotFoundError:
        device = ""
    if device not in {mount.device for mount in mounts() if mount.kind in ("tmpfs", "ramfs")}:
        raise LaunchRefused(
            f"{folder} is not in memory; decrypted files would reach the disk", causes=(f"mount a tmpfs at {folder}",)
        )


def _make_folder(folder: Path, mode: int = _ENTER_ONLY) -> None:
    """Create a folder and those above it; the umask of the container does not matter.

    Programs may change their user, so it is the mode of each file that decides who reads it.
    """
    if not folder.parent.is_dir():
        _make_folder(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(0o700)
    if folder.is_symlink():
        raise LaunchRefused(f"the way to {folder} leads through a link")
    folder.chmod(mode | 0o700)


def _open_sealed(config: Configuration, index: Index) -> None:
    if config.fspf is None:
        raise LaunchRefused(
            "the image has encrypted directories, but the policy brings no key for them",
            causes=tuple(index.sealed),
        )
    path, key, tag = config.fspf
    try:
        if not Path(path).is_file():
            raise SealBroken(f"{path} is missing")
        for file in open_index(key, tag, Path(path).read_bytes()):
            if os.path.normpath(file.path) != file.path or not is_below(file.path, index.sealed):
                raise SealBroken(f"{file.path} does not belong to the encrypted directories")
            _write_sealed(key, file)
    except (SealBroken, FileNotFoundError) as error:
        raise LaunchRefused("the encrypted files of the image were changed", causes=(str(error),)) from error


def _write_sealed(key: bytes, file: SealedFile) -> None:
    target = Path(sealed_target(file.path))
    _make_folder_above(target)
    if file.kind == "d":
        _make_folder(target, file.mode & 0o777)
        return
    if file.kind == "l":
        target.symlink_to(file.target)
        return
    digest = hashlib.sha256()
    with Path(BLOBS, file.blob).open("rb") as source, _create(target, file.mode) as output:
        for chunk in open_content(key, file, source):
            digest.update(chunk)
            output.write(chunk)
    if digest.hexdigest() != file.digest:
        raise SealBroken(f"the protected content of {file.path} is not what was sealed")


def _inject(path: str, permission: int, content: bytes) -> None:
    target = injected_target(path)
    if path in IN_PLACE:
        _overwrite(path, content)
        return
    if not os.path.islink(path) or os.readlink(path) != target:  # noqa: PTH114, PTH115
        raise LaunchRefused(
            f"the policy injects {path}, but the image was not built for that",
            causes=("name the path in injection_files of the service manifest and build the image again",),
        )
    _make_folder_above(Path(target))
    with _create(Path(target), permission) as file:
        file.write(content)


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
            causes=(str(error), "that needs root and a root file system that is not read-only"),
        ) from error
    with os.fdopen(handle, "wb") as file:
        file.write(content)


def _create(path: Path, mode: int) -> BinaryIO:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    os.fchmod(handle, mode & 0o777)
    return os.fdopen(handle, "wb")
