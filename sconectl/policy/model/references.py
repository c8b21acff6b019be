"""References to other sessions and other CASes (LANG §10): whom something is given to, and where it comes from.

In: a mapping, or the one-string form `host/session=a,…`. Out: absolute names. Raises X1, X3-X5, N2-N4, H1.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from sconectl.cas_address import CAS_ADDRESS
from sconectl.key_hash import is_key_hash
from sconectl.policy.forms import fields, names
from sconectl.policy.forms.violation import violation
from sconectl.policy.model.base import Part
from sconectl.text.marks import SHOWN

_ADDRESS = re.compile(rf"{CAS_ADDRESS}\Z")
REMOTE = ("cas_url", "cas_key", "cas_software_key")


def cas_address(text: str) -> str:
    """X4: the address of a CAS is a host with an optional port."""
    match = _ADDRESS.match(text)
    if match is None:
        raise violation(
            "X4", "expected the address of a CAS, like cas.example.com or cas.example.com:8081; a port is at most 65535"
        )
    return match[1] + (match[2] or "")


def cas_key(text: str) -> str:
    """X4: a CAS is identified by a key hash."""
    if not is_key_hash(text):
        raise violation("X4", "expected a key hash, as `sconectl cas show-identification` prints it")
    return text


def local_name(text: str, info: ValidationInfo) -> str:
    """Return the absolute name of a session or namespace."""
    return names.resolve(text, (info.context or {}).get("session", ""))


SessionReference = Annotated[str, AfterValidator(local_name), SHOWN]
CasAddress = Annotated[str, AfterValidator(cas_address), SHOWN]
CasKey = Annotated[str, AfterValidator(cas_key), SHOWN]


def short_form(value: Any) -> Any:
    """X3: read the one-string form `host/session=a/b,session_hash=…`; it takes absolute names only."""
    if not isinstance(value, str):
        return value
    host, slash, rest = value.partition("/")
    pairs = [pair.partition("=") for pair in rest.split(",")]
    found = {key: item for key, _, item in pairs}
    if not slash or not all(key and item for key, _, item in pairs) or len(found) != len(pairs):
        raise violation("X5", "expected a reference like /session=name, or a mapping with session or namespace")
    if any(names.is_relative(found.get(key, "")) for key in ("session", "namespace")):
        raise violation("X3", "the short form takes absolute names only", "write {session: ../name} instead")
    return {"cas_url": host, **found} if host else found


def namespace_without_hash(value: dict[str, Any]) -> None:
    """X1: an export to a namespace cannot be pinned to a hash."""
    if "namespace" in value and "session_hash" in value:
        raise violation("X1", "an export to a namespace takes no session_hash", "remove session_hash")


def one_target(value: dict[str, Any]) -> None:
    """X5: an export names a session or a namespace, not both."""
    if ("session" in value) == ("namespace" in value):
        raise violation("X5", "an export names either a session or a namespace")


def one_cas_key(value: dict[str, Any]) -> None:
    """X4: another CAS is named by its address and exactly one of its keys."""
    given = [key for key in REMOTE if key in value]
    if given and ("cas_url" not in given or len(given) != 2):
        raise violation("X4", "another CAS needs cas_url and exactly one of cas_key and cas_software_key")


class Remote(Part):
    """The fields that name another CAS; all are empty for the CAS of the session itself."""

    session_hash: fields.SessionHash | None = Field(
        None, description="Only this version of the session, 64 hex digits."
    )
    cas_url: CasAddress | None = Field(
        None, description="Address of another CAS; needs one of the two keys.", examples=["cas.example.org:8081"]
    )
    cas_key: CasKey | None = Field(None, description="Key hash of the other CAS; its updates are trusted, too.")
    cas_software_key: CasKey | None = Field(None, description="Key hash of the other CAS in just this version.")


class Export(Remote):
    """A receiver of a secret: one session, or a namespace with all sessions in it."""

    session: SessionReference | None = Field(
        None, description="The session, absolute or relative.", examples=["shop/cart", "../cart"]
    )
    namespace: SessionReference | None = Field(
        None, description="A namespace: the session of this name, and all below it.", examples=["shop"]
    )

    @model_validator(mode="before")
    @classmethod
    def _one_target(cls, value: Any) -> Any:
        value = short_form(value)
        if isinstance(value, dict):
            namespace_without_hash(value)
            one_cas_key(value)
            one_target(value)
        return value


class Import(Remote):
    """The secret of another session that a name of this session stands for."""

    session: SessionReference = Field(description="The session that exports it.", examples=["../database"])
    secret: fields.SecretName = Field(description="Name of the secret there.", examples=["password"])

    @model_validator(mode="before")
    @classmethod
    def _consistent(cls, value: Any) -> Any:
        value = short_form(value)
        if isinstance(value, dict):
            one_cas_key(value)
        return value


class VolumeImport(Part):
    """The volume of another session that a name of this session stands for."""

    session: SessionReference = Field(description="The session that exports it.", examples=["../database"])
    volume: fields.PublicText = Field(description="Name of the volume there, or its alias.", examples=["data"])
    session_hash: fields.SessionHash | None = Field(
        None, description="Only this version of the session, 64 hex digits."
    )

    @model_validator(mode="before")
    @classmethod
    def _local(cls, value: Any) -> Any:
        value = short_form(value)
        if isinstance(value, dict):
            local_volume(value)
        return value


class VolumeExport(Part):
    """A session that gets a volume, its rights to the volume's tag, and the volume's name there."""

    session: SessionReference = Field(description="The session that gets the volume.", examples=["../backup"])
    session_hash: fields.SessionHash | None = Field(
        None, description="Only this version of the session, 64 hex digits."
    )
    update_policy: fields.VolumeUpdatePolicy = Field(
        "rollback_protected", description="What the importer may choose at most."
    )
    volume_alias: fields.PublicText | None = Field(None, description="The name that the importer has to use.")

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, value: Any) -> Any:
        """Bring both spellings, a bare reference and one under `to`, into one form."""
        value = short_form(value)
        if not isinstance(value, dict):
            return value
        if "to" not in value:
            terms_need_to(value)
            local_volume(value)
            return value
        target = short_form(value["to"])
        if not isinstance(target, dict):
            raise violation("X5", "expected a mapping with session", at=("to",))
        local_volume(target, at=("to",))
        terms = {key: item for key, item in value.items() if key != "to"}
        if twice := terms.keys() & {"session", "session_hash"}:
            raise violation("D3", "this belongs under to", at=(min(twice),))
        if unknown := target.keys() - {"session", "session_hash"}:
            raise violation("D3", "unknown key", "check the spelling, or remove it", at=("to", min(unknown)))
        return {**target, **terms}

    @field_validator("volume_alias")
    @classmethod
    def _named(cls, value: str | None) -> str | None:
        if value == "":
            raise violation("D1", "expected some text")
        return value


def terms_need_to(value: dict[str, Any]) -> None:
    """W3: with update_policy or volume_alias the reference stands under `to`."""
    for key in ("update_policy", "volume_alias"):
        if key in value:
            raise violation("W3", f"{key} needs the session under to", "write {to: {session: …}, …}", at=(key,))


def local_volume(value: dict[str, Any], *, at: tuple[str, ...] = ()) -> None:
    """X2: volumes stay within one CAS; X1: they are given to sessions, not to namespaces."""
    for key in REMOTE:
        if key in value:
            raise violation("X2", "a volume cannot be shared with another CAS", f"remove {key}", at=(*at, key))
    if "namespace" in value:
        raise violation("X1", "a volume is given to a session, not to a namespace", at=(*at, "namespace"))
