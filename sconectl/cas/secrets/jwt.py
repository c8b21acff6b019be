"""Signed tokens: compact JWS with ES384 (RFC 7515, RFC 7518 §3.4, RFC 7519).

In: claims, the times they are good for, and a P-384 key. Out: the token.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from sconectl.cas.keys.certificates import SigningKey

_NUMBER_BYTES = 48
_HEADER = {"alg": "ES384", "typ": "JWT"}


def signed(claims: Mapping[str, str], key: SigningKey, now: datetime, lifetime: timedelta) -> str:
    """Return a token with `claims` that is valid from `now` for `lifetime`; raises `ValueError` unless P-384."""
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP384R1):
        raise ValueError("ES384 needs a P-384 key")
    issued = int(now.timestamp())
    times = {"iat": issued, "nbf": issued, "exp": issued + int(lifetime.total_seconds())}
    message = f"{_part(_HEADER)}.{_part({**claims, **times})}"
    r, s = decode_dss_signature(key.sign(message.encode(), ec.ECDSA(hashes.SHA384())))
    signature = r.to_bytes(_NUMBER_BYTES) + s.to_bytes(_NUMBER_BYTES)
    return f"{message}.{_base64url(signature)}"


def _part(content: Mapping[str, Any]) -> str:
    return _base64url(json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode())


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
