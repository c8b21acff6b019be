"""Learns the facts of the images that a mesh names: from files, or from the CAS, checked against the image's label.

In: image references. Out: `ImageFacts` by service. Never pulls a layer.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sconectl.apply.image_sessions import read_facts
from sconectl.apply.records import json_mapping
from sconectl.errors import BuildFailed, CasError, LocalFault, PlanImpossible
from sconectl.manifest.model.mesh import Mesh
from sconectl.plan.facts.image_facts import LABEL, BuildRecord, ImageFacts, is_of_another_version
from sconectl.plan.facts.naming import with_tag
from sconectl.ports import ImageEngine, Registry, SessionStore
from sconectl.text.yaml_tree import Document


@dataclass(frozen=True)
class FactSources:
    """Where facts may come from. The functions are called only if they are needed.

    `given` are the records of `--facts`: they are taken as they are, so that a mesh compiles offline; `built` are
    those of target/images, which have to agree with the label of the image.
    """

    given: tuple[BuildRecord, ...]
    built: tuple[BuildRecord, ...]
    engine: Callable[[], ImageEngine]
    registry: Callable[[], Registry]
    image_store: Callable[[], SessionStore]


def gather_facts(mesh: Mesh, document: Document, sources: FactSources) -> dict[str, ImageFacts]:
    """Return the facts of each service's image. Raises `PlanImpossible` naming every image without facts."""
    facts: dict[str, ImageFacts] = {}
    findings = []
    given = {record.facts.image: record.facts for record in reversed(sources.given)}
    for number, service in enumerate(mesh.services):
        image = with_tag(service.image)
        found = given.get(image) or _of_image(image, sources)
        if isinstance(found, ImageFacts):
            facts[service.name] = found
            continue
        findings.append(document.finding("error", "SC2008", ("services", number, "image"), *found))
    if findings:
        raise PlanImpossible("not every image of the mesh is known", findings=findings)
    return facts


def _of_image(image: str, sources: FactSources) -> ImageFacts | tuple[str, str]:
    """Return the facts, or a message and a hint."""
    label = _label(image, sources)
    if isinstance(label, str):
        hint = "build it with `sconectl apply -f <service manifest>`, or give its facts with --facts"
        return f"the image {image} was not found: {label}", hint
    if "facts_digest" not in label:
        hint = "build it with `sconectl apply -f <service manifest>`"
        return f"the image {image} was not made by sconectl: it has no label {LABEL}", hint
    if is_of_another_version(label):
        hint = "apply its service manifest again"
        return f"the image {image} was built by another version of sconectl", hint
    for record in sources.built:
        if record.facts.image == image and _belong(record.facts, label):
            return record.facts
    return _from_session(image, label, sources)


def _from_session(image: str, label: dict[str, Any], sources: FactSources) -> ImageFacts | tuple[str, str]:
    name = str(label.get("image_session", ""))
    hint = "apply its service manifest again, or give its facts with --facts"
    try:
        store = sources.image_store()
        facts = read_facts(store, name)
    except LocalFault:
        raise  # nothing is known of the image because nothing could be asked
    except CasError as error:
        return f"the facts of {image} are not in target/images, and not to be had from the CAS: {error.message}", hint
    if facts is None:
        return f"the facts of {image} are neither in target/images nor in session {name} of CAS {store.address}", hint
    if not _belong(facts, label):
        return f"session {name} describes another build of {image} than the image that has this name now", hint
    return facts


def _label(image: str, sources: FactSources) -> dict[str, Any] | str:
    """Return the public facts on the image ({} if it carries none), or why the image was not found."""
    reasons = []
    for name, place in (("container engine", sources.engine), ("registry", sources.registry)):
        try:
            info = place().inspect(image)
        except BuildFailed as error:
            reasons.append(f"{error.message} ({error.hint})" if error.hint else error.message)
            continue
        if info is not None:
            return json_mapping(info.labels.get(LABEL, "{}"))
        reasons.append(f"the {name} has no image of this name")
    return "; ".join(reasons)


def _belong(facts: ImageFacts, label: dict[str, Any]) -> bool:
    return hmac.compare_digest(facts.digest().encode(), str(label["facts_digest"]).encode("utf-8", "replace"))
