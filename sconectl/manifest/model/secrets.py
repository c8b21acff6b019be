"""Secrets of a manifest: what the CAS generates, keeps, or gets from the manifest; which fields go with which kind.

In: a mapping. Out: a frozen `Secret`. Fields that may hold `{{…}}` are checked again when a mesh has filled it in.
"""

# Annotations are no texts here (no `from __future__ import annotations`): pydantic would compile each at every start.

import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    ModelWrapValidatorHandler,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from sconectl.host_names import HostFault, fault_of_alternative_name, fault_of_host_name
from sconectl.manifest.model.faults import Misfit, Unfit, with_misfits
from sconectl.manifest.model.fields import (
    NAME,
    LateFlag,
    Line,
    Maybe,
    OneOf,
    Part,
    PublicLine,
    SecretName,
    SecretReference,
    SessionName,
    Sparse,
    Text,
    is_late,
    matching,
    one_or_many,
)
from sconectl.text.marks import MAY_NAME_SECRETS, SHOWN

SECRET_KINDS = {
    "ascii": "text; a generated one has printable characters without blanks",
    "binary": "bytes; a `value` is written as hex digits",
    "private-key": "a private key, for certificates and signatures; a `value` is PEM (PKCS#8)",
    "public-key": "the public half of the `private_key` that it names; a `value` is PEM",
    "x509": "a certificate of a server or client, for the `private_key` that it names; a `value` is PEM",
    "x509-ca": "a certificate of an authority, which signs those that name it as `issuer`; a `value` is PEM",
    "aad-token": "an access token that the CAS fetches from Microsoft Azure Active Directory",
    "config-fragment": "a part of a session; it has a `value` of any structure",
    "pgp-key": "a PGP key, always generated",
    "jwt": "a JSON web token that the CAS signs with the key named by `signer`",
}
"""Every kind of secret, and what it is."""

KEY_TYPES = {
    "P-256": "elliptic curve NIST P-256, also called secp256r1 and prime256v1; the default",
    "P-384": "elliptic curve NIST P-384, also called secp384r1",
    "Ed25519": "EdDSA key",
    "RSA-2048": "RSA key of 2048 bits",
    "RSA-3072": "RSA key of 3072 bits",
}
ENDPOINTS = {
    "server": "the certificate is for TLS servers",
    "client": "the certificate is for TLS clients; it has no `dns` names",
}
ALGORITHMS = {"ES384": "ECDSA with a P-384 key"}

_UNIT = r"(?:s|secs?|seconds?|m|min|mins|minutes?|h|hrs?|hours?|d|days?|w|wks?|weeks?|M|months?|y|yrs?|years?)"
_DURATION = rf"\s*(?:[0-9]{{1,12}}[ \t]*{_UNIT}[ \t]*)+\s*\Z"
_THUMBPRINT = r"[0-9A-Fa-f]{40}\Z"
_HASH = r"[0-9A-Fa-f]{64}\Z"
_HEX = r"(?:[0-9A-Fa-f]{2})*\Z"
_LONGEST_NAME = 64  # characters of a common name, RFC 5280
_LARGEST = 65536


def _size(value: Any) -> Any:
    """Read a number that is written as one or as text."""
    if isinstance(value, str) and is_late(value):
        return value
    text = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    if not (text.isascii() and text.isdecimal() and 0 < int(text[:9]) <= _LARGEST and len(text) < 9):
        raise Unfit(f"expected a whole number from 1 to {_LARGEST}")
    return int(text)


def _common_name(value: str | None) -> str | None:
    if value is not None and len(value) > _LONGEST_NAME and not is_late(value):
        raise Unfit(f"a common name has at most {_LONGEST_NAME} characters")
    return value


def _form_of_target(value: Any) -> str:
    return "@name" if isinstance(value, str) else "@target"


def _host_name(value: str) -> str:
    return _without(fault_of_host_name, value)


def _other_name(value: str) -> str:
    return _without(fault_of_alternative_name, value)


def _without(fault_of: Callable[[str], HostFault | None], value: str) -> str:
    fault = None if is_late(value) else fault_of(value)
    if fault:
        raise Unfit(fault.message, fault.hint)
    return value


HostName = Annotated[str, AfterValidator(_host_name), SHOWN]
OtherName = Annotated[str, AfterValidator(_other_name), SHOWN]
Duration = Annotated[str, matching(_DURATION, "a duration, like 90 days, 59d or 1 year", late=True), SHOWN]
SessionHash = Annotated[str, matching(_HASH, "a session hash, 64 hex digits", late=True), SHOWN]
Thumbprint = Annotated[str, matching(_THUMBPRINT, "the thumbprint of a certificate, 40 hex digits"), SHOWN]
Size = Annotated[int | str, BeforeValidator(_size), SHOWN]
Value = str | dict[str, Any] | list[Any]


class ExportTarget(Sparse):
    """Who may import a secret: one session, or all sessions of a namespace."""

    session: SessionName | None = Field(
        None, description="Absolute or relative name of a session.", examples=["shop/reports", "../reports"]
    )
    session_hash: SessionHash | None = Field(
        None, description="Only this state of the session may import it.", examples=["668e9aaba22c7631" * 4]
    )
    namespace: SessionName | None = Field(
        None, description="Namespace; all of its sessions may import it.", examples=["shop", "{{namespace}}"]
    )

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if (self.session is None) == (self.namespace is None):
            raise Unfit("an export names either a session or a namespace", "write `session: NAME`")
        return self


Export = Annotated[
    Annotated[SessionName, Tag("@name")] | Annotated[ExportTarget, Tag("@target")], Discriminator(_form_of_target)
]


class Validity(Part):
    """How long a token is valid."""

    for_: Duration = Field(
        alias="for", description="Time from the moment that the CAS gives the token out.", examples=["24h"]
    )


class Secret(Sparse):
    """A secret that the CAS generates (no `value`) or holds (`value`)."""

    name: SecretName = Field(
        description="Name of the secret; unique in the whole mesh.", examples=["password", "fastapi-key"]
    )
    kind: Annotated[str, OneOf(SECRET_KINDS)] = Field(
        description="What kind of secret it is.", examples=["ascii", "x509"]
    )
    size: Maybe[Size] = Field(
        None,
        description="Length of a generated value (ascii, binary), in characters or bytes, 1 to 65536; without it 20.",
        examples=[10],
    )
    value: Value | None = Field(
        None,
        repr=False,
        description="The value itself, visible to whoever may read the session. Without it the CAS draws one, once, "
        "and keeps it over updates. Hex digits for binary secrets, PEM for keys and certificates, any structure for a "
        "config-fragment. An aad-token, a pgp-key and a jwt take none.",
        examples=["DEADBEEF"],
    )
    key_type: Maybe[Annotated[str, OneOf(KEY_TYPES, late=True)]] = Field(
        None, description="Type of a generated private key; without it P-256.", examples=["RSA-3072"]
    )
    migrate: Maybe[LateFlag] = Field(
        None,
        description="Whether a private key stays the same when the session is updated; without it, it does.",
        examples=[False],
    )
    private_key: Maybe[Line] = Field(
        None,
        repr=False,
        description="Name of the private-key secret that a certificate or public key belongs to; needed without "
        "`value`. For an aad-token: the RSA key of the registered certificate, PEM.",
        examples=["my_ca_private_key"],
    )
    issuer: Maybe[SecretReference] = Field(
        None,
        description="Name of the x509-ca secret that signs a certificate; without it the certificate signs itself.",
        examples=["my_ca_certificate"],
    )
    common_name: Annotated[Maybe[PublicLine], AfterValidator(_common_name)] = Field(
        None,
        description="Common name of a certificate, at most 64 characters; without it the first `dns` name, else the "
        "name of the secret.",
        examples=["example.com"],
    )
    endpoint: Maybe[Annotated[str, OneOf(ENDPOINTS, late=True)]] = Field(
        None, description="What an x509 certificate is for (extended key usage); without it both.", examples=["server"]
    )
    dns: Maybe[Annotated[tuple[HostName, ...], BeforeValidator(one_or_many)]] = Field(
        None,
        description="Host names that an x509 certificate is valid for; not with `endpoint: client`.",
        examples=[["api", "{{fastapi_host}}"]],
    )
    san: Maybe[Annotated[tuple[OtherName, ...], BeforeValidator(one_or_many)]] = Field(
        None,
        description="Host names and addresses that an x509 certificate is valid for: `dns:NAME`, `ip:ADDRESS`.",
        examples=[["dns:api.example.org", "ip:192.0.2.7"]],
    )
    valid_for: Maybe[Duration] = Field(
        None,
        description="How long a certificate is valid; a new one is made in time, which programs get when they start "
        "again. Without it practically for ever.",
        examples=["90 days", "1 year"],
    )
    export_public: Maybe[LateFlag] = Field(
        None, description="Whether everybody may read the value from the CAS, without a password.", examples=[True]
    )
    export: Maybe[Annotated[tuple[Export, ...], BeforeValidator(one_or_many)]] = Field(
        None,
        description="Who else may import it: names of sessions, or mappings. Services of the same mesh that import it "
        "are added by themselves.",
        examples=[[{"session": "shop/reports"}]],
    )
    tenant_id: Maybe[Line] = Field(
        None, description="The tenant of an aad-token; needed there.", examples=["3f1c0d2e-0000-4000-8000-000000000001"]
    )
    client_id: Maybe[Line] = Field(
        None,
        description="The application of an aad-token; needed there.",
        examples=["e6c9c526-f1aa-4e0d-b207-50bad9a89d21"],
    )
    application_secret: Maybe[Line] = Field(
        None,
        repr=False,
        description="The shared secret of an aad-token; or it has `private_key` and `certificate_thumbprint`.",
        examples=["dGmbyTBE4JNAN3JJobeD"],
    )
    certificate_thumbprint: Maybe[Thumbprint] = Field(
        None,
        description="The thumbprint of the registered certificate of an aad-token, 40 hex digits; needs `private_key`.",
        examples=["8f3c" * 10],
    )
    signer: Maybe[SecretReference] = Field(
        None, description="Name of the private-key secret (P-384) that signs a jwt; needed there.", examples=["jwt_key"]
    )
    alg: Maybe[Annotated[str, OneOf(ALGORITHMS)]] = Field(
        None, description="How a jwt is signed; needed there.", examples=["ES384"]
    )
    validity: Validity | None = Field(
        None, description="How long a jwt is valid; needed there.", examples=[{"for": "24h"}]
    )
    payload: Annotated[dict[str, Text] | None, MAY_NAME_SECRETS] = Field(
        None,
        repr=False,
        description="Claims of a jwt, all of them texts. One that is `$$SCONE::secret$$` as a whole is filled in.",
        examples=[{"sub": "reports"}],
    )

    @field_validator("value", mode="after")
    @classmethod
    def _value_of_kind(cls, value: Value | None, info: ValidationInfo) -> Value | None:
        kind = info.data.get("kind")
        if value is None:  # written, not left out: perhaps a value that got lost, and the CAS would draw another one
            raise Unfit("a value is missing", "write the value, or leave the field out, and the CAS draws one")
        if not isinstance(value, str):
            if kind != "config-fragment":
                raise Unfit("expected text")
            return value
        if "\0" in value:
            raise Unfit("expected text without NUL characters")
        if kind == "binary" and not is_late(value):
            value = value.strip()
            if not re.match(_HEX, value):
                raise Unfit("the value of a binary secret is hex digits, two for each byte", "use kind ascii for text")
        return value

    @model_validator(mode="wrap")
    @classmethod
    def _fields_of_kind(cls, value: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        return with_misfits(value, read, _misfits(value) if isinstance(value, dict) else ())


_NO_VALUE = frozenset({"aad-token", "pgp-key", "jwt"})
_OF_A_KEY = frozenset({"x509", "x509-ca", "public-key"})
_NEEDS = {
    "aad-token": ("tenant_id", "client_id"),
    "config-fragment": ("value",),
    "jwt": ("signer", "alg", "validity"),
    **dict.fromkeys(_OF_A_KEY, ("private_key",)),
}


def _misfits(secret: dict[str, Any]) -> Iterator[Misfit]:
    """Find fields that do not go with the kind of a secret, and those that are missing."""
    kind = secret.get("kind")
    if not isinstance(kind, str) or kind not in SECRET_KINDS:
        return
    given = {field for field, value in secret.items() if value not in (None, "")}
    has_value = secret.get("value") is not None
    if has_value and kind in _NO_VALUE:
        yield Misfit(("value",), f"a secret of kind {kind} takes no value", "remove it")
    for field in _NEEDS.get(kind, ()):
        if field not in given and not (has_value and kind in _OF_A_KEY):
            hint = "name a secret of kind private-key" if field == "private_key" else f"add {field}"
            yield Misfit((field,), f"a secret of kind {kind} needs this field", hint)
    if kind != "x509":
        for field in sorted(given & {"endpoint", "dns", "san"}):
            yield Misfit((field,), "this field is for secrets of kind x509 only", "remove it")
    elif secret.get("endpoint") == "client" and "dns" in given:
        yield Misfit(("dns",), "a certificate for clients has no host names", "remove dns, or write endpoint: server")
    if kind == "aad-token":
        own_key = given >= {"private_key", "certificate_thumbprint"}
        if own_key == ("application_secret" in given):
            message = "needs application_secret, or private_key and certificate_thumbprint, and not all of them"
            yield Misfit((), message, "give one of these credentials")
    elif "private_key" in given and not _is_name(secret["private_key"]):
        yield Misfit(("private_key",), "expected the name of a secret", "name a secret of kind private-key", True)


def _is_name(value: Any) -> bool:
    return not isinstance(value, str) or bool(re.match(NAME, value)) or is_late(value)
