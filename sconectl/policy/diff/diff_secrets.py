"""Who may have the secrets of a session, and what changes in that (LANG §10); `fates.py` is about their values.

In: the old and the new session. Out: changes. Values are never shown.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace

from sconectl.policy.diff.change import Change, neutral, strengthens, weakens
from sconectl.policy.diff.gains import gained_and_lost
from sconectl.policy.forms import placeholders
from sconectl.policy.forms.names import ROOT, is_within
from sconectl.policy.reading import Export, Image, Secret, Service, Session
from sconectl.text.secret_placeholders import is_reference

_DRAWN = frozenset({"ascii", "binary", "private-key", "pgp-key"})
_OF_A_KEY = frozenset({"public-key", "x509", "x509-ca"})
EVERY_SECRET = "every secret of the session"  # noqa: S105 - a phrase


def sharing(old: Session, new: Session) -> Iterator[Change]:
    """Yield the changes of which services, sessions and people may have each secret.

    Who gets a value that nobody had before is told, and weakens nothing.
    """
    fresh = {f"secret {name}" for name in _fresh(old, new)}
    for change in _sharing(old, new):
        yield replace(change, severity="neutral", code="") if change.subject in fresh else change


def _fresh(old: Session, new: Session) -> set[str]:
    """Return the new secrets that the CAS draws, and those that are made from such keys."""
    known = {secret.name for secret in old.secrets}
    come = [secret for secret in new.secrets if secret.name not in known and secret.generated]
    drawn = {secret.name for secret in come if secret.kind in _DRAWN}
    return drawn | {secret.name for secret in come if secret.kind in _OF_A_KEY and secret.private_key in drawn}


def _sharing(old: Session, new: Session) -> Iterator[Change]:
    before = {secret.name: secret for secret in old.secrets}
    after = {secret.name: secret for secret in new.secrets}
    for name in dict.fromkeys([*after, *before]):
        yield from _exports(name, before.get(name), after.get(name))
    first, second = _use(old), _use(new)
    for holder, secret in sorted(first.keys() | second.keys()):
        subject = secret if secret == EVERY_SECRET else f"secret {secret}"
        one, other = first.get((holder, secret)), second.get((holder, secret))
        had, has = (
            secret in known and (holder, EVERY_SECRET) in use for known, use in ((before, first), (after, second))
        )
        if other is None:
            if has:
                yield neutral("sharing", subject, f"{holder} gets it as one of all secrets only")
            else:
                yield strengthens("sharing", subject, f"{holder} no longer gets it")
        elif one is None and not had:
            code = "SC5047" if secret == EVERY_SECRET else "SC5046"
            yield weakens("sharing", subject, f"{holder} gets it ({', '.join(other)})", code)
        elif one != other:
            yield neutral("sharing", subject, f"{holder} gets it elsewhere ({', '.join(other)})")


def _exports(name: str, before: Secret | None, after: Secret | None) -> Iterator[Change]:
    subject = f"secret {name}"
    first = before.export if before else ()
    second = after.export if after else ()
    yield from gained_and_lost(
        "sharing",
        subject,
        first,
        second,
        "{} may import it",
        "{} may no longer import it",
        _code,
        covers=_covers,
        within=_within,
        words=_target,
    )
    public_before, public_after = bool(before and before.export_public), bool(after and after.export_public)
    if public_after and not public_before:
        yield weakens("sharing", subject, "everybody may read it without a certificate", "SC5045")
    elif public_before and not public_after:
        yield strengthens("sharing", subject, "is no longer public")


def _covers(wide: Export, narrow: Export) -> bool:
    """Say whether everybody to whom `narrow` exports is among those to whom `wide` does."""
    cas = [(export.cas_url, export.cas_key, export.cas_software_key) for export in (wide, narrow)]
    if cas[0] != cas[1]:
        return False
    if wide.namespace is not None:
        return is_within(narrow.session or narrow.namespace or "", wide.namespace)
    return wide.session == narrow.session and wide.session_hash in (None, narrow.session_hash)


def _within(export: Export) -> Sequence[Hashable]:
    cas = (export.cas_url, export.cas_key, export.cas_software_key)
    name = export.session or export.namespace or ""
    above = (name[:end] for end, letter in enumerate(name) if letter == "/")
    return [(cas, name), *((cas, namespace) for namespace in above), (cas, ROOT)]


def _code(export: Export, covered: Sequence[Export]) -> str:
    if export.session is not None and covered:
        return "SC5043"
    if export.cas_url is not None:
        return "SC5044"
    return "SC5041" if export.namespace is None else "SC5042"


def _target(export: Export) -> str:
    if export.namespace is not None:
        target = f"every session in namespace {export.namespace}"
    else:
        target = f"session {export.session}"
    if export.session_hash:
        target += f" with hash {export.session_hash}"
    if export.cas_url:
        target += f" of CAS {export.cas_url} ({export.cas_key or export.cas_software_key})"
    return target


def recipients(session: Session) -> dict[str, list[str]]:
    """Return who may have each secret: services of the session, other sessions, namespaces, `everybody`."""
    found: dict[str, list[str]] = {secret.name: [] for secret in session.secrets}
    for secret in session.secrets:
        found[secret.name] += [*map(_target, secret.export), *(["everybody"] if secret.export_public else [])]
    for holder, name in _use(session):
        for each in list(found) if name == EVERY_SECRET else [name]:
            if holder not in found.setdefault(each, []):
                found[each].append(holder)
    return found


def _use(session: Session) -> dict[tuple[str, str], list[str]]:
    """Return the places at which each secret is given out: (holder, secret) → command, variables, files, claims.

    Holders are services, and whoever may have a token: what its claims name is readable in it.
    """
    kinds = {secret.name: secret.kind for secret in session.secrets}
    images = {image.name: image for image in session.images}
    claims = {secret.name: tuple(_claims(secret, kinds)) for secret in session.secrets if secret.payload}
    given = [
        (f"service {service.name}", secret, place)
        for service in session.services
        for secret, place in _places(service, images.get(service.image_name or ""), kinds)
    ]
    for token in session.secrets:
        readers = [*map(_target, token.export), *(["everybody"] if token.export_public else [])]
        given += [(reader, *claim) for reader in readers for claim in claims.get(token.name, ())]
    found: dict[tuple[str, str], list[str]] = {}
    for holder, secret, place in given:  # which grows: a token brings what its claims name
        if (holder, secret) not in found:
            given += [(holder, *claim) for claim in claims.get(secret, ())]
        places = found.setdefault((holder, secret), [])
        if place not in places:
            places.append(place)
    return found


def _claims(token: Secret, kinds: dict[str, str | None]) -> Iterator[tuple[str, str]]:
    for claim, text in (token.payload or {}).items():
        if is_reference(text):  # else it is no placeholder, but text (LANG §7.2)
            yield from ((secret, f"claim {claim} of {token.name}") for secret in _secrets_in(text, kinds))


def _places(service: Service, image: Image | None, kinds: dict[str, str | None]) -> Iterator[tuple[str, str]]:
    for argument in service.command:
        yield from ((name, "command") for name in _secrets_in(argument, kinds))
    for variable, text in service.environment.items():
        yield from ((name, f"variable {variable}") for name in _secrets_in(text, kinds))
    if service.fspf_key is not None:
        yield from ((name, "key of its file system") for name in _secrets_in(service.fspf_key, kinds))
    if image is None:
        return
    for file in image.injection_files:
        if file.content is not None:
            yield from ((name, f"file {file.path}") for name in _secrets_in(file.content, kinds))
        elif image.provide_secrets is None:
            yield EVERY_SECRET, f"file {file.path} of the image"
    for name in image.provide_secrets or ():
        yield name, "provide_secrets"


def _secrets_in(text: str, kinds: dict[str, str | None]) -> Iterator[str]:
    try:
        found = placeholders.find(text)
    except placeholders.PlaceholderError:
        return
    for placeholder in found:
        stem = placeholder.name.rpartition(".")[0]
        yield placeholder.name if placeholder.name in kinds or stem not in kinds else stem
