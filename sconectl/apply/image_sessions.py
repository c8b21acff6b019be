"""The image session: full facts of an image in a CAS, and the key of its encrypted files for who may have it."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from pydantic import ValidationError

from sconectl.apply.sessions import Uploaded, merged, put_session
from sconectl.artefacts.session import image_session
from sconectl.errors import PlanImpossible
from sconectl.plan.facts.image_facts import ImageFacts
from sconectl.plan.facts.naming import without_tag
from sconectl.plan.mesh.mesh import IMAGE_KEY_SECRET, KeyShare
from sconectl.policy.reading import Session, parse_session
from sconectl.ports import Keys, SessionStore


def publish_facts(store: SessionStore, facts: ImageFacts, key: bytes | None) -> Uploaded:
    """Put the facts of an image into its session; exports that meshes added are kept. Raises `CasError`."""

    def put() -> Uploaded:
        return put_session(store, image_session(facts, key, _exports(_read(store, facts.image_session))))

    return merged(put)


def share_key(store: SessionStore, share: KeyShare, keys: Keys) -> Uploaded:
    """Let the service sessions of a mesh import the key of an image's encrypted files.

    Raises `CasError`, and `PlanImpossible` if the key that the image was made with is not to be had.
    """
    return merged(lambda: _share_key(store, share, keys))


def _share_key(store: SessionStore, share: KeyShare, keys: Keys) -> Uploaded:
    session = _read(store, share.facts.image_session)
    held = session.secret(IMAGE_KEY_SECRET) if session else None
    key = bytes.fromhex(held.value) if held and held.value else b""
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
    return put_session(store, image_session(share.facts, key, exports))


def read_facts(store: SessionStore, name: str) -> ImageFacts | None:
    """Return the facts that the session called `name` holds, or None. Raises `CasError`."""
    session = _read(store, name)
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


def _read(store: SessionStore, name: str) -> Session | None:
    stored = store.read(name)
    return parse_session(stored.text, file=name) if stored else None


def _exports(session: Session | None) -> list[dict[str, Any]]:
    secret = session.secret(IMAGE_KEY_SECRET) if session else None
    return [{"session": export.session} for export in secret.export if export.session] if secret else []
