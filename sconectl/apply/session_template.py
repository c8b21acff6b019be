"""Session templates, as the first edition of sconify_image took them: a session with variables for what a build gives.

In: the text of a template and the session that would be uploaded without it. Out: the session to upload, checked by
the rules of the policy language. Raises `InvalidInput` and `PlanImpossible`.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from textwrap import dedent, indent
from typing import Any

from sconectl.artefacts.session import session_text
from sconectl.errors import InvalidInput, PlanImpossible
from sconectl.plan.facts.toolchain_traits import ToolchainTraits
from sconectl.plan.mesh.attestation import false_mode, with_mode
from sconectl.plan.mesh.mesh import FSPF_SECRET
from sconectl.plan.values.literals import HOST_VARIABLE, literal_secrets
from sconectl.policy.reading import parse_session
from sconectl.policy.serialized.features import lowest_version
from sconectl.text.findings import Finding, Position
from sconectl.text.yaml_tree import parse

VARIABLES = (
    "CMD", "ENVVARS", "INJECTED_FILES", "MRENCLAVE", "NAMESPACE", "SCONE_FSPF_KEY", "SCONE_FSPF_TAG", "SECRETS",
    "SESSION",
)  # fmt: skip
_VARIABLE = re.compile(rf"\$(?:\{{({'|'.join(VARIABLES)})\}}|({'|'.join(VARIABLES)})(?![A-Za-z0-9_]))")
_INDENTED = re.compile(r"^([ \t]+)\$\{?(SECRETS|INJECTED_FILES)\}?[ \t]*$", re.MULTILINE)
"""A section on an indented line of its own is indented as a whole; elsewhere it is taken as it is."""
_FSPF_FIELDS = ("fspf_path", "fspf_key", "fspf_tag")


@dataclass(frozen=True)
class SessionTemplate:
    """A template: the name to show for it, its text, and the texts of the sections that it may hold."""

    name: str
    text: str = field(repr=False)
    secrets: str = field(default="", repr=False)
    injected_files: str = field(default="", repr=False)

    def before_build(self, namespace: str, session: str, toolchain: ToolchainTraits) -> dict[str, Any]:
        """Return the session as far as it is known before anything is built, to find its faults early."""
        values = {"MRENCLAVE": "0" * 64, "SCONE_FSPF_KEY": "0" * 64, "SCONE_FSPF_TAG": "0" * 32, "CMD": "program"}
        return self._checked(
            self._filled({**values, "NAMESPACE": namespace, "SESSION": session}), f"{namespace}/{session}", toolchain
        )

    def after_build(self, generated: Mapping[str, Any], toolchain: ToolchainTraits) -> dict[str, Any]:
        """Return the session to upload. `generated` is the one made without a template."""
        name = str(generated["name"])
        namespace, _, session = name.rpartition("/")
        [service] = generated["services"]
        [attestation] = service["attestation"]
        variables = {key: value for key, value in service["environment"].items() if not key.startswith("SCONE_")}
        environment = "\n".join(
            f"        {json.dumps(key)}: {json.dumps(value)}" for key, value in sorted(variables.items())
        )
        values = {
            "CMD": _shell_form(service["command"]),
            "ENVVARS": f"{environment}\n     pwd: {json.dumps(service['pwd'])}".lstrip("\n"),
            "MRENCLAVE": attestation["mrenclave"][0],
            "NAMESPACE": namespace,
            "SCONE_FSPF_KEY": f"$$SCONE::{FSPF_SECRET}$$",
            "SCONE_FSPF_TAG": service.get("fspf_tag", ""),
            "SESSION": session,
        }
        document = with_mode(_with_key(self._filled(values), generated), toolchain)
        return self._checked(document, name, toolchain)

    def _filled(self, values: Mapping[str, str]) -> dict[str, Any]:
        known = {"ENVVARS": "", "SECRETS": self.secrets, "INJECTED_FILES": self.injected_files, **values}
        text = _INDENTED.sub(lambda match: indent(dedent(known[match[2]].strip("\n")), match[1]), self.text)
        text = _VARIABLE.sub(lambda match: known[match[1] or match[2]], text)
        document = parse(text, self.name)
        if not isinstance(document.value, dict):
            raise self._refused("expected a mapping: name, version, services, …")
        return document.value

    def _checked(self, document: dict[str, Any], name: str, toolchain: ToolchainTraits) -> dict[str, Any]:
        if document.get("name") != name:
            raise self._refused(f"expected the name {name}", "begin the template with `name: $NAMESPACE/$SESSION`")
        if false := false_mode(document, toolchain):
            raise self._refused(*false)
        document.setdefault("version", lowest_version(document))
        parse_session(session_text(document), file=self.name)
        return document

    def _refused(self, message: str, hint: str = "") -> InvalidInput:
        return InvalidInput([Finding("error", "SC1009", Position(self.name, 1, 1), "", message, hint)])


def injected_by(document: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the files that a session injects, in the form of a service manifest.

    Raises `PlanImpossible` if it injects them in a way that an image has to be prepared for and cannot be.
    """
    found = []
    for image in document.get("images") or ():
        for file in image.get("injection_files") or ():
            if file.get("content") is None:
                raise PlanImpossible(
                    f"the template fills in the file {file.get('path')} of the image",
                    hint="give its text as `content`",
                )
            found.append({"path": str(file["path"]), "content": str(file["content"])})
    return found


def _with_key(document: dict[str, Any], generated: Mapping[str, Any]) -> dict[str, Any]:
    """Let the session import the key of the encrypted files, or do without, as the generated one does.

    It gets the secrets, too, that texts of the native image need to stand in a session.
    """
    [own] = generated["services"]
    services = []
    for service in document.get("services") or ():
        rest = {key: value for key, value in service.items() if key not in _FSPF_FIELDS}
        if "fspf_key" in service and "fspf_path" in own:
            rest |= {key: own[key] for key in _FSPF_FIELDS}
        services.append(rest)
    document = {**document, "services": services}
    added = literal_secrets([*own["command"], *own["environment"].values()])  # its texts may stand anywhere
    if any("fspf_key" in service for service in services):
        added += [secret for secret in generated["secrets"] if secret["name"] == FSPF_SECRET]
    if added:
        document["secrets"] = [*(document.get("secrets") or ()), *added]
    if added or any(
        name.startswith(HOST_VARIABLE) for service in services for name in service.get("environment") or ()
    ):
        version = str(document.get("version") or "0")
        document["version"] = max(version, lowest_version(document), key=_numbers)
    return document


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]+", version))


def _shell_form(command: list[str]) -> str:
    """Return a command as text; that of `/bin/sh -c` without the shell, as templates expect it."""
    return command[2] if command[:2] == ["/bin/sh", "-c"] and len(command) == 3 else shlex.join(command)
