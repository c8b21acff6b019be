"""The session of a new version, and in it what the pods of the old one need until the last of them is replaced.

In: the document of the new version, the active session, the services of it that stay. Out: the document with these
services, their images and volumes, and the secrets that they use; or the faults why old pods would get something else.
Nothing else of the active session stays.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from sconectl.policy.forms.fields import VERSIONS
from sconectl.policy.model.secret import Secret
from sconectl.policy.model.security import Attestation, Security
from sconectl.policy.model.services import Service
from sconectl.policy.model.session import Session
from sconectl.policy.model.volumes import Volume
from sconectl.policy.reading import examine_document
from sconectl.policy.rolling.versions import Fault, Names
from sconectl.policy.serialized.features import lowest_version
from sconectl.policy.serialized.yaml_writer import as_written
from sconectl.policy.session_check import as_read
from sconectl.text.secret_placeholders import START, placeholders
from sconectl.text.yaml_tree import texts_in

_NOT_VALUE = {"name", "export", "export_public", "migrate", "valid_for", "dns", "san"}
"""What may differ between declarations of a secret: old pods get the same value, or a certificate with more names."""
_SHOWN = ("kind", "size", "key_type")
_MADE_FROM = ("private_key", "issuer", "signer")
_WIDER = ("tolerate", "ignore_advisories")
_RENAME = "give the new one another name, so that pods of the old version still get theirs"
_RESTORE = "leave it as it was until the old version is gone"
Section = Literal["secrets", "volumes"]


def session_of(document: Mapping[str, Any]) -> Session:
    """Return the session that a CAS would read in a document; it has no faults."""
    session = examine_document(as_read(document, ""), remarks=False).session
    assert session is not None  # noqa: S101 - documents are checked before
    return session


class Overlap:
    """A session that is put together. `faults` is what stands against it; `imported` is what the kept services import.

    `wanted` is the session as the new version alone would have it, which `document` says, and `seen` the active one.
    """

    def __init__(self, document: Mapping[str, Any], seen: Session | None, wanted: Session | None = None) -> None:
        self.wanted = wanted or session_of(document)
        self.seen = seen
        self.faults: list[Fault] = []
        self.imported: dict[tuple[Section, str], Secret | Volume] = {}
        self._document = dict(document)
        self._parts = as_written(seen) if seen else {}
        self._taken: set[tuple[str, str]] = set()
        self._grown = False

    @property
    def document(self) -> dict[str, Any]:
        """The session as it is so far; with what was taken over, in the version of the language that it needs."""
        if not self._grown:
            return self._document
        version = max(str(self._document["version"]), lowest_version(self._document), key=VERSIONS.index)
        return {**self._document, "version": version}

    def keep(self, services: Sequence[Service], names: Names) -> None:
        """Take over what the pods of these services of the active session need."""
        if self.seen is None:
            return
        self._same_terms(self.seen, names)
        for service in services:
            if self.wanted.service(service.name) is not None:
                self._fault(f"service {service.name}", "changes, and has no version of its own")
                continue
            self._take("services", service.name)
            image = self.seen.image(service.image_name or "")
            if image is not None and self.wanted.image(image.name) is None:
                self._take("images", image.name)
        self.keep_uses(services)

    def keep_uses(self, services: Sequence[Service]) -> None:
        """Take over the secrets and volumes of services of the active session."""
        if self.seen is not None:
            images = [self.seen.image(service.image_name or "") for service in services]
            self.keep_volumes(mount.name for image in images if image for mount in image.volumes)
            self.keep_secrets(used_by(self.seen, services))

    def keep_secrets(self, names: Collection[str]) -> None:
        """Take over secrets, and what they are made from; nobody else gets them by that."""
        for secret in behind(self.seen, names) if self.seen else ():
            after = self.wanted.secret(secret.name)
            if after is None:
                self._take("secrets", secret.name)
            elif why := _difference(secret, after):
                self._fault(f"secret {secret.name}", why)
            if secret.import_ is not None:
                self.imported["secrets", secret.name] = secret

    def keep_volumes(self, names: Iterable[str]) -> None:
        """Take over volumes with their keys; nobody else gets them by that."""
        for name in names:
            volume, after = (self.seen.volume(name) if self.seen else None), self.wanted.volume(name)
            if volume is None:
                continue
            if after is None:
                self._take("volumes", name)
            elif _terms(volume) != _terms(after):
                self._fault(f"volume {name}", "has other terms")
            if volume.import_ is not None:
                self.imported["volumes", name] = volume

    def export(self, section: Section, name: str, to: Any) -> None:
        """Give a secret or volume to somebody else."""
        self._grown = True
        self._document[section] = [
            {**entry, "export": [*_listed(entry.get("export")), to]} if entry["name"] == name else entry
            for entry in self._document[section]
        ]

    def written_exports(self, section: Section, name: str) -> list[Any]:
        """Return to whom the active session exports a secret or volume, as it is written."""
        return [to for entry in self._parts[section] if entry["name"] == name for to in _listed(entry.get("export"))]

    def _take(self, section: str, name: str) -> None:
        if (section, name) in self._taken:
            return
        self._taken.add((section, name))
        self._grown = True
        (entry,) = (entry for entry in self._parts[section] if entry["name"] == name)
        left_out = {"export", "persistency"}  # the second is an artefact of how a session is read back
        kept = {key: item for key, item in entry.items() if key not in left_out}
        self._document[section] = [*self._document.get(section, ()), kept]

    def _same_terms(self, seen: Session, names: Names) -> None:
        """Note what holds for a whole session, and would refuse old pods or give them something else."""
        if why := _stricter(seen.security, self.wanted.security):
            self._fault("security", why)
        if seen.secret_config != self.wanted.secret_config:
            self._fault("secret_config", "keeps the secrets in another place")
        for service in seen.services:
            if names.version_of(service) is None and self.wanted.service(service.name) != service:
                self._fault(f"service {service.name}", "changes, and has no version of its own")

    def _fault(self, subject: str, why: str) -> None:
        fault = Fault(f"{subject} {why}", _RENAME if subject.startswith(("secret ", "volume ")) else _RESTORE)
        if fault not in self.faults:
            self.faults.append(fault)


def used_by(session: Session, services: Iterable[Service]) -> set[str]:
    """Return the names of the secrets that services, their images and their volumes name."""
    found: set[str] = set()
    for service in services:
        image = session.image(service.image_name or "")
        volumes = [session.volume(mount.name) for mount in (image.volumes if image else ())]
        for part in filter(None, (service, image, *volumes)):
            found |= _named_in(session, part.model_dump())
        if image and any(file.content is None for file in image.injection_files):  # a file that only the pod reads
            offered = image.provide_secrets
            found |= {secret.name for secret in session.secrets} if offered is None else set(offered)
    return found


def behind(session: Session, names: Collection[str]) -> list[Secret]:
    """Return secrets, and those that they are made from or fetched with, in the order of the session."""
    wanted, found = list(names), set()
    while wanted:
        secret = session.secret(wanted.pop())
        if secret is None or secret.name in found:
            continue
        found.add(secret.name)
        wanted += [name for key in _MADE_FROM if (name := getattr(secret, key))]
        wanted += _named_in(session, secret.model_dump(exclude={"value"}))
        if secret.import_akv is not None:
            wanted += [other.name for other in session.secrets if other.kind == "aad-token"]
    return [secret for secret in session.secrets if secret.name in found]


def _named_in(session: Session, value: Any) -> set[str]:
    """Return the secrets that the texts of a value name, those with an old suffix (`.crt`) without it."""
    found = [each.name for _, text in texts_in(value) if START in text for each in placeholders(text) if each]
    return {name if session.secret(name) else name.rpartition(".")[0] for name in found}


def _difference(before: Secret, after: Secret) -> str:
    """Return why the new declaration gives old pods another value, or nothing; no value is said."""
    if before.imported != after.imported:
        return "is imported in one version only"
    for key in _SHOWN:
        was, now = getattr(before, key), getattr(after, key)
        if was != now and not before.imported:
            return f"differs: its {key} was {was}, and is {now}"
    first, second = (secret.model_dump(exclude=_NOT_VALUE) for secret in (before, after))
    differing = sorted(key for key in first if first[key] != second[key])
    if differing:
        return f"differs: it has another {differing[0].rstrip('_')}"
    return "" if _host_names(before) <= _host_names(after) else "differs: the certificate loses a name"


def _host_names(secret: Secret) -> set[str]:
    return {*(f"dns:{name}" for name in secret.dns), *secret.san}


def _terms(volume: Volume) -> dict[str, Any]:
    return volume.model_dump(exclude={"export"})


def _stricter(before: Security | str, after: Security | str) -> str:
    """Return why pods that the old section accepts may be refused by the new one, or nothing."""
    if before == after:
        return ""
    if isinstance(before, str) or isinstance(after, str):
        return "is another section, which only the CAS can read"
    if (before.singleton_enclaves, before.service_access_token) != (
        after.singleton_enclaves,
        after.service_access_token,
    ):
        return "asks services for something else before they start"
    was, now = before.attestation, after.attestation
    if isinstance(was, str) or isinstance(now, str):
        return "" if was == now else "has another attestation, which only the CAS can read"
    return _stricter_attestation(was, now)


def _stricter_attestation(was: Attestation, now: Attestation) -> str:
    if was.mode != now.mode:
        return f"has the attestation mode {now.mode}, and it was {was.mode}"
    for key in _WIDER:
        lost = [word for word in getattr(was, key) if word not in getattr(now, key)]
        if lost and "*" not in getattr(now, key):
            return f"does not {'tolerate' if key == 'tolerate' else 'ignore'} {', '.join(lost)} any more"
    same = was.model_dump(exclude={*_WIDER}) == now.model_dump(exclude={*_WIDER})
    return "" if same else "attests in another way"


def _listed(value: Any) -> Iterator[Any]:
    yield from value if isinstance(value, list | tuple) else () if value is None else (value,)
