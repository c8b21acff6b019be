"""What a CAS proves about itself, and how a client checks it.

In: the keys of a CAS and a nonce; or a report and what was asked for. Out: a report as plain JSON values; or what it
proves. The signature is made by the software key (ECDSA over P-256 with SHA-256) over `DOMAIN` followed by the report
as canonical JSON (sorted keys, no spaces, ASCII). The chain binds the software key to the CAS key. Raises
`CasNotTrusted`.
"""

from __future__ import annotations

import base64
import hmac
import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sconectl import __version__
from sconectl.errors import CasNotTrusted
from sconectl.key_hash import key_hash

if TYPE_CHECKING:
    from sconectl.cas.keys.cas_keys import CasKeys

DOMAIN = b"sconectl simulated CAS report v1\0"
_TEXTS = ("cas_key", "cas_software_key", "version", "nonce", "session_encryption_key", "time")
_KEYS = frozenset({*_TEXTS, "simulation"})
_HINT = "an attacker may be in between, or this is no CAS of `sconectl cas serve`; compare its key on its own machine"


@dataclass(frozen=True)
class Evidence:
    """What a simulated CAS has proved: its key hashes, and the key for encrypted sessions (64 hex digits)."""

    cas_key: str
    cas_software_key: str
    version: str
    encryption_key: str
    time: str
    chain_pem: str
    simulation: Literal[True] = True


def make_report(keys: CasKeys, nonce: str, version: str, now: datetime) -> dict[str, Any]:
    """Return the report of the CAS with these keys, bound to `nonce` (hex, may be empty), as plain JSON values."""
    encryption = keys.encryption.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    report = {
        "cas_key": keys.cas_key_hash,
        "cas_software_key": keys.software_key_hash,
        "version": version,
        "simulation": True,
        "nonce": nonce,
        "session_encryption_key": encryption.hex(),
        "time": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    signature = keys.software.key.sign(_message(report), ec.ECDSA(hashes.SHA256()))
    return {
        "report": report,
        "certificate_chain": keys.chain_pem,
        "signature": base64.b64encode(signature).decode(),
    }


def own_evidence(chain_pem: str, encryption_key: str) -> Evidence:
    """Return the evidence of a CAS of this machine, whose keys are at hand, without a report."""
    software, root = x509.load_pem_x509_certificates(chain_pem.encode())
    proved = (key_hash(root.public_key()), key_hash(software.public_key()))
    return Evidence(*proved, __version__, encryption_key, "", chain_pem)


def verify_report(answer: Any, nonce: str) -> Evidence:
    """Return the evidence in `answer`; raises `CasNotTrusted` if it is not genuine, not for `nonce`, or not understood.

    Whether the CAS key is the expected one is for the caller to decide.
    """
    try:
        report, chain_pem, signature = answer["report"], answer["certificate_chain"], answer["signature"]
        if set(report) != _KEYS or not all(isinstance(report[key], str) for key in _TEXTS):
            raise ValueError("unknown fields")
        software, root = x509.load_pem_x509_certificates(chain_pem.encode())
        signed = base64.b64decode(signature, validate=True)
        bytes.fromhex(report["session_encryption_key"])
        software_key = software.public_key()
        if report["simulation"] is not True or not isinstance(software_key, ec.EllipticCurvePublicKey):
            raise ValueError("not a simulation")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CasNotTrusted("the CAS answers with a report that is not understood", hint=_HINT) from error
    try:
        root.verify_directly_issued_by(root)
        software.verify_directly_issued_by(root)
        software_key.verify(signed, _message(report), ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError, TypeError) as error:
        raise CasNotTrusted("the report of the CAS is not signed by its keys", hint=_HINT) from error
    proved = (key_hash(root.public_key()), key_hash(software_key))
    if proved != (report["cas_key"], report["cas_software_key"]):
        raise CasNotTrusted("the report of the CAS names other keys than those that signed it", hint=_HINT)
    if not hmac.compare_digest(report["nonce"].encode(), nonce.encode()):
        raise CasNotTrusted("the report of the CAS was not made for this request", hint=_HINT)
    return Evidence(*proved, report["version"], report["session_encryption_key"], report["time"], chain_pem)


def _message(report: dict[str, Any]) -> bytes:
    return DOMAIN + json.dumps(report, sort_keys=True, separators=(",", ":")).encode()
