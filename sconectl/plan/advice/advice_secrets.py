"""Advice about the secrets of a service: values in plain text, who gets them, who needs them, how long they live.

In: secrets, and where they stand; for what is about their use, the model of a service. Out: remarks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from sconectl.manifest.model.texts import texts_of
from sconectl.plan.advice.advice_values import KEEP_OUT, Remark
from sconectl.plan.advice.credentials import credential
from sconectl.plan.advice.source import Source
from sconectl.plan.secrets.secret_names import used_in
from sconectl.text.secret_placeholders import START
from sconectl.text.yaml_tree import Path

if TYPE_CHECKING:
    from sconectl.manifest.model.genservice import GenService
    from sconectl.manifest.model.secrets import Secret

SECRETS: Path = ("secrets", "global")
"""Where a service manifest has its secrets."""
_MAY_BE_PUBLIC = frozenset({"x509-ca", "public-key"})
_REFERENCES = ("private_key", "issuer", "signer")


def about_secrets(secrets: Sequence[Secret], place: Path, source: Source) -> Iterator[Remark]:
    """Return the advice about each secret by itself; they are in the list at `place` of the document."""
    yield from plain_text_secrets(secrets, place, source)
    for rule in (public_secrets, namespace_exports, certificates_without_end):
        yield from rule(secrets, place)


def plain_text_secrets(secrets: Sequence[Secret], place: Path, source: Source) -> Iterator[Remark]:
    """SC4006: secrets whose value is in the file."""
    for number, secret in enumerate(secrets):
        fields = {"value": secret.value, "application_secret": secret.application_secret}
        if secret.kind == "aad-token":
            fields["private_key"] = secret.private_key
        for field, value in fields.items():
            if not isinstance(value, str):
                continue
            kind = _kind_of(secret.kind or "", secret.name, field, value)
            path = (*place, number, field)
            if kind and source.holds(path, value):
                message = f"the secret {secret.name} is given as {kind} in plain text"
                hint = f"remove {field}, so that the CAS draws one; {KEEP_OUT}" if field == "value" else KEEP_OUT[3:]
                yield Remark("SC4006", path, message, hint)


def _kind_of(kind: str, name: str, field: str, value: str) -> str:
    """Return the kind of credential that the explicit value of a secret seems to be; empty if it seems none."""
    if field == "application_secret":
        name = "application_secret"
    if found := credential(name, value):
        return found
    late = "{{" in value or START in value or not value.strip()
    return "a private key" if kind == "private-key" and field == "value" and not late else ""


def public_secrets(secrets: Sequence[Secret], place: Path) -> Iterator[Remark]:
    """SC4008: `export_public` on what is neither the certificate of an authority nor a public key."""
    for number, secret in enumerate(secrets):
        if secret.export_public is True and secret.kind not in _MAY_BE_PUBLIC:
            message = f"everybody may read {secret.name}, which is neither an x509-ca nor a public-key"
            hint = "remove export_public; services that import the secret get it anyway"
            yield Remark("SC4008", (*place, number, "export_public"), message, hint)


def namespace_exports(secrets: Sequence[Secret], place: Path) -> Iterator[Remark]:
    """SC4009: exports to whole namespaces."""
    for number, secret in enumerate(secrets):
        for entry, export in enumerate(secret.export or ()):
            if not isinstance(export, str) and export.namespace:
                message = f"every session of a namespace may import {secret.name}, also those that are made later"
                hint = "write session: NAME; services of this mesh that import the secret get it without export"
                yield Remark("SC4009", (*place, number, "export", entry, "namespace"), message, hint)


def unused(model: GenService, elsewhere: Collection[str]) -> Iterator[Remark]:
    """SC4010: secrets that nothing in this manifest, and nobody in `elsewhere`, uses."""
    texts = [text for _, text in texts_of(model)]
    if any(f"{START}{{{{" in text for text in texts):
        return  # the mesh says which secret is meant
    used = {name for text in texts for name in used_in(text)} | set(elsewhere)
    defined = {secret.name: secret for secret in model.secrets.global_}
    used |= {name for name, secret in defined.items() if secret.export or secret.export_public}
    used = _with_references(used, defined)
    for number, secret in enumerate(model.secrets.global_):
        if secret.name not in used:
            message = f"the secret {secret.name} is used nowhere in this manifest"
            hint = "remove it; if another service imports it, apply both in one run, or name its session in export"
            yield Remark("SC4010", (*SECRETS, number), message, hint, secret.name)
    for number, name in enumerate(model.secrets.import_):
        if name not in used and "{{" not in name:
            message = f"the secret {name} is imported and used nowhere in this manifest"
            yield Remark("SC4010", ("secrets", "import", number), message, "remove the import", name)


def _with_references(used: set[str], defined: dict[str, Secret]) -> set[str]:
    """Return the names, and the names of all secrets that these need: keys, authorities."""
    found: set[str] = set()
    waiting = list(used)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        if name in defined:
            waiting += [value for field in _REFERENCES if (value := getattr(defined[name], field))]
    return found


def certificates_without_end(secrets: Sequence[Secret], place: Path) -> Iterator[Remark]:
    """SC4012: certificates of both ends of a connection, or of a server without a name."""
    for number, secret in enumerate(secrets):
        if secret.kind != "x509" or secret.value:
            continue
        named = bool(secret.dns or secret.san)
        if not secret.endpoint:
            message = f"the certificate {secret.name} is good for servers and clients: it has no endpoint"
            hint = "add endpoint: server" if named else "add endpoint: client, or endpoint: server and its dns names"
            if not named:
                message += ", and no dns name"
        elif secret.endpoint == "server" and not named:
            message = f"the certificate {secret.name} is for a server, but for no name: it has no dns"
            hint = "add dns: [the name that clients connect to]"
        else:
            continue
        yield Remark("SC4012", (*place, number), message, hint)


def keys_that_change(model: GenService) -> Iterator[Remark]:
    """SC4013: private keys that are to be drawn anew with each update."""
    for number, secret in enumerate(model.secrets.global_):
        if secret.kind == "private-key" and secret.migrate is False and not secret.value:
            message = f"the private key {secret.name} is drawn anew with each update, whatever changes"
            hint = "remove migrate: false to keep the key"
            yield Remark("SC4013", (*SECRETS, number), message, hint)
