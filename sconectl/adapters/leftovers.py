"""Who made a temporary container, image or name, so that a later run can tell whether its maker still needs it.

In: nothing, or the mark of another process. Out: the mark of this process, or whether that process is gone.
"""

from __future__ import annotations

import base64
import os
import platform
import secrets
from pathlib import Path

LABEL = "io.sconectl.temporary"
"""Label of containers and images that are removed by the run that made them. Its value is the mark of that run."""

NAMES = "sconectl-from"
"""Names below this one are removed by the run that gave them. The rest of the name is the mark of that run."""

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def mark() -> str:
    """Return `host/boot/process namespace/process/start`, or nothing where the system does not tell."""
    process = os.getpid()
    try:
        boot, namespace, start = _BOOT.read_text().strip(), _namespace(), _start(process)
    except OSError:
        return ""
    return f"{platform.node()}/{boot}/{namespace}/{process}/{start}"


def temporary_name() -> str:
    """Return a name for an image that nobody else uses, from which `mark_in` reads the mark of this process."""
    whose = base64.b32encode(mark().encode()).decode().lower().rstrip("=")  # names have no upper case, at most 255
    return f"{NAMES}/{whose or 'x'}:{secrets.token_hex(8)}"


def mark_in(name: str) -> str:
    """Return the mark of the process that gave a temporary name; nothing for other names."""
    folder, _, rest = name.partition("/")
    whose = rest.partition(":")[0].upper()
    try:
        return base64.b32decode(whose + "=" * (-len(whose) % 8)).decode() if folder == NAMES else ""
    except ValueError:
        return ""


def is_gone(other: str, *, local: bool) -> bool:
    """Tell whether the process with the mark `other` has certainly ended.

    `local` says that all users of the engine run on this machine: then a process from before the last boot is gone. A
    process that cannot be seen from here (another machine, another process namespace) counts as alive.
    """
    parts, own = other.split("/"), mark().split("/")
    if len(parts) != len(own) or parts[0] != own[0]:
        return False
    if parts[1] != own[1]:
        return local
    if parts[2] != own[2] or not parts[3].isdecimal():
        return False
    try:
        return _start(int(parts[3])) != parts[4]
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino


def _start(process: int) -> str:
    """Return when a process started; with its number, this names it uniquely."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
