"""Hints for refusals of a CAS: what the user can do about each.

In: HTTP status and causes, from the embedded CAS or from an answer. Out: `CasRefused` with a hint that says what to do.
"""

from __future__ import annotations

from collections.abc import Sequence

from sconectl.errors import CasRefused

_TAKEN = "specify predecessor hash"
_HINTS = {
    400: "correct the session",
    401: "the CAS got no client certificate; check the cas-config directory",
    404: "check the name; a predecessor can only be given for a session that exists",
    413: "make the session smaller, for example by splitting it",
    429: "wait as long as it says, or ask whoever runs the CAS (sconectl cas serve --limit stored-bytes-per-address)",
    500: "the log of the CAS says more; try again later",
    503: "the log of the CAS says more; try again later",
    507: "free space on the machine of the CAS",
}


def refused(address: str, status: int, causes: Sequence[str]) -> CasRefused:
    """Return the error for a refusal with HTTP `status` and `causes`, outermost first."""
    first = causes[0] if causes else f"it answered with HTTP status {status}"
    return CasRefused(f"CAS {address} refused: {first}", status=status, causes=causes, hint=_hint(status, causes))


def _hint(status: int, causes: Sequence[str]) -> str:
    text = " ".join(causes)
    if status == 409 and _TAKEN in text:
        return "a session of this name exists; read it and name its hash as predecessor, or choose another name"
    if status == 409 and "in use by" in text:
        return "end the program that uses it, and wait until its lease is over"
    if status == 409 and "current tag" in text:
        return "the volume was written in between; look at `sconectl volume list`"
    if status == 409:
        return "somebody else updated the session in between; read it again and repeat the change"
    if status == 403 and "create_sessions" in text:
        return (
            "the namespace belongs to somebody else; choose a namespace of your own, or ask its owner to add your key"
            " hash (it is named above) to create_sessions"
        )
    if status == 403:
        return (
            "the session belongs to another identity; use its --cas-config, or ask its owner to add your key hash (it "
            "is named above) to the access policy, for a mesh in policy.access"
        )
    if status == 404 and "Namespace not found" in text:
        return "create the session of the namespace first"
    if status == 404 and "predecessor's hash" in text:
        return "the predecessor is no version of this session; read it and name its hash"
    return _HINTS.get(status, "")
