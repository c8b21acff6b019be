"""The session as a whole: what it holds, and finding its parts by name.

In: the checked parts. Out: a frozen `Session`.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from sconectl.policy.forms import fields
from sconectl.policy.forms.violation import violation
from sconectl.policy.model.access_policy import AccessPolicy, Creator
from sconectl.policy.model.base import Part
from sconectl.policy.model.secret import Secret
from sconectl.policy.model.security import SecretConfig, Security
from sconectl.policy.model.services import Service
from sconectl.policy.model.volumes import Image, Volume


class Head(Part):
    """The scalars of a session, checked apart from its lists so that all faults are seen at once."""

    name: fields.SessionName = Field(
        description="Absolute name: the namespaces that the session lies in, and its own name, with / in between.",
        examples=["shop/cart"],
    )
    version: fields.Version = Field(description="Version of the session language.", examples=["0.3.12"])
    predecessor: fields.SessionHash | None = Field(
        None, description="Hash of the version that this one replaces; left out when the session is new."
    )
    namespace_hash: fields.SessionHash | None = Field(
        None, description="Hash that the namespace has to have; only when the session is new."
    )
    salt: fields.Salt | None = Field(
        None, description="32 random hex digits, so that nobody can guess the content of the session from its hash."
    )
    creator: Creator | None = Field(
        None, description="Who created the session; the CAS fills it in, and signed sessions name their signer here."
    )

    @model_validator(mode="before")
    @classmethod
    def _either(cls, value: Any) -> Any:
        if isinstance(value, dict):
            created_or_updated(value)
        return value


def created_or_updated(value: dict[str, Any]) -> None:
    """H2: predecessor belongs to an update and namespace_hash to a creation."""
    if "predecessor" in value and "namespace_hash" in value:
        raise violation(
            "H2", "predecessor and namespace_hash exclude each other", "remove one of them", at=("namespace_hash",)
        )


class Session(Head):
    """A policy: the configuration of services, the enclaves that may have it, and who may read and change it."""

    access_policy: AccessPolicy | str = Field(
        AccessPolicy(), description="Who may read and change the session, or a reference to a config-fragment."
    )
    security: Security | str = Field(
        Security(), description="How strictly enclaves are checked, or a reference to a config-fragment."
    )
    secret_config: SecretConfig = Field(SecretConfig(), description="Where the values of secrets are kept.")
    services: tuple[Service, ...] = Field(
        (), description="The programs that get their configuration from this session."
    )
    images: tuple[Image, ...] = Field(
        (), description="Files and volumes for programs; a service refers to an entry as `image_name`."
    )
    secrets: tuple[Secret, ...] = Field(
        (), repr=False, description="Named values: generated, given here, or imported from another session."
    )
    volumes: tuple[Volume, ...] = Field((), description="Protected file systems that services mount.")

    def mentions_creator(self) -> bool:
        """Say whether the access policy depends on the creator; one behind a reference may turn out to do so."""
        return isinstance(self.access_policy, str) or self.access_policy.mentions_creator()

    def service(self, name: str) -> Service | None:
        """Return the service called `name`."""
        return next((service for service in self.services if service.name == name), None)

    def secret(self, name: str) -> Secret | None:
        """Return the secret called `name`."""
        return next((secret for secret in self.secrets if secret.name == name), None)

    def image(self, name: str) -> Image | None:
        """Return the image called `name`."""
        return next((image for image in self.images if image.name == name), None)

    def volume(self, name: str) -> Volume | None:
        """Return the volume called `name`."""
        return next((volume for volume in self.volumes if volume.name == name), None)
