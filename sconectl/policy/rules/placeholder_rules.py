"""The rules about placeholders: in texts for programs, and as references in the sections of a policy (LANG §8).

In: a draft. Out: findings at the position of the fault. Each rule's docstring begins with its id. What an import
without a kind turns out to be is checked when it is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sconectl.policy.forms import placeholders
from sconectl.policy.forms.one_time_password import MIN_BYTES, base32_bytes
from sconectl.policy.forms.placeholders import PlaceholderError, Target
from sconectl.policy.model.access_policy import AccessPolicy, Principal, Rule
from sconectl.policy.model.secret import Secret
from sconectl.policy.model.security import Attestation
from sconectl.policy.model.services import EnclaveSigner, Service, Variant
from sconectl.policy.rules.session_draft import Draft
from sconectl.text.findings import Finding, Severity
from sconectl.text.secret_placeholders import START, is_reference
from sconectl.text.yaml_tree import Path

_KEY_BYTES = 32
_BASE32 = frozenset({"base32", "base32nopad"})
_Kinds = Mapping[str, str | None]


def text_placeholders(draft: Draft) -> Iterator[Finding]:
    """P1, P2, P3: placeholders in arguments and environment name a defined secret in a text format."""
    kinds = draft.kinds
    for index, service in draft.services.items():
        for number, argument in enumerate(service.command):
            yield from _text(draft, argument, ("services", index, "command", number), kinds, text_only=True)
        for key, value in service.environment.items():
            yield from _text(draft, value, ("services", index, "environment", key), kinds, text_only=True)


def file_placeholders(draft: Draft) -> Iterator[Finding]:
    """P1, P2, P3: placeholders in injected files name a defined secret in a format of its kind."""
    kinds = draft.kinds
    for index, image in draft.images.items():
        for number, file in enumerate(image.injection_files):
            path = ("images", index, "injection_files", number, "content")
            yield from _text(draft, file.content or "", path, kinds, text_only=False)


def _text(draft: Draft, text: str, path: Path, kinds: _Kinds, *, text_only: bool) -> Iterator[Finding]:
    if START not in text:
        return
    try:
        for placeholder in placeholders.find(text):
            target = placeholders.check(placeholder, kinds, text_only=text_only)
            if target.legacy:
                yield _old_suffix(draft, path)
    except PlaceholderError as error:
        yield draft.finding(error.rule, path, error.message)


def _old_suffix(draft: Draft, path: Path) -> Finding:
    hint = (
        "write :hex, :crt, :privatekey or :chain; :chain leaves out the certificate itself and begins with its issuer"
    )
    return draft.finding("P2", path, "old placeholder suffix", hint, severity="deprecation")


def claim_placeholders(draft: Draft) -> Iterator[Finding]:
    """P1, P2, P3: a claim of a token that is a placeholder as a whole names a defined secret in a text format."""
    kinds = draft.kinds
    for index, secret in draft.secrets.items():
        for key, value in (secret.payload or {}).items():
            if is_reference(value):
                yield from _text(draft, value, ("secrets", index, "payload", key), kinds, text_only=True)


def section_references(draft: Draft) -> Iterator[Finding]:
    """P1, P2, P3: references in attestation, platforms and security name a defined secret, raw bytes excepted."""
    kinds = draft.kinds
    for path, text in _section_references(draft):
        yield from _reference(draft, text, path, kinds)


def _section_references(draft: Draft) -> Iterator[tuple[Path, str]]:
    if isinstance(draft.security, str):
        yield ("security",), draft.security
    elif draft.security is not None and isinstance(draft.security.attestation, str):
        yield ("security", "attestation"), draft.security.attestation
    attestation = draft.attestation()
    if attestation is not None:
        yield from _attestation_references(attestation)
    for index, service in draft.services.items():
        yield from _service_references(service, ("services", index))


def _attestation_references(attestation: Attestation) -> Iterator[tuple[Path, str]]:
    path = ("security", "attestation")
    for key in ("mode", "url"):
        yield from _if_reference(getattr(attestation, key), (*path, key))
    for key in ("tolerate", "ignore_advisories", "trusted_scone_qe_pubkeys", "certificates"):
        for number, entry in enumerate(getattr(attestation, key)):
            yield from _if_reference(entry, (*path, key, number))


def _service_references(service: Service, path: Path) -> Iterator[tuple[Path, str]]:
    for number, entry in enumerate(service.platforms):
        yield from _if_reference(entry, (*path, "platforms", number))
    for number, variant in enumerate(service.attestation):
        place = (*path, "attestation", number)
        if isinstance(variant, Variant):
            for position, measurement in enumerate(variant.mrenclave or ()):
                yield from _if_reference(measurement, (*place, "mrenclave", position))
            yield from _if_reference(variant.signer, (*place, "signer"))
        else:
            yield place, variant


def _if_reference(value: str | EnclaveSigner | None, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str) and is_reference(value):
        yield path, value


def _reference(
    draft: Draft, text: str, path: Path, kinds: _Kinds, *, severity: Severity = "error"
) -> Iterator[Finding]:
    try:
        if _target(text, kinds).legacy:
            yield _old_suffix(draft, path)
    except PlaceholderError as error:
        yield draft.finding(error.rule, path, error.message, severity=severity)


def _target(text: str, kinds: _Kinds) -> Target:
    """Return the secret and format that a reference in a section means; raises `PlaceholderError` (P1-P3)."""
    placeholder = placeholders.find(text)[0]
    target = placeholders.target_of(placeholder, kinds)
    return target if target.format == "structure" else placeholders.check(placeholder, kinds, text_only=True)


def delegated_access(draft: Draft) -> Iterator[Finding]:
    """P1, P2, P3: a reference in access_policy that leads nowhere grants nothing: a warning (LANG §16)."""
    kinds = draft.kinds
    policy = draft.access_policy
    if isinstance(policy, str):
        yield from _reference(draft, policy, ("access_policy",), kinds, severity="warning")
    elif isinstance(policy, AccessPolicy):
        for operation in AccessPolicy.model_fields:
            for path, text in _delegates(getattr(policy, operation) or (), ("access_policy", operation)):
                yield from _reference(draft, text, path, kinds, severity="warning")


def _delegates(principals: tuple[Principal, ...], path: Path) -> Iterator[tuple[Path, str]]:
    for number, principal in enumerate(principals):
        if isinstance(principal, str) and is_reference(principal):
            yield (*path, number), principal
        elif isinstance(principal, Rule):
            key = "require-all" if principal.at_least is None else f"require-at-least-{principal.at_least}"
            yield from _delegates(principal.of, (*path, number, key))


def key_references(draft: Draft) -> Iterator[Finding]:
    """P1, S5: a referenced key of a file system is a binary secret with 32 bytes."""
    for index, service in draft.services.items():
        yield from _key(draft, service.fspf_key, ("services", index, "fspf_key"), "S5")
    for index, volume in draft.volumes.items():
        yield from _key(draft, volume.fspf_key, ("volumes", index, "fspf_key"), "S5")


def vault_references(draft: Draft) -> Iterator[Finding]:
    """K14: the token of a key vault import is a defined secret, and its decryption key is binary with 32 bytes."""
    kinds = draft.kinds
    for index, secret in draft.secrets.items():
        if secret.import_akv is not None:
            path = ("secrets", index, "import_akv")
            if secret.import_akv.token is not None:
                yield from _reference(draft, secret.import_akv.token, (*path, "token"), kinds)
            yield from _key(draft, secret.import_akv.decryption_key, (*path, "decryption_key"), "K14")


def store_token(draft: Draft) -> Iterator[Finding]:
    """E1: the token of the key vault that keeps the secrets is an aad-token of this session."""
    token = draft.secret_config.token if draft.secret_config is not None else None
    if token is None:
        return
    path = ("secret_config", "store_in", "token")
    kinds = draft.kinds
    faults = list(_reference(draft, token, path, kinds))
    yield from faults
    if not faults and kinds[placeholders.find(token)[0].name] not in {None, "aad-token"}:
        yield draft.finding("E1", path, "the referenced secret is no aad-token")


def _key(draft: Draft, text: str | None, path: Path, rule: str) -> Iterator[Finding]:
    if text is None or not is_reference(text):
        return
    placeholder = placeholders.find(text)[0]
    if placeholder.name not in draft.declared("secrets"):
        yield draft.finding("P1", path, f"the secret {placeholder.name!r} is not defined in this session")
    elif placeholder.suffix or placeholder.escape_json:
        yield draft.finding("P2", path, "a reference to a key takes no format")
    elif (secret := draft.secrets_by_name.get(placeholder.name)) is not None and not _may_be_key(secret):
        yield draft.finding(rule, path, "the referenced secret is not binary with 32 bytes")


def _may_be_key(secret: Secret) -> bool:
    return secret.kind in {None, "binary"} and (secret.imported or _size(secret) == _KEY_BYTES)


def _size(secret: Secret) -> int:
    return len(secret.value) // 2 if isinstance(secret.value, str) else secret.size


def one_time_passwords(draft: Draft) -> Iterator[Finding]:
    """C6: a referenced secret for one-time passwords is base32 text, or binary written as base32, of 16 bytes."""
    kinds = draft.kinds
    attestation = draft.attestation()
    key = "one_time_password_shared_secret"
    places: list[tuple[Path, str | None]] = [
        (("services", index, key), service.one_time_password_shared_secret) for index, service in draft.services.items()
    ]
    if attestation is not None:
        places.append((("security", "attestation", key), attestation.one_time_password_shared_secret))
    for path, text in places:
        if text is None or not is_reference(text):
            continue
        faults = list(_reference(draft, text, path, kinds))
        yield from faults
        target = _target(text, kinds) if not faults else None
        secret = draft.secrets_by_name.get(target.secret) if target is not None else None
        if secret is not None and target is not None and not _may_be_shared_secret(secret, target.format):
            hint = "refer to a binary secret with :base32nopad, or to base32 text"
            yield draft.finding("C6", path, f"this does not give base32 of at least {MIN_BYTES} bytes", hint)


def _may_be_shared_secret(secret: Secret, form: str) -> bool:
    if secret.kind is None:
        return True
    if secret.kind == "binary":
        return form in _BASE32 and (secret.imported or _size(secret) >= MIN_BYTES)
    if secret.kind == "ascii" and isinstance(secret.value, str):
        try:
            return bool(base32_bytes(secret.value))
        except ValueError:
            return False
    return secret.kind in {"ascii", "config-fragment"} and secret.imported


RULES = (
    text_placeholders,
    file_placeholders,
    claim_placeholders,
    section_references,
    delegated_access,
    key_references,
    vault_references,
    store_token,
    one_time_passwords,
)
