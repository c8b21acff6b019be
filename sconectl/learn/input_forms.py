"""What a field accepts beside the values that its type has: a single entry for a list, nothing, an empty text.

In: the function that a model puts before a type, and the JSON Schema of the type. Out: the schema of what is accepted.
Functions that read numbers and flags are known here; the others are asked what they make of a value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sconectl.learn.scalar_forms import LATE, REFERENCE, function_of, pattern
from sconectl.manifest.model import fields, ports, secrets
from sconectl.policy.forms import fields as policy_fields
from sconectl.policy.model import access_policy

Schema = dict[str, Any]
NULL: Schema = {"type": "null"}
_EMPTY: Schema = {"const": ""}
_PRINCIPAL = pattern(rf"\s*(?:CREATOR|ANY|NONE|{REFERENCE}|[1-9A-HJ-NP-Za-km-z]{{40,60}})\s*")["pattern"]

_PORT: Schema = {"type": "integer", "minimum": 1, "maximum": ports.HIGHEST, LATE: True}
_READERS: dict[Callable[..., Any], Schema] = {
    function_of(ports.PortNumber): _PORT,
    function_of(fields.LateFlag): {"type": "boolean", LATE: True},
    function_of(secrets.Size): {"type": "integer", "minimum": 1, "maximum": 65536, LATE: True},
    policy_fields.permission: {
        "anyOf": [{"type": "number", "minimum": 0, "maximum": 777}, {"type": "string", "pattern": "^0o?[0-7]{3}$"}]
    },
    access_policy.named: {"type": "string", "pattern": f"{_PRINCIPAL}|^\\s*-----BEGIN CERTIFICATE-----"},
}


def accepted(read: Callable[..., Any], inner: Schema) -> Schema:
    """Return the schema of what `read` takes and brings into the form of `inner`."""
    if read in _READERS:
        return _READERS[read]
    if isinstance(read, policy_fields.WholeNumber):
        return {**inner, "minimum": read.low, "maximum": read.high}
    forms: list[Schema] = [inner]
    if read is ports.port_entry:
        forms.insert(0, _PORT)
    one = _made(read, "x")
    if isinstance(one, (list, tuple)):
        forms.insert(0, inner["items"])
    if isinstance(_made(read, ["x"]), str):
        forms.append({"type": "array", "items": {"type": "string"}})
    if _made(read, None) not in (None, [None]):
        forms.append(NULL)
    empty = _made(read, "")
    if empty is None or (isinstance(empty, str) and empty):
        forms.append(_EMPTY)
    return forms[0] if len(forms) == 1 else {"anyOf": forms}


def _made(read: Callable[..., Any], value: Any) -> Any:
    """Return the value as `read` converts it, or as it is if `read` refuses it."""
    try:
        return read(value)
    except (TypeError, ValueError, AttributeError):  # PydanticCustomError is a ValueError
        return value
