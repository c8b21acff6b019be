"""The text in which a CAS gives a session back (LANG §1.3); reading it gives the same session.

In: a validated session. Out: YAML with explicit predecessor and access policy, and without what equals a default.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sconectl.policy.model.access_policy import AccessPolicy, Principal, Rule, Signer
from sconectl.policy.model.references import VolumeExport
from sconectl.policy.model.services import Service
from sconectl.policy.model.session import Session
from sconectl.policy.model.volumes import Image, Volume
from sconectl.text.yaml_text import Tagged, dump

_ORDER = (
    "name", "version", "predecessor", "namespace_hash", "salt", "creator", "access_policy", "security",
    "secret_config", "services", "images", "secrets", "volumes",
)  # fmt: skip


def read_back(session: Session) -> str:
    """Return the session as YAML text in the form that a CAS answers with; it has the same hash."""
    return dump(as_written(session))


def as_written(session: Session) -> dict[str, Any]:
    """Return the session as the plain values that `read_back` writes."""
    plain = session.model_dump(by_alias=True, exclude_defaults=True)
    written = plain | {
        "predecessor": session.predecessor,
        "access_policy": _access_policy(session.access_policy),
        "services": [_service(*pair) for pair in zip(session.services, plain.get("services", ()), strict=True)],
        "images": [_image(*pair) for pair in zip(session.images, plain.get("images", ()), strict=True)],
        "secrets": [_secret(secret) for secret in plain.get("secrets", ())],
        "volumes": [_volume(*pair) for pair in zip(session.volumes, plain.get("volumes", ()), strict=True)],
    }
    if "secret_config" in plain:
        written["secret_config"] = {"store_in": _store(plain["secret_config"])}
    order = [key for key in _ORDER if written.get(key) or key == "predecessor"]
    return {key: written[key] for key in order}


def _access_policy(policy: AccessPolicy | str) -> Any:
    if isinstance(policy, str):
        return policy
    given = {operation: getattr(policy, operation) for operation in AccessPolicy.model_fields}
    return {operation: _principals(found) for operation, found in given.items() if found is not None}


def _principals(principals: Iterable[Principal]) -> list[Any]:
    return [_principal(principal) for principal in principals]


def _principal(principal: Principal) -> Any:
    if isinstance(principal, Rule):
        key = "require-all" if principal.at_least is None else f"require-at-least-{principal.at_least}"
        return {key: _principals(principal.of)}
    return {"signer": principal.signer} if isinstance(principal, Signer) else principal


def _store(config: dict[str, Any]) -> Tagged:
    return Tagged("!akv", {key: item for key, item in config.items() if key != "store"})


def _service(service: Service, written: dict[str, Any]) -> dict[str, Any]:
    if service.environment:
        written["environment"] = dict(sorted(service.environment.items()))
    return written | {"persistency": "None"}


def _image(image: Image, written: dict[str, Any]) -> dict[str, Any]:
    for file, text in zip(image.injection_files, written.get("injection_files", ()), strict=True):
        if "permission" in text:
            text["permission"] = f"0o{file.permission:03o}"
    return written


def _secret(written: dict[str, Any]) -> dict[str, Any]:
    return written | {key: _sorted(written[key]) for key in ("value", "payload") if key in written}


def _volume(volume: Volume, written: dict[str, Any]) -> dict[str, Any]:
    return written | ({"export": [_volume_export(export) for export in volume.export]} if volume.export else {})


def _volume_export(export: VolumeExport) -> dict[str, Any]:
    target = export.model_dump(exclude_defaults=True)
    terms: dict[str, Any] = {key: target.pop(key) for key in ("update_policy", "volume_alias") if key in target}
    return {"to": target, **terms} if terms else target


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(item) for key, item in sorted(value.items())}
    return [_sorted(item) for item in value] if isinstance(value, list) else value
