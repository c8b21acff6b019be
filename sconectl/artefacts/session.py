"""Session documents as text: what is reviewed in target/policies, and what is uploaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sconectl.plan.facts.image_facts import ImageFacts
from sconectl.plan.mesh.mesh import IMAGE_KEY_SECRET, MeshPlan, with_version
from sconectl.policy.serialized.session_variables import escape
from sconectl.text import yaml_text
from sconectl.text.yaml_tree import with_texts

_COMMENT = "Written by sconectl from the mesh manifest; uploads add `predecessor`. Do not edit."
_DOLLARS = "A `$` in front of a name is written `$$` here, as in every session file: it begins no variable."


def session_text(document: Mapping[str, Any], *, predecessor: str = "", salt: str = "") -> str:
    """Return a session as YAML; `predecessor` is the hash of the version that it replaces."""
    if salt:
        document = with_version({**{key: value for key, value in document.items() if key != "version"}, "salt": salt})
    head = {"name": document["name"], "version": document["version"]}
    if predecessor:
        head["predecessor"] = predecessor
    return yaml_text.dump({**head, **{key: value for key, value in document.items() if key not in head}})


def policy_files(plan: MeshPlan) -> dict[str, bytes]:
    """Return the files of target/policies."""
    return {f"{session.file}.yaml": session_file(session.document, _COMMENT).encode() for session in plan.sessions}


def session_file(document: Mapping[str, Any], comment: str = "") -> str:
    """Return a session as a file that `sconectl session` reads as the same session."""
    written = with_texts(document, escape)
    return yaml_text.dump(written, comment=comment if written == document else f"{comment}\n{_DOLLARS}".strip())


def image_session(
    facts: ImageFacts, key: bytes | None, exports: list[dict[str, Any]], access: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the session that keeps the full facts of an image, and the key of its encrypted files if there are any.

    `exports` names the service sessions that may import the key; `access` is the access policy.
    """
    secrets: list[dict[str, Any]] = [{"name": "facts", "kind": "ascii", "value": facts.to_json()}]
    if key is not None:
        secret: dict[str, Any] = {"name": IMAGE_KEY_SECRET, "kind": "binary", "value": key.hex()}
        if exports:
            secret["export"] = exports
        secrets.append(secret)
    return with_version({"name": facts.image_session, "access_policy": dict(access), "secrets": secrets})
