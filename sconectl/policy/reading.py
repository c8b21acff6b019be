"""Reading a session from text, and all that it consists of.

In: YAML (or JSON) text. Out: a frozen, normalised `Session`, or every fault with its position.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Discriminator, Tag, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from sconectl.errors import InvalidInput
from sconectl.policy.forms import fields, names
from sconectl.policy.forms.violation import code_of
from sconectl.policy.model.access_policy import AccessPolicy, Principal, Rule, Signer
from sconectl.policy.model.base import MAP, REFERENCE, shape
from sconectl.policy.model.references import Export, Import, VolumeExport, VolumeImport
from sconectl.policy.model.secret import AkvImport, Secret, Validity
from sconectl.policy.model.security import Attestation, SecretConfig, Security
from sconectl.policy.model.services import EnclaveSigner, Service, Variant
from sconectl.policy.model.session import Head, Session
from sconectl.policy.model.volumes import Image, InjectionFile, Mount, Volume
from sconectl.policy.rules.rules import FAULTS, RULES, Check
from sconectl.policy.rules.session_draft import Draft
from sconectl.policy.rules.validation_findings import findings_of
from sconectl.text.findings import Finding, errors_of
from sconectl.text.yaml_tree import MAX_NODES, Document, Path, parse

__all__ = [
    "AccessPolicy", "AkvImport", "Attestation", "EnclaveSigner", "Examined", "Export", "Image", "Import",
    "InjectionFile", "Mount", "Principal", "Rule", "Secret", "SecretConfig", "Security", "Service", "Session",
    "Signer", "Validity", "Variant", "Volume", "VolumeExport", "VolumeImport", "examine", "examine_document",
    "parse_session",
]  # fmt: skip

_TAGS = {"!akv": "mapping", "!cas": "empty"}
_STORE = ("secret_config", "store_in")
_SECTIONS: dict[str, type[BaseModel]] = {"services": Service, "images": Image, "secrets": Secret, "volumes": Volume}
_APART = frozenset({*_SECTIONS, "security", "access_policy", "secret_config"})

_ACCESS_POLICY: TypeAdapter[AccessPolicy | str] = TypeAdapter(
    Annotated[Annotated[AccessPolicy, Tag(MAP)] | Annotated[fields.Reference, Tag(REFERENCE)], Discriminator(shape)]
)
_SECURITY: TypeAdapter[Security | str] = TypeAdapter(
    Annotated[Annotated[Security, Tag(MAP)] | Annotated[fields.Reference, Tag(REFERENCE)], Discriminator(shape)]
)


@dataclass(frozen=True)
class Examined:
    """The result of reading a text: the session unless there are errors, and all findings."""

    session: Session | None
    findings: tuple[Finding, ...]


def parse_session(text: str | bytes, *, file: str = "session") -> Session:
    """Return the session in `text`; raises `InvalidInput` with every fault, positions under the name `file`."""
    examined = examine(text, file=file)
    if examined.session is None:
        raise InvalidInput(errors_of(examined.findings))
    return examined.session


def examine(text: str | bytes, *, file: str = "session", most_values: int = MAX_NODES) -> Examined:
    """Read `text` and return the session, if it has no faults, with all findings (deprecations included).

    A text with more than `most_values` YAML values is refused.
    """
    try:
        document = parse(text, file, tags=_TAGS, most_nodes=most_values)
    except InvalidInput as error:
        return Examined(None, error.findings)
    return examine_document(document)


def examine_document(document: Document, *, remarks: bool = True) -> Examined:
    """Examine a text that is parsed already; without `remarks`, rules that only warn are left out."""
    if not isinstance(document.value, dict):
        position = document.position(())
        return Examined(None, (Finding("error", code_of("D1"), position, "", "a session is a mapping"),))
    return _Reader(document, _without_nulls(document.value)).read(RULES if remarks else FAULTS)


_VERBATIM = frozenset({"environment", "payload"})


def _without_nulls(value: dict[str, Any]) -> dict[str, Any]:
    """Drop keys without a value (`predecessor: ~`): null stands for the default, but not in lists of texts."""

    def clean(item: Any) -> Any:
        if isinstance(item, str):
            return item
        if isinstance(item, dict):
            return {key: part if key in _VERBATIM else clean(part) for key, part in item.items() if part is not None}
        return [clean(part) for part in item] if isinstance(item, list) else item

    result: dict[str, Any] = clean(value)
    return result


def _usable_name(name: Any) -> str:
    """Return the name that relative references start from; in place of a faulty one, a name without further faults."""
    try:
        return names.session_name(name) if isinstance(name, str) else _NO_NAME
    except PydanticCustomError:
        return _NO_NAME


_NO_NAME = "-/" * 32 + "-"
_Model = TypeVar("_Model", bound=BaseModel)
_Either = TypeVar("_Either")


class _Reader:
    """Validates part by part, so that a fault in one does not hide the faults in the others."""

    def __init__(self, document: Document, value: dict[str, Any]) -> None:
        self.document = document
        self.value = value
        self.findings: list[Finding] = []
        self.context = {"session": _usable_name(value.get("name"))}
        self.draft = Draft(document, value)

    def read(self, rules: tuple[Check, ...]) -> Examined:
        version = self.value.get("version")
        if version in fields.LEGACY_VERSIONS:
            # Nearly everything is spelled otherwise there; more findings would only be noise.
            self.part(Head, {"name": "legacy", "version": version}, ())
            return Examined(None, tuple(self.findings))
        draft = self.draft
        draft.version = version if version in fields.VERSIONS else None
        head = self.part(Head, {key: item for key, item in self.value.items() if key not in _APART}, ())
        draft.access_policy = self.either(_ACCESS_POLICY, "access_policy", AccessPolicy())
        draft.security = self.either(_SECURITY, "security", Security())
        draft.secret_config = self.secret_config()
        draft.services = self.section(Service, "services")
        draft.images = self.section(Image, "images")
        draft.secrets = self.section(Secret, "secrets")
        draft.volumes = self.section(Volume, "volumes")
        for rule in rules:
            self.findings.extend(rule(draft))
        self.findings.sort(key=lambda finding: finding.position)
        if (
            errors_of(self.findings)
            or head is None
            or draft.access_policy is None
            or draft.security is None
            or draft.secret_config is None
        ):
            return Examined(None, tuple(self.findings))
        session = Session.model_construct(
            **dict(head),
            access_policy=draft.access_policy,
            security=draft.security,
            secret_config=draft.secret_config,
            services=tuple(draft.services.values()),
            images=tuple(draft.images.values()),
            secrets=tuple(draft.secrets.values()),
            volumes=tuple(draft.volumes.values()),
        )
        return Examined(session, tuple(self.findings))

    def part(self, model: type[_Model], value: Any, path: Path) -> _Model | None:
        try:
            return model.model_validate(value, context=self.context)
        except ValidationError as error:
            self.findings.extend(findings_of(error, self.document, path))
            return None

    def either(self, adapter: TypeAdapter[_Either], key: str, default: _Either) -> _Either | None:
        if key not in self.value:
            return default
        try:
            return adapter.validate_python(self.value[key], context=self.context)
        except ValidationError as error:
            self.findings.extend(findings_of(error, self.document, (key,)))
            return None

    def secret_config(self) -> SecretConfig | None:
        for path in self.document.tags:
            if path != _STORE:
                self.findings.append(self.draft.finding("E1", path, "this tag belongs to store_in only", "remove it"))
        if "secret_config" not in self.value:
            return SecretConfig()
        written = (self.value["secret_config"], self.document.tags.get(_STORE))
        return self.part(SecretConfig, written, _STORE[:1])

    def section(self, model: type[_Model], key: str) -> dict[int, _Model]:
        items = self.value.get(key, [])
        if not isinstance(items, list):
            self.findings.append(self.draft.finding("D1", (key,), "expected a list"))
            return {}
        declared = self.draft.names.setdefault(key, [])
        found: dict[int, _Model] = {}
        for index, item in enumerate(items):
            if isinstance(item, dict) and isinstance(item.get("name"), str):
                declared.append((index, item["name"]))
            part = self.part(model, item, (key, index))
            if part is not None:
                found[index] = part
        return found
