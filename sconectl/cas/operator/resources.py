"""Custom resources SignedPolicy and EncryptedPolicy, as the operator sees them, and the status that it gives them.

In: an object of the Kubernetes API, which anybody with rights in a namespace may have written. Out: the document that a
CAS takes, or why there is none; the status after an upload, or nothing if it says the same already.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

GROUP, VERSION = "cas.scone.cloud", "v1beta1"
PLURALS = {"SignedPolicy": "signedpolicies", "EncryptedPolicy": "encryptedpolicies"}
"""The kinds, and what they are called in paths."""
_READY = "Ready"
_LONGEST = 1024
"""Of a message in a status."""
_PORT = re.compile(r":[0-9]{1,5}\Z")
_DEFAULT_PORT = ":8081"


@dataclass(frozen=True)
class Wanted:
    """A session that is to be in a CAS: which object says so, and in which state of it."""

    kind: str
    namespace: str
    name: str
    state: tuple[str, int]
    """Its uid and generation: another state of its spec, or another object of this name, has another one."""
    cas: str
    document: str = field(repr=False)
    fault: str = ""
    """Why there is no document."""

    @property
    def key(self) -> tuple[str, str, str]:
        """Which object it is."""
        return self.kind, self.namespace, self.name

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


def key_of(resource: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return which object it is: kind, namespace and name."""
    meta = resource.get("metadata") or {}
    return str(resource.get("kind")), str(meta.get("namespace", "")), str(meta.get("name", ""))


def wanted(resource: Mapping[str, Any]) -> Wanted | None:
    """Return what an object asks for; None if it is being deleted, or is none of ours."""
    kind, meta, spec = resource.get("kind"), resource.get("metadata") or {}, resource.get("spec") or {}
    if kind not in PLURALS or meta.get("deletionTimestamp") or not isinstance(spec, Mapping):
        return None
    document, fault = "", ""
    try:
        document = json.dumps(_document(str(kind), spec), ensure_ascii=False)
    except (LookupError, TypeError, ValueError):
        fault = f"spec is none of a {kind}: see the description of the resource"
    return Wanted(
        str(kind),
        str(meta.get("namespace", "")),
        str(meta.get("name", "")),
        (str(meta.get("uid", "")), int(meta.get("generation", 0))),
        _address(str(spec.get("casAddress", ""))),
        document,
        fault,
    )


def _document(kind: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    policy = spec["policy"]
    if not isinstance(policy, str):
        raise TypeError
    if kind == "EncryptedPolicy":
        base64.b64decode(policy, validate=True)
        return {"encrypted_session": policy, "encryption_key": str(spec["encryptionKey"])}
    signatures = [{"signer": str(one["signer"]), "signature": str(one["signature"])} for one in spec["signatures"]]
    return {"session": policy, "signatures": signatures}


def _address(text: str) -> str:
    bare = text.removeprefix("https://").rstrip("/").lower()
    return bare if _PORT.search(bare) else bare + _DEFAULT_PORT


def addresses(names: tuple[str, ...]) -> frozenset[str]:
    """Return the names of a CAS in the form in which objects are compared with them."""
    return frozenset(_address(name) for name in names)


@dataclass(frozen=True)
class Verdict:
    """What became of a session: `reason` is one word, `ready` whether the CAS has it, `again` whether to try again."""

    ready: bool
    reason: str
    message: str
    hash: str = ""
    again: bool = True


def status_after(resource: Mapping[str, Any], verdict: Verdict, now: str) -> dict[str, Any] | None:
    """Return the new status of an object, or None if it says this already. `now` is a time in RFC 3339."""
    generation = int((resource.get("metadata") or {}).get("generation", 0))
    condition = {
        "type": _READY,
        "status": "True" if verdict.ready else "False",
        "reason": verdict.reason,
        "message": verdict.message[:_LONGEST],
        "observedGeneration": generation,
    }
    before = _condition(resource)
    if before is not None and all(before.get(key) == value for key, value in condition.items()):
        return None
    same = before is not None and before.get("status") == condition["status"] and before.get("lastTransitionTime")
    condition["lastTransitionTime"] = before["lastTransitionTime"] if before and same else now
    found: dict[str, Any] = {"observedGeneration": generation, "conditions": [condition]}
    return {**found, "sessionHash": verdict.hash} if verdict.hash else found


def _condition(resource: Mapping[str, Any]) -> Mapping[str, Any] | None:
    conditions = (resource.get("status") or {}).get("conditions") or ()
    return next((one for one in conditions if isinstance(one, Mapping) and one.get("type") == _READY), None)
