"""The parts of a session as frozen models: services, images, secrets, security, access policy.

In: mappings of text from `yaml_tree`, with the name of the session as validation context (relative references need
it). Out: normalised values. Keys that the models do not have are refused.
"""

from __future__ import annotations

from typing import Annotated, Any, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from sconectl.policy import fields, names, principals
from sconectl.policy.fields import one_or_many
from sconectl.policy.placeholders import START
from sconectl.policy.violation import not_available, violation

DEFAULT_SIZE = 20
DEFAULT_PERMISSION = 0o700
MAX_SECRET_VALUE = 1 << 19


class Part(BaseModel):
    """Base of all parts: immutable, no unknown keys, and no input shown in errors (it may hold secrets)."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _no_reference(cls, value: Any) -> Any:
        if isinstance(value, str) and value.startswith(START):
            raise not_available("a reference in place of a section")
        return value


class AccessPolicy(Part):
    """Who may do what with a session; None stands for the default (update, resp. read)."""

    read: tuple[str, ...] = ("CREATOR",)
    update: tuple[str, ...] = ("CREATOR",)
    create_sessions: tuple[str, ...] | None = None
    list_sessions: tuple[str, ...] | None = None

    @field_validator("read", "update", "create_sessions", "list_sessions", mode="before")
    @classmethod
    def _principals(cls, value: Any, info: ValidationInfo) -> Any:
        return principals.principals(value, cast(str, info.field_name))

    @model_validator(mode="after")
    def _drop_spelled_out_defaults(self) -> AccessPolicy:
        """Forget what equals its default, so that spelling it out makes no difference to the hash."""
        pairs = (("create_sessions", self.update), ("list_sessions", self.read))
        spelled_out = {operation: None for operation, default in pairs if getattr(self, operation) == default}
        return self.model_copy(update=spelled_out) if spelled_out else self

    def allowed(self, operation: str) -> tuple[str, ...]:
        """Return the principals of `operation`, with the defaults of the language filled in."""
        found: tuple[str, ...] | None = getattr(self, operation)
        if found is None:
            return self.update if operation == "create_sessions" else self.read
        return found

    def mentions_creator(self) -> bool:
        """Say whether any operation refers to `CREATOR`."""
        return any("CREATOR" in self.allowed(operation) for operation in type(self).model_fields)


def _not_empty(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise violation("A1", "the list of measurements is empty", "name at least one")
    return value


class Variant(Part):
    """One acceptable enclave: any of the measurements."""

    mrenclave: Annotated[tuple[fields.Measurement, ...], BeforeValidator(one_or_many), AfterValidator(_not_empty)]

    @model_validator(mode="before")
    @classmethod
    def _no_signer(cls, value: Any) -> Any:
        if isinstance(value, dict) and "signer" in value:
            raise not_available("signers in attestation", "name the measurements in mrenclave instead")
        return value


class Service(Part):
    """What one program gets, and which enclave may have it."""

    name: fields.ServiceName
    command: fields.Command = Field((), repr=False)
    environment: dict[fields.EnvironmentKey, fields.Text] = Field({}, repr=False)
    pwd: fields.AbsolutePath | None = None
    image_name: fields.Text | None = None
    attestation: Annotated[tuple[Variant, ...], BeforeValidator(one_or_many)] = ()
    fspf_path: fields.FilePath | None = None
    fspf_key: fields.FspfKey | None = Field(None, repr=False)
    fspf_tag: fields.FspfTag | None = None
    fspf_update_policy: fields.FspfUpdatePolicy = "rollback_protected_reinitializable"

    @model_validator(mode="before")
    @classmethod
    def _legacy_spelling(cls, value: Any) -> Any:
        """Take `mrenclaves` for the attestation variant it abbreviates, and drop the artefact `persistency`."""
        if not isinstance(value, dict):
            return value
        value = {key: item for key, item in value.items() if key != "persistency"}
        if "mrenclaves" in value:
            if "attestation" in value:
                raise violation("A1", "mrenclaves and attestation exclude each other", "keep attestation")
            value["attestation"] = [{"mrenclave": value.pop("mrenclaves")}]
        return value

    @property
    def measurements(self) -> tuple[str, ...]:
        """All measurements that may run this service."""
        return tuple(hex_text for variant in self.attestation for hex_text in variant.mrenclave)


class InjectionFile(Part):
    """A file that the runtime puts in place, with secrets filled in."""

    path: fields.FilePath
    content: str = Field(repr=False)
    permission: fields.Permission = DEFAULT_PERMISSION

    @model_validator(mode="before")
    @classmethod
    def _content_from_file_system(cls, value: Any) -> Any:
        if isinstance(value, str) or (isinstance(value, dict) and "path" in value and "content" not in value):
            raise not_available("injection files whose content comes from the file system", "give content")
        return value


class Image(Part):
    """What services with this image_name get besides command and environment."""

    name: Annotated[fields.Text, Field(min_length=1)]
    injection_files: tuple[InjectionFile, ...] = ()


class Export(Part):
    """To whom a secret is given: one session, or a namespace with all sessions in it."""

    session: str | None = None
    namespace: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_target(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = short_form(value)
        if isinstance(value, dict):
            namespace_without_hash(value)
            if ("session" in value) == ("namespace" in value) and not {"cas_url", "session_hash"} & set(value):
                raise violation("X5", "an export names either a session or a namespace")
        return value

    @field_validator("session", "namespace")
    @classmethod
    def _absolute(cls, value: str, info: ValidationInfo) -> str:
        return _absolute(value, info)


class Import(Part):
    """Which secret of which session stands behind a name of this session."""

    session: str
    secret: fields.SecretName

    @field_validator("session")
    @classmethod
    def _absolute(cls, value: str, info: ValidationInfo) -> str:
        return _absolute(value, info)


def _absolute(reference: str, info: ValidationInfo) -> str:
    return names.resolve(reference, (info.context or {}).get("session", ""))


def namespace_without_hash(value: dict[str, Any]) -> None:
    """X1: an export to a namespace cannot be pinned to a hash."""
    if "namespace" in value and "session_hash" in value:
        raise violation("X1", "an export to a namespace takes no session_hash", "remove session_hash")


def short_form(text: str) -> dict[str, str]:
    """Read the one-string form `/session=a/b` of a reference (X3: no relative path in it)."""
    host, slash, rest = text.partition("/")
    pairs = [pair.partition("=") for pair in rest.split(",")]
    if not slash or not all(key and value for key, _, value in pairs) or len({p[0] for p in pairs}) != len(pairs):
        raise violation("X5", "expected a reference like /session=name, or a mapping with session or namespace")
    if host:
        raise not_available("exports to another CAS")
    found = {key: value for key, _, value in pairs}
    if any(names.is_relative(found.get(key, "")) for key in ("session", "namespace")):
        raise violation("X3", "the short form takes absolute names only", "write {session: ../name} instead")
    return found


class Secret(Part):
    """A named value: generated by the CAS, given in the session, or imported."""

    name: fields.SecretName
    kind: fields.SecretKind | None = None
    size: fields.SecretSize = DEFAULT_SIZE
    value: str | None = Field(None, repr=False, max_length=MAX_SECRET_VALUE)
    export: Annotated[tuple[Export, ...], BeforeValidator(one_or_many)] = ()
    import_: Import | None = Field(None, alias="import")
    export_public: fields.Boolean = False

    @model_validator(mode="before")
    @classmethod
    def _sizes_belong_to_generation(cls, value: Any) -> Any:
        """Drop `size` where nothing is generated, so that it makes no difference to the hash."""
        if isinstance(value, dict) and ("value" in value or "import" in value) and "size" in value:
            return {key: item for key, item in value.items() if key != "size"}
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Secret:
        kind_given(self)
        import_without_value(self)
        import_is_not_passed_on(self)
        if self.value is not None:
            fields.without_nul(self.value)
            if self.kind == "binary":
                binary_value_is_hex(self.value)
        return self

    @property
    def generated(self) -> bool:
        """Whether the CAS makes up the value."""
        return self.value is None and self.import_ is None


def kind_given(secret: Secret) -> None:
    """K1: a secret that is not imported has a kind."""
    if secret.kind is None and secret.import_ is None:
        raise violation("K1", "the kind is missing", f"add kind: {' or '.join(fields.KINDS)}")


def binary_value_is_hex(value: str) -> None:
    """K2: the value of a binary secret is hex, two digits for each byte."""
    try:
        bytes.fromhex(value)
    except ValueError:
        raise violation("K2", "the value of a binary secret is hex, two digits for each byte") from None
    if not value.isalnum():
        raise violation("K2", "the value of a binary secret is hex without blanks")


def import_without_value(secret: Secret) -> None:
    """K15: a secret is imported or given, not both."""
    if secret.import_ is not None and secret.value is not None:
        raise violation("K15", "import and value exclude each other", "remove one of them")


def import_is_not_passed_on(secret: Secret) -> None:
    """Refuse exporting what was imported: whom the owner of the secret trusts is the owner's to say."""
    if secret.import_ is not None and (secret.export or secret.export_public):
        raise not_available("exporting an imported secret", "export it in the session that defines it")


class Attestation(Part):
    """How strictly enclaves are checked."""

    mode: fields.AttestationMode = "hardware"
    tolerate: tuple[fields.Toleration, ...] = ()
    ignore_advisories: Annotated[tuple[fields.Advisory, ...], BeforeValidator(one_or_many)] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Attestation:
        advisories_with_category(self)
        return self


def advisories_with_category(attestation: Attestation) -> None:
    """C4: ignoring advisories needs one of their categories among what is tolerated; all (`"*"`) is exempt."""
    categories = ("software-hardening-needed", "insecure-configuration", "outdated-tcb")
    named = [advisory for advisory in attestation.ignore_advisories if advisory != "*"]
    if named and not set(categories) & set(attestation.tolerate):
        raise violation("C4", f"ignored advisories need one of {', '.join(categories)} in tolerate")


class Security(Part):
    """Session-wide requirements."""

    attestation: Attestation = Attestation()
