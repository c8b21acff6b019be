"""The values of a session's secrets: made up, taken over from the version before, and found by name.

In: sessions, stored rows, access to imports, and the time. Out: rows to store, and values to use. Raises `CasRefusal`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from typing import Any

from cryptography import x509

from sconectl.cas.bounds.limits import DEFAULT
from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.secrets import generate, jwt, pgp, placeholder_formats, x509_secrets
from sconectl.cas.secrets.secret_value import EXPLICIT, ImportedValue, Stored, Value, written
from sconectl.cas.secrets.signing_keys import SigningKeys
from sconectl.policy.forms import placeholders
from sconectl.policy.reading import Secret, Session
from sconectl.text.secret_placeholders import Placeholder, is_reference

__all__ = [
    "ImportedValue",
    "Reading",
    "Stored",
    "Value",
    "certificate_row",
    "public_key_row",
    "secrets_for",
    "value_in",
    "value_object",
]

SOFTWARE_IDENTITY = "$$SCONE::self::software_identity$$"
"""The claim that is replaced by the measurement of the program that gets the token."""


def secrets_for(
    session: Session,
    previous: Mapping[str, Stored],
    previous_session: Session | None,
    imported: ImportedValue,
    now: datetime,
) -> dict[str, Stored]:
    """Return one row for each secret that `session` has itself; tokens are made at each use and have none.

    Values stay as LANG §13 says: where kind and parameters are the same, for private keys only if both versions
    say `migrate`, and never for certificates. Raises `CasRefusal`.
    """
    return _Generation(session, previous, previous_session, imported, now).rows()


def value_in(
    session: Session,
    stored: Mapping[str, Stored],
    name: str,
    imported: ImportedValue,
    now: datetime,
    *,
    software_identity: str | None = None,
) -> Value:
    """Return the value of one secret (see `Reading`)."""
    return Reading(session, stored, imported, now, software_identity).value(name)


def value_object(kind: str, content: bytes, expires: int | None, renew: int | None) -> dict[str, Any]:
    """Return a public value as the API shows it (API §3): hex for binary, structure for fragments, else text."""
    value: Any = content.hex() if kind == "binary" else content.decode()
    if kind == "config-fragment":
        value = json.loads(value)
    return {"kind": "string" if kind == "ascii" else kind, "value": value, "expires": expires, "renew": renew}


def certificate_row(secret: Secret, keys: SigningKeys, now: datetime) -> Stored:
    """Return a newly issued certificate for the same private key as ever."""
    key = keys.key(_named(secret, secret.private_key))
    authority, chain = keys.issuer(secret)
    issued = x509_secrets.issue_for(secret, key, authority, now)
    parameters = keys.certificate_parameters(secret, chain)
    return Stored(str(secret.kind), parameters, issued.pem.encode(), secret.export_public, issued.expires, issued.renew)


def public_key_row(secret: Secret, keys: SigningKeys) -> Stored:
    """Return the public half of the private key that `secret` names."""
    private_key = _named(secret, secret.private_key)
    content = generate.public_key_pem(keys.key(private_key))
    return Stored("public-key", written({"private_key": private_key}), content, secret.export_public, None, None)


class _Generation:
    """Makes the rows of a session in the order of their dependencies, each once."""

    def __init__(
        self,
        session: Session,
        previous: Mapping[str, Stored],
        previous_session: Session | None,
        imported: ImportedValue,
        now: datetime,
    ) -> None:
        self._session = session
        self._previous = previous
        self._before = {secret.name: secret for secret in previous_session.secrets} if previous_session else {}
        self._now = now
        self._keys = SigningKeys(session, self._row, imported)
        self._rows: dict[str, Stored | None] = {}

    def rows(self) -> dict[str, Stored]:
        own = (secret for secret in self._session.secrets if not secret.imported and secret.kind != "jwt")
        return {secret.name: self._row(secret.name) for secret in own}

    def _row(self, name: str) -> Stored:
        if name not in self._rows:
            self._rows[name] = None
            self._rows[name] = self._made(self._keys.secret(name))
        row = self._rows[name]
        if row is None:
            raise CasRefusal(400, f"The secret {name} would be made from itself")
        return row

    def _made(self, secret: Secret) -> Stored:
        if secret.value is not None:
            return self._explicit(secret)
        if secret.kind in x509_secrets.KINDS:
            return certificate_row(secret, self._keys, self._now)
        if secret.kind == "public-key":
            return public_key_row(secret, self._keys)
        kind, parameters = str(secret.kind), self._parameters(secret)
        old = self._previous.get(secret.name)
        if old is not None and (old.kind, old.parameters) == (kind, parameters) and self._stays(secret):
            return replace(old, public=secret.export_public)
        return Stored(kind, parameters, self._generated(secret), secret.export_public, None, None)

    def _stays(self, secret: Secret) -> bool:
        before = self._before.get(secret.name)
        return secret.kind != "private-key" or (secret.migrate and before is not None and before.migrate)

    def _parameters(self, secret: Secret) -> str:
        if secret.kind in {"ascii", "binary"}:
            return written({"size": secret.size})
        return written({"key_type": secret.key_type} if secret.kind == "private-key" else {})

    def _generated(self, secret: Secret) -> bytes:
        match secret.kind:
            case "ascii":
                return generate.printable(secret.size)
            case "binary":
                return generate.random_bytes(secret.size)
            case "private-key":
                key = generate.private_key(secret.key_type)
                self._keys.made(secret.name, key)
                return generate.private_key_pem(key)
            case "pgp-key":
                return pgp.armored(pgp.generate(self._now), pgp.PRIVATE).encode()
        raise CasRefusal(501, f"Secret {secret.name}: the kind {secret.kind} is not available in the embedded CAS")

    def _explicit(self, secret: Secret) -> Stored:
        expires = None
        match secret.kind:
            case "binary":
                content = bytes.fromhex(secret.value)
            case "config-fragment":
                content = json.dumps(secret.value, ensure_ascii=False).encode()
            case _:
                content = secret.value.encode()
        if secret.kind in x509_secrets.KINDS:
            certificate = x509.load_pem_x509_certificate(content)
            expires = int(certificate.not_valid_after_utc.timestamp())
            self._check_key(secret, certificate)
        return Stored(str(secret.kind), EXPLICIT, content, secret.export_public, expires, None)

    def _check_key(self, secret: Secret, certificate: x509.Certificate) -> None:
        """Refuse a certificate beside a key that is not its own; an imported key is known only at use."""
        name = secret.private_key
        if name is None or self._keys.secret(name).imported:
            return
        if certificate.public_key() != self._keys.key(name).public_key():
            raise CasRefusal(400, f"The certificate {secret.name} does not belong to the private key {name}")


class Reading:
    """Finds values in stored rows and behind imports, and signs tokens, each once.

    `software_identity` is the measurement of the program that gets them; no token is larger than `token_bytes`. Raises
    `CasRefusal`: 403 for secrets that are undefined or not granted, 501 for those in Azure, 500 for a lost row.
    """

    def __init__(
        self,
        session: Session,
        stored: Mapping[str, Stored],
        imported: ImportedValue,
        now: datetime,
        software_identity: str | None,
        token_bytes: int = DEFAULT.token_bytes,
    ) -> None:
        self._session = session
        self._stored = stored
        self._now = now
        self._software_identity = software_identity
        self._token_bytes = token_bytes
        self._tokens: dict[str, bytes] = {}
        self._keys = SigningKeys(session, self._row, imported)
        self._signing: set[str] = set()

    @cached_property
    def _kinds(self) -> dict[str, str | None]:
        return {secret.name: secret.kind for secret in self._session.secrets}

    def value(self, name: str) -> Value:
        """Return the value of the secret called `name`."""
        secret = self._keys.secret(name)
        if secret.imported:
            return self._keys.imported(secret)
        if secret.kind == "jwt":
            if name not in self._tokens:
                self._tokens[name] = self._token(secret).encode()
            return Value("jwt", self._tokens[name])
        row = self._row(name)
        if row.kind not in x509_secrets.KINDS:
            return Value(row.kind, row.content)
        key, renew = self._private_key(secret, row), self._keys.renewal(secret, row)
        return Value(row.kind, row.content, self._keys.chain(secret, row), key, renew)

    def _row(self, name: str) -> Stored:
        if name not in self._stored:
            raise CasRefusal(500, f"The value of secret {name} of session {self._session.name} is missing")
        return self._stored[name]

    def _private_key(self, secret: Secret, row: Stored) -> bytes | None:
        name = secret.private_key
        if name is None:
            return None
        if self._keys.secret(name).imported:
            # Own keys change together with their certificates only; an imported one may change at any time.
            certificate = x509.load_pem_x509_certificate(row.content)
            if certificate.public_key() != self._keys.key(name).public_key():
                raise CasRefusal(403, f"The certificate {secret.name} does not belong to the imported key {name}")
        return self._keys.key_pem(name)

    def _token(self, secret: Secret) -> str:
        if secret.name in self._signing:
            raise CasRefusal(403, f"The token {secret.name} would contain itself")
        self._signing.add(secret.name)
        head = f"Signing token {secret.name} failed"
        if secret.validity is None:
            raise CasRefusal(500, head, "It has no validity")
        try:
            claims: dict[str, str] = {}
            size = 0
            for claim, text in (secret.payload or {}).items():
                claims[claim] = self._claim(text)
                size += len(claim) + len(claims[claim])
                if size > self._token_bytes:
                    raise CasRefusal(413, head, f"A token holds at most {self._token_bytes} bytes of claims")
            key = self._keys.key(_named(secret, secret.signer))
            return jwt.signed(claims, key, self._now, secret.validity.lifetime)
        except placeholders.PlaceholderError as error:
            raise CasRefusal(403, head, error.message) from error
        except ValueError as error:
            raise CasRefusal(403, head, str(error)) from error
        finally:
            self._signing.discard(secret.name)

    def _claim(self, text: str) -> str:
        """Replace a claim that is entirely a placeholder; an embedded one stays as it is (LANG §7.2)."""
        if text == SOFTWARE_IDENTITY:
            if self._software_identity is None:
                raise CasRefusal(403, "The software identity is known only when a program is attested")
            return self._software_identity
        if not is_reference(text):
            return text
        return placeholders.substitute_text(text, self._filled)

    def _filled(self, placeholder: Placeholder) -> bytes:
        name = placeholders.target_of(placeholder, self._kinds).secret
        value = self.value(name)
        target = placeholders.check(placeholder, self._kinds | {name: value.kind}, text_only=True)
        return placeholder_formats.write(value, target.format)


def _named(secret: Secret, name: str | None) -> str:
    if name is None:
        raise CasRefusal(500, f"The secret {secret.name} does not say which private key it needs")
    return name
