"""Requests to the CAS on behalf of an attested program, for as long as the program runs.

In: how to attest, and the volumes as they were at the start. Out: answers. When the CAS knows the channel no more
(because it was restarted, the session was updated, or a day has gone by), this attests again, over a channel with a
new key, and goes on only if the policy still gives the same volumes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sconectl.runtime import log
from sconectl.runtime.attest import AttestationRefused, Attester, attest_again, reasons
from sconectl.runtime.configuration import VolumeKey, read_configuration
from sconectl.runtime.link import CasLink, CasNotReady
from sconectl.runtime.log import LaunchRefused

CALL_SECONDS = 10.0
"""How long one request may take; a CAS that takes longer is asked again."""


_ATTEMPTS = 3


class VolumeLost(Exception):
    """This launcher must not write to the volume any more; the message and `causes` (outermost first) say why."""

    def __init__(self, message: str, *, causes: tuple[str, ...] = ()) -> None:
        super().__init__(": ".join((message, *causes)))
        self.message = message
        self.causes = causes


class AttestedCas:
    """The CAS as an attested program sees it; safe to use from several threads, which wait for each other."""

    def __init__(self, attester: Attester, link: CasLink, volumes: tuple[VolumeKey, ...]) -> None:
        """Go on with `link`, over which the program has attested and was given `volumes`."""
        self._attester = attester
        self._link = link
        self._volumes = {_terms(volume) for volume in volumes}
        self._lock = threading.Lock()

    def ask(self, path: str, body: Mapping[str, Any]) -> tuple[int, bytes]:
        """Send one request, and attest again before that if need be; return status and body.

        Raises `CasNotReady` if there is no answer now, or none that is proved to be of the CAS, and `VolumeLost` if the
        program would not get its volumes any more.
        """
        with self._lock:
            try:
                status, content = self._call(path, body)
                for _ in range(_ATTEMPTS):  # the session may be updated again at any time
                    if status != 403:
                        break
                    log.write("INFO", f"attesting again: {' - '.join(reasons(status, content))}")
                    self._attest_again()
                    status, content = self._call(path, body)
                if status == 429:
                    raise CasNotReady("CAS", ": ".join(reasons(status, content)))
                return status, content
            except LaunchRefused as error:  # whoever answers there is not the CAS
                raise CasNotReady("CAS", ": ".join((error.message, *error.causes))) from error

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._link.close()

    def _call(self, path: str, body: Mapping[str, Any]) -> tuple[int, bytes]:
        return self._link.call("POST", path, body, deadline=time.monotonic() + CALL_SECONDS)

    def _attest_again(self) -> None:
        try:
            link, answer = attest_again(self._attester, CALL_SECONDS)
        except AttestationRefused as error:
            if error.status == 429:
                raise
            raise VolumeLost("the CAS does not accept this program any more", causes=error.causes) from error
        try:
            self._check(answer)
        except BaseException:
            link.close()
            raise
        self._link.close()
        self._link = link

    def _check(self, answer: dict[str, Any]) -> None:
        try:
            found = {_terms(volume) for volume in read_configuration(answer, self._attester.host).volumes}
        except LaunchRefused as error:
            raise VolumeLost(error.message, causes=error.causes) from error
        if not self._volumes <= found:
            raise VolumeLost("the policy does not give this program the same volumes any more")


def _terms(volume: VolumeKey) -> VolumeKey:
    """Return everything about a volume that stays the same while it is used."""
    return replace(volume, tag=None)
