"""Whether the text in which a CAS gives a session back says the same as another session, found quickly.

In: the session, and the text. Out: the session in the text. Only its first lines are parsed; the rest is compared as
it is written.
"""

from __future__ import annotations

from sconectl.policy.reading import Session, examine
from sconectl.policy.serialized.yaml_writer import read_back

_BODY = "\naccess_policy:"
"""Where the text of a CAS goes on behind the head: name, versions, salt and creator."""


def unchanged(wanted: Session, text: str) -> Session | None:
    """Return the session in a CAS's `text` if it says the same as `wanted`, found without reading all of it.

    None if it does not, or if it is written in another way than `read_back` writes.
    """
    head, mark, body = text.partition(_BODY)
    if not mark or read_back(wanted).partition(_BODY)[2] != body:
        return None
    found = examine(head).session
    if found is None:
        return None
    session = wanted.model_copy(update={name: getattr(found, name) for name in ("predecessor", "creator")})
    same = all(getattr(found, name) == getattr(wanted, name) for name in ("name", "version", "namespace_hash", "salt"))
    return session if same else None
