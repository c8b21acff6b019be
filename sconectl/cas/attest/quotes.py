"""Reports and quotes of the simulated attestation: their form, their signature, and their bond to a connection.

In: reports, quotes and the certificate of the channel. Out: signed quotes, or a refusal. The protocol is real; the
quoting key is a file, so a quote is as honest as the machine that asks. What a session demands of the enclave behind
a quote is in `enclave_rules`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Annotated, Any, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.keys.certificates import Key
from sconectl.cas.keys.simulated_machine import Platform
from sconectl.key_hash import key_hash

TOOLCHAIN = "sim"
DOMAIN = b"sconectl simulated quote v2\0"
_ALGORITHM = ec.ECDSA(hashes.SHA256())

_Hex32 = Annotated[str, Field(pattern=r"\A[0-9a-f]{64}\z")]
_Number = Annotated[int, Field(ge=0, le=65535)]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class Report(_Message):
    """What a program claims to be, bound to its channel by `report_data` (SHA-512 of its TLS certificate).

    The signer fields stand for those of an SGX report; `nonce` is a number of this CAS. Older launchers send neither.
    """

    toolchain: Annotated[str, Field(pattern=r"\A[a-z0-9-]{1,32}\z")]
    measurement: _Hex32
    debug: bool
    report_data: Annotated[str, Field(pattern=r"\A[0-9a-f]{128}\z")]
    mrsigner: _Hex32 | None = None
    isvprodid: _Number | None = None
    isvsvn: _Number | None = None
    nonce: Annotated[str, Field(pattern=r"\A([0-9a-f]{2}){1,64}\z")] | None = None


class Quote(_Message):
    """A report, and the machine it was made on, signed by a quoting key."""

    report: Report
    platform: Platform
    key: Annotated[str, Field(max_length=64)]
    signature: Annotated[str, Field(max_length=256)]


_Received = TypeVar("_Received", bound=_Message)


def sign_quote(report: Any, platform: Platform, quoting_key: Key) -> dict[str, Any]:
    """Return the quote over `report` (plain JSON values); raises `CasRefusal` 400 for a malformed one."""
    checked = _read(Report, report, "The report is malformed")
    quote = Quote(report=checked, platform=platform, key=key_hash(quoting_key.public_key()), signature="")
    signature = base64.b64encode(quoting_key.sign(_signed_bytes(quote), _ALGORITHM)).decode()
    return quote.model_copy(update={"signature": signature}).model_dump(mode="json", exclude_none=True)


def read_quote(quote: Any) -> Quote:
    """Return the quote in plain JSON values; raises `CasRefusal` 400 for a malformed one."""
    return _read(Quote, quote, "The quote is malformed")


def report_data_for(channel_certificate_der: bytes) -> str:
    """Return the report data that binds a report to the TLS connection with this client certificate."""
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
        quoting_key.verify(base64.b64decode(quote.signature, validate=True), _signed_bytes(quote), _ALGORITHM)
    except (InvalidSignature, ValueError) as error:  # ValueError: not base64
        raise CasRefusal(403, "The quote is not genuine", "Its signature does not match its content") from error


def _signed_bytes(quote: Quote) -> bytes:
    content = quote.model_dump(mode="json", exclude_none=True, exclude={"signature"})
    return DOMAIN + json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def _read(model: type[_Received], value: Any, summary: str) -> _Received:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        places = (".".join(str(step) for step in fault["loc"]) for fault in error.errors(include_input=False))
        raise CasRefusal(400, summary, f"Not of the expected form: {', '.join(places)}") from error
