"""The audit log: one signed JSON object for each thing that happened, chained to the one before it.

In: events, and lines of a log. Out: entries. An entry is signed (Ed25519) over a domain and its canonical JSON without
`signature`; `previous` is the signature of its predecessor. Entries never hold values. The log names the CAS: the root
key signs which key signs the log (`cas_started`).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from sconectl.key_hash import hash_of_spki

STARTED = "cas_started"
_ENTRY_DOMAIN = b"sconectl CAS audit log entry v1\0"
_KEY_DOMAIN = b"sconectl CAS audit log key v1\0"
_OWN_FIELDS = ("sequence", "time", "event", "previous", "signature")
_MAX_LINE = 1 << 20


class AuditError(ValueError):
    """A line is no entry, or not one that the CAS has signed."""


class OtherCas(AuditError):
    """A log belongs to another CAS."""


@dataclass(frozen=True)
class Entry:
    """An entry of the log; `line` is its text in the log, `fields` is everything but the signature."""

    sequence: int
    previous: str
    signature: str
    line: str
    fields: Mapping[str, Any]

    @property
    def head(self) -> Head:
        """Number and signature of this entry, to which the next one is chained."""
        return Head(self.sequence, self.signature)


@dataclass(frozen=True)
class Head:
    """The newest entry of a log: its number and its signature (base64).

    `moves` is how many tags were moved on since, without an entry; it is no part of the log.
    """

    sequence: int
    signature: str
    moves: int = field(default=0, compare=False)

    @property
    def age(self) -> tuple[int, int]:
        """What grows with everything that happens."""
        return self.sequence, self.moves


EMPTY = Head(0, "")


@dataclass(frozen=True)
class AuditKey:
    """The key that signs a log, and the fields of `bind` that say so in the log."""

    private: Ed25519PrivateKey = field(repr=False)
    binding: Mapping[str, str]


def entry(head: Head, time: str, event: str, fields: Mapping[str, Any], key: Ed25519PrivateKey) -> Entry:
    """Return the entry that follows `head`; `fields` are JSON values without fractions, and no secrets."""
    taken = [name for name in fields if name in _OWN_FIELDS]
    if taken:
        raise ValueError(f"these fields of an audit entry are taken: {taken}")
    content = {
        "sequence": head.sequence + 1,
        "time": time,
        "event": event,
        **fields,
        "previous": head.signature,
    }
    signature = base64.b64encode(key.sign(_message(content))).decode()
    line = json.dumps(content | {"signature": signature}, ensure_ascii=True, separators=(", ", ": "), allow_nan=False)
    return Entry(head.sequence + 1, head.signature, signature, line, content)


def parse(line: str | bytes) -> Entry:
    """Return the entry in `line`, its signature not yet verified; raises `AuditError`."""
    if len(line) > _MAX_LINE:
        raise AuditError("the line is too long")
    try:
        text = (line.decode() if isinstance(line, bytes) else line).strip()
        content = json.loads(text, object_pairs_hook=_unique, parse_float=_no_number, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise AuditError("it is not a JSON object of an audit log") from error
    if not isinstance(content, dict):
        raise AuditError("it is not a JSON object of an audit log")
    sequence, previous, signature = (content.get(name) for name in ("sequence", "previous", "signature"))
    if not (type(sequence) is int and sequence > 0 and isinstance(previous, str) and isinstance(signature, str)):
        raise AuditError("it has not the fields of an audit entry")
    if not all(isinstance(content.get(name), str) for name in ("time", "event")):
        raise AuditError("it has not the fields of an audit entry")
    fields = {name: value for name, value in content.items() if name != "signature"}
    return Entry(sequence, previous, signature, text, fields)


def check_signature(found: Entry, key: Ed25519PublicKey) -> None:
    """Raise `AuditError` if `found` was not signed with `key`."""
    try:
        key.verify(base64.b64decode(found.signature, validate=True), _message(found.fields))
    except (InvalidSignature, binascii.Error, UnicodeEncodeError) as error:
        raise AuditError("its signature is wrong") from error


def bind(key: Ed25519PrivateKey, root_key: ec.EllipticCurvePrivateKey) -> AuditKey:
    """Return `key` with the fields by which a log names its CAS and the key that signs it, signed by the CAS key."""
    raw = key.public_key().public_bytes_raw()
    spki = root_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    statement = root_key.sign(_KEY_DOMAIN + raw, ec.ECDSA(hashes.SHA256()))
    binding = {
        "cas_key": hash_of_spki(spki),
        "cas_public_key": base64.b64encode(spki).decode(),
        "audit_key": raw.hex(),
        "statement": base64.b64encode(statement).decode(),
    }
    return AuditKey(key, binding)


def bound_key(fields: Mapping[str, Any], cas_key_hash: str) -> Ed25519PublicKey:
    """Return the key that signs the log of the CAS `cas_key_hash`, out of the fields that `bind` made.

    Raises `OtherCas` if they name another CAS, and `AuditError` if that CAS has not signed them.
    """
    try:
        spki = base64.b64decode(fields["cas_public_key"], validate=True)
        raw = bytes.fromhex(fields["audit_key"])
        statement = base64.b64decode(fields["statement"], validate=True)
        if hash_of_spki(spki) != cas_key_hash or fields["cas_key"] != cas_key_hash:
            raise OtherCas(f"it is the log of the CAS {fields['cas_key']}")
        root = load_der_public_key(spki)
        if not isinstance(root, ec.EllipticCurvePublicKey):
            raise AuditError("the CAS key is of another kind")
        root.verify(statement, _KEY_DOMAIN + raw, ec.ECDSA(hashes.SHA256()))
        return Ed25519PublicKey.from_public_bytes(raw)
    except AuditError:
        raise
    except (KeyError, TypeError, ValueError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise AuditError("the CAS has not signed which key signs its log") from error


def audit_key_in(lines: Iterable[str | bytes], cas_key_hash: str) -> Ed25519PublicKey:
    """Return the key that signs the log in `lines`, according to the CAS itself; raises `OtherCas` or `AuditError`."""
    for line in lines:
        found = parse(line)
        if found.fields["event"] == STARTED:
            return bound_key(found.fields, cas_key_hash)
    raise AuditError(f"no entry {STARTED} says which key signs the log")


def _message(content: Mapping[str, Any]) -> bytes:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return _ENTRY_DOMAIN + text.encode()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a key is there twice")
    return content


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of an audit log")
