"""Who may do what with a session: principals, signers and governance rules (LANG §16).

In: an access policy as written. Out: frozen, normalised principals: `CREATOR`, `ANY`, `NONE`, a key hash, a PEM
certificate, a reference, a `Signer` or a `Rule`. Raises G1-G5.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, TypeAlias, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from sconectl.key_hash import SIGNER_VERSION, decode_base58check, is_key_hash, normal_certificate
from sconectl.policy.forms import pem
from sconectl.policy.forms.violation import violation
from sconectl.policy.model.base import Part
from sconectl.text.marks import SHOWN
from sconectl.text.secret_placeholders import START, is_reference

KEYWORDS = frozenset({"CREATOR", "ANY", "NONE"})
OPERATIONS = ("read", "update", "create_sessions", "list_sessions")
_ALONE = frozenset({"ANY", "NONE"})
_HINT = "write CREATOR, ANY, NONE, a PEM certificate, or a key hash as `sconectl cas show-identification` prints it"
_GOVERNANCE = re.compile(r"require-(?:all|at-least-([0-9]{1,6}))\Z")
_ED25519_BYTES = 32


def old_signer(text: str) -> bytes | None:
    """Return the Ed25519 key in the old notation of a signer (base58check, version 10), or None if it is none."""
    try:
        version, payload = decode_base58check(text.strip())
    except ValueError:
        return None
    return payload if version == SIGNER_VERSION and len(payload) == _ED25519_BYTES else None


def signer_key(text: str) -> str:
    """G5: a signer is named by the PEM form of its Ed25519 or P-384 key; returns it in normal spelling."""
    raw = old_signer(text)
    try:
        return pem.signer_key(text) if raw is None else pem.ed25519_key(raw)
    except ValueError:
        raise violation("G5", "expected the public key of a signer: a PEM Ed25519 or P-384 key") from None


def named(text: str) -> str:
    """G5: a principal that is text is a keyword, a certificate, a key hash or a reference."""
    text = text.strip()
    if text in KEYWORDS or is_reference(text) or is_key_hash(text):
        return text
    if text.startswith("-----BEGIN CERTIFICATE-----"):
        return certificate(text)
    raise violation("G5", "this is no principal", _HINT)


def certificate(text: str) -> str:
    """G5: a certificate is one PEM block with a usable public key; returns it in normal spelling."""
    try:
        return normal_certificate(text.strip() + "\n")
    except ValueError:
        raise violation("G5", "this is no PEM certificate with a usable public key", _HINT) from None


class Signer(Part):
    """Somebody who signs sessions, named by the public key in PEM form."""

    signer: Annotated[str, BeforeValidator(lambda value: signer_key(value) if isinstance(value, str) else value)] = (
        Field(description="Public key in PEM form, Ed25519 or P-384.")
    )


class Rule(Part):
    """A governance rule: all of its principals (`at_least` is None), or at least so many of them."""

    at_least: int | None = None
    of: tuple[Principal, ...]

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        return governance(value)

    @field_validator("of")
    @classmethod
    def _nobody_in_particular(cls, value: tuple[Principal, ...]) -> tuple[Principal, ...]:
        for number, entry in enumerate(value):
            if isinstance(entry, str) and entry in _ALONE:
                raise violation("G1", "ANY and NONE must be the only entry", "remove it", at=(number,))
        return value

    @property
    def needed(self) -> int:
        """How many of the principals have to agree."""
        return len(self.of) if self.at_least is None else self.at_least


def governance(value: Any) -> Any:
    """G4: `require-at-least-N` asks for 1 to all of its principals."""
    if isinstance(value, dict) and isinstance(value.get("of"), tuple):
        return value  # made by our own code; lists in texts are never tuples
    match = _GOVERNANCE.match(next(iter(value))) if isinstance(value, dict) and len(value) == 1 else None
    if match is None:
        raise violation("G5", "this is no principal", _HINT)
    key, children = next(iter(value.items()))
    if not isinstance(children, list) or not children:
        raise violation("G4", "expected a list with at least one principal", at=(key,))
    least = None if match[1] is None else int(match[1])
    if least is not None and not 1 <= least <= len(children):
        raise violation("G4", f"at least 1 and at most {len(children)} can be required here", at=(key,))
    return {"at_least": least, "of": children}


def _form(value: Any) -> str:
    if isinstance(value, str):
        return "@name"
    is_signer = isinstance(value, Signer) or (isinstance(value, dict) and "signer" in value)
    return "@signer" if is_signer else "@rule"


def _old_notation(value: Any) -> Any:
    return {"signer": value} if isinstance(value, str) and old_signer(value) is not None else value


Principal: TypeAlias = Annotated[
    Annotated[str, BeforeValidator(named), SHOWN, Tag("@name")]
    | Annotated[Signer, Tag("@signer")]
    | Annotated[Rule, Tag("@rule")],
    Discriminator(_form),
    BeforeValidator(_old_notation),
]


class AccessPolicy(Part):
    """Who may do what with a session; None stands for the default (update, resp. read)."""

    read: tuple[Principal, ...] = Field(("CREATOR",), description="Who may read the session (no generated secrets).")
    update: tuple[Principal, ...] = Field(("CREATOR",), description="Who may replace the session.")
    create_sessions: tuple[Principal, ...] | None = Field(
        None, description="Who may create sessions in this namespace; default: who may update."
    )
    list_sessions: tuple[Principal, ...] | None = Field(
        None, description="Who may list the sessions of this namespace; default: who may read."
    )

    @field_validator(*OPERATIONS, mode="before")
    @classmethod
    def _listed(cls, value: Any, info: ValidationInfo) -> Any:
        entries = value if isinstance(value, (list, tuple)) else [value]
        if not entries:
            raise violation("G5", "the list is empty", "write NONE for nobody")
        if cast(str, info.field_name) in {"read", "list_sessions"}:
            for number, entry in enumerate(entries):
                at = (number,) if entries is value else ()
                no_signer(entry, at)
                no_governance(entry, at)
        return entries

    @field_validator(*OPERATIONS)
    @classmethod
    def _alone(cls, value: tuple[Principal, ...]) -> tuple[Principal, ...]:
        keyword_alone(value)
        return value

    @model_validator(mode="after")
    def _drop_spelled_out_defaults(self) -> AccessPolicy:
        """Drop lists that equal their default, so that spelling them out makes no difference to the hash."""
        pairs = (("create_sessions", self.update), ("list_sessions", self.read))
        spelled_out = {operation: None for operation, default in pairs if getattr(self, operation) == default}
        return self.model_copy(update=spelled_out) if spelled_out else self

    def allowed(self, operation: str) -> tuple[Principal, ...]:
        """Return the principals of `operation`, with the defaults of the language filled in."""
        found: tuple[Principal, ...] | None = getattr(self, operation)
        if found is None:
            return self.update if operation == "create_sessions" else self.read
        return found

    def mentions_creator(self) -> bool:
        """Say whether any operation refers to `CREATOR`; a reference counts, since it may expand to it."""
        return any(
            name == "CREATOR" or name.startswith(START)
            for operation in OPERATIONS
            for name in _names(self.allowed(operation))
        )


def _names(principals: Iterable[Principal]) -> Iterator[str]:
    for principal in principals:
        if isinstance(principal, str):
            yield principal
        elif isinstance(principal, Rule):
            yield from _names(principal.of)


def keyword_alone(found: tuple[Principal, ...]) -> None:
    """G1: ANY and NONE stand alone."""
    for number, entry in enumerate(found):
        if len(found) > 1 and isinstance(entry, str) and entry in _ALONE:
            raise violation("G1", "ANY and NONE must be the only entry", "remove it, or the others", at=(number,))


def no_signer(entry: Any, at: tuple[int, ...]) -> None:
    """G2: reading is granted to keys, not to signers: reads carry no signatures."""
    if (isinstance(entry, dict) and "signer" in entry) or (isinstance(entry, str) and old_signer(entry) is not None):
        raise violation("G2", "a signer cannot be allowed to read or list", _HINT, at=at)


def no_governance(entry: Any, at: tuple[int, ...]) -> None:
    """G3: governance rules are for changes: a read has one requester only."""
    if isinstance(entry, dict) and any(_GOVERNANCE.match(str(key)) for key in entry):
        raise violation("G3", "governance rules are not possible for reading and listing", _HINT, at=at)


Creator: TypeAlias = Annotated[
    Annotated[str, AfterValidator(certificate), Tag("@name")] | Annotated[Signer, Tag("@signer")],
    Discriminator(lambda value: "@name" if isinstance(value, str) else "@signer"),
]


Rule.model_rebuild()
AccessPolicy.model_rebuild()
