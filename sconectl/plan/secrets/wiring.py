"""Which service gets which secret: definitions by name over the whole mesh, and exports to exactly the importers.

In: the secrets of each service, resolved. Out: the secrets section of each session. A name stands for one secret, but
that each service with the same image has a secret of its own of each name that the image defines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sconectl.text.secret_placeholders import placeholders

_PRIVATE_FORMATS = ("privatekey", "pkcs12-with-private-key")


@dataclass
class ServiceSecrets:
    """What one service defines and imports; `texts` are all places where it may use a secret.

    `elsewhere` are names of secrets that come from sessions outside of the mesh. `image` is what the service runs.
    """

    session: str
    defined: dict[str, dict[str, Any]]
    imported: Sequence[str]
    texts: Sequence[str] = field(default_factory=tuple)
    elsewhere: Sequence[str] = ()
    image: str = ""


@dataclass(frozen=True)
class WiringFault:
    """A secret that cannot be wired; `candidates` are names that may have been meant, `hint` is for none of them."""

    service: str
    secret: str
    message: str
    candidates: tuple[str, ...] = ()
    hint: str = "define it in a service manifest, or remove the import"
    lacks: Literal["", "secret", "import"] = ""
    """Where an unknown name was looked for: `secret` in the service, `import` in the mesh; empty for a known one."""


def wire(services: Mapping[str, ServiceSecrets]) -> tuple[dict[str, list[dict[str, Any]]], list[WiringFault]]:
    """Return the secrets of each service's session, and what is wrong."""
    faults: list[WiringFault] = []
    owners: dict[str, list[str]] = {}
    for service, secrets in services.items():
        for name in secrets.defined:
            first = owners.setdefault(name, [service])[0]
            if first != service and not _same_image(services[first], secrets):
                message = f"is also defined by service {first}; names are unique in a mesh, but for one image"
                faults.append(WiringFault(service, name, message))
            elif first != service:
                owners[name].append(service)
    importers: dict[tuple[str, str], list[str]] = {}
    sections: dict[str, list[dict[str, Any]]] = {service: [] for service in services}
    for service, secrets in services.items():
        for name in dict.fromkeys(secrets.imported):
            if name in secrets.defined:
                continue
            if name not in owners:
                message = "is imported, but no service defines it"
                faults.append(WiringFault(service, name, message, tuple(owners), lacks="import"))
                continue
            owner, *others = owners[name]
            if others:
                faults.append(_ambiguous(service, name, owners[name]))
                continue
            sections[service].append(_import(services[owner].session, name))
            importers.setdefault((owner, name), []).append(secrets.session)
            key = _private_key(services[owner].defined[name], secrets, name)
            if key in services[owner].defined:
                importers.setdefault((owner, key), []).append(secrets.session)
    for service, secrets in services.items():
        own = [
            _definition(entry, importers.get((service, name), ()))
            for name, entry in secrets.defined.items()
            if service in owners[name]
        ]
        sections[service] = [*own, *sections[service]]
    return sections, faults


def _same_image(first: ServiceSecrets, second: ServiceSecrets) -> bool:
    return bool(first.image) and first.image == second.image


def _ambiguous(service: str, name: str, owners: Sequence[str]) -> WiringFault:
    message = f"is imported, but each of {', '.join(owners)} has one of its own, because they run the same image"
    hint = (
        f"define {name} in the manifest of the image of {service}, and import it in that of {owners[0]}: then all "
        "share it; or let only one service run that image"
    )
    return WiringFault(service, name, message, hint=hint)


def _import(session: str, name: str) -> dict[str, Any]:
    return {"name": name, "import": {"session": session, "secret": name}}


def _private_key(definition: Mapping[str, Any], importer: ServiceSecrets, name: str) -> str:
    """Return the key that has to travel with a certificate: only if the importer uses it."""
    key = str(definition.get("private_key", ""))
    if not key:
        return ""
    used = [found for text in importer.texts for found in placeholders(text) if found]
    old = any(found.name == f"{name}.key" and not found.suffix for found in used)
    return key if old or any(found.name == name and found.suffix.startswith(_PRIVATE_FORMATS) for found in used) else ""


def _definition(entry: Mapping[str, Any], importers: Sequence[str]) -> dict[str, Any]:
    secret = {key: entry[key] for key in ("name", "kind") if key in entry}
    secret |= {key: value for key, value in entry.items() if key not in (*secret, "export")}
    if secret.get("kind") == "private-key" and "value" not in secret:
        secret.setdefault("migrate", True)  # an unrelated change of the session takes no key away
    given = entry.get("export")
    exports = list(given) if isinstance(given, (list, tuple)) else ([given] if given else [])
    exports += [{"session": session} for session in sorted(set(importers))]
    if exports:
        secret["export"] = exports
    return secret
