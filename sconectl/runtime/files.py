"""Brings decrypted and injected files into memory, where the links of the image point to.

In: the configuration and the measured index. Out: files below /dev/shm/scone. Plaintext is written to memory
only; where that is not possible the start is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from pathlib import Path
from typing import BinaryIO

from sconectl.protect.index import Index
from sconectl.protect.sealed import SealBroken, SealedFile, open_content, open_index
from sconectl.runtime.attest import Configuration
from sconectl.runtime.log import LaunchRefused

MEMORY = "/dev/shm/scone"  # noqa: S108 - checked to be memory, created 0700
BLOBS = "/scone/image/blobs"
IN_PLACE = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
"""Container runtimes mount these; they are written where they are."""


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
    _prepare_memory()
    try:
        if index.sealed:
            _open_sealed(config, index)
        for path, permission, content in config.files:
            _inject(path, permission, content)
    except OSError as error:
        raise LaunchRefused(
            "the files of the policy cannot be written",
            causes=(
                str(error),
                "is /dev/shm large enough? (docker run --shm-size, memory.sizeLimit of the chart)",
            ),
        ) from error


def _prepare_memory() -> None:
    parent = str(Path(MEMORY).parent)
    mounts = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
    kinds = [line.split(" - ")[-1].split(" ")[0] for line in mounts if line.split(" ")[4] == parent]
    if not kinds or kinds[-1] not in ("tmpfs", "ramfs"):
        raise LaunchRefused(
            f"{parent} is not in memory; decrypted files would reach the disk",
            causes=(f"mount a tmpfs at {parent}",),
        )
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(MEMORY)  # of an earlier start in the same container
    Path(MEMORY).mkdir(mode=0o700)


def _open_sealed(config: Configuration, index: Index) -> None:
    if config.fspf is None:
        raise LaunchRefused(
            "the image has encrypted directories, but the policy brings no key for them",
            causes=tuple(index.sealed),
        )
    path, key, tag = config.fspf
    try:
        files = open_index(key, tag, Path(path).read_bytes())
        for file in files:
            _write_sealed(key, file)
    except (SealBroken, FileNotFoundError) as error:
        raise LaunchRefused("the encrypted files of the image were changed", causes=(str(error),)) from error


def _write_sealed(key: bytes, file: SealedFile) -> None:
    target = Path(sealed_target(file.path))
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if file.kind == "d":
        target.mkdir(exist_ok=True, mode=file.mode | 0o700)
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
        with Path(path).open("r+b") as file:
            file.truncate()
            file.write(content)
        return
    if not os.path.islink(path) or os.readlink(path) != target:  # noqa: PTH114, PTH115
        raise LaunchRefused(
            f"the policy injects {path}, but the image was not built for that",
            causes=("name the path in injection_files of the service manifest and build the image again",),
        )
    Path(target).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _create(Path(target), permission) as file:
        file.write(content)


def _create(path: Path, mode: int) -> BinaryIO:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    os.fchmod(handle, mode & 0o777)
    return os.fdopen(handle, "wb")
