"""Rebuilds a session from the JSON that `canonical.to_json` wrote: exactly, fast, and without checking it again.

In: text that we stored ourselves. Out: the session. Text of other origin goes through `reading.parse_session`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from sconectl.policy.model.access_policy import AccessPolicy, Principal, Rule, Signer
from sconectl.policy.model.base import Part
from sconectl.policy.model.references import Export, Import, VolumeExport, VolumeImport
from sconectl.policy.model.secret import AkvImport, Secret, Validity
from sconectl.policy.model.security import Attestation, SecretConfig, Security
from sconectl.policy.model.services import EnclaveSigner, Service, Variant
from sconectl.policy.model.session import Session
from sconectl.policy.model.volumes import Image, InjectionFile, Mount, Volume

_Part = TypeVar("_Part", bound=Part)
_Convert = Callable[[Any], Any]


class _Form(Generic[_Part]):
    """How one kind of part is rebuilt; `nested` converts the fields that are not plain JSON values."""

    def __init__(self, part: type[_Part], nested: Mapping[str, _Convert] | None = None) -> None:
        fields = part.model_fields
        self.part = part
        # In the order of the fields, because parts are written in that order.
        self.defaults = {name: None if field.is_required() else field.get_default() for name, field in fields.items()}
        lists: dict[str, _Convert] = {name: tuple for name, item in self.defaults.items() if isinstance(item, tuple)}
        self.nested = lists | dict(nested or {})
        self.names = {field.alias: name for name, field in fields.items() if field.alias is not None}

    def __call__(self, document: dict[str, Any]) -> _Part:
        values = dict(self.defaults)
        for key, item in document.items():
            name = self.names.get(key, key)
            convert = self.nested.get(name)
            values[name] = item if convert is None else convert(item)
        # The same as model_construct, without its search for aliases, defaults and private attributes.
        part = self.part.__new__(self.part)
        object.__setattr__(part, "__dict__", values)
        object.__setattr__(part, "__pydantic_fields_set__", set(values))
        object.__setattr__(part, "__pydantic_extra__", None)
        object.__setattr__(part, "__pydantic_private__", None)
        return part


def _each(convert: _Convert) -> _Convert:
    return lambda items: tuple([convert(item) for item in items])


def _or_reference(convert: _Convert) -> _Convert:
    return lambda item: item if isinstance(item, str) else convert(item)


def _principal(item: Any) -> Principal:
    if isinstance(item, str):
        return item
    return _SIGNER(item) if "signer" in item else _RULE(item)


_SIGNER = _Form(Signer)
_RULE = _Form(Rule, {"of": _each(_principal)})
_SESSION = _Form(
    Session,
    {
        "creator": _principal,
        "access_policy": _or_reference(
            _Form(AccessPolicy, dict.fromkeys(AccessPolicy.model_fields, _each(_principal)))
        ),
        "security": _or_reference(_Form(Security, {"attestation": _or_reference(_Form(Attestation))})),
        "secret_config": _Form(SecretConfig),
        "services": _each(
            _Form(
                Service,
                {
                    "attestation": _each(
                        _or_reference(
                            _Form(Variant, {"mrenclave": tuple, "signer": _or_reference(_Form(EnclaveSigner))})
                        )
                    )
                },
            )
        ),
        "images": _each(
            _Form(
                Image,
                {
                    "injection_files": _each(_Form(InjectionFile)),
                    "volumes": _each(_Form(Mount)),
                    "provide_secrets": tuple,
                },
            )
        ),
        "secrets": _each(
            _Form(
                Secret,
                {
                    "validity": _Form(Validity),
                    "export": _each(_Form(Export)),
                    "import_": _Form(Import),
                    "import_akv": _Form(AkvImport),
                },
            )
        ),
        "volumes": _each(_Form(Volume, {"export": _each(_Form(VolumeExport)), "import_": _Form(VolumeImport)})),
    },
)


def from_json(text: str) -> Session:
    """Return the session that `to_json` wrote; the text is trusted to be ours."""
    return _SESSION(json.loads(text))
