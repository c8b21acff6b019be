"""One volume as the CAS knows it: the lease of this instance, and the tag, which is its newest state.

In: states. Out: the tag that the CAS holds. What becomes of a request without an answer is unknown, so it is asked
before anything else is sent; a tag that this instance has not set means that somebody else had the volume.
"""

from __future__ import annotations

import hashlib
import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from sconectl.runtime import log
from sconectl.runtime.attest import json_object, reasons
from sconectl.runtime.link import CasNotReady
from sconectl.runtime.log import LaunchRefused
from sconectl.runtime.volumes.attested_cas import AttestedCas, VolumeLost

DEFAULT_SECONDS = 30
_PAUSE = 1.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Holder:
    """This instance: the same one after a restart of its container, and no other one."""

    id: str
    name: str


def this_holder() -> Holder:
    """Return who this instance is, by the name of its host and since when the machine has been running."""
    try:
        boot = _BOOT_ID.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise LaunchRefused(f"{_BOOT_ID} cannot be read", causes=("is /proc mounted?",)) from error
    host = socket.gethostname()
    digest = hashlib.sha256(f"{host}\0{boot}".encode("utf-8", "surrogateescape")).hexdigest()
    return Holder(digest[:32], re.sub(r"[^A-Za-z0-9_.-]", "-", host)[:253] or "unnamed")


class _InUse(Exception):
    """Another instance has the lease."""


class Lease:
    """The lease of this instance on a volume; not to be used from several threads at once."""

    def __init__(self, cas: AttestedCas, volume: str, holder: Holder) -> None:
        self._cas = cas
        self._volume = volume
        self._holder = holder
        self._sent: set[bytes] = set()
        """What the CAS may have as tag besides `tag`: states that were sent, without an answer to any of them."""
        self.tag: bytes | None = None
        """The tag that the CAS has, as far as is known."""
        self.seconds = float(DEFAULT_SECONDS)
        """How long the lease lasts without being renewed."""

    def take(self, patience: float) -> bytes | None:
        """Take the lease, at the start of a program, and return the tag that comes with it.

        While another instance has it, or the CAS is away, wait `patience` seconds; then raise `LaunchRefused`.
        """
        deadline = time.monotonic() + patience
        told = False
        while True:
            try:
                self.tag = self._taken()
            except VolumeLost as error:
                raise LaunchRefused(
                    f"volume {self._volume} cannot be used: {error.message}", causes=error.causes
                ) from error
            except (CasNotReady, _InUse) as error:
                if time.monotonic() + _PAUSE > deadline:
                    message = str(error) if isinstance(error, _InUse) else f"the CAS does not answer: {error}"
                    raise LaunchRefused(
                        f"volume {self._volume} was not to be had within {patience:g} seconds",
                        causes=(*message.split("\n"), "SCONE_VOLUME_TIMEOUT says how long to wait"),
                    ) from error
                if not told:
                    reason = "; ".join(str(error).split("\n"))
                    log.write("WARNING", f"waiting for volume {self._volume}: {reason}")
                told = True
                time.sleep(_PAUSE)
            else:
                return self.tag

    def bring(self, state: bytes, patience: float) -> None:
        """Make the state that was opened the tag, before a program starts; raises `LaunchRefused`."""
        deadline = time.monotonic() + patience
        while True:
            try:
                self.move(state)
                return
            except VolumeLost as error:
                raise LaunchRefused(
                    f"volume {self._volume} cannot be used: {error.message}", causes=error.causes
                ) from error
            except CasNotReady as error:
                if time.monotonic() + _PAUSE > deadline:
                    raise LaunchRefused(
                        f"the CAS did not take the state of volume {self._volume} within {patience:g} seconds",
                        causes=(str(error), "SCONE_VOLUME_TIMEOUT says how long to wait"),
                    ) from error
                time.sleep(_PAUSE)

    def renew(self) -> None:
        """Renew the lease, and learn which tag the CAS has; raises `VolumeLost` and `CasNotReady`."""
        try:
            found = self._taken()
        except _InUse as error:
            raise VolumeLost("another instance has taken it", causes=tuple(str(error).split("\n"))) from error
        if found != self.tag and found not in self._sent:
            raise VolumeLost("the CAS has a state of it that is not of this instance")
        self.tag = found

    def move(self, state: bytes) -> None:
        """Make `state` the tag at the CAS, which renews the lease; raises `VolumeLost` and `CasNotReady`."""
        if self._sent:
            self.renew()
        if self.tag == state:
            self._sent.clear()
            return
        self._sent.add(state)
        old = None if self.tag is None else self.tag.hex()
        request = {"subject": self._volume, "old": old, "new": state.hex(), "holder": self._holder.id}
        status, content = self._cas.ask("/v1/sim/tags", request)
        if status == 409:  # perhaps the answer to an earlier attempt was lost
            self.renew()
            if self.tag != state:
                raise CasNotReady("CAS", ": ".join(reasons(status, content)))
        elif status != 200:
            raise VolumeLost("the CAS refuses its new state", causes=reasons(status, content))
        self.tag = state
        self._sent.clear()

    def release(self) -> None:
        """Let others have the volume at once; raises `VolumeLost` and `CasNotReady`."""
        self._ask_lease("release")

    def _taken(self) -> bytes | None:
        status, content = self._ask_lease("take")
        if status == 409:
            raise _InUse("\n".join(reasons(status, content)))
        if status != 200:
            raise VolumeLost("the CAS gives no lease on it", causes=reasons(status, content))
        try:
            answer = json_object(content)
            self.seconds = float(answer["seconds"])
            return None if answer["tag"] is None else bytes.fromhex(answer["tag"])
        except (LaunchRefused, KeyError, TypeError, ValueError) as error:
            raise CasNotReady("CAS", "its answer is not understood") from error

    def _ask_lease(self, action: str) -> tuple[int, bytes]:
        names = {"volume": self._volume, "holder": self._holder.id, "name": self._holder.name}
        return self._cas.ask("/v1/sim/leases", {**names, "action": action})
