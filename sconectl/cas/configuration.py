"""What an attested program gets: command, environment, files and keys, with the secrets filled in.

In: a session, one of its services, and the transaction that knows the values. Out: plain JSON values. Raises
`CasRefusal` if a secret cannot be had or does not fit its place.
"""

from __future__ import annotations

import base64
from typing import Any

from sconectl.cas.refusal import CasRefusal
from sconectl.cas.secrets import Value, value_of
from sconectl.cas.store import Transaction
from sconectl.policy.model import Service, Session
from sconectl.policy.placeholders import (
    Placeholder,
    PlaceholderError,
    check,
    find,
    format_value,
    is_reference,
    substitute,
    substitute_text,
    target_of,
)

_KEY_BYTES = 32


def configuration(transaction: Transaction, session: Session, session_hash: str, service: Service) -> dict[str, Any]:
    """Return the whole configuration of `service`."""
    filler = _Filler(transaction, session)
    return {
        "session": session.name,
        "service": service.name,
        "session_hash": session_hash,
        "argv": [filler.text(item, f"argument {number}") for number, item in enumerate(service.command)],
        "environment": {
            key: filler.text(value, f"environment variable {key}") for key, value in service.environment.items()
        },
        "pwd": service.pwd or "/",
        "files": _files(filler, session, service),
        "fspf": _fspf(filler, service),
    }


def _files(filler: _Filler, session: Session, service: Service) -> list[dict[str, Any]]:
    image = session.image(service.image_name) if service.image_name is not None else None
    return [
        {
            "path": file.path,
            "permission": file.permission,
            "content": base64.b64encode(filler.content(file.content, f"file {file.path}")).decode(),
        }
        for file in (image.injection_files if image else ())
    ]


def _fspf(filler: _Filler, service: Service) -> dict[str, Any] | None:
    if service.fspf_path is None or service.fspf_key is None:
        return None
    key = filler.key(service.fspf_key) if is_reference(service.fspf_key) else service.fspf_key
    return {"path": service.fspf_path, "key": key, "tag": service.fspf_tag}


class _Filler:
    """Replaces placeholders; each secret is looked up once."""

    def __init__(self, transaction: Transaction, session: Session) -> None:
        self._transaction = transaction
        self._session = session
        self._kinds: dict[str, str | None] = {secret.name: secret.kind for secret in session.secrets}
        self._values: dict[str, Value] = {}

    def text(self, template: str, place: str) -> str:
        try:
            return substitute_text(template, lambda placeholder: self._fill(placeholder, text_only=True))
        except PlaceholderError as error:
            raise _unfit(place, error) from error

    def content(self, template: str, place: str) -> bytes:
        try:
            return substitute(template, lambda placeholder: self._fill(placeholder, text_only=False))
        except PlaceholderError as error:
            raise _unfit(place, error) from error

    def key(self, reference: str) -> str:
        """Return the referenced file system key as hex."""
        value = self._value(find(reference)[0].name)
        if value.kind != "binary" or len(value.content) != _KEY_BYTES:
            raise CasRefusal(403, "The secret that fspf_key refers to is not binary with 32 bytes")
        return value.content.hex()

    def _fill(self, placeholder: Placeholder, *, text_only: bool) -> bytes:
        name = target_of(placeholder, self._kinds).secret
        value = self._value(name)
        # Only now the kind of an import that does not state one is known, so formats are checked again.
        target = check(placeholder, self._kinds | {name: value.kind}, text_only=text_only)
        return format_value(value.kind, target.format, value.content)

    def _value(self, name: str) -> Value:
        if name not in self._values:
            self._values[name] = value_of(self._transaction, self._session, name)
        return self._values[name]


def _unfit(place: str, error: PlaceholderError) -> CasRefusal:
    return CasRefusal(403, f"Filling secrets into {place} failed", error.message)
