"""The input of the rules: the parts of a session that are well formed by themselves, and the text that they stand in.

In: parts as they are read. Out: a `Draft`, and findings at the positions of faults.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sconectl.policy.forms.violation import code_of
from sconectl.policy.model.access_policy import AccessPolicy
from sconectl.policy.model.secret import Secret
from sconectl.policy.model.security import Attestation, SecretConfig, Security
from sconectl.policy.model.services import Service
from sconectl.policy.model.volumes import Image, Volume
from sconectl.text.findings import Finding, Severity
from sconectl.text.yaml_tree import Document, Path


@dataclass
class Draft:
    """The well-formed parts with their place in the lists, and the names that are declared, well formed or not.

    `value` is the document without empty fields. A section is None if it is faulty; rules that need it then
    stay silent. It is complete before the first rule runs. `version` is the version of the language, if it is known.
    """

    document: Document
    value: dict[str, Any]
    version: str | None = None
    services: dict[int, Service] = field(default_factory=dict)
    images: dict[int, Image] = field(default_factory=dict)
    secrets: dict[int, Secret] = field(default_factory=dict)
    volumes: dict[int, Volume] = field(default_factory=dict)
    security: Security | str | None = None
    access_policy: AccessPolicy | str | None = None
    secret_config: SecretConfig | None = None
    names: dict[str, list[tuple[int, str]]] = field(default_factory=dict)

    def declared(self, section: str) -> set[str]:
        """Return the names declared in a section (`secrets`, `volumes`, …), also those of faulty entries."""
        return {name for _, name in self.names.get(section, ())}

    @cached_property
    def kinds(self) -> dict[str, str | None]:
        """The kinds of the declared secrets; None where an import does not say or the entry is faulty."""
        kinds: dict[str, str | None] = dict.fromkeys(self.declared("secrets"))
        return kinds | {secret.name: secret.kind for secret in self.secrets.values()}

    @cached_property
    def secrets_by_name(self) -> dict[str, Secret]:
        """The well-formed secrets."""
        return {secret.name: secret for secret in self.secrets.values()}

    def attestation(self) -> Attestation | None:
        """Return the session-wide attestation section if it is written out and well formed."""
        if self.security is None or isinstance(self.security, str) or isinstance(self.security.attestation, str):
            return None
        return self.security.attestation

    def entries(self, section: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the entries of a list section as written, with their place."""
        items = self.value.get(section)
        for index, item in enumerate(items if isinstance(items, list) else ()):
            if isinstance(item, dict):
                yield index, item

    def finding(self, rule: str, path: Path, message: str, hint: str = "", *, severity: Severity = "error") -> Finding:
        """Return a finding at the position of `path`."""
        return self.document.finding(severity, code_of(rule), path, message, hint)
