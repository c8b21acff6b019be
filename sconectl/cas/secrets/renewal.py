"""Certificates whose time comes: issued anew for the same private key before they expire (LANG §7.2, `valid_for`).

In: a session, its rows, access to its imports, and the time. Out: the rows that have changed. A certificate that was
issued while the clock was ahead, and so is not yet valid, is due as well: nobody accepts it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from cryptography import x509

from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.secrets import x509_secrets
from sconectl.cas.secrets.secret_value import EXPLICIT, ImportedValue, Stored
from sconectl.cas.secrets.session_secrets import certificate_row, public_key_row
from sconectl.cas.secrets.signing_keys import SigningKeys
from sconectl.policy.reading import Secret, Session


def is_due(row: Stored, now: datetime) -> bool:
    """Say whether a row is a certificate of the CAS to be renewed: its renewal time has come, or it is not valid yet.

    Certificates start a day before they are issued, so a clock that is corrected by less changes nothing.
    """
    if row.renew is not None and row.renew <= now.timestamp():
        return True
    if row.kind not in x509_secrets.KINDS or row.parameters == EXPLICIT:
        return False
    return x509.load_pem_x509_certificate(row.content).not_valid_before_utc > now


def renewed(
    session: Session, stored: Mapping[str, Stored], imported: ImportedValue, now: datetime
) -> dict[str, Stored]:
    """Return the rows of `session` that had to be made anew, by name; empty if there are none.

    These are the certificates that are due, those whose issuer or imported key has changed, and the public keys of
    such keys. A certificate that cannot be issued now, say because its imported issuer is gone, keeps its row and
    does not hinder the others; `CasRefusal` says why if it is due and nothing else could be done.
    """
    return _Renewal(session, stored, imported, now).rows()


class _Renewal:
    """Looks at issuers before what they have issued, at each certificate once."""

    def __init__(self, session: Session, stored: Mapping[str, Stored], imported: ImportedValue, now: datetime) -> None:
        self._session = session
        self._stored = stored
        self._now = now
        self._keys = SigningKeys(session, self._row, imported)
        self._current: dict[str, Stored] = {}
        self._refusals: list[CasRefusal] = []

    def rows(self) -> dict[str, Stored]:
        own = [secret.name for secret in self._session.secrets if secret.name in self._stored]
        changed = {name: row for name in own if (row := self._row(name)) != self._stored[name]}
        if self._refusals and not changed:
            raise self._refusals[0]
        return changed

    def _row(self, name: str) -> Stored:
        if name not in self._current:
            if name not in self._stored:
                raise CasRefusal(500, f"The value of secret {name} of session {self._session.name} is missing")
            self._current[name] = self._stored[name]
            self._current[name] = self._looked_at(self._keys.secret(name), self._stored[name])
        return self._current[name]

    def _looked_at(self, secret: Secret, row: Stored) -> Stored:
        if row.parameters == EXPLICIT or row.kind not in x509_secrets.KINDS | {"public-key"}:
            return row
        due = is_due(row, self._now)
        try:
            if row.kind == "public-key":
                return public_key_row(secret, self._keys)
            return certificate_row(secret, self._keys, self._now) if due or self._outdated(secret, row) else row
        except CasRefusal as refusal:
            if due:
                self._refusals.append(refusal)
            return row

    def _outdated(self, secret: Secret, row: Stored) -> bool:
        _, chain = self._keys.issuer(secret)
        return self._keys.certificate_parameters(secret, chain) != row.parameters
