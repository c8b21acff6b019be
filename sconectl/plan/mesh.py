"""The plan for a mesh: one session document per service, the namespace session, and the chart.

In: a validated mesh, the facts of its images, the files it names (already read). Out: a `MeshPlan`, or findings.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sconectl.errors import PlanImpossible
from sconectl.findings import Finding
from sconectl.manifest.faults import did_you_mean
from sconectl.manifest.fields import Secret
from sconectl.manifest.mesh import Cas, Mesh, MeshService
from sconectl.manifest.placeholders import bind_mesh
from sconectl.plan.chart_plan import ChartPlan, ChartService
from sconectl.plan.environment import SHARED_SECTIONS, missing_globals, service_values
from sconectl.plan.facts import ImageFacts
from sconectl.plan.naming import program_name, session_name
from sconectl.plan.parameters import log_level
from sconectl.plan.wiring import ServiceSecrets, wire
from sconectl.policy.features import lowest_version
from sconectl.yaml_tree import Document, Path, show_path

FSPF_SECRET = "sconectl-fspf-key"  # noqa: S105 - a name
IMAGE_KEY_SECRET = "fspf-key"  # noqa: S105
NAMESPACE_FILE = "namespace"
RESERVED_NAMES = frozenset({*SHARED_SECTIONS, NAMESPACE_FILE})
"""Sections of env, and the file of the namespace session: a service of this name would be mixed up with them."""


@dataclass(frozen=True)
class SessionPlan:
    """One session: its full name, the file below target/policies, and its content."""

    name: str
    file: str
    document: Mapping[str, Any]


@dataclass(frozen=True)
class KeyShare:
    """An image session that has to export the key of its encrypted files to a service session."""

    facts: ImageFacts
    session: str


@dataclass(frozen=True)
class MeshPlan:
    """Everything that follows from a mesh; sessions in upload order, the namespace first."""

    cas: Cas
    upload: bool
    sessions: tuple[SessionPlan, ...]
    shares: tuple[KeyShare, ...]
    chart: ChartPlan


@dataclass(frozen=True)
class MeshInput:
    """What a mesh is compiled from.

    `replaced_secrets` holds the secrets of `image_secrets` files by service; names in them are bound already.
    """

    mesh: Mesh
    document: Document
    facts: Mapping[str, ImageFacts]
    replaced_secrets: Mapping[str, Sequence[Secret]]
    release: str
    version: str
    service_name: str = ""
    """What services are called inside their sessions; the file name of the program if empty."""


def plan_mesh(given: MeshInput) -> MeshPlan:
    """Compile a mesh. Raises `PlanImpossible` (values or secrets are missing) with every fault at its position."""
    findings: list[Finding] = []
    bound = [_Service(given, number, service, findings).bind() for number, service in enumerate(given.mesh.services)]
    findings += _duplicates(given)
    findings += _unreachable_keys(given)
    wired, faults = wire({service.name: service.secrets for service in bound})
    for fault in faults:
        number = [service.name for service in bound].index(fault.service)
        hint = did_you_mean(fault.secret, fault.candidates) or "define it in a service manifest, or remove the import"
        message = f"secret {fault.secret} of service {fault.service} {fault.message}"
        findings.append(_at(given, ("services", number), "SC2004", message, hint))
    if findings:
        raise PlanImpossible("the mesh cannot be compiled", findings=sorted(findings, key=lambda f: f.position))
    namespace = SessionPlan(
        given.mesh.policy.namespace, NAMESPACE_FILE, _namespace_session(given.mesh.policy.namespace)
    )
    sessions = [service.session(wired[service.name]) for service in bound]
    shares = tuple(KeyShare(s.facts, s.session_name) for s in bound if s.facts.fspf)
    chart = ChartPlan(_chart_name(given), given.version, tuple(service.chart() for service in bound))
    cas = main_cas(given.mesh)
    return MeshPlan(cas, cas.mode != "NoUpload", (namespace, *sessions), shares, chart)


def main_cas(mesh: Mesh) -> Cas:
    """Return the CAS that holds the sessions of the mesh."""
    return next((cas for cas in mesh.cas if cas.name == "cas" or "cas" in cas.alias), mesh.cas[0])


def image_cas(mesh: Mesh) -> Cas:
    """Return the CAS that holds the image sessions."""
    return next((cas for cas in mesh.cas if cas.name == "image" or "image" in cas.alias), main_cas(mesh))


def builtin_names(mesh: Mesh, release: str, service: MeshService, facts: ImageFacts) -> dict[str, str]:
    """Return the built-in names of `{{…}}` for a service."""
    namespace, program = mesh.policy.namespace, shlex.split(facts.command)
    names = {
        "chartname": facts.name,
        "image_name": service.image,
        "session": session_name(namespace, service.name),
        "namespace": namespace,
        "cas_service_name": program_name(program),
        "command": program[0],
    }
    if release:
        names |= {"release": release, "service_name": f"{release}-{service.name}"}
    for cas in mesh.cas:
        for role in (cas.name, *cas.alias):
            names |= {f"cas.{role}.cas_url": cas.cas_url, f"cas_{role}_cas_url": cas.cas_url}
    names["cas_cas_cas_url"] = main_cas(mesh).cas_url
    return names


def _at(given: MeshInput, path: Path, code: str, message: str, hint: str = "") -> Finding:
    return Finding("error", code, given.document.position(path), show_path(path), message, hint)


def _duplicates(given: MeshInput) -> list[Finding]:
    names = [service.name for service in given.mesh.services]
    findings = [
        _at(given, ("services", number, "name"), "SC2002", "two services have this name")
        for number, name in enumerate(names)
        if name in names[:number]
    ]
    findings += [
        _at(given, ("services", number, "name"), "SC2002", "this name is reserved", "give the service another name")
        for number, name in enumerate(names)
        if name in RESERVED_NAMES
    ]
    known = {*names, *SHARED_SECTIONS}
    for number, section in enumerate(given.mesh.env):
        if section.service not in known:
            hint = did_you_mean(section.service, known)
            findings.append(_at(given, ("env", number, "service"), "SC2003", "no service has this name", hint))
    return findings


def _unreachable_keys(given: MeshInput) -> list[Finding]:
    """Find services whose key would have to come from another CAS: sessions import from their own CAS only."""
    if image_cas(given.mesh).cas_url == main_cas(given.mesh).cas_url:
        return []
    message = "its image has encrypted directories, so the roles cas and image have to be played by one CAS"
    return [
        _at(given, ("services", number, "image"), "SC2009", message, "give both roles to one entry of cas")
        for number, service in enumerate(given.mesh.services)
        if given.facts[service.name].fspf
    ]


def with_version(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a session document that declares, behind its name, the lowest language version that it needs."""
    return {"name": document["name"], "version": lowest_version(document), **document}


def _namespace_session(name: str) -> dict[str, Any]:
    owner = ["CREATOR"]
    policy = {"read": owner, "update": owner, "create_sessions": owner}
    return with_version({"name": name, "access_policy": policy})


def _chart_name(given: MeshInput) -> str:
    text = re.sub(r"[^a-z0-9]+", "-", given.mesh.policy.namespace.lower()).strip("-")
    return text[:53].rstrip("-") or "mesh"


class _Service:
    """Binds one service of the mesh: all `{{…}}` resolved, faults collected."""

    def __init__(self, given: MeshInput, number: int, service: MeshService, findings: list[Finding]) -> None:
        self.given = given
        self.number = number
        self.service = service
        self.name = service.name
        self.facts = given.facts[service.name]
        self.session_name = session_name(given.mesh.policy.namespace, service.name)
        self.program = given.service_name or program_name(shlex.split(self.facts.command))
        self._findings = findings
        others = [facts for name, facts in given.facts.items() if name != service.name]
        self._values = service_values(given.mesh, service.name, self.facts, others)
        self._names = {**self._values, **builtin_names(given.mesh, given.release, service, self.facts)}

    def bind(self) -> _Service:
        for name in missing_globals(self.facts, self._values):
            message = f"service {self.name} needs the variable {name}, which has no value and no default"
            hint = f"give it a value in the section `global` or `{self.name}` of env"
            self._findings.append(_at(self.given, ("services", self.number), "SC2005", message, hint))
        self.command = [self._bind(word, "the command") for word in shlex.split(self.facts.command)]
        self.environment = self._environment()
        self.files = [
            {"path": file.path, "content": self._bind(file.content, f"the injected file {file.path}")}
            for file in self.facts.injection_files
        ]
        texts = [*self.command, *self.environment.values(), *(file["content"] for file in self.files)]
        self.port = self._port()
        self.secrets = ServiceSecrets(self.session_name, self._defined(), self._imported(), texts)
        return self

    def _environment(self) -> dict[str, str]:
        variables = self.facts.environment
        values = {v.name: v.value or "" for v in variables.image}
        values |= {v.name: self._values[v.name] for v in variables.global_ if v.name in self._values}
        values |= {v.name: v.value or "" for v in variables.local}
        return {name: self._bind(value, f"the variable {name}") for name, value in values.items()}

    def _imported(self) -> list[str]:
        return [self._bind(name, "an imported secret") for name in self.facts.secrets.import_]

    def _defined(self) -> dict[str, dict[str, Any]]:
        replaced = {secret.name: secret for secret in self.given.replaced_secrets.get(self.name, ())}
        entries = {str(entry["name"]): entry for entry in self.facts.secrets.global_}
        bound = {
            name: self._bind_all(entry, f"the secret {name}") for name, entry in entries.items() if name not in replaced
        }
        given = {name: secret.model_dump(exclude_none=True) for name, secret in replaced.items()}  # bound already
        return {name: given.get(name) or bound[name] for name in dict.fromkeys([*entries, *given])}

    def _bind_all(self, value: Any, what: str) -> Any:
        if isinstance(value, str):
            return self._bind(value, what)
        if isinstance(value, Mapping):
            return {key: self._bind_all(item, what) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._bind_all(item, what) for item in value]
        return value

    def _bind(self, text: str, what: str) -> str:
        bound, missing = bind_mesh(text, self._names.get)
        for name in missing:
            if any(v.name == name for v in self.facts.environment.global_):
                continue  # said already, as a missing value
            message = f"{what} of service {self.name} uses {{{{{name}}}}}, which has no value"
            release = "give the release with --release" if name in ("release", "service_name") else ""
            hint = (
                release
                or did_you_mean(name, self._names)
                or f"give it a value in the section `global` or `{self.name}` of env"
            )
            self._findings.append(_at(self.given, ("services", self.number), "SC2006", message, hint))
        return bound

    def session(self, secrets: list[dict[str, Any]]) -> SessionPlan:
        """Return the service's session."""
        service: dict[str, Any] = {
            "name": self.program,
            "image_name": self.name,
            "attestation": [{"mrenclave": list(dict.fromkeys([self.facts.measurement, *self.facts.stable]))}],
            "command": self.command,
            "pwd": self.facts.pwd,
            "environment": dict(sorted(self.environment.items())),
        }
        if self.facts.fspf:
            service |= {
                "fspf_path": self.facts.fspf.path,
                "fspf_key": f"$$SCONE::{FSPF_SECRET}$$",
                "fspf_tag": self.facts.fspf.tag,
            }
            key = {"session": self.facts.image_session, "secret": IMAGE_KEY_SECRET}
            secrets = [*secrets, {"name": FSPF_SECRET, "kind": "binary", "import": key}]
        image: dict[str, Any] = {"name": self.name}
        if self.files:
            image["injection_files"] = self.files
        document: dict[str, Any] = {
            "name": self.session_name,
            "access_policy": {"read": ["CREATOR"], "update": ["CREATOR"]},
            "security": {"attestation": self._attestation()},
            "services": [service],
            "images": [image],
        }
        if secrets:
            document["secrets"] = secrets
        return SessionPlan(self.session_name, self.name, with_version(document))

    def _attestation(self) -> dict[str, Any]:
        policy = self.given.mesh.policy
        tolerate = _comma_list(policy.tolerate)
        if self.facts.parameters.get("mode") == "debug" and "debug-mode" not in tolerate:
            tolerate.append("debug-mode")
        attestation: dict[str, Any] = {"mode": "hardware"}
        if tolerate:
            attestation["tolerate"] = tolerate
        if policy.ignore_advisories:
            ignored = policy.ignore_advisories.strip()
            attestation["ignore_advisories"] = "*" if ignored == "*" else _comma_list(ignored)
        return attestation

    def chart(self) -> ChartService:
        """Return what the chart needs for the service."""
        cas = main_cas(self.given.mesh)
        return ChartService(
            name=self.name,
            image=self.service.image,
            config_id=f"{self.session_name}/{self.program}",
            cas_address="cas" if cas.cas_url == "local" else cas.cas_url.removeprefix("https://").rstrip("/"),
            cas_key=cas.cas_key or "",
            toolchain=self.facts.toolchain,
            measurement=self.facts.measurement,
            port=self._port(),
            pull_secret=self._values.get("imagePullSecrets", ""),
            log_level=log_level({v.name: v.value or "" for v in self.facts.environment.local}),
            extra_values={},
        )

    def _port(self) -> int | None:
        text = self._values.get("APP_SERVICE_PORT", "").strip()
        if not text:
            return None
        if text.isascii() and text.isdecimal() and 0 < int(text) < 65536:
            return int(text)
        places: list[Path] = [
            ("env", section, "env", entry, "value")
            for section, part in enumerate(self.given.mesh.env)
            for entry, variable in enumerate(part.env)
            if variable.name == "APP_SERVICE_PORT"
        ]
        message = "APP_SERVICE_PORT: expected a port number from 1 to 65535"
        finding = _at(self.given, places[-1] if places else ("services", self.number), "SC2007", message)
        if finding not in self._findings:
            self._findings.append(finding)
        return None


def _comma_list(text: str | None) -> list[str]:
    return [item.strip() for item in (text or "").split(",") if item.strip()]
