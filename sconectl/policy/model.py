"""The session: its model, and reading it from text.

In: YAML (or JSON) text. Out: a frozen, normalised `Session`, or every fault with its position.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from sconectl.errors import InvalidInput
from sconectl.findings import Finding, errors_of
from sconectl.policy import fields, principals
from sconectl.policy.faults import findings_of
from sconectl.policy.parts import (
    AccessPolicy,
    Attestation,
    Export,
    Image,
    Import,
    InjectionFile,
    Part,
    Secret,
    Security,
    Service,
    Variant,
)
from sconectl.policy.rules import RULES, Draft
from sconectl.policy.violation import code_of
from sconectl.yaml_tree import Document, Path, parse

__all__ = [
    "AccessPolicy", "Attestation", "Examined", "Export", "Image", "Import", "InjectionFile", "Secret", "Security",
    "Service", "Session", "Variant", "examine", "parse_session",
]  # fmt: skip

_TAGS = {"!akv": "mapping", "!cas": "empty"}  # known to the language; the section they stand in is refused by name
_SECTIONS: dict[str, type[BaseModel]] = {"services": Service, "images": Image, "secrets": Secret}


class Session(Part):
    """A policy: what its services get, which enclaves may have it, and who may read and change it."""

    name: fields.SessionName
    version: fields.Version
    predecessor: fields.SessionHash | None = None
    creator: Annotated[str, BeforeValidator(principals.creator)] | None = None
    access_policy: AccessPolicy = AccessPolicy()
    security: Security = Security()
    services: tuple[Service, ...] = ()
    images: tuple[Image, ...] = ()
    secrets: tuple[Secret, ...] = Field((), repr=False)

    def service(self, name: str) -> Service | None:
        """Return the service called `name`."""
        return next((service for service in self.services if service.name == name), None)

    def secret(self, name: str) -> Secret | None:
        """Return the secret called `name`."""
        return next((secret for secret in self.secrets if secret.name == name), None)

    def image(self, name: str) -> Image | None:
        """Return the image called `name`."""
        return next((image for image in self.images if image.name == name), None)


class _Head(Part):
    """The scalars of a session, checked apart from its lists so that all faults are seen at once."""

    name: fields.SessionName
    version: fields.Version
    predecessor: fields.SessionHash | None = None
    creator: Annotated[str, BeforeValidator(principals.creator)] | None = None


@dataclass(frozen=True)
class Examined:
    """What reading a text gave: the session unless there are errors, and all findings."""

    session: Session | None
    findings: tuple[Finding, ...]


def parse_session(text: str | bytes, *, file: str = "session") -> Session:
    """Return the session in `text`; raises `InvalidInput` with every fault, positions under the name `file`."""
    examined = examine(text, file=file)
    if examined.session is None:
        raise InvalidInput(errors_of(examined.findings))
    return examined.session


def examine(text: str | bytes, *, file: str = "session") -> Examined:
    """Read `text` and return the session, if it has no faults, with all findings (deprecations included)."""
    try:
        document = parse(text, file, tags=_TAGS)
    except InvalidInput as error:
        return Examined(None, error.findings)
    if not isinstance(document.value, dict):
        position = document.position(())
        return Examined(None, (Finding("error", code_of("D1"), position, "", "a session is a mapping"),))
    return _Reader(document, _without_nulls(document.value)).read()


def _without_nulls(value: dict[str, Any]) -> dict[str, Any]:
    """Drop keys without a value (`predecessor: ~`): null stands for the default everywhere but in environment."""

    def clean(item: Any) -> Any:
        if isinstance(item, dict):
            return {
                key: part if key == "environment" else clean(part) for key, part in item.items() if part is not None
            }
        return [clean(part) for part in item] if isinstance(item, list) else item

    result: dict[str, Any] = clean(value)
    return result


_Model = TypeVar("_Model", bound=BaseModel)


class _Reader:
    """Validates part by part, so that a fault in one does not hide the faults in the others."""

    def __init__(self, document: Document, value: dict[str, Any]) -> None:
        self.document = document
        self.value = value
        self.findings: list[Finding] = []
        name = value.get("name")
        self.context = {"session": name if isinstance(name, str) else ""}
        self.draft = Draft(document)

    def read(self) -> Examined:
        apart = {*_SECTIONS, "security", "access_policy"}
        head = self.part(_Head, {key: item for key, item in self.value.items() if key not in apart}, ())
        access_policy = self.part(AccessPolicy, self.value.get("access_policy", {}), ("access_policy",))
        security = self.part(Security, self.value.get("security", {}), ("security",))
        self.draft.security = security
        self.draft.services = self.section(Service, "services", self.draft.service_names)
        self.draft.images = self.section(Image, "images", self.draft.image_names)
        self.draft.secrets = self.section(Secret, "secrets", self.draft.secret_names)
        for rule in RULES:
            self.findings.extend(rule(self.draft))
        self.legacy_spellings()
        self.findings.sort(key=lambda finding: finding.position)
        if errors_of(self.findings) or head is None or access_policy is None or security is None:
            return Examined(None, tuple(self.findings))
        session = Session.model_construct(
            **dict(head),
            access_policy=access_policy,
            security=security,
            services=tuple(self.draft.services.values()),
            images=tuple(self.draft.images.values()),
            secrets=tuple(self.draft.secrets.values()),
        )
        return Examined(session, tuple(self.findings))

    def part(self, model: type[_Model], value: Any, path: Path) -> _Model | None:
        try:
            return model.model_validate(value, context=self.context)
        except ValidationError as error:
            self.findings.extend(findings_of(error, self.document, path))
            return None

    def section(self, model: type[_Model], key: str, declared: list[tuple[int, str]]) -> dict[int, _Model]:
        items = self.value.get(key, [])
        if not isinstance(items, list):
            self.findings.append(self.draft.finding("D1", (key,), "expected a list"))
            return {}
        found: dict[int, _Model] = {}
        for index, item in enumerate(items):
            if isinstance(item, dict) and isinstance(item.get("name"), str):
                declared.append((index, item["name"]))
            part = self.part(model, item, (key, index))
            if part is not None:
                found[index] = part
        return found

    def legacy_spellings(self) -> None:
        items = self.value.get("services")
        for index, item in enumerate(items if isinstance(items, list) else []):
            if isinstance(item, dict) and "mrenclaves" in item:
                path = ("services", index, "mrenclaves")
                hint = "write attestation: [{mrenclave: […]}]"
                self.findings.append(
                    self.draft.finding("A1", path, "mrenclaves is deprecated", hint, severity="deprecation")
                )
