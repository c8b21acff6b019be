"""The rules that span more than one field of a session.

In: a draft, that is, those parts that are well formed by themselves. Out: findings at the position of the fault.
Each rule is one function; `RULES` lists them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from sconectl.findings import Finding, Severity
from sconectl.policy import placeholders
from sconectl.policy.parts import Image, Secret, Security, Service
from sconectl.policy.violation import code_of
from sconectl.yaml_tree import Document, Path, show_path


@dataclass
class Draft:
    """The well-formed parts with their place in the lists, and the names that are declared, well formed or not.

    `security` is None if the section is faulty; rules that depend on it then stay silent.
    """

    document: Document
    services: dict[int, Service] = field(default_factory=dict)
    images: dict[int, Image] = field(default_factory=dict)
    secrets: dict[int, Secret] = field(default_factory=dict)
    security: Security | None = None
    image_names: list[tuple[int, str]] = field(default_factory=list)
    service_names: list[tuple[int, str]] = field(default_factory=list)
    secret_names: list[tuple[int, str]] = field(default_factory=list)

    def kinds(self) -> dict[str, str | None]:
        """Return the kinds of the declared secrets; None where an import does not say or the entry is faulty."""
        kinds: dict[str, str | None] = {name: None for _, name in self.secret_names}
        return kinds | {secret.name: secret.kind for secret in self.secrets.values()}

    def finding(self, rule: str, path: Path, message: str, hint: str = "", *, severity: Severity = "error") -> Finding:
        """Return a finding at the position of `path`."""
        return Finding(severity, code_of(rule), self.document.position(path), show_path(path), message, hint)


def unique_names(draft: Draft) -> Iterator[Finding]:
    """D2: names are unique among services, secrets and images, and paths among the files of an image."""
    lists: Mapping[str, Iterable[tuple[int, str]]] = {
        "services": draft.service_names,
        "images": draft.image_names,
        "secrets": draft.secret_names,
    }
    for section, named in lists.items():
        seen: set[str] = set()
        for index, name in named:
            if name in seen:
                yield draft.finding("D2", (section, index, "name"), "the name is used twice", "rename one of them")
            seen.add(name)
    for index, image in draft.images.items():
        paths: set[str] = set()
        for number, file in enumerate(image.injection_files):
            if file.path in paths:
                path = ("images", index, "injection_files", number)
                yield draft.finding("D2", path, "the path is used twice in this image", "remove one of them")
            paths.add(file.path)


def image_resolves(draft: Draft) -> Iterator[Finding]:
    """S4: image_name is declared in images."""
    declared = {name for _, name in draft.image_names}
    for index, service in draft.services.items():
        if service.image_name is not None and service.image_name not in declared:
            yield draft.finding(
                "S4", ("services", index, "image_name"), "no image has this name", "declare it under images"
            )


def fspf_complete(draft: Draft) -> Iterator[Finding]:
    """S6: path, key and tag of the main file system come together; without rollback protection no tag is needed."""
    for index, service in draft.services.items():
        path: Path = ("services", index)
        if service.fspf_path is None:
            if service.fspf_key is not None or service.fspf_tag is not None:
                yield draft.finding("S6", path, "fspf_key and fspf_tag need fspf_path", "add fspf_path")
        elif service.fspf_key is None:
            yield draft.finding("S6", (*path, "fspf_path"), "fspf_path needs fspf_key", "add fspf_key")
        elif service.fspf_tag is None and service.fspf_update_policy != "no_rollback_protection":
            yield draft.finding("S6", (*path, "fspf_path"), "fspf_path needs fspf_tag", "add fspf_tag")


def attested(draft: Draft) -> Iterator[Finding]:
    """A1: unless the mode is none, each service names at least one enclave."""
    if draft.security is None or draft.security.attestation.mode == "none":
        return
    for index, service in draft.services.items():
        if not service.measurements:
            yield draft.finding(
                "A1",
                ("services", index),
                "no enclave is named that may run this service",
                "add attestation: [{mrenclave: …}]",
            )


def text_placeholders(draft: Draft) -> Iterator[Finding]:
    """P1-P3: placeholders in arguments and environment name a defined secret in a text format."""
    kinds = draft.kinds()
    for index, service in draft.services.items():
        for number, argument in enumerate(service.command):
            yield from _checked(draft, argument, ("services", index, "command", number), kinds, text_only=True)
        for key, value in service.environment.items():
            yield from _checked(draft, value, ("services", index, "environment", key), kinds, text_only=True)


def file_placeholders(draft: Draft) -> Iterator[Finding]:
    """P1-P3: placeholders in injected files name a defined secret in a format of its kind."""
    kinds = draft.kinds()
    for index, image in draft.images.items():
        for number, file in enumerate(image.injection_files):
            path = ("images", index, "injection_files", number, "content")
            yield from _checked(draft, file.content, path, kinds, text_only=False)


def _checked(
    draft: Draft, text: str, path: Path, kinds: Mapping[str, str | None], *, text_only: bool
) -> Iterator[Finding]:
    try:
        for placeholder in placeholders.find(text):
            target = placeholders.check(placeholder, kinds, text_only=text_only)
            if target.legacy:
                yield draft.finding(
                    "P2", path, "old placeholder suffix", "write :hex instead of .hex", severity="deprecation"
                )
    except placeholders.PlaceholderError as error:
        yield draft.finding(error.rule, path, error.message)


def fspf_key_reference(draft: Draft) -> Iterator[Finding]:
    """P1, S5: a referenced key is a binary secret of this session with 32 bytes."""
    by_name = {secret.name: secret for secret in draft.secrets.values()}
    for index, service in draft.services.items():
        path = ("services", index, "fspf_key")
        if service.fspf_key is None or not placeholders.is_reference(service.fspf_key):
            continue
        placeholder = placeholders.find(service.fspf_key)[0]
        if placeholder.name not in draft.kinds():
            yield draft.finding("P1", path, f"the secret {placeholder.name!r} is not defined in this session")
        elif placeholder.suffix or placeholder.escape_json:
            yield draft.finding("P2", path, "a reference to a key takes no format")
        elif (secret := by_name.get(placeholder.name)) is not None and not _may_be_key(secret):
            yield draft.finding("S5", path, "the referenced secret is not binary with 32 bytes")


def _may_be_key(secret: Secret) -> bool:
    if secret.import_ is not None:
        return secret.kind in {None, "binary"}
    size = secret.size if secret.value is None else len(secret.value) // 2
    return secret.kind == "binary" and size == 32


RULES: tuple[Callable[[Draft], Iterator[Finding]], ...] = (
    unique_names,
    image_resolves,
    fspf_complete,
    attested,
    text_placeholders,
    file_placeholders,
    fspf_key_reference,
)
