"""The user of the launcher, and the certainty that the program can never have another one.

In: the user, groups and capabilities that the container was started with. Out: why they could change later, or the
certainty that they cannot. The rule, and why it is right, is in docs/simulation.md ("What cannot be read").
"""

from __future__ import annotations

import ctypes
import os

HARMLESS = frozenset(
    {
        "CAP_AUDIT_WRITE",
        "CAP_IPC_LOCK",
        "CAP_NET_BIND_SERVICE",
        "CAP_NET_BROADCAST",
        "CAP_NET_RAW",
        "CAP_SYS_NICE",
        "CAP_SYS_RESOURCE",
    }
)
"""These open no file, own none, and change neither user nor groups nor capabilities. Kubernetes' restricted profile
allows one of them, NET_BIND_SERVICE."""

_NAMES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN "
    "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE "
    "MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
).split()
"""By number, as in linux/capability.h."""
_VERSION_3 = 0x20080522
_SET_NO_NEW_PRIVS, _GET_NO_NEW_PRIVS = 38, 39


def capabilities() -> frozenset[str]:
    """Return the capabilities that this process has, or may take. Raises `OSError`."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable: of numbers below 32, then of those above
    if libc.capget(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    found = sets[0] | sets[1] | (sets[3] | sets[4]) << 32
    return frozenset(
        f"CAP_{_NAMES[number]}" if number < len(_NAMES) else f"capability {number}"
        for number in range(64)
        if found >> number & 1
    )


def stay_the_same() -> tuple[str, ...]:
    """Make sure that this process and all that it starts keep their user and groups, and gain no capability.

    Sets no_new_privs, so that no program is a way to another user: set-uid and set-gid bits and capabilities of files
    have no effect any more. Returns the reasons why they could still change; none, if that is impossible.
    """
    obstacles = []
    if len(set(os.getresuid())) > 1 or len(set(os.getresgid())) > 1:
        obstacles.append("it has more than one user or group at the same time")
    try:
        risky = sorted(capabilities() - HARMLESS)
        if risky:
            obstacles.append(f"it has {', '.join(risky)}")
        if not obstacles:
            _renounce()
    except (OSError, AttributeError) as error:  # a C library without these calls is like a kernel that refuses them
        obstacles.append(f"it cannot give up new privileges ({error})")
    return tuple(obstacles)


def _renounce() -> None:
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    if prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 or prctl(_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1:
        raise OSError(ctypes.get_errno(), "no_new_privs could not be set")
