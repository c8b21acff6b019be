"""Measures the simulated enclave: the launcher's own files, the protected root and the parameters.

In: the root directory of the container. Out: an `Enclave` whose measurement is what was found, not what was
expected. Files that a program left behind in the container's own layer are removed first, as on hardware, where
they would never have reached the disk.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sconectl.protect.index import Difference, Index, differences, is_below, scan
from sconectl.protect.measure import IMAGE_DIR, LAUNCHER_ROOT, launcher_index, measurement
from sconectl.runtime import log
from sconectl.runtime.log import LaunchRefused
from sconectl.runtime.mounts import mounts

_NUMBER = re.compile("[0-9]{1,5}")
_MAX_NUMBER = 65535


@dataclass(frozen=True)
class Enclave:
    """What was measured: `found` from the live files, `expected` from the index that the image carries."""

    found: str
    expected: str
    parameters: Mapping[str, str]
    index: Index
    changes: tuple[Difference, ...]

    @property
    def debug(self) -> bool:
        """Tell whether the image was built with `--mode debug`."""
        return self.parameters.get("mode") != "production"

    def identity(self) -> dict[str, Any]:
        """Return what a report says about the enclave. It names no signer: these images are measured, not signed."""
        found: dict[str, Any] = {"measurement": self.found, "debug": self.debug}
        for name in ("isvprodid", "isvsvn"):
            text = self.parameters.get(name, "")
            if _NUMBER.fullmatch(text) and int(text) <= _MAX_NUMBER:
                found[name] = int(text)
        return found


def measure(root: str = "/") -> Enclave:
    """Measure the enclave in `root`. Raises `LaunchRefused` if the image's own description cannot be read."""
    image = Path(root, LAUNCHER_ROOT.lstrip("/"), IMAGE_DIR)
    try:
        expected = Index.from_bytes((image / "index.json").read_bytes())
        description = json.loads((image / "enclave.json").read_bytes())
        parameters = {str(key): str(value) for key, value in description["parameters"].items()}
        launcher_expected = str(description["launcher"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LaunchRefused("the image does not describe a simulated enclave", causes=(str(error),)) from error
    launcher_found = launcher_index(f"{root.rstrip('/')}{LAUNCHER_ROOT}").digest()
    _refuse_mounts(root, expected)
    found = scan(root, expected)
    changes = differences(expected, found)
    if _remove_leftovers(root, changes):
        found = scan(root, expected)
        changes = differences(expected, found)
    if launcher_found != launcher_expected:
        changes.insert(0, Difference("changed", f"{LAUNCHER_ROOT} (the launcher itself)"))
    return Enclave(
        found=measurement(launcher=launcher_found, root=found.digest(), parameters=parameters),
        expected=measurement(launcher=launcher_expected, root=expected.digest(), parameters=parameters),
        parameters=parameters,
        index=expected,
        changes=tuple(changes),
    )


def _refuse_mounts(root: str, expected: Index) -> None:
    """Refuse what is mounted over protected paths: its content is not the image's."""
    base, outside = root.rstrip("/") + "/", frozenset(expected.outside)
    for mount in mounts():
        inside = "/" + mount.point.removeprefix(base)
        if mount.point.startswith(base) and inside != "/" and not is_below(inside, outside):
            raise LaunchRefused(
                f"something is mounted at {inside}, which belongs to the protected files of the image",
                causes=("remove the mount, or name the path in host_paths of the service manifest",),
            )


def _remove_leftovers(root: str, changes: list[Difference]) -> bool:
    """Remove files that are not in the index; children first. Return whether anything was removed."""
    added = sorted((c.path for c in changes if c.kind == "added"), key=len, reverse=True)
    removed = 0
    for path in added:
        with contextlib.suppress(OSError):  # what cannot be removed stays a difference, and is refused
            _remove(root, path)
            removed += 1
    if removed:
        log.write("INFO", f"removed {removed} files that are not part of the measured image")
    return removed > 0


def _remove(root: str, path: str) -> None:
    """Remove a file or an empty directory. Raises `OSError` if the way there leads through a link or another mount."""
    *parents, name = path.lstrip("/").split("/")
    folder = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        device = os.fstat(folder).st_dev
        for parent in parents:
            inner = os.open(parent, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = inner
        if os.fstat(folder).st_dev != device:
            raise OSError("on another file system")
        if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            os.rmdir(name, dir_fd=folder)
        else:
            os.unlink(name, dir_fd=folder)
    finally:
        os.close(folder)
