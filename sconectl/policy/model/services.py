"""Services: what one program gets, and which enclaves may have it (LANG §5, §6).

In: a mapping of text. Out: a frozen `Service`; deprecated spellings are brought into the present form.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from sconectl.policy.forms import fields
from sconectl.policy.forms.one_time_password import SharedSecret
from sconectl.policy.forms.violation import violation
from sconectl.policy.model.base import MAP, REFERENCE, Part, one_or_many, shape
from sconectl.text.marks import KEYS_SHOWN, SHOWN
from sconectl.text.secret_placeholders import START, is_reference

QE_ID = "INTEL_QE_ID:"
_QE_ID = re.compile(r"INTEL_QE_ID:[0-9a-fA-F]{32}\Z")
_OLD_PLATFORM = re.compile(r"[0-9a-fA-F]{64}\Z")


def platform(text: str) -> str:
    """A6: a platform is `INTEL_QE_ID:` with 32 hex digits, the old 64 hex digits, or a reference."""
    if _QE_ID.match(text):
        return QE_ID + text[len(QE_ID) :].lower()
    if _OLD_PLATFORM.match(text):
        return text.lower()
    if not is_reference(text):
        raise violation("A6", "expected INTEL_QE_ID: and 32 hex digits, or a reference like $$SCONE::name$$")
    return text


def _not_empty(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise violation("A1", "the list of measurements is empty", "name at least one")
    return value


class EnclaveSigner(Part):
    """Enclaves that one key has signed, of one product, with bounds for the security version number."""

    mrsigner: fields.Measurement = Field(description="Hash of the key that signed the enclave, 64 hex digits.")
    isvprodid: fields.SgxNumber = Field(description="Product number, 0 to 65535.", examples=[1])
    isvsvn: fields.SgxNumber | None = Field(None, description="The only accepted security version number.")
    isvsvn_min: fields.SgxNumber | None = Field(None, description="The lowest accepted security version number.")
    isvsvn_max: fields.SgxNumber | None = Field(None, description="The highest accepted security version number.")

    @model_validator(mode="before")
    @classmethod
    def _identified(cls, value: Any) -> Any:
        if isinstance(value, dict):
            signer_identified(value)
            exact_or_range(value)
        return value

    @model_validator(mode="after")
    def _ordered(self) -> EnclaveSigner:
        ordered_range(self)
        return self


def signer_identified(value: dict[str, Any]) -> None:
    """A3: a signer has mrsigner and isvprodid."""
    for key in ("mrsigner", "isvprodid"):
        if key not in value:
            raise violation("A3", f"{key} is missing", f"add {key}")


def exact_or_range(value: dict[str, Any]) -> None:
    """A4: isvsvn excludes isvsvn_min and isvsvn_max."""
    if "isvsvn" in value and ("isvsvn_min" in value or "isvsvn_max" in value):
        raise violation("A4", "isvsvn excludes isvsvn_min and isvsvn_max", "keep one of them", at=("isvsvn",))


def ordered_range(signer: EnclaveSigner) -> None:
    """A5: the smallest security version number is not above the largest."""
    low, high = signer.isvsvn_min, signer.isvsvn_max
    if low is not None and high is not None and low > high:
        raise violation("A5", "isvsvn_min is above isvsvn_max", at=("isvsvn_min",))


Measurements = Annotated[
    tuple[fields.MeasurementOrReference, ...], BeforeValidator(one_or_many), AfterValidator(_not_empty)
]
SignerOrReference = Annotated[
    Annotated[EnclaveSigner, Tag(MAP)] | Annotated[fields.Reference, Tag(REFERENCE)], Discriminator(shape)
]


class Variant(Part):
    """One kind of acceptable enclave: any of the measurements, and the signer."""

    mrenclave: Measurements | None = Field(
        None, description="Accepted measurements, 64 hex digits each, or references; without it any measurement."
    )
    signer: SignerOrReference | None = Field(None, description="Signer that the enclave must have.")

    @model_validator(mode="after")
    def _names_something(self) -> Variant:
        if self.mrenclave is None and self.signer is None:
            raise violation("A1", "this names no enclave", "add mrenclave or signer")
        return self


VariantOrReference = Annotated[
    Annotated[Variant, Tag(MAP)] | Annotated[fields.Reference, Tag(REFERENCE)], Discriminator(shape)
]


class Service(Part):
    """The configuration of one program, and the enclaves that may have it."""

    name: fields.ServiceName = Field(
        description="Name of the service; SCONE_CONFIG_ID is the name of the session, / and this.", examples=["python3"]
    )
    command: fields.Command = Field(
        (),
        repr=False,
        description="The command line: text that is split on blanks, or a list of words. May hold placeholders.",
        examples=["python3 app.py", ["python3", "app.py"]],
    )
    environment: Annotated[dict[fields.EnvironmentKey, fields.Text], KEYS_SHOWN] = Field(
        {},
        repr=False,
        description="All variables that the program sees. Values may hold placeholders.",
        examples=[{"API_USER": "myself", "API_PASSWORD": "$$SCONE::password$$"}],
    )
    pwd: fields.AbsolutePath | None = Field(None, description="The working directory.", examples=["/app"])
    image_name: fields.PublicText | None = Field(
        None,
        description="Name of the entry in `images` with the files and volumes of the service.",
        examples=["app_image"],
    )
    attestation: Annotated[tuple[VariantOrReference, ...], BeforeValidator(one_or_many)] = Field(
        (),
        description="Which enclaves get this configuration: those that fit at least one entry. Entries may be "
        "references.",
    )
    platforms: tuple[Annotated[str, AfterValidator(platform), SHOWN], ...] = Field(
        (),
        description="On which machines the service may run: INTEL_QE_ID: and 32 hex digits; without it on any.",
        examples=[["INTEL_QE_ID:00112233445566778899aabbccddeeff"]],
    )
    fspf_path: fields.FilePath | None = Field(
        None, description="File that describes the protected file system of the image.", examples=["/fs.fspf"]
    )
    fspf_key: fields.FspfKey | None = Field(
        None, repr=False, description="Key of that file: 64 hex digits, or a reference to a binary secret of 32 bytes."
    )
    fspf_tag: fields.FspfTag | None = Field(None, description="Tag of the file system's first state, 32 hex digits.")
    fspf_update_policy: fields.FspfUpdatePolicy = Field(
        "rollback_protected_reinitializable", description="Whether an older state of the file system is noticed."
    )
    one_time_password_shared_secret: SharedSecret | None = Field(
        None, repr=False, description="Whoever starts the service has to give a one-time password made from this."
    )

    @model_validator(mode="before")
    @classmethod
    def _present_spelling(cls, value: Any) -> Any:
        """Take `mrenclaves` for the attestation variant it abbreviates, and drop the artefact `persistency`."""
        if not isinstance(value, dict):
            return value
        value = {key: item for key, item in value.items() if key != "persistency"}
        if "mrenclaves" in value:
            one_attestation(value)
            value["attestation"] = [{"mrenclave": value.pop("mrenclaves")}]
        return value

    @property
    def measurements(self) -> tuple[str, ...]:
        """All measurements that are named literally; references are not among them."""
        return tuple(
            item
            for variant in self.attestation
            if isinstance(variant, Variant)
            for item in variant.mrenclave or ()
            if not item.startswith(START)
        )


def one_attestation(value: dict[str, Any]) -> None:
    """A1: the old spelling `mrenclaves` excludes attestation."""
    if "attestation" in value:
        raise violation("A1", "mrenclaves and attestation exclude each other", "keep attestation", at=("mrenclaves",))
