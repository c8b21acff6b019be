"""Policies for hardware in a CAS that has none: refused, unless whoever runs it allowed them in so many words.

In: the attestation mode of a session, and what the owner of the CAS allowed. Out: nothing, a refusal, or a warning.
Who reads `mode: hardware` believes that a processor vouches for what gets the secrets. Here none does.
"""

from __future__ import annotations

from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.policy.forms.tolerations import HARDWARE, SIMULATION
from sconectl.policy.reading import Attestation, Security, Session

OPTION = "--hardware-policies accept"
_HEAD = "The session is for hardware, and this CAS is a simulation"
_WRITE = (
    f"Write security: {{attestation: {{mode: {SIMULATION}}}}}, which no CAS with hardware takes; "
    "what sconectl apply wrote before, it writes so if it is run again"
)
_ALLOW = f"Or whoever runs this CAS allows it: sconectl cas serve {OPTION}"
WARNING = "the session is for hardware, and this CAS, a simulation, accepts it all the same: no hardware protects it"


def check_mode(mode: str, *, allowed: bool, status: int = 403) -> None:
    """Raise `CasRefusal` with `status` if enclaves are to be attested by hardware, unless that is `allowed`."""
    if mode == HARDWARE and not allowed:
        raise CasRefusal(status, _HEAD, _WRITE, _ALLOW)


def is_for_hardware(session: Session) -> bool:
    """Say whether hardware is to attest services of a session; a mode behind a reference is not known yet."""
    security = session.security
    if not session.services or not isinstance(security, Security) or not isinstance(security.attestation, Attestation):
        return False
    return security.attestation.mode == HARDWARE
