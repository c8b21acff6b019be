"""How strictly the CAS checks the services of a mesh, and who may touch their sessions.

In: a mesh. Out: sections of its sessions, and findings about the fields they come from. `policy.*_policy_name` names a
fragment that a session of somebody else exports: `SESSION/SECRET`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sconectl.manifest.model.faults import did_you_mean
from sconectl.manifest.model.mesh import Mesh
from sconectl.plan.facts.toolchain_traits import ToolchainTraits
from sconectl.plan.mesh.mesh_input import MeshInput, main_cas, role_cas
from sconectl.policy.forms.tolerations import DEBUG_MODE, HARDWARE, MAA_TCB, SIMULATION, TOLERATIONS
from sconectl.text.findings import Finding
from sconectl.text.yaml_tree import Path

_ADVISORY = re.compile(r"INTEL-SA-[0-9]{5}\Z")
_ALL = "*"
_ROLES = ("access", "attestation", "security")


@dataclass(frozen=True)
class Fragments:
    """References to fragments by role, and the secrets that import them."""

    references: dict[str, str] = field(default_factory=dict)
    secrets: tuple[dict[str, Any], ...] = ()


def attestation(mesh: Mesh, *, toolchain: ToolchainTraits, debug: bool) -> dict[str, Any]:
    """Return the `attestation` of a session for an image of `toolchain`; `debug` if it was built for debugging."""
    policy = mesh.policy
    tolerate = [_meant(word) for word in comma_list(policy.tolerate)]
    if policy.maa and MAA_TCB not in tolerate:
        tolerate.append(MAA_TCB)
    if debug and DEBUG_MODE not in tolerate:
        tolerate.append(DEBUG_MODE)
    found: dict[str, Any] = {"mode": "maa", "url": policy.maa} if policy.maa else {"mode": toolchain.mode}
    if tolerate:
        found["tolerate"] = list(dict.fromkeys(tolerate))
    if ignored := comma_list(policy.ignore_advisories):
        found["ignore_advisories"] = _ALL if _ALL in ignored else ignored
    return found


def with_mode(session: Mapping[str, Any], toolchain: ToolchainTraits) -> dict[str, Any]:
    """Return a session with the attestation mode of its toolchain, unless a template gave it another section.

    A mode that the template gives is left alone, and so are references to fragments of another session.
    """
    security = session.get("security") or {}
    section = security.get("attestation") or {} if isinstance(security, Mapping) else None
    if not isinstance(section, Mapping) or section.get("mode"):
        return dict(session)
    return {**session, "security": {**security, "attestation": {**section, "mode": toolchain.mode}}}


def mode_of(session: Mapping[str, Any]) -> str | None:
    """Return the attestation mode that is written in a session or template, if there is one."""
    value: Any = session
    for key in ("security", "attestation", "mode"):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, str) else None


def false_mode(session: Mapping[str, Any], toolchain: ToolchainTraits) -> tuple[str, str] | None:
    """Return message and hint if a template calls the protection by `toolchain` something else than it is."""
    mode = mode_of(session)
    if mode not in (SIMULATION, HARDWARE) or mode == toolchain.mode:
        return None
    message = f"the image is protected by the toolchain {toolchain.name}, for which the mode is not {mode}"
    return message, f"write mode: {toolchain.mode}, or leave mode out: then it is filled in"


def comma_list(given: str | tuple[str, ...] | None) -> list[str]:
    """Return the entries of a list that is written as one text, or as a list."""
    entries = given.split(",") if isinstance(given, str) else given or ()
    return [entry.strip() for entry in entries if entry.strip()]


def _meant(word: str) -> str:
    return DEBUG_MODE if word == "debug" else word


def attestation_faults(given: MeshInput) -> Iterator[Finding]:
    """Yield what is wrong with `tolerate` and `ignore_advisories`."""
    policy = given.mesh.policy
    for word in comma_list(policy.tolerate):
        if _meant(word) not in TOLERATIONS:
            hint = did_you_mean(word, TOLERATIONS) or f"known are {', '.join(TOLERATIONS)}"
            yield given.at(("policy", "tolerate"), "SC2013", f"{_shown(word)} is nothing that can be tolerated", hint)
    for word in comma_list(policy.ignore_advisories):
        if word != _ALL and not _ADVISORY.match(word):
            hint = 'write ids like INTEL-SA-00615, separated by commas, or "*" for all'
            path: Path = ("policy", "ignore_advisories")
            yield given.at(path, "SC2013", f"{_shown(word)} is not the id of an advisory", hint)


def _shown(word: str) -> str:
    return word if len(word) < 40 and word.isprintable() else "a word"


def fragments(given: MeshInput, findings: list[Finding]) -> Fragments:
    """Return the fragments that the sessions of a mesh refer to; what is wrong with them goes into `findings`."""
    policy, found, secrets = given.mesh.policy, {}, []
    if policy.access_policy_name and policy.access:
        message = "access_policy_name names the whole access policy of the sessions already"
        findings.append(given.at(("policy", "access"), "SC2014", message, "name one of the two"))
    for role in _ROLES:
        name = getattr(policy, f"{role}_policy_name")
        source = _import(given, role, name, findings) if name else None
        if source and not (role == "attestation" and policy.security_policy_name):  # which holds the attestation
            secret = f"sconectl-{role}-policy"
            found[role] = f"$$SCONE::{secret}$$"
            secrets.append({"name": secret, "kind": "config-fragment", "import": source})
    return Fragments(found, tuple(secrets))


def _import(given: MeshInput, role: str, name: str, findings: list[Finding]) -> dict[str, str] | None:
    path: Path = ("policy", f"{role}_policy_name")
    session, _, secret = name.rpartition("/")
    if not session or not secret:
        hint = "write SESSION/SECRET, like security/policies/access: the secret `access` of session security/policies"
        findings.append(given.at(path, "SC2014", "expected a session and a secret in it", hint))
        return None
    source = {"session": session, "secret": secret}
    cas = role_cas(given.mesh, role)
    if cas is None or cas.cas_url == main_cas(given.mesh).cas_url:
        return source
    if not cas.cas_key:
        message = f"the CAS in the role {role} is another one than that of the sessions, so its key has to be known"
        number = given.mesh.cas.index(cas)
        findings.append(given.at(("cas", number), "SC2014", message, "add its cas_key"))
        return None
    return {**source, "cas_url": cas.cas_url.removeprefix("https://").rstrip("/"), "cas_key": cas.cas_key}
