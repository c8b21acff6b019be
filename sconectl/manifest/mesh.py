"""The model of `kind: mesh`: which services form an application, and what they share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from sconectl.manifest.fields import (
    ApiVersion,
    ImageReference,
    InnerPath,
    NamedValue,
    Namespace,
    Optional,
    Part,
    ServiceName,
)

Mode = Literal["Upload", "SignedManifest", "EncryptedManifest", "NoUpload", "EncryptedOnly", "SignOnline"]


def _list_or_nothing(value: Any) -> Any:
    return () if value is None else value


def _nothing_if_empty(value: Any) -> Any:
    return None if value == "" else value


class Cas(Part):
    """A CAS and the roles that it plays."""

    name: str = Field("cas", description="Role: cas, image, security, access or attestation.")
    alias: Annotated[tuple[str, ...], BeforeValidator(_list_or_nothing)] = ()
    cas_url: Annotated[str, Field(min_length=1)] = Field(description="host[:port], or `local` for the embedded CAS.")
    cas_key: Optional = Field(None, description="Expected key hash of the CAS.")
    cas_encryption_key: Optional = None
    tolerance: Optional = None
    mode: Annotated[Mode | None, BeforeValidator(_nothing_if_empty)] = None


class Policy(Part):
    """Where the sessions live and what their attestation accepts."""

    namespace: Namespace
    tolerate: Optional = None
    ignore_advisories: Optional = None
    maa: Optional = None
    image_policy_namespace: Optional = None
    access_policy_name: Optional = None
    attestation_policy_name: Optional = None
    security_policy_name: Optional = None


class EnvironmentSection(Part):
    """Values for all services (`global`), for the chart (`helm`), or for one service."""

    service: str
    env: Annotated[tuple[NamedValue, ...], BeforeValidator(_list_or_nothing)] = ()


class MeshService(Part):
    """One service of the application."""

    name: ServiceName
    image: ImageReference
    image_policy: Optional = None
    image_secrets: InnerPath | None = Field(None, description="File with secrets that replace those of the image.")
    env: Optional = None
    helm_chart: Optional = None
    helm_extra_values: dict[str, Any] | None = None


def _sections(value: Any) -> Any:
    """Bring the older flat form (a list of name and value) into sections."""
    if value is None:
        return ()
    if not isinstance(value, list):
        return value
    return [
        {"service": "global", "env": [item]} if isinstance(item, dict) and "service" not in item and "name" in item
        else item
        for item in value
    ]  # fmt: skip


class Mesh(Part):
    """A mesh manifest."""

    api_version: ApiVersion = Field(alias="apiVersion")
    kind: Literal["mesh"]
    cas: Annotated[tuple[Cas, ...], Field(min_length=1)]
    policy: Policy
    env: Annotated[tuple[EnvironmentSection, ...], BeforeValidator(_sections)]
    services: Annotated[tuple[MeshService, ...], Field(min_length=1)]
    helm_extra_values: dict[str, Any] | str | None = None
    repo: dict[str, Any] | None = None
    extra_policies: Annotated[tuple[Any, ...], BeforeValidator(_list_or_nothing)] = ()
