"""Certificates that policies ask for: what they say, how long they are valid, and who stands above them (LANG §7.2).

In: a secret of kind x509 or x509-ca, its key, its issuer, and the time. Out: certificates with their times. Raises
`CasRefusal` for what no certificate can say.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID

from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.keys.certificates import (
    CLOCK_SKEW,
    FAR_FUTURE,
    Authority,
    Content,
    SigningKey,
    certificate_pem,
    issue,
    named,
)
from sconectl.policy.reading import Secret

KINDS = frozenset({"x509", "x509-ca"})

_COMMENT = "SIMULATION: issued by the embedded CAS of sconectl"
_USAGES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
_LONGEST_COMMON_NAME = 64  # X.520 ub-common-name, RFC 5280 appendix A.1
_SHORTEST_MARGIN = timedelta(seconds=5)
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True)
class Issued:
    """A certificate with the times (unix seconds) at which it ends and is due to be issued anew, if ever."""

    pem: str
    expires: int | None
    renew: int | None


def issue_for(secret: Secret, key: SigningKey, authority: Authority | None, now: datetime) -> Issued:
    """Return a certificate as `secret` describes it, signed by `authority`, or by `key` itself if that is None.

    It starts a day back, and ends after `valid_for` or else in the year 4096, but never after its issuer.
    Raises `CasRefusal` 400.
    """
    start = now.replace(microsecond=0)
    end = min(_end(start, secret.lifetime), authority.not_after if authority else FAR_FUTURE)
    if end <= now:
        raise _impossible(secret, f"The certificate of its issuer {secret.issuer} has expired")
    ca = secret.kind == "x509-ca"
    names = () if ca else _alternative_names(secret)
    usage = None if ca or secret.endpoint is None else _USAGES[secret.endpoint]
    try:
        content = Content(
            named(common_name(secret)), start - CLOCK_SKEW, end, ca=ca, usage=usage, names=names, comment=_COMMENT
        )
        certificate = issue(content, key, authority)
    except ValueError as error:
        raise _impossible(secret, "Its names or its times do not fit into a certificate") from error
    expires = None if end == FAR_FUTURE else int(end.timestamp())
    return Issued(
        certificate_pem(certificate), expires, None if expires is None else int(renewal(start, end).timestamp())
    )


def renewal(start: datetime, end: datetime) -> datetime:
    """Return when a certificate issued at `start` is due: with a third of its life left, if that is some seconds."""
    lifetime = end - start
    return end - min(max(lifetime / 3, _SHORTEST_MARGIN), lifetime / 2)


def common_name(secret: Secret) -> str:
    """Return the common name of a certificate: as given, else its first DNS name, else the name of the secret.

    A common name has at most 64 characters, and DNS names may have more: a longer one is left to the alternative
    names, where programs look for it. Raises `CasRefusal` 400 if the name is given, or of the secret, and too long.
    """
    dns = [*secret.dns, *(name.removeprefix("dns:") for name in secret.san if name.startswith("dns:"))]
    short = [name for name in dns[:1] if len(name) <= _LONGEST_COMMON_NAME]
    name = secret.common_name or next(iter(short), secret.name)
    if len(name) > _LONGEST_COMMON_NAME:
        raise _impossible(secret, f"A common_name has at most {_LONGEST_COMMON_NAME} characters: give a shorter one")
    return name


def split(pem: str) -> list[str]:
    """Return the certificates in `pem`, each as a PEM text that ends with a line feed."""
    return [f"{block}\n" for block in _PEM.findall(pem)]


def issuers_within(pem: str) -> tuple[str, ...]:
    """Return the issuers of the first certificate in `pem` that stand behind it, nearest first; others are left out.

    Raises `ValueError` if there is no certificate.
    """
    blocks = split(pem)
    loaded = [x509.load_pem_x509_certificate(block.encode()) for block in blocks]
    if not loaded:
        raise ValueError("no certificate")
    order = [0]
    while not is_self_signed(below := loaded[order[-1]]):
        above = next((i for i, other in enumerate(loaded) if i not in order and _issued(below, other)), None)
        if above is None:
            break
        order.append(above)
    return tuple(blocks[index] for index in order[1:])


def is_self_signed(certificate: x509.Certificate) -> bool:
    """Say whether a certificate is signed by its own key, so that no chain goes on behind it."""
    return _issued(certificate, certificate)


def is_authority(certificate: x509.Certificate) -> bool:
    """Say whether a certificate allows its key to sign others."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _end(start: datetime, lifetime: timedelta | None) -> datetime:
    return FAR_FUTURE if lifetime is None or lifetime >= FAR_FUTURE - start else start + lifetime


def _alternative_names(secret: Secret) -> tuple[x509.GeneralName, ...]:
    entries = (*(f"dns:{name}" for name in secret.dns), *secret.san)
    return tuple(dict.fromkeys(_general_name(entry) for entry in entries))


def _general_name(entry: str) -> x509.GeneralName:
    form, _, name = entry.partition(":")
    return x509.DNSName(name) if form == "dns" else x509.IPAddress(ipaddress.ip_address(name))


def _impossible(secret: Secret, cause: str) -> CasRefusal:
    return CasRefusal(400, f"Issuing certificate {secret.name} failed", cause)
