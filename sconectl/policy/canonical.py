"""The canonical form of a session: its hash, comparing two of them, and the text the CAS gives back.

In: a validated session. Out: text or a hash that does not depend on how the session was spelled.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sconectl.policy.model import Export, Image, Secret, Service, Session
from sconectl.policy.parts import DEFAULT_PERMISSION, DEFAULT_SIZE
from sconectl.yaml_text import dump


def session_hash(session: Session) -> str:
    """Return the hash of the session (64 hex digits); predecessor and creator are part of it."""
    return hashlib.sha256(_canonical(session).encode()).hexdigest()


def same_content(first: Session, second: Session) -> bool:
    """Say whether two sessions are the same but for predecessor and creator."""
    return _content(first) == _content(second)


def _content(session: Session) -> str:
    return _canonical(session.model_copy(update={"predecessor": None, "creator": None}))


def _canonical(session: Session) -> str:
    # Defaults are left out, so that spelling them out makes no difference and a later version of the language
    # can add fields without changing the hash of a session that does not use them.
    document = session.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def read_back(session: Session) -> str:
    """Return the session as YAML text in the form that a CAS answers with; it has the same hash."""
    document: dict[str, Any] = {
        "name": session.name,
        "version": session.version,
        "predecessor": session.predecessor,
    }
    if session.creator is not None:
        document["creator"] = session.creator
    document["access_policy"] = {
        operation: list(granted) for operation, granted in session.access_policy.model_dump(exclude_none=True).items()
    }
    attestation = session.security.model_dump(mode="json", exclude_defaults=True)
    if attestation:
        document["security"] = attestation
    document |= {
        section: items
        for section, items in (
            ("services", [_service(service) for service in session.services]),
            ("images", [_image(image) for image in session.images]),
            ("secrets", [_secret(secret) for secret in session.secrets]),
        )
        if items
    }
    return dump(document)


def _service(service: Service) -> dict[str, Any]:
    document = service.model_dump(mode="json", exclude_defaults=True)
    if service.environment:
        document["environment"] = dict(sorted(service.environment.items()))
    return document | {"persistency": "None"}


def _image(image: Image) -> dict[str, Any]:
    document: dict[str, Any] = {"name": image.name}
    if image.injection_files:
        document["injection_files"] = [
            {"path": file.path, "content": file.content}
            | ({"permission": f"0o{file.permission:03o}"} if file.permission != DEFAULT_PERMISSION else {})
            for file in image.injection_files
        ]
    return document


def _secret(secret: Secret) -> dict[str, Any]:
    document: dict[str, Any] = {"name": secret.name}
    if secret.kind is not None:
        document["kind"] = secret.kind
    if secret.generated and secret.size != DEFAULT_SIZE:
        document["size"] = secret.size
    if secret.value is not None:
        document["value"] = secret.value
    if secret.import_ is not None:
        document["import"] = {"session": secret.import_.session, "secret": secret.import_.secret}
    if secret.export:
        document["export"] = [_export(export) for export in secret.export]
    if secret.export_public:
        document["export_public"] = True
    return document


def _export(export: Export) -> dict[str, Any]:
    return {"session": export.session} if export.session is not None else {"namespace": export.namespace}
