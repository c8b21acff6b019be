"""Security advice about a valid manifest: what is allowed, and better not done (codes SC4xxx).

In: a manifest, and what is known beyond it. Out: warnings at the fields that they are about. Pure; no message holds a
value. Waivers are not looked at here (`manifest/model/waivers.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from sconectl.manifest.model.texts import texts_of
from sconectl.manifest.reading.reader import Manifest
from sconectl.plan.advice import advice_pods, advice_secrets, advice_trust, advice_values
from sconectl.plan.advice.advice_values import Remark
from sconectl.plan.advice.source import Source
from sconectl.plan.facts.naming import with_tag
from sconectl.plan.secrets.secret_names import used_in
from sconectl.text.findings import Cause, Finding, Name
from sconectl.text.yaml_tree import Document

if TYPE_CHECKING:
    from sconectl.plan.facts.image_facts import ImageFacts


def advise(
    manifest: Manifest, *, mode: str = "production", used: Collection[str] | None = frozenset()
) -> list[Finding]:
    """Return the advice about a manifest, in the order of the text.

    `mode` is how a service is built, `used` are the secrets that other manifests use (see `used_by`): None if that
    is not known.
    """
    model, document = manifest.model, manifest.document
    source = Source(document)
    remarks: list[Iterable[Remark]]
    image = ""
    if model.kind == "genservice":
        image = with_tag(model.build.to)
        remarks = [
            *(rule(model) for rule in advice_trust.SERVICE_RULES),
            *(rule(model, source) for rule in advice_values.SERVICE_RULES),
            advice_trust.debug_build(mode),
            advice_secrets.about_secrets(model.secrets.global_, advice_secrets.SECRETS, source),
            advice_secrets.keys_that_change(model),
            advice_secrets.unused(model, used) if used is not None else (),
        ]
    else:
        remarks = [
            *(rule(model) for rule in advice_trust.MESH_RULES),
            advice_values.mesh_variables(model, source),
            advice_pods.loosened_pods(model),
        ]
    return in_order(document, (remark for found in remarks for remark in found), image)


def advise_on_images(manifest: Manifest, facts: Mapping[str, ImageFacts]) -> list[Finding]:
    """Return the advice about a mesh that the facts of its services' images give, by the name of the service."""
    found = advice_trust.debug_images(manifest.model, facts) if manifest.model.kind == "mesh" else ()
    return in_order(manifest.document, found)


def used_by(manifests: Iterable[Manifest]) -> frozenset[str]:
    """Return the secrets that services import, and those that the values of meshes name."""
    names: set[str] = set()
    for manifest in manifests:
        model = manifest.model
        if model.kind == "mesh":
            names.update(name for _, text in texts_of(model) for name in used_in(text))
        else:
            names.update(model.secrets.import_)
    return frozenset(names)


def in_order(document: Document, remarks: Iterable[Remark], image: str = "") -> list[Finding]:
    """Return remarks about a document as findings, in the order of the text; `image` is that of a service."""
    findings = []
    for code, path, message, hint, secret in remarks:
        cause = Cause(Name("secret", image, secret), lacks=False) if secret else None
        findings.append(document.finding("warning", code, path, message, hint, cause))
    return sorted(findings, key=lambda finding: (finding.position, finding.code))
