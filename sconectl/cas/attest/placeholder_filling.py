"""Puts the values of secrets into the places where a session refers to them.

In: texts with placeholders, and access to the values. Out: texts and bytes; keys. Each secret is looked up once.
Raises `CasRefusal` 403 if a secret cannot be had or does not fit its place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Protocol, TypeVar

from sconectl.cas.bounds.limits import DEFAULT
from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.secrets.placeholder_formats import write
from sconectl.cas.secrets.secret_value import earliest
from sconectl.policy.forms.placeholders import PlaceholderError, check, find, substitute, substitute_text, target_of
from sconectl.policy.reading import Session
from sconectl.policy.resolved_sections import Resolve
from sconectl.text.secret_placeholders import Placeholder

if TYPE_CHECKING:
    from sconectl.cas.secrets.session_secrets import Value
    from sconectl.cas.store.store import Store, Transaction

KEY_BYTES = 32
_Result = TypeVar("_Result")


class SecretValues(Protocol):
    """Finds the value of any secret of any session."""

    def value(
        self, transaction: Transaction, session: Session, name: str, *, software_identity: str | None = None
    ) -> Value:
        """Return the value of a secret; `software_identity` is the measurement of the program that gets it."""

    def resolver(self, transaction: Transaction, session: Session) -> Resolve:
        """Return the function that reads the secrets to which sections of `session` refer."""

    def is_due(self, transaction: Transaction, session: Session) -> bool:
        """Say whether a certificate that `session` uses is due for renewal."""

    def refresh(self, store: Store, session: Session) -> None:
        """Renew the certificates that are due."""

    def retrying(self, operation: Callable[[], _Result]) -> _Result:
        """Run `operation`, and again for each value that had to be fetched from another CAS first."""


def key_behind(transaction: Transaction, values: SecretValues, session: Session, reference: str, place: str) -> bytes:
    """Return the 32-byte key that a whole-value `reference` in `session` stands for (LANG §5, §14)."""
    kinds = {secret.name: secret.kind for secret in session.secrets}
    try:
        name = target_of(find(reference)[0], kinds).secret
    except PlaceholderError as error:
        raise _unfit(place, error) from error
    value = values.value(transaction, session, name)
    if value.kind != "binary" or len(value.content) != KEY_BYTES:
        raise CasRefusal(403, f"The key of {place} refers to a secret that is not binary with {KEY_BYTES} bytes")
    return value.content


class Filler:
    """Replaces the placeholders in texts of one session, for a program with the measurement `software_identity`.

    `only` restricts the secrets that may be used (LANG §15, provide_secrets); `most` is how many bytes all texts
    together may have in the end. `renew` is the unix time from which on one of the contents has another
    certificate.
    """

    def __init__(
        self,
        transaction: Transaction,
        values: SecretValues,
        session: Session,
        software_identity: str,
        *,
        only: Collection[str] | None = None,
        most: int = DEFAULT.filled_bytes,
    ) -> None:
        self._transaction = transaction
        self._source = values
        self._session = session
        self._software_identity = software_identity
        self._only = only
        self._kinds: dict[str, str | None] = {secret.name: secret.kind for secret in session.secrets}
        self._values: dict[str, Value] = {}
        self._written: dict[tuple[str, str], bytes] = {}
        self._most = self._left = most
        self.renew: int | None = None

    def text(self, template: str, place: str) -> str:
        """Return `template` with its placeholders replaced, as text."""
        try:
            return substitute_text(template, lambda found: self._fill(found, text_only=True), self._reserve)
        except PlaceholderError as error:
            raise _unfit(place, error) from error

    def content(self, template: str, place: str) -> bytes:
        """Return `template` with its placeholders replaced, as the bytes of a file."""
        try:
            return substitute(template, lambda found: self._fill(found, text_only=False), self._reserve)
        except PlaceholderError as error:
            raise _unfit(place, error) from error

    def _reserve(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise CasRefusal(
                413,
                "The texts are too large with their secrets filled in",
                f"At most {self._most} bytes are given out at a time, with all placeholders replaced",
            )

    def _fill(self, placeholder: Placeholder, *, text_only: bool) -> bytes:
        name = target_of(placeholder, self._kinds).secret
        if self._only is not None and name not in self._only:
            raise PlaceholderError("P1", f"the secret {name} is not among the provide_secrets of the image")
        value = self._value(name)
        if not text_only:
            self.renew = earliest(self.renew, value.renew)
        # Only now the kind of an import that does not state one is known, so formats are checked again.
        target = check(placeholder, self._kinds | {name: value.kind}, text_only=text_only)
        key = (name, target.format)
        if key not in self._written:
            self._written[key] = write(value, target.format)
        return self._written[key]

    def _value(self, name: str) -> Value:
        if name not in self._values:
            self._values[name] = self._source.value(
                self._transaction, self._session, name, software_identity=self._software_identity
            )
        return self._values[name]


def _unfit(place: str, error: PlaceholderError) -> CasRefusal:
    return CasRefusal(403, f"Filling secrets into {place} failed", error.message)
