"""The shared secret of one-time passwords (LANG §17.5), in a session or behind a reference.

In: base32 text (RFC 4648), padded or not, or a reference. Out: the text as it is stored. Raises C6.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

from pydantic import AfterValidator

from sconectl.policy.forms.violation import violation
from sconectl.text.secret_placeholders import is_reference

MIN_BYTES = 16


def base32_bytes(text: str) -> bytes:
    """Return the bytes in base32 text; raises `ValueError` if it is not base32 or holds less than 16 bytes."""
    digits = text.rstrip("=")
    try:
        found = base64.b32decode(digits + "=" * (-len(digits) % 8))
    except (binascii.Error, ValueError):
        raise ValueError("not base32") from None
    if len(found) < MIN_BYTES:
        raise ValueError("too short")
    return found


def shared_secret(text: str) -> str:
    """C6: the shared secret of one-time passwords is base32 of at least 16 bytes, or a reference."""
    if is_reference(text):
        return text
    try:
        base32_bytes(text)
    except ValueError:
        raise violation(
            "C6", f"expected base32 text of at least {MIN_BYTES} bytes, or a reference like $$SCONE::name$$"
        ) from None
    return text.rstrip("=")


SharedSecret = Annotated[str, AfterValidator(shared_secret)]
