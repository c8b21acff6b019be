"""The keys and issuers that the generated secrets of a session are made with.

In: a session, the rows of its secrets, and access to its imports. Out: loaded keys, and authorities with their
chains. Raises `CasRefusal` where something is missing or does not fit.
"""

from __future__ import annotations

import hashlib
import json

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.keys.certificates import Authority, SigningKey
from sconectl.cas.secrets import x509_secrets
from sconectl.cas.secrets.generate import load_private_key
from sconectl.cas.secrets.secret_value import EXPLICIT, Chain, ImportedValue, Row, Stored, Value, written
from sconectl.policy.reading import Secret, Session


class SigningKeys:
    """The private keys and issuing certificates of one session, own and imported; each is loaded once."""

    def __init__(self, session: Session, row: Row, imported: ImportedValue) -> None:
        self._session = session
        self._row = row
        self._imported = imported
        self._secrets = {secret.name: secret for secret in session.secrets}
        self._values: dict[str, Value] = {}
        self._keys: dict[str, SigningKey] = {}
        self._authorities: dict[str, tuple[Authority, Chain]] = {}

    def secret(self, name: str) -> Secret:
        """Return the secret called `name`; raises `CasRefusal` 403 if there is none."""
        if name not in self._secrets:
            raise CasRefusal(403, f"The secret {name} is not defined in session {self._session.name}")
        return self._secrets[name]

    def imported(self, secret: Secret) -> Value:
        """Return the value behind an import; raises `CasRefusal`."""
        if secret.import_ is None:
            raise CasRefusal(
                501, f"The secret {secret.name} lies in Azure Key Vault: not available in the embedded CAS"
            )
        if secret.name not in self._values:
            self._values[secret.name] = self._imported(secret)
        return self._values[secret.name]

    def made(self, name: str, key: SigningKey) -> None:
        """Remember a key that was just generated, so that it need not be read back."""
        self._keys[name] = key

    def key_pem(self, name: str) -> bytes:
        """Return the private-key secret called `name` as PEM, own or imported."""
        secret = self.secret(name)
        value = self.imported(secret) if secret.imported else self._row(name)
        if value.kind != "private-key":
            raise CasRefusal(403, f"The secret {name} is of kind {value.kind}, but a private-key is needed")
        return value.content

    def key(self, name: str) -> SigningKey:
        """Return the private-key secret called `name` as a key that can sign, own or imported."""
        pem = self.key_pem(name)
        if name not in self._keys:
            secret = self.secret(name)
            try:
                self._keys[name] = load_private_key(pem, trusted=secret.generated)
            except ValueError as error:
                raise CasRefusal(400, f"The private key {name} cannot be used", str(error)) from error
        return self._keys[name]

    def certificate_parameters(self, secret: Secret, chain: Chain) -> str:
        """Return, as JSON, the issuers of a certificate, and its key if imported: a change makes it outdated."""
        if not self.secret(str(secret.private_key)).imported:
            return written({"chain": chain})
        public = self.key(str(secret.private_key)).public_key()
        spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return written({"chain": chain, "key": hashlib.sha256(spki).hexdigest()})

    def issuer(self, secret: Secret) -> tuple[Authority | None, Chain]:
        """Return the authority that signs the certificate `secret` (None: its own key), and its chain of issuers."""
        return (None, ()) if secret.issuer is None else self._authority(secret.issuer)

    def chain(self, secret: Secret, row: Stored) -> Chain:
        """Return the issuers of an own certificate, nearest first.

        A generated certificate recorded them when it was issued; an explicit one may contain some, and the others are
        those of its `issuer` (LANG §7.2).
        """
        if row.parameters != EXPLICIT:
            return tuple(json.loads(row.parameters)["chain"])
        own, above = self._stated(secret, row)
        return own if above is None else (*own, *self._issuing(above))

    def renewal(self, secret: Secret, row: Stored) -> int | None:
        """Return when an own certificate, or one that stands behind it, is made anew.

        A generated one does not outlive its issuer, so its own time is enough. Issuers are asked for the chain of an
        explicit one only: an import that is gone keeps nobody from using what was issued before.
        """
        if row.parameters != EXPLICIT:
            return row.renew
        _, above = self._stated(secret, row)
        if above is None:
            return None
        issuer = self.secret(above)
        return self.imported(issuer).renew if issuer.imported else self.renewal(issuer, self._row(above))

    def _stated(self, secret: Secret, row: Stored) -> tuple[Chain, str | None]:
        """Return the issuers that an explicit certificate brings along, and the secret that goes on behind them."""
        pem = row.content.decode()
        own = x509_secrets.issuers_within(pem)
        top = own[-1] if own else x509_secrets.split(pem)[0]
        ends = secret.issuer is None or x509_secrets.is_self_signed(x509.load_pem_x509_certificate(top.encode()))
        return own, None if ends else secret.issuer

    def _issuing(self, name: str) -> Chain:
        """Return the certificate of the x509-ca secret called `name`, own or imported, and its issuers."""
        secret = self.secret(name)
        value = self.imported(secret) if secret.imported else self._row(name)
        if value.kind != "x509-ca":
            raise CasRefusal(403, f"The secret {name} is of kind {value.kind}, but an x509-ca is needed")
        chain = value.chain if isinstance(value, Value) else self.chain(secret, value)
        own = x509_secrets.split(value.content.decode(errors="replace"))
        if not own:
            raise CasRefusal(403, f"The certificate {name} is not PEM")
        return (own[0], *chain)

    def _authority(self, name: str) -> tuple[Authority, Chain]:
        if name not in self._authorities:
            chain = self._issuing(name)
            secret = self.secret(name)
            try:
                certificate = x509.load_pem_x509_certificate(chain[0].encode())
                key = self._authority_key(secret)
                fits = certificate.public_key() == key.public_key()
                signs = x509_secrets.is_authority(certificate)
                authority = Authority.of(key, certificate)
            except (ValueError, x509.DuplicateExtension, UnsupportedAlgorithm) as error:
                raise CasRefusal(400, f"The issuer {name} cannot be used", str(error)) from error
            if not fits:
                raise CasRefusal(
                    400, f"The issuer {name} cannot sign", "Its private key belongs to another certificate"
                )
            if not signs:
                raise CasRefusal(400, f"The issuer {name} cannot sign", "Its certificate is not that of an authority")
            self._authorities[name] = (authority, chain)
        return self._authorities[name]

    def _authority_key(self, secret: Secret) -> SigningKey:
        if not secret.imported and secret.private_key is not None:
            return self.key(secret.private_key)
        pem = self.imported(secret).private_key if secret.imported else None
        if pem is None:
            raise CasRefusal(403, f"The issuer {secret.name} cannot sign", "Its private key is not accessible")
        return load_private_key(pem)
