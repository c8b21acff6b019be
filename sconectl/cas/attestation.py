"""The simulated attestation: quotes over reports, and what a session demands of them.

In: reports, quotes and the certificate of the channel. Out: signed quotes, or a refusal that says which requirement
is not met. The protocol is real; the quoting key is a file, so a quote is as honest as the machine that asks.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Annotated, Any, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sconectl.cas.certificates import Key
from sconectl.cas.refusal import CasRefusal
from sconectl.key_hash import key_hash
from sconectl.policy.model import Service, Session

TOOLCHAIN = "sim"
_DOMAIN = b"sconectl simulated quote v1\0"
_ALGORITHM = ec.ECDSA(hashes.SHA256())


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class Report(_Message):
    """What a program claims to be, bound to its channel by `report_data` (SHA-512 of its TLS certificate)."""

    toolchain: Annotated[str, Field(pattern=r"\A[a-z0-9-]{1,32}\z")]
    measurement: Annotated[str, Field(pattern=r"\A[0-9a-f]{64}\z")]
    debug: bool
    report_data: Annotated[str, Field(pattern=r"\A[0-9a-f]{128}\z")]


class Quote(_Message):
    """A report signed by a quoting key."""

    report: Report
    key: Annotated[str, Field(max_length=64)]
    signature: Annotated[str, Field(max_length=256)]


_Received = TypeVar("_Received", bound=_Message)


def sign_quote(report: Any, quoting_key: Key) -> dict[str, Any]:
    """Return the quote over `report` (plain JSON values); raises `CasRefusal` 400 for a malformed one."""
    checked = _read(Report, report, "The report is malformed")
    return Quote(
        report=checked,
        key=key_hash(quoting_key.public_key()),
        signature=base64.b64encode(quoting_key.sign(_signed_bytes(checked), _ALGORITHM)).decode(),
    ).model_dump()


def read_quote(quote: Any) -> Quote:
    """Return the quote in plain JSON values; raises `CasRefusal` 400 for a malformed one."""
    return _read(Quote, quote, "The quote is malformed")


def report_data_for(channel_certificate_der: bytes) -> str:
    """Return what binds a report to the TLS connection with this client certificate."""
    return hashlib.sha512(channel_certificate_der).hexdigest()


def check_channel(quote: Quote, channel_certificate_der: bytes) -> None:
    """Refuse a quote that was made for another connection."""
    if not hmac.compare_digest(quote.report.report_data, report_data_for(channel_certificate_der)):
        raise CasRefusal(
            403,
            "The quote does not belong to this connection",
            "Its report data is not the SHA-512 of the client certificate in use",
        )


def check_signature(quote: Quote, quoting_key: ec.EllipticCurvePublicKey) -> None:
    """Refuse a quote that is not signed by the quoting key of this machine."""
    expected = key_hash(quoting_key)
    if quote.key != expected:
        raise CasRefusal(
            403,
            "The quote is not genuine",
            f"It names the quoting key {quote.key}, but this CAS trusts {expected} only",
        )
    try:
        quoting_key.verify(base64.b64decode(quote.signature, validate=True), _signed_bytes(quote.report), _ALGORITHM)
    except (InvalidSignature, binascii.Error) as error:
        raise CasRefusal(403, "The quote is not genuine", "Its signature does not match its report") from error


def check_requirements(quote: Quote, session: Session, service: Service) -> None:
    """Refuse a genuine quote of an enclave that the session does not accept; name all that is wrong."""
    faults = list(_unmet(quote.report, session, service))
    if faults:
        numbered = (f"Error {number} of {len(faults)}: {text}" for number, text in enumerate(faults, 1))
        raise CasRefusal(403, "The program enclave is not trustworthy", *numbered)


def _unmet(report: Report, session: Session, service: Service) -> Iterator[str]:
    if report.toolchain != TOOLCHAIN:
        yield f"Unexpected toolchain {report.toolchain} - Expected {TOOLCHAIN}"
    if report.measurement not in service.measurements:
        wanted = " or ".join(service.measurements)
        yield f"Unexpected enclave measurement (MRENCLAVE, {report.measurement}) - Expected {wanted}"
    if report.debug and "debug-mode" not in session.security.attestation.tolerate:
        yield "The enclave runs in debug mode - Expected production mode (debug-mode is not tolerated)"


def _signed_bytes(report: Report) -> bytes:
    return _DOMAIN + json.dumps(report.model_dump(), sort_keys=True, separators=(",", ":")).encode()


def _read(model: type[_Received], value: Any, summary: str) -> _Received:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        places = (".".join(str(step) for step in fault["loc"]) for fault in error.errors(include_input=False))
        raise CasRefusal(400, summary, f"Not of the expected form: {', '.join(places)}") from error
