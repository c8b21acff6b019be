"""The session as a whole: what it holds, and finding its parts by name.

In: the checked parts. Out: a frozen `Session`.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from sconectl.policy import fields
from sconectl.policy.access_policy import AccessPolicy, Creator
from sconectl.policy.part import Part
from sconectl.policy.secret import Secret
from sconectl.policy.security import SecretConfig, Security
from sconectl.policy.services import Service
from sconectl.policy.violation import violation
from sconectl.policy.volumes import Image, Volume


class Head(Part):
    """The scalars of a session, checked apart from its lists so that all faults are seen at once."""

    name: fields.SessionName
    version: fields.Version
    predecessor: fields.SessionHash | None = None
    namespace_hash: fields.SessionHash | None = None
    salt: fields.Salt | None = None
    creator: Creator | None = None

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
    """A policy: what its services get, which enclaves may have it, and who may read and change it."""

    access_policy: AccessPolicy | str = AccessPolicy()
    security: Security | str = Security()
    secret_config: SecretConfig = SecretConfig()
    services: tuple[Service, ...] = ()
    images: tuple[Image, ...] = ()
    secrets: tuple[Secret, ...] = Field((), repr=False)
    volumes: tuple[Volume, ...] = ()

    def mentions_creator(self) -> bool:
        """Say whether who the creator is matters; a delegated access policy may turn out to name it."""
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
