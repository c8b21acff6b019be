"""The image session: full facts of an image in a CAS, and the key of its encrypted files for who may have it.

What others added to it stays: sessions that import the key, and people who may read and update it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from sconectl.apply.sessions import Uploaded, merged, put_session
from sconectl.artefacts.session import image_session
from sconectl.errors import CasRefused, PlanImpossible
from sconectl.plan.facts.image_facts import ImageFacts
from sconectl.plan.facts.naming import without_tag
from sconectl.plan.mesh.mesh import IMAGE_KEY_SECRET, ImageShare
from sconectl.policy.reading import Session, parse_session
from sconectl.ports import Keys, SessionStore, StoredSession
from sconectl.text.yaml_tree import parse

_FORBIDDEN = 403


def publish_facts(store: SessionStore, facts: ImageFacts, key: bytes | None) -> Uploaded:
    """Put the facts of an image into its session, and leave it to whom it belongs. Raises `CasError`."""

    def put() -> Uploaded:
        stored = store.read(facts.image_session)
        exports = _exports(_session(stored, facts.image_session))
        return put_session(store, image_session(facts, key, exports, _access(stored)))

    return merged(put)


def share_image(store: SessionStore, share: ImageShare, keys: Keys) -> Uploaded | None:
    """Let service sessions import the key of an image's encrypted files, and people have the image session.

    If it is about people only, None is the answer where there is no image session, or it belongs to somebody else.
    Raises `CasError`, and `PlanImpossible` if the key that the image was made with is not to be had.
    """
    if share.sessions:
        return merged(lambda: _share_key(store, share, keys))
    try:
        if read_facts(store, share.facts.image_session) is None:
            return None
        return merged(lambda: _share_with_people(store, share))
    except CasRefused as error:
        if error.status != _FORBIDDEN:
            raise
        return None


def _share_with_people(store: SessionStore, share: ImageShare) -> Uploaded:
    """Change nothing but who may read and update an image session: it may be about another build than the mesh."""
    name = share.facts.image_session
    stored = store.read(name)
    session = _session(stored, name)
    facts = _facts_in(session) or share.facts
    return put_session(
        store, image_session(facts, _key_in(session) or None, _exports(session), _access(stored, share.people))
    )


def _share_key(store: SessionStore, share: ImageShare, keys: Keys) -> Uploaded:
    stored = store.read(share.facts.image_session)
    session = _session(stored, share.facts.image_session)
    key = _key_in(session)
    if not _made_with(share.facts, key):
        key = keys.image_key(without_tag(share.facts.image))
    if not _made_with(share.facts, key):
        raise PlanImpossible(
            f"the key of the encrypted files of {share.facts.image} is neither in session "
            f"{share.facts.image_session} of CAS {store.address} nor on this machine",
            hint="apply its service manifest again, with --cas if the mesh uses another CAS",
        )
    exports = _exports(session)
    known = {export["session"] for export in exports}
    exports += [{"session": name} for name in share.sessions if name not in known]
    return put_session(store, image_session(share.facts, key, exports, _access(stored, share.people)))


def read_facts(store: SessionStore, name: str) -> ImageFacts | None:
    """Return the facts that the session called `name` holds, or None. Raises `CasError`."""
    return _facts_in(_session(store.read(name), name))


def _facts_in(session: Session | None) -> ImageFacts | None:
    secret = session.secret("facts") if session else None
    if secret is None or secret.value is None:
        return None
    try:
        return ImageFacts.read(secret.value)
    except ValidationError:
        return None


def salt_of(facts: ImageFacts, key: bytes) -> str:
    """Return the salt of facts: it is derived from the key, so that a rebuild is byte-identical."""
    text = facts.model_copy(update={"salt": ""}).to_json()
    return hmac.new(key, b"facts\0" + text.encode(), hashlib.sha256).hexdigest()


def _made_with(facts: ImageFacts, key: bytes) -> bool:
    return bool(key) and hmac.compare_digest(salt_of(facts, key).encode(), facts.salt.encode("utf-8", "replace"))


def _session(stored: StoredSession | None, name: str) -> Session | None:
    return parse_session(stored.text, file=name) if stored else None


def _key_in(session: Session | None) -> bytes:
    held = session.secret(IMAGE_KEY_SECRET) if session else None
    return bytes.fromhex(held.value) if held and held.value else b""


def _access(stored: StoredSession | None, people: Iterable[str] = ()) -> dict[str, Any]:
    """Return the access policy of an image session as it is, with `people` among those who may read and update it."""
    document = parse(stored.text, "session").value if stored else None
    written = document.get("access_policy") if isinstance(document, dict) else None
    policy = dict(written) if isinstance(written, dict) else {"read": ["CREATOR"], "update": ["CREATOR"]}
    for operation in ("read", "update"):
        entries = [entry for entry in policy[operation] if entry != "NONE"]
        if entries != ["ANY"]:
            policy[operation] = [*entries, *(key for key in people if key not in entries)] or ["NONE"]
    return policy


def _exports(session: Session | None) -> list[dict[str, Any]]:
    secret = session.secret(IMAGE_KEY_SECRET) if session else None
    return [{"session": export.session} for export in secret.export if export.session] if secret else []
