"""X.509 certificates of the CAS and its clients (RFC 5280: key identifiers, key usage, basic constraints).

In: P-256 keys and names. Out: certificates and PEM text.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey
_FAR_FUTURE = datetime.datetime(4096, 1, 1, tzinfo=datetime.UTC)
_CLOCK_SKEW = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Holder:
    """A private key with its certificate."""

    key: Key
    certificate: x509.Certificate


def new_key() -> Key:
    """Return a fresh EC P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def issue_root(key: Key, common_name: str) -> x509.Certificate:
    """Return a self-signed CA certificate."""
    return _sign(_builder(key, common_name, common_name, ca=True, path_length=1), key, key)


def issue_intermediate(key: Key, common_name: str, issuer: Holder) -> x509.Certificate:
    """Return a CA certificate below `issuer`."""
    return _sign(_builder(key, common_name, _name_of(issuer), ca=True, path_length=0), key, issuer.key)


def issue_server(key: Key, common_name: str, host_names: Iterable[str], issuer: Holder) -> x509.Certificate:
    """Return a server certificate for `host_names` (DNS names and IP addresses) below `issuer`."""
    builder = _builder(key, common_name, _name_of(issuer), ca=False)
    names = x509.SubjectAlternativeName([_general_name(name) for name in dict.fromkeys(host_names)])
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    return _sign(builder.add_extension(names, False).add_extension(usage, False), key, issuer.key)


def issue_client(key: Key, common_name: str) -> x509.Certificate:
    """Return a self-signed client certificate; what counts is its public key."""
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    builder = _builder(key, common_name, common_name, ca=False).add_extension(usage, False)
    return _sign(builder, key, key)


def key_pem(key: Key) -> str:
    """Return a private key as PKCS#8 PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def load_key(pem: str) -> Key:
    """Return the EC P-256 key in `pem`; raises `ValueError` for anything else."""
    key = serialization.load_pem_private_key(pem.encode(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not an EC key")
    return key


def certificate_pem(certificate: x509.Certificate) -> str:
    """Return a certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def certificate_der(certificate: x509.Certificate) -> bytes:
    """Return a certificate as DER."""
    return certificate.public_bytes(serialization.Encoding.DER)


def _name_of(holder: Holder) -> x509.Name:
    return holder.certificate.subject


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _builder(
    key: Key, subject: str, issuer: str | x509.Name, *, ca: bool, path_length: int | None = None
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    usage = x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(issuer if isinstance(issuer, x509.Name) else _name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(_FAR_FUTURE)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _sign(builder: x509.CertificateBuilder, key: Key, issuer_key: Key) -> x509.Certificate:
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return builder.add_extension(authority, critical=False).sign(issuer_key, hashes.SHA256())
