"""X.509 certificates as RFC 5280 wants them: key identifiers, critical key usage and basic constraints.

In: keys, names and times. Out: certificates and PEM text, for the CAS and its clients (P-256 keys) and, through
`issue`, for the certificates that policies ask for.
"""

from __future__ import annotations

import datetime
import functools
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey
SigningKey = (
    ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey | rsa.RSAPrivateKey
)  # fmt: skip
"""The private keys that can stand behind a certificate."""

FAR_FUTURE = datetime.datetime(4096, 1, 1, tzinfo=datetime.UTC)
"""The end of certificates that are valid without a limit."""

_NETSCAPE_COMMENT = x509.ObjectIdentifier("2.16.840.1.113730.1.13")
"""Text that programs show and do not interpret."""

CLOCK_SKEW = datetime.timedelta(days=1)
"""How long before its issue a certificate is valid, for those whose clock is behind."""


@dataclass(frozen=True)
class Holder:
    """A private key with its certificate."""

    key: Key
    certificate: x509.Certificate


@dataclass(frozen=True)
class Authority:
    """A key that signs certificates, and the fields of its own certificate that those have to repeat."""

    key: SigningKey = field(repr=False)
    subject: x509.Name
    identifier: x509.AuthorityKeyIdentifier
    not_after: datetime.datetime

    @classmethod
    def of(cls, key: SigningKey, certificate: x509.Certificate) -> Authority:
        """Return the authority with this certificate; its key identifier may have been made up by any method."""
        try:
            own = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
            identifier = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)
        except x509.ExtensionNotFound:
            identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
        return cls(key, certificate.subject, identifier, certificate.not_valid_after_utc)


@dataclass(frozen=True)
class Content:
    """The content of a certificate, without its key and its signer.

    `path_length` counts for authorities only; `comment` is at most 127 ASCII characters for human readers.
    """

    subject: x509.Name
    not_before: datetime.datetime
    not_after: datetime.datetime
    ca: bool = False
    path_length: int | None = None
    usage: x509.ObjectIdentifier | None = None
    names: tuple[x509.GeneralName, ...] = ()
    comment: str | None = None


def issue(content: Content, key: SigningKey, authority: Authority | None) -> x509.Certificate:
    """Return a certificate for `key`, signed by `authority`, or by `key` itself if that is None.

    Raises `ValueError` for content that no certificate can have, such as an end before the beginning.
    """
    public = key.public_key()
    own_identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    if authority is None:
        signer, issuer = key, content.subject
        identifier = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own_identifier)
    else:
        signer, issuer, identifier = authority.key, authority.subject, authority.identifier
    builder = (
        _template(content.ca, content.path_length, content.usage, content.comment, isinstance(key, rsa.RSAPrivateKey))
        .subject_name(content.subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(content.not_before)
        .not_valid_after(content.not_after)
        .add_extension(own_identifier, critical=False)
        .add_extension(identifier, critical=False)
    )
    if content.names:
        builder = builder.add_extension(x509.SubjectAlternativeName(content.names), critical=False)
    return builder.sign(signer, _hash(signer))


def named(common_name: str) -> x509.Name:
    """Return the name that consists of `common_name` alone; raises `ValueError` unless it has 1 to 64 characters."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def new_key() -> Key:
    """Return a fresh EC P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def issue_root(key: Key, common_name: str) -> x509.Certificate:
    """Return a self-signed CA certificate."""
    return issue(_unlimited(common_name, ca=True, path_length=1), key, None)


def issue_intermediate(key: Key, common_name: str, issuer: Holder) -> x509.Certificate:
    """Return a CA certificate below `issuer`."""
    return issue(_unlimited(common_name, ca=True, path_length=0), key, Authority.of(issuer.key, issuer.certificate))


def issue_server(key: Key, common_name: str, host_names: Iterable[str], issuer: Holder) -> x509.Certificate:
    """Return a server certificate for `host_names` (DNS names and IP addresses) below `issuer`."""
    names = tuple(_general_name(name) for name in dict.fromkeys(host_names))
    content = _unlimited(common_name, usage=ExtendedKeyUsageOID.SERVER_AUTH, names=names)
    return issue(content, key, Authority.of(issuer.key, issuer.certificate))


def issue_client(key: Key, common_name: str) -> x509.Certificate:
    """Return a self-signed client certificate; only its public key counts."""
    return issue(_unlimited(common_name, usage=ExtendedKeyUsageOID.CLIENT_AUTH), key, None)


def key_pem(key: PrivateKeyTypes) -> str:
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


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _unlimited(
    common_name: str,
    *,
    ca: bool = False,
    path_length: int | None = None,
    usage: x509.ObjectIdentifier | None = None,
    names: tuple[x509.GeneralName, ...] = (),
) -> Content:
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    return Content(named(common_name), now - CLOCK_SKEW, FAR_FUTURE, ca, path_length, usage, names)


@functools.cache
def _template(
    ca: bool, path_length: int | None, usage: x509.ObjectIdentifier | None, comment: str | None, rsa_key: bool
) -> x509.CertificateBuilder:
    """Return a builder with the extensions that do not depend on keys or names; builders never change."""
    key_usage = x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        # TLS 1.2 with RSA key exchange encrypts to the key of the server.
        key_encipherment=not ca and rsa_key,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder()
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
        .add_extension(key_usage, critical=True)
    )
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    if comment is not None:
        text = comment.encode("ascii")
        ia5_string = b"\x16" + bytes([len(text)]) + text
        builder = builder.add_extension(x509.UnrecognizedExtension(_NETSCAPE_COMMENT, ia5_string), critical=False)
    return builder


def _hash(key: SigningKey) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None:
    """Return the hash that is as strong as `key`; the Edwards curves bring their own."""
    if isinstance(key, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)):
        return None
    if isinstance(key, rsa.RSAPrivateKey) or key.curve.key_size <= 256:
        return hashes.SHA256()
    return hashes.SHA384() if key.curve.key_size <= 384 else hashes.SHA512()
