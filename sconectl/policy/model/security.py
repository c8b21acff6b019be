"""Session-wide requirements: how strictly enclaves are checked, and where secrets are kept (LANG §12, §17).

In: mappings of text. Out: frozen `Security` and `SecretConfig`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from sconectl.policy.forms import fields, pem
from sconectl.policy.forms.one_time_password import SharedSecret
from sconectl.policy.forms.tolerations import DEBUG_MODE, HARDWARE, MODES, TOLERATIONS
from sconectl.policy.forms.violation import violation
from sconectl.policy.model.base import MAP, REFERENCE, Part, one_or_many, shape
from sconectl.text.marks import SHOWN
from sconectl.text.secret_placeholders import is_reference

_ALIASES = {"debug": DEBUG_MODE}
_ADVISORY = re.compile(r"INTEL-SA-\d{5}\Z")


def attestation_mode(text: str) -> str:
    """C1: the attestation mode is known, or a reference."""
    return text if is_reference(text) else fields.one_of(text, MODES, "C1")


def tolerated(text: str) -> str:
    """C3: what is tolerated is known, or a reference; `debug` is taken for `debug-mode`."""
    text = _ALIASES.get(text, text)
    return text if is_reference(text) else fields.one_of(text, TOLERATIONS, "C3")


def advisory(text: str) -> str:
    """C4: an advisory is named by its id, or a reference; `"*"` stands for all."""
    if text != "*" and not _ADVISORY.match(text) and not is_reference(text):
        raise violation("C4", 'expected an id like INTEL-SA-00615, or "*"')
    return text


def provider_url(text: str) -> str:
    """C1: the attestation provider is reached over https."""
    if not is_reference(text) and not re.fullmatch(r"https://[^\s/]+(/\S*)?", text):
        raise violation("C1", "expected the address of an attestation provider, beginning with https://")
    return text


def certificate(text: str) -> str:
    """D1: the certificates of a provider are PEM certificates, or references."""
    if is_reference(text):
        return text
    try:
        pem.certificates(text)
    except ValueError:
        raise violation("D1", "expected a PEM certificate") from None
    return text.strip() + "\n"


def qe_public_key(text: str) -> str:
    """D1: the public key of an old quoting enclave has 64 hex digits."""
    return text if is_reference(text) else fields.hex_digits(text, 32, "D1")


def _list_or_reference(value: Any) -> Any:
    return [value] if isinstance(value, str) and is_reference(value) else value


class Attestation(Part):
    """How strictly enclaves are checked."""

    mode: Annotated[str, AfterValidator(attestation_mode), SHOWN] = Field(HARDWARE, description="Who attests enclaves.")
    tolerate: Annotated[
        tuple[Annotated[str, AfterValidator(tolerated), SHOWN], ...], BeforeValidator(_list_or_reference)
    ] = Field((), description="Weaknesses of a machine that are accepted.", examples=[["hyperthreading"]])
    ignore_advisories: Annotated[
        tuple[Annotated[str, AfterValidator(advisory), SHOWN], ...], BeforeValidator(one_or_many)
    ] = Field(
        (), description='Intel advisories that are accepted; `"*"` stands for all.', examples=[["INTEL-SA-00615"]]
    )
    trusted_scone_qe_pubkeys: tuple[Annotated[str, AfterValidator(qe_public_key)], ...] = Field(
        (), json_schema_extra={"deprecated": True}, description="Keys of old quoting enclaves; without effect today."
    )
    must_be_sgx_local: fields.Boolean = Field(
        False, description="Services run on the machine of the CAS only; needs a toleration."
    )
    url: Annotated[str, AfterValidator(provider_url), SHOWN] | None = Field(
        None,
        description="Address of the attestation provider; needed for mode maa.",
        examples=["https://sharedweu.weu.attest.azure.net/"],
    )
    certificates: Annotated[tuple[Annotated[str, AfterValidator(certificate)], ...], BeforeValidator(one_or_many)] = (
        Field((), description="PEM certificates of the authorities that the provider is trusted by.")
    )
    min_rsa_signing_key_size: Annotated[int, BeforeValidator(fields.WholeNumber(1, 1 << 16, "D1")), SHOWN] = Field(
        2048,
        json_schema_extra={"deprecated": True},
        description="Smallest RSA key of a provider; without effect today.",
    )
    one_time_password_shared_secret: SharedSecret | None = Field(
        None, repr=False, description="Whoever starts a service has to give a one-time password made from this."
    )


AttestationOrReference = Annotated[
    Annotated[Attestation, Tag(MAP)] | Annotated[fields.Reference, Tag(REFERENCE)], Discriminator(shape)
]


class Security(Part):
    """Session-wide requirements."""

    attestation: AttestationOrReference = Field(
        Attestation(), description="What the attestation of a service accepts, or a reference to a config-fragment."
    )
    singleton_enclaves: fields.Boolean = Field(False, description="An enclave gets its configuration at most once.")
    service_access_token: fields.Text | None = Field(
        None, repr=False, description="Text that a service has to show before it gets its configuration."
    )


def token_reference(text: str) -> str:
    """E1: the token of a key vault is a reference to an aad-token."""
    if not is_reference(text):
        raise violation("E1", "expected a reference to an aad-token", "write $$SCONE::name$$")
    return text


def vault_url(text: str) -> str:
    """E1: a key vault is reached over https."""
    if not re.fullmatch(r"https://[^\s/]+/?", text):
        raise violation("E1", "expected the address of a key vault, beginning with https://")
    return text


class SecretConfig(Part):
    """Where the values of secrets are kept: in the CAS, or encrypted in an Azure key vault."""

    store: str = "cas"
    token: Annotated[str, AfterValidator(token_reference)] | None = Field(
        None, description="Reference to a secret of kind aad-token, which opens the vault."
    )
    vault: Annotated[str, AfterValidator(vault_url), SHOWN] | None = Field(
        None, description="Address of the vault.", examples=["https://shop.vault.azure.net"]
    )

    @model_validator(mode="before")
    @classmethod
    def _tagged(cls, value: Any) -> Any:
        """Take the section as written together with the tag of its `store_in`, as a pair."""
        return secret_config(*value) if isinstance(value, tuple) else value


def secret_config(value: Any, tag: str | None) -> dict[str, Any]:
    """E1: `store_in` carries the tag `!cas` and nothing else, or `!akv` with token and vault.

    `value` is the section as read, `tag` the tag of its `store_in`. Returns the input of `SecretConfig`.
    """
    if not isinstance(value, dict):
        raise violation("D1", "expected a mapping")
    if unknown := value.keys() - {"store_in"}:
        raise violation("D3", "unknown key", "check the spelling, or remove it", at=(min(unknown),))
    place = value.get("store_in")
    if tag == "!cas" and place is None:
        return {"store": "cas"}
    if tag == "!akv" and isinstance(place, dict):
        for key in ("token", "vault"):
            if place.get(key) is None:
                raise violation("E1", f"{key} is missing", f"add {key}", at=("store_in",))
        if unknown := place.keys() - {"token", "vault"}:
            raise violation("D3", "unknown key", "check the spelling, or remove it", at=("store_in", min(unknown)))
        return {"store": "akv", **place}
    raise violation("E1", "store_in is !cas, or !akv with token and vault", "write store_in: !cas", at=("store_in",))
