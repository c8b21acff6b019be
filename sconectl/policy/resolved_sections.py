"""The sections of a session, with the references in them replaced by the values of secrets.

In: a session, and a function that gives the value behind a placeholder. Out: models without references, checked by the
same rules as if they had been written out. Values are not scanned again: a reference inside a value is refused. Raises
`FragmentError`, which names secret and place and holds no value; only principals that cannot be had are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel

from sconectl.errors import InvalidInput
from sconectl.policy.forms import placeholders
from sconectl.policy.forms.fields import VERSIONS
from sconectl.policy.reading import AccessPolicy, Principal, Rule, Security, Service, Session, Variant, parse_session
from sconectl.text import yaml_text
from sconectl.text.findings import errors_of
from sconectl.text.secret_placeholders import START, Placeholder

Resolve = Callable[[Placeholder], Any]
"""Gives the plain value behind a placeholder: text, or the structure of a config-fragment.

Raises `FragmentError` (or another `ValueError`, or `LookupError`) if there is no such value.
"""

_LITERAL_KEYS = frozenset({"service_access_token"})
"""Texts of `security` that are taken as they are, whatever they look like."""


class FragmentError(ValueError):
    """A reference cannot be replaced: it has no value, or one that must not stand in its place."""


def security_of(session: Session, resolve: Resolve) -> Security:
    """Return the `security` of `session` without references; raises `FragmentError`."""
    if not _has_reference(session.security):
        return _written_out(session.security)
    document = {"security": _expanded(_plain(session.security), resolve, "security")}
    return _written_out(_checked(document, "security", session.name).security)


def variants_of(session: Session, service: Service, resolve: Resolve) -> tuple[Variant, ...]:
    """Return the enclaves that may run `service`, without references; raises `FragmentError`."""
    place = f"the attestation of service {service.name}"
    if not _has_reference(service.attestation):
        return tuple(variant for variant in service.attestation if isinstance(variant, Variant))
    entries = _expanded(_plain(service.attestation), resolve, place)
    parts = _service(place, {"attestation": entries}).attestation
    if not parts:
        raise FragmentError(f"{place} is an empty list")
    return tuple(part for part in parts if isinstance(part, Variant))


def platforms_of(service: Service, resolve: Resolve) -> tuple[str, ...]:
    """Return the platforms that may run `service` (none: any), without references; raises `FragmentError`."""
    if not _has_reference(service.platforms):
        return service.platforms
    place = f"the platforms of service {service.name}"
    entries = _expanded(list(service.platforms), resolve, place)
    if not entries:
        raise FragmentError(f"{place} are an empty list")  # an empty section would allow any platform
    return _service(place, {"platforms": entries}).platforms


def one_time_password_of(security: Security, service: Service, resolve: Resolve) -> str | None:
    """Return the base32 text of the secret behind one-time passwords, or None if none are asked for.

    The service's own secret overrides that of `security`, which has no references any more (`security_of`). Raises
    `FragmentError`.
    """
    own = service.one_time_password_shared_secret
    if own is None:
        attestation = security.attestation
        return None if isinstance(attestation, str) else attestation.one_time_password_shared_secret
    if not _has_reference(own):
        return own
    place = f"the one-time password secret of service {service.name}"
    document = {"one_time_password_shared_secret": _expanded(own, resolve, place)}
    return _service(place, document).one_time_password_shared_secret


def principals_of(session: Session, operation: str, resolve: Resolve) -> tuple[tuple[Principal, ...], tuple[str, ...]]:
    """Return the principals that may do `operation` (`read`, `update`, …), and why references were ignored.

    A reference without a value grants nothing, and counts as an unfulfilled part of a governance rule.
    """
    reasons: list[str] = []
    policy = session.access_policy
    if isinstance(policy, str):
        try:
            policy = _policy(_expanded(policy, resolve, "access_policy"), "access_policy", session.name)
        except FragmentError as error:
            return (), (str(error),)
    given = policy.allowed(operation)
    found = tuple(_principals(given, operation, resolve, session, reasons))
    if len(found) > 1 and not _keywords(found).isdisjoint({"ANY", "NONE"}):
        reasons.append(f"{operation}: a reference stands for ANY or NONE beside other principals")
        found = tuple(principal for principal in found if principal not in ("ANY", "NONE"))
    return found, tuple(reasons)


def _keywords(found: tuple[Principal, ...]) -> set[str]:
    return {principal for principal in found if isinstance(principal, str)}


def _principals(
    given: tuple[Principal, ...], operation: str, resolve: Resolve, session: Session, reasons: list[str]
) -> list[Principal]:
    found: list[Principal] = []
    for principal in given:
        if isinstance(principal, Rule):
            children = _principals(principal.of, operation, resolve, session, reasons)
            found.append(_rule(principal, children))
        elif _has_reference(principal):
            try:
                value = _expanded([principal], resolve, operation)
                granted = _policy({operation: value}, operation, session.name)
            except FragmentError as error:
                reasons.append(str(error))
            else:
                found.extend(granted.allowed(operation))
        else:
            found.append(principal)
    return found


def _rule(rule: Rule, children: list[Principal]) -> Rule:
    """Return `rule` with other children; a reference without a value still counts as needed by `require-all`."""
    if tuple(children) == rule.of:
        return rule
    needed = max(len(rule.of), len(children)) if rule.at_least is None else rule.at_least
    return Rule.model_construct(at_least=needed, of=tuple(children))


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _has_reference(value: Any) -> bool:
    if isinstance(value, str):
        return value.startswith(START)
    if isinstance(value, BaseModel):
        return any(_has_reference(getattr(value, key)) for key in type(value).model_fields if key not in _LITERAL_KEYS)
    if isinstance(value, Mapping):
        return any(_has_reference(item) for key, item in value.items() if key not in _LITERAL_KEYS)
    return isinstance(value, (list, tuple)) and any(_has_reference(item) for item in value)


def _expanded(value: Any, resolve: Resolve, place: str) -> Any:
    if isinstance(value, str):
        return _value(value, resolve, place) if _has_reference(value) else value
    if isinstance(value, Mapping):
        return {key: item if key in _LITERAL_KEYS else _expanded(item, resolve, place) for key, item in value.items()}
    if not isinstance(value, (list, tuple)):
        return value
    items: list[Any] = []
    for item in value:
        expanded = _expanded(item, resolve, place)
        spliced = isinstance(item, str) and isinstance(expanded, list)
        items.extend(expanded if spliced else [expanded])
    return items


def _value(reference: str, resolve: Resolve, place: str) -> Any:
    try:
        found = placeholders.find(reference)
    except placeholders.PlaceholderError as error:
        raise FragmentError(f"{place}: {error.message}") from error
    if len(found) != 1 or found[0].text != reference:
        raise FragmentError(f"{place}: a reference stands alone, without text around it")
    secret = found[0].name
    try:
        value = resolve(found[0])
    except FragmentError:
        raise
    except (ValueError, LookupError) as error:
        raise FragmentError(f"{place}: the secret {secret} cannot be used") from error
    if _has_reference(value):
        raise FragmentError(f"{place}: the value of secret {secret} holds a reference itself")
    return list(value) if isinstance(value, tuple) else value


def _service(place: str, section: dict[str, Any]) -> Service:
    document = {"security": {"attestation": {"mode": "none"}}, "services": [{"name": "s", **section}]}
    return _checked(document, place).services[0]


def _policy(section: Any, place: str, name: str) -> AccessPolicy:
    policy = _checked({"access_policy": section}, place, name).access_policy
    if isinstance(policy, str):
        raise FragmentError(f"{place}: expected a mapping")
    return policy


def _written_out(security: Security | str) -> Security:
    if isinstance(security, str):
        raise FragmentError("security: expected a mapping")
    return security


def _checked(document: dict[str, Any], place: str, name: str = "s") -> Session:
    """Return the session that holds only `document`, read as if it had been written by hand."""
    text = yaml_text.dump({"name": name, "version": VERSIONS[-1], **document})
    try:
        return parse_session(text)
    except InvalidInput as error:
        fault = errors_of(error.findings)[0]
        raise FragmentError(f"{place}: after replacing references: {fault.path}: {fault.message}") from error
