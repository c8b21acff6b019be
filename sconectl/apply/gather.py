"""Learns the facts of the images that a mesh names: from files, the CAS, or the image's own public declaration.

In: image references. Out: `ImageFacts` by service, checked against the label of the image. Never pulls a layer.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from sconectl.apply.image_sessions import read_facts
from sconectl.apply.inspect import find_image
from sconectl.errors import BuildFailed, CasError, LocalFault, PlanImpossible
from sconectl.manifest.model.mesh import Mesh, MeshService
from sconectl.plan.facts.declaration import Declared, declared
from sconectl.plan.facts.image_facts import NOT_MEASURED, BuildRecord, ImageFacts
from sconectl.plan.facts.image_label import ImageLabel
from sconectl.plan.facts.naming import with_tag
from sconectl.ports import ImageEngine, ImageInfo, Registry, SessionStore
from sconectl.text.findings import Finding
from sconectl.text.yaml_tree import Document


@dataclass(frozen=True)
class FactSources:
    """Where facts may come from. The functions are called only if they are needed.

    `locked` are public facts by image, for images that neither engine nor registry shows.

    `given` are facts by image that are taken as they are, so that a mesh compiles offline; `built` are the records of
    `folder` (target/images), which have to agree with the label of the image. `signers` (MRSIGNER) are those whose
    public declarations are believed, all if there are none; `remark` is told of one that nobody vouches for.
    """

    given: Mapping[str, ImageFacts]
    built: tuple[BuildRecord, ...]
    engine: Callable[[], ImageEngine]
    registry: Callable[[], Registry]
    image_store: Callable[[], SessionStore]
    locked: Mapping[str, ImageFacts] = field(default_factory=dict)
    folder: str = "target/images"
    signers: tuple[str, ...] = ()
    remark: Callable[[Finding], None] = lambda _finding: None


def gather_facts(mesh: Mesh, document: Document, sources: FactSources) -> dict[str, ImageFacts]:
    """Return the facts of each service's image. Raises `PlanImpossible` naming every image without facts."""
    facts: dict[str, ImageFacts] = {}
    findings = []
    for number, service in enumerate(mesh.services):
        image = with_tag(service.image)
        found = sources.given.get(image) or _of_image(image, sources)
        if isinstance(found, tuple):
            findings.append(document.finding("error", "SC2008", ("services", number, "image"), *found))
            continue
        facts[service.name] = found.facts if isinstance(found, Declared) else found
        for doubt in _doubts(service, number, found, sources.signers, document):
            if doubt.severity == "error":
                findings.append(doubt)
            else:
                sources.remark(doubt)
    if findings:
        raise PlanImpossible("not every image of the mesh is known", findings=findings)
    return facts


def _doubts(
    service: MeshService, number: int, found: ImageFacts | Declared, trusted: tuple[str, ...], document: Document
) -> Iterator[Finding]:
    """Yield an error if somebody else signed the image than has to, and a warning if nobody says who has to."""
    facts = found.facts if isinstance(found, Declared) else found
    by = facts.signer.mrsigner if facts.signer else ""
    allowed = (service.signer.lower(),) if service.signer else trusted if isinstance(found, Declared) else ()
    if facts.measurement != NOT_MEASURED and allowed and by not in allowed:
        path = ("services", number, "signer" if service.signer else "image")
        message = f"the image {service.image} is {f'signed by {by}' if by else 'not signed'}"
        hint = "a signer that the mesh or [trust] of sconectl.toml names is expected: ask who published the image"
        yield document.finding("error", "SC2027", path, message, hint)
    elif isinstance(found, Declared) and not allowed:
        message = f"what is known of {service.image} is what it declares itself, signed by {by}"
        hint = f"if this is the signer that you expect, write `signer: {by}` here, or into [trust] of sconectl.toml"
        yield document.finding("warning", "SC2028", ("services", number, "image"), message, hint)


def _of_image(image: str, sources: FactSources) -> ImageFacts | Declared | tuple[str, str]:
    """Return the facts, or a message and a hint."""
    try:
        place, info = find_image(image, engine=sources.engine, registry=sources.registry)
    except BuildFailed as error:
        if image in sources.locked:
            return sources.locked[image]
        hint = "build it with `sconectl apply -f <service manifest>`, or give its facts with --facts"
        return error.message, hint
    try:
        label = ImageLabel.read(image, info.labels)
    except PlanImpossible as error:
        return error.message, error.hint
    records = [record.facts for record in sources.built if record.facts.image == image]
    for facts in records:
        if _belong(facts, label):
            return facts
    looked = f"its label (in the {place}) was found, and {sources.folder} "
    looked += "knows another build" if records else "does not know it"
    found = _from_session(image, label, sources, looked)
    return _declared(image, info, label, found) if isinstance(found, tuple) else found


def _declared(image: str, info: ImageInfo, label: ImageLabel, unknown: tuple[str, str]) -> Declared | tuple[str, str]:
    """Return what the image declares in public, else why nothing is known of it."""
    try:
        return declared(image, info.labels, label) or unknown
    except PlanImpossible as error:
        return f"{unknown[0]}; {error.message}", error.hint


def _from_session(image: str, label: ImageLabel, sources: FactSources, looked: str) -> ImageFacts | tuple[str, str]:
    name = label.image_session
    start = f"the facts of {image} are not known: {looked}; "
    try:
        store = sources.image_store()
        facts = read_facts(store, name)
    except LocalFault:
        raise  # nothing is known of the image because nothing could be asked
    except CasError as error:
        hint = "apply its service manifest again, or give its facts with --facts"
        return f"{start}the CAS of this mesh did not tell them: {error.message}", hint
    hint = (
        f"`sconectl apply -f <service manifest> --cas {store.address}` brings them there, and so does applying it "
        "together with the mesh; or give its facts with --facts"
    )
    if facts is None:
        return f"{start}session {name} of CAS {store.address}, where this mesh looks for them, has none", hint
    if not _belong(facts, label):
        return f"{start}session {name} of CAS {store.address} describes another build", hint
    return facts


def _belong(facts: ImageFacts, label: ImageLabel) -> bool:
    return hmac.compare_digest(facts.digest(), label.facts_digest)
