"""Measures the simulated enclave: launcher, the protected root and the parameters; checks its signature.

In: the root directory of the container. Out: an `Enclave` whose measurement is what was found, not what was
expected. Files that a program left behind in the container's own layer are removed first, as on hardware, where
they would never have reached the disk. Raises `LaunchRefused` for an image without a description, or with a signature
that is not valid for what was found.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sconectl.protect.index import Difference, Index, differences, is_below
from sconectl.protect.live import Found, scan
from sconectl.protect.measure import IMAGE_DIR, LAUNCHER_ROOT, SIGNATURE, launcher_index, measurement
from sconectl.protect.signature import SIZE, BadSignature, SignedEnclave, verify
from sconectl.runtime import log
from sconectl.runtime.log import LaunchRefused
from sconectl.runtime.mounts import mounts


@dataclass(frozen=True)
class Enclave:
    """What was measured: `found` from the live files, `expected` from the index that the image carries.

    `signed` is the content of a valid signature, or None for an image that is not signed. `unread` counts the paths
    that are out of reach for this user; they are believed to be as expected unless there are `obstacles`.
    """

    found: str
    expected: str
    parameters: Mapping[str, str]
    index: Index
    changes: tuple[Difference, ...]
    signed: SignedEnclave | None = None
    unread: int = 0
    obstacles: tuple[str, ...] = ()

    @property
    def debug(self) -> bool:
        """Tell whether the image was built with `--mode debug`; the signature decides, if there is one."""
        return self.signed.debug if self.signed else self.parameters.get("mode") != "production"

    def identity(self) -> dict[str, Any]:
        """Return the fields of a report about the enclave; without a valid signature, no product and version."""
        found: dict[str, Any] = {"measurement": self.found, "debug": self.debug}
        if self.signed and self.signed.measurement == self.found:
            found |= {name: getattr(self.signed, name) for name in ("mrsigner", "isvprodid", "isvsvn")}
        return found


def measure(root: str = "/") -> Enclave:
    """Measure the enclave in `root`. Raises `LaunchRefused` if the image's own description cannot be read."""
    image = Path(root, LAUNCHER_ROOT.lstrip("/"), IMAGE_DIR)
    try:
        expected = Index.from_bytes((image / "index.json").read_bytes())
        description = json.loads((image / "enclave.json").read_bytes())
        parameters = {str(key): str(value) for key, value in description["parameters"].items()}
        launcher_expected = str(description["launcher"])
        signer = str(description.get("signer") or "")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LaunchRefused("the image does not describe a simulated enclave", causes=(str(error),)) from error
    launcher_found = launcher_index(f"{root.rstrip('/')}{LAUNCHER_ROOT}").digest()
    _refuse_mounts(root, expected)
    seen = _scanned(root, expected)
    changes = differences(expected, seen.index)
    if _remove_leftovers(root, changes):
        seen = _scanned(root, expected)
        changes = differences(expected, seen.index)
    index, obstacles = seen.index, tuple[str, ...]()
    if seen.hidden:
        index, obstacles = _judge_hidden(seen, expected)
        changes = differences(expected, index)
    root_expected = expected.digest()
    root_found = index.digest() if changes else root_expected
    if launcher_found != launcher_expected:
        changes.insert(0, Difference("changed", f"{LAUNCHER_ROOT} (the launcher itself)"))
    as_built = measurement(launcher=launcher_expected, root=root_expected, parameters=parameters)
    return Enclave(
        found=measurement(launcher=launcher_found, root=root_found, parameters=parameters),
        expected=as_built,
        parameters=parameters,
        index=expected,
        changes=tuple(changes),
        signed=_signature(image / SIGNATURE, signer, as_built),
        unread=len(seen.hidden),
        obstacles=obstacles,
    )


def _judge_hidden(seen: Found, expected: Index) -> tuple[Index, tuple[str, ...]]:
    """Believe files that this process cannot read only if the program can never read them either."""
    from sconectl.runtime.identity import stay_the_same  # rarely needed, and not quick to import

    obstacles = stay_the_same()
    return (seen.index if obstacles else seen.believed(expected)), obstacles


def _signature(file: Path, signer: str, as_built: str) -> SignedEnclave | None:
    """Return the content of the signature. The image states its signer elsewhere, too, so a lost signature is noticed.

    It has to be for the image as it was built: differences from that are refused later, with a better message.
    """
    try:
        with file.open("rb") as opened:
            signed = verify(opened.read(SIZE + 1))
        if not hmac.compare_digest(signed.measurement, as_built):
            raise BadSignature("it is for another measurement")
        if signed.mrsigner != signer:
            raise BadSignature("it is of another signer")
    except FileNotFoundError as error:
        if not signer:
            return None
        raise LaunchRefused("the image has lost its signature", causes=(f"it was signed by {signer}",)) from error
    except (OSError, BadSignature) as error:
        raise LaunchRefused("the signature of the image is not valid", causes=(str(error),)) from error
    return signed


def _scanned(root: str, expected: Index) -> Found:
    try:
        return scan(root, expected)
    except OSError as error:  # a process of ours was ended
        raise LaunchRefused("the files of the image were not measured", causes=(str(error),)) from error


def _refuse_mounts(root: str, expected: Index) -> None:
    """Refuse mounts over protected paths: their content is not the image's."""
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
        with contextlib.suppress(OSError):  # a file that cannot be removed stays a difference, and is refused
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
