"""What clients may store: bytes of uploads by address and in all, attestations by address and namespace.

In: who wants to store how much. Out: nothing, or a refusal that says when to come again. Owners come seldom and with
much, strangers all the time; so what an address may store at once is much, and little of it comes back with time.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.bounds.token_buckets import Bucket, Buckets

if TYPE_CHECKING:
    from sconectl.cas.bounds.limits import Limits
    from sconectl.cas.secrets.session_secrets import Stored

LOCAL = "here"
"""The address of commands on the CAS's own directory, which have no bounds."""

_KEYS = 4096
_PER_UPLOAD = 1500  # its entry in the audit log, and rows
_PER_SECRET = 200
_SHARE_OF_DISK = 8


class Room:
    """How much is left on the disk of `directory`."""

    def __init__(self, directory: Path, limits: Limits) -> None:
        self._directory = directory
        self._reserve = limits.reserve_bytes

    def is_there(self) -> bool:
        """Say whether there is more space than the reserve for attestation, which is an eighth of the disk at most."""
        try:
            found = os.statvfs(self._directory)
        except OSError:
            return True  # the next write fails with its own message
        whole = found.f_blocks * found.f_frsize // _SHARE_OF_DISK
        return found.f_bavail * found.f_frsize > min(self._reserve, whole)


class Quota:
    """Counts what is stored; safe to use from several threads at once."""

    def __init__(self, limits: Limits, room: Room, ticks: Callable[[], float] = time.monotonic) -> None:
        self._room = room
        self._lock = threading.Lock()
        self._total = Bucket(limits.stored_bytes, limits.stored_bytes_per_minute / 60, ticks)
        self._own = Buckets(
            limits.stored_bytes_per_address, limits.stored_bytes_per_address_per_minute / 60, _KEYS, ticks
        )
        self._assured = Buckets(limits.assured_bytes, limits.assured_bytes_per_minute / 60, _KEYS, ticks)
        self._assured_bytes = limits.assured_bytes
        self._records = Buckets(limits.attestations, limits.attestations_per_second, _KEYS, ticks)

    def expect_upload(self, address: str, size: int) -> None:
        """Refuse an upload of `size` bytes before there is work with it; takes nothing."""
        if address == LOCAL:
            return
        if not self._room.is_there():
            raise CasRefusal(507, "The CAS cannot store this: its disk is full but for what attestation needs")
        with self._lock:
            self._refuse(self._wait(address, size))

    def upload(self, address: str, document: str | None, secrets: Mapping[str, Stored]) -> None:
        """Take the bytes of a session and its values; raises `CasRefusal` 429, or 507 if the disk has no room."""
        size = _PER_UPLOAD + len(document or "")
        size += sum(_PER_SECRET + len(row.content) + len(row.parameters) for row in secrets.values())
        self.expect_upload(address, size)
        if address == LOCAL:
            return
        with self._lock:
            self._refuse(self._wait(address, size))
            self._own.take(address, size)
            if not self._total.take(size):
                self._assured.take(address, size)

    def attestation(self, address: str, session: str) -> None:
        """Count an action of a program that the audit log will hold; raises `CasRefusal` 429.

        Each pair of client address and top-level namespace has a quota of its own.
        """
        key = (address, session.split("/", 1)[0])
        if address != LOCAL and not self._records.take(key, 1):
            self._refuse(max(1.0, self._records.seconds_until(key, 1)))

    def _wait(self, address: str, size: int) -> float:
        """Return in how many seconds `size` bytes may be stored, 0 if they may be now."""
        common = self._total.seconds_until(size)
        if size <= self._assured_bytes:
            common = min(common, self._assured.seconds_until(address, size))
        return max(self._own.seconds_until(address, size), common)

    def _refuse(self, seconds: float) -> None:
        if seconds > 0:
            raise CasRefusal(
                429, "This client address has stored as much as it may", f"Try again in {math.ceil(seconds)} seconds"
            )
