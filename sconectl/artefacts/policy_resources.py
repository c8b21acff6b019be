"""Sessions as custom resources of Kubernetes, which an operator hands to the CAS: SignedPolicy and EncryptedPolicy.

In: signed or encrypted sessions. Out: the resources, and the files of the chart that bring them into a cluster.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Any

from sconectl import assets
from sconectl.policy.signed_session import EncryptedSession, SignedSession
from sconectl.text import yaml_text

API_VERSION = "cas.scone.cloud/v1beta1"
_DEFAULT_PORT = ":8081"
_LONGEST_NAME = 253
_COMMENT = "Written by sconectl: a session, as the CAS takes it. What is changed here makes it invalid."


def policy_resource(name: str, cas: str, session: SignedSession | EncryptedSession) -> dict[str, Any]:
    """Return the custom resource for the session called `name`; `cas` is the host of the CAS, maybe with a port."""
    port = "" if re.search(r":[0-9]+\Z", cas) else _DEFAULT_PORT
    spec: dict[str, Any] = {"casAddress": f"https://{cas}{port}"}
    if isinstance(session, EncryptedSession):
        kind = "EncryptedPolicy"
        spec |= {"policy": base64.b64encode(session.ciphertext).decode(), "encryptionKey": session.encryption_key}
    else:
        kind = "SignedPolicy"
        signatures = [
            {"signer": entry.signer, "signature": base64.b64encode(entry.signature).decode()}
            for entry in session.signatures
        ]
        spec |= {"policy": session.session, "signatures": signatures}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": resource_name(name)}, "spec": spec}


def resource_name(session: str) -> str:
    """Return the name of a session's resource: a DNS name."""
    name = re.sub(r"[^a-z0-9]+", "-", session.lower()).strip("-") or "session"
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[:244]}-{hashlib.sha256(session.encode()).hexdigest()[:8]}"


def chart_policies(resources: Mapping[str, Mapping[str, Any]]) -> dict[str, bytes]:
    """Return the files of the umbrella chart that bring resources, by file name, before everything else.

    Helm takes them as data: the text of a session may look like a template.
    """
    if not resources:
        return {}
    files = {
        f"policies/{file}.yaml": yaml_text.dump(_hooked(resource, number), comment=_COMMENT).encode()
        for number, (file, resource) in enumerate(resources.items())
    }
    return {**files, "templates/policies.yaml": assets.read("charts_templates/policies/policies.yaml")}


def _hooked(resource: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Return a resource that Helm makes before the services: they cannot start without their sessions."""
    annotations = {"helm.sh/hook": "pre-install,pre-upgrade", "helm.sh/hook-weight": str(number)}
    return {**resource, "metadata": {**resource["metadata"], "annotations": annotations}}
