"""Sessions of the language 0.1 and 0.2, rewritten in 0.3 (LANG §20).

In: the text of an old session. Out: text in the lowest version of 0.3 that expresses it, with remarks; what cannot be
expressed is an error that says what to do. Comments are not kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sconectl.errors import InvalidInput
from sconectl.policy.forms import placeholders
from sconectl.policy.forms.violation import code_of
from sconectl.policy.serialized.features import lowest_version
from sconectl.text import yaml_text
from sconectl.text.findings import Finding, Severity
from sconectl.text.secret_placeholders import START, Placeholder
from sconectl.text.yaml_tree import Document, Path, parse

LEGACY_VERSIONS = ("0.1", "0.2")
SESSION_CA = "session_ca"
_HASH = re.compile(r"[0-9a-fA-F]{64}\Z")
_SUFFIXES = {"hex": "hex", "crt": "crt", "key": "privatekey"}
_CERTIFICATES = ("x509", "x509-ca", "session-ca")


@dataclass(frozen=True)
class Upgraded:
    """The session in 0.3, and the findings about it; with an error among them the text is incomplete."""

    text: str = field(repr=False)
    findings: tuple[Finding, ...]


def legacy_version(document: Document) -> str | None:
    """Return `0.1` or `0.2` if `document` is a session of that version, else None; without a version it is 0.1."""
    if not isinstance(document.value, dict):
        return None
    version = document.value.get("version") or "0.1"
    return version if version in LEGACY_VERSIONS else None


def upgrade(text: str | bytes, file: str = "session") -> Upgraded:
    """Rewrite a session of 0.1 or 0.2 in 0.3; one of 0.3 is returned as it is.

    Raises `InvalidInput` if the text is not YAML. The result still has to be checked: only changes between the
    versions are looked at here.
    """
    document = parse(text, file)
    if legacy_version(document) is None:
        return Upgraded(text.decode() if isinstance(text, bytes) else text, ())
    return upgrade_document(document)


def upgrade_document(document: Document) -> Upgraded:
    """Rewrite an old session that is read already; entries of its lists keep their places. Raises `InvalidInput`."""
    if not isinstance(document.value, dict):
        raise InvalidInput([Finding("error", code_of("D1"), document.position(()), "", "a session is a mapping")])
    rewriter = _Rewriter(document, document.value)
    result = rewriter.session()
    return Upgraded(yaml_text.dump(result), tuple(sorted(rewriter.findings, key=lambda finding: finding.position)))


class _Rewriter:
    """Takes an old session apart and puts a new one together, collecting findings."""

    def __init__(self, document: Document, value: dict[str, Any]) -> None:
        self.document = document
        self.value = value
        self.findings: list[Finding] = []
        self.secrets = [dict(item) if isinstance(item, dict) else item for item in _list(value.get("secrets"))]
        self.kinds: dict[str, str | None] = {
            str(item["name"]): item.get("kind") for item in self.secrets if isinstance(item, dict) and "name" in item
        }

    def say(self, severity: Severity, rule: str, path: Path, message: str, hint: str = "") -> None:
        self.findings.append(self.document.finding(severity, code_of(rule), path, message, hint))

    def session(self) -> dict[str, Any]:
        known = {
            "name", "version", "digest", "predecessor", "creator", "access_policy", "services", "images", "volumes",
            "secrets", "exports", "board_members", "board_policy",
        }  # fmt: skip
        result: dict[str, Any] = {"name": self.value.get("name"), "version": ""}
        result |= self.predecessor()
        self.board()
        if (policy := self.value.get("access_policy")) is not None:
            result["access_policy"] = self.access_policy(policy)
        sections = {
            "services": [self.service(item, number) for number, item in enumerate(_list(self.value.get("services")))],
            "images": [self.image(item, number) for number, item in enumerate(_list(self.value.get("images")))],
            "volumes": [self.volume(item, number) for number, item in enumerate(_list(self.value.get("volumes")))],
            "secrets": self.all_secrets(),
        }
        result |= {section: items for section, items in sections.items() if items}
        malformed = {key: self.value[key] for key in sections if not isinstance(self.value.get(key, []), list)}
        result |= {key: item for key, item in malformed.items() if item is not None}
        if self.value.get("exports"):
            hint = "name the sessions in the export of each secret, like export: [{session: NAME}]"
            self.say("error", "D3", ("exports",), "exports of a whole session do not exist any more", hint)
        result |= {key: item for key, item in self.value.items() if key not in known}  # the check names unknown ones
        if result["name"] is None:
            del result["name"]
        result["version"] = lowest_version(result)
        return result

    def predecessor(self) -> dict[str, Any]:
        digest = self.value.get("digest")
        if digest is None:
            given = self.value.get("predecessor")
            return {} if given is None else {"predecessor": given}
        return {} if digest == "create" else {"predecessor": digest}

    def board(self) -> None:
        if self.value.get("board_members"):
            message = "a policy board cannot be rewritten: its members were certificates, and now they are signing keys"
            hint = "write access_policy: {update: {require-at-least-N: [{signer: PEM}, …]}}, and remove board_members"
            self.say("error", "G5", ("board_members",), message, hint)

    # --- access policy ----------------------------------------------------------------------------------------------

    def access_policy(self, policy: Any) -> Any:
        if not isinstance(policy, dict):
            return policy
        for operation, value in policy.items():
            entries = enumerate(value) if isinstance(value, list) else [(None, value)]
            for index, entry in entries:
                if isinstance(entry, str) and _HASH.match(entry):
                    path: Path = ("access_policy", operation)
                    self.say(
                        "error",
                        "G5",
                        path if index is None else (*path, index),
                        "the hash of a certificate names nobody any more; since 0.3 the key counts",
                        "write the key hash, which `sconectl cert show-key-hash FILE` prints, or the certificate",
                    )
        return policy

    # --- services, images, volumes ----------------------------------------------------------------------------------

    def service(self, service: Any, number: int) -> Any:
        if not isinstance(service, dict):
            return service
        path: Path = ("services", number)
        result = {
            key: item for key, item in service.items() if key not in {"mrenclaves", "tags", "import", "persistency"}
        }
        measurements = service.get("mrenclaves")
        if measurements is None:
            measurements = self.of_image(service.get("image_name"))
        if measurements is not None and "attestation" not in service:
            result["attestation"] = [{"mrenclave": measurements}]
        self.no_tags(service, path)
        if service.get("import"):
            hint = "declare the secret under secrets, with import: {session: NAME, secret: NAME}"
            self.say("error", "D3", (*path, "import"), "a service does not import any more", hint)
        for key in ("command", "environment"):
            if key in result:
                result[key] = self.texts(result[key], (*path, key))
        return result

    def of_image(self, name: Any) -> Any:
        for image in _list(self.value.get("images")):
            if isinstance(image, dict) and name is not None and image.get("name") == name:
                return image.get("mrenclaves")
        return None

    def image(self, image: Any, number: int) -> Any:
        if not isinstance(image, dict):
            return image
        path: Path = ("images", number)
        self.no_tags(image, path)
        result = {key: item for key, item in image.items() if key not in {"mrenclaves", "tags"}}
        files = [
            file | {"content": self.texts(file["content"], (*path, "injection_files", index, "content"))}
            if isinstance(file, dict) and "content" in file
            else file
            for index, file in enumerate(_list(image.get("injection_files")))
        ]
        return result | ({"injection_files": files} if files else {})

    def no_tags(self, item: dict[str, Any], path: Path) -> None:
        if item.get("tags"):
            self.say("warning", "D3", (*path, "tags"), "tags do not exist any more; they are left out")

    def volume(self, volume: Any, number: int) -> Any:
        if not isinstance(volume, dict):
            return volume
        return self.shared(volume, ("volumes", number), "volume")

    # --- secrets ----------------------------------------------------------------------------------------------------

    def all_secrets(self) -> list[Any]:
        """Return the secrets in their places, followed by the keys and the CA that were implicit in 0.2."""
        rewritten: list[Any] = []
        added: list[dict[str, Any]] = []
        authority = self.session_authority(added)
        for number, secret in enumerate(self.secrets):
            if not isinstance(secret, dict):
                rewritten.append(secret)
                continue
            result = self.shared(secret, ("secrets", number), "secret")
            if secret.get("kind") == "session-ca":
                result["kind"] = "x509-ca"
                self.only_authority(secret, number, authority)
            if self.needs_key(secret):
                result["private_key"] = self.key_of(result, added)
                if secret.get("kind") == "x509":
                    result["issuer"] = authority
                message = f"its key is a secret of its own now, {result['private_key']}; the certificate is made anew"
                self.say("warning", "K4", ("secrets", number), message)
            rewritten.append(result)
        return [*rewritten, *added]

    def needs_key(self, secret: dict[str, Any]) -> bool:
        tacit = not any(key in secret for key in ("import", "value", "private_key"))
        return secret.get("kind") in _CERTIFICATES and tacit

    def session_authority(self, added: list[dict[str, Any]]) -> str:
        """Return the name of the session's CA; it is added if no secret stands for it and certificates need it."""
        for secret in self.secrets:
            if isinstance(secret, dict) and secret.get("kind") == "session-ca" and "import" not in secret:
                return str(secret.get("name"))
        if not any(
            isinstance(item, dict) and item.get("kind") == "x509" and self.needs_key(item) for item in self.secrets
        ):
            return ""
        authority = {"name": self.free_name(SESSION_CA), "kind": "x509-ca"}
        added.append(authority)
        authority["private_key"] = self.key_of(authority, added)
        return authority["name"]

    def only_authority(self, secret: dict[str, Any], number: int, authority: str) -> None:
        if "import" not in secret and secret.get("name") != authority:
            hint = f"use {authority} in its place, and remove it"
            self.say("error", "D2", ("secrets", number), "a session has one CA, and another secret stands for it", hint)

    def key_of(self, certificate: dict[str, Any], added: list[dict[str, Any]]) -> str:
        """Add the private key of a certificate; sessions that may import the certificate of 0.2 get its key, too."""
        key = {"name": self.free_name(f"{certificate.get('name')}_key"), "kind": "private-key"}
        if "export" in certificate and certificate["kind"] == "x509":
            key["export"] = certificate["export"]
        added.append(key)
        return str(key["name"])

    def free_name(self, wanted: str) -> str:
        name, number = wanted, 2
        while name in self.kinds:
            name, number = f"{wanted}_{number}", number + 1
        self.kinds[name] = None
        return name

    def shared(self, item: dict[str, Any], path: Path, what: str) -> dict[str, Any]:
        """Rewrite `export: a` and `import: a:hash` of a secret or volume."""
        result = dict(item)
        if "export" in item:
            entries = item["export"] if isinstance(item["export"], list) else [item["export"]]
            exports = [_session(entry) if isinstance(entry, str) else entry for entry in entries if entry is not None]
            result["export"] = exports
            if not exports:
                del result["export"]
        if isinstance(item.get("import"), str):
            result["import"] = _session(item["import"]) | {what: item.get("name")}
        return result

    # --- placeholders -----------------------------------------------------------------------------------------------

    def texts(self, value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            return {key: self.texts(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.texts(item, (*path, index)) for index, item in enumerate(value)]
        return self.text(value, path) if isinstance(value, str) else value

    def text(self, text: str, path: Path) -> str:
        try:
            found = placeholders.find(text)
        except placeholders.PlaceholderError as error:
            self.say("error", error.rule, path, error.message)
            return text
        for placeholder in reversed(found):
            text = text[: placeholder.start] + self.placeholder(placeholder, path) + text[placeholder.end :]
        return text

    def placeholder(self, placeholder: Placeholder, path: Path) -> str:
        stem, dot, old = placeholder.name.rpartition(".")
        if placeholder.name in self.kinds or not dot or stem not in self.kinds:
            return placeholder.text
        start = f"{START}{stem}"
        if old in _SUFFIXES:
            return f"{start}:{_SUFFIXES[old]}$$"
        if old != "chain":
            return placeholder.text
        message = f"the chain of {stem} begins with the certificate itself now, and ends with the root"
        self.say("warning", "P2", path, message, "check that the program takes it in this order")
        return f"{start}:crt$${start}:chain$$"


def _list(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list) else []


def _session(reference: str) -> dict[str, str]:
    name, colon, pinned = reference.partition(":")
    return {"session": name, "session_hash": pinned} if colon else {"session": name}
