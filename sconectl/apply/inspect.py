"""What a confidential image says about itself, in its label and by its layers.

In: the name of an image, engine and registry. Out: an `InspectedImage`. Raises `BuildFailed` if there is no such image,
and `PlanImpossible` if it is none of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sconectl.apply.local_layers import Layers
from sconectl.errors import BuildFailed, PlanImpossible
from sconectl.plan.facts.declaration import Declared, declared
from sconectl.plan.facts.image_label import ImageLabel
from sconectl.plan.service.protection import CONTAINER_RUNTIMES, LAUNCHER_ROOT, default_rules
from sconectl.ports import ImageEngine, ImageInfo, Registry

_ENCLAVE = "/scone/image/index.json"


@dataclass(frozen=True)
class LayerView:
    """A layer: `size` is that of its tar, `origin` base, launcher, native or enclave; None and empty if not known."""

    digest: str
    size: int | None = None
    origin: str = ""


@dataclass(frozen=True)
class InspectedImage:
    """An image, where it was found (`container engine` or `registry`), and its description of itself.

    `declaration` is what it declares in public, None if it does not, and `fault` what is wrong with that.
    """

    reference: str
    place: str
    info: ImageInfo
    label: ImageLabel
    layers: tuple[LayerView, ...]
    declaration: Declared | None = None
    fault: str = ""


LayerSource = Callable[[str, ImageInfo], Layers | None]
"""Gives the layers of a local image, or None if looking at them is not worth it."""


def inspect_image(
    reference: str, *, engine: Callable[[], ImageEngine], registry: Callable[[], Registry], layers: LayerSource
) -> InspectedImage:
    """Return the facts about `reference` from itself; `layers` is asked only for an image that the engine has."""
    place, info = find_image(reference, engine=engine, registry=registry)
    label = ImageLabel.read(reference, info.labels)
    known = None if place == "registry" else layers(reference, info)
    if known is None:
        views = [LayerView(digest.removeprefix("sha256:")) for digest in info.layers]
    else:
        views = list(_views(known))
    declaration, fault = None, ""
    try:
        declaration = declared(reference, info.labels, label)
    except PlanImpossible as error:
        fault = error.message
    return InspectedImage(reference, place, info, label, tuple(views), declaration, fault)


def find_image(
    reference: str, *, engine: Callable[[], ImageEngine], registry: Callable[[], Registry]
) -> tuple[str, ImageInfo]:
    """Return where an image is, and its facts from there. Raises `BuildFailed`."""
    reasons = []
    for place, source in (("container engine", engine), ("registry", registry)):
        try:
            info = source().inspect(reference)
        except BuildFailed as error:
            reasons.append(f"{error.message} ({error.hint})" if error.hint else error.message)
            continue
        if info is not None:
            return place, info
        reasons.append(f"the {place} has no image of this name")
    raise BuildFailed(f"the image {reference} was not found: {'; '.join(reasons)}", hint="check the name")


def _views(layers: Layers) -> Iterator[LayerView]:
    """Tell layers apart by their files: those below the launcher are the base image's, shared with it."""
    origin = "base"
    for digest, members in layers:
        paths = {member.path for member in members}
        if _ENCLAVE in paths:
            origin = "enclave"
        elif origin == "base" and LAUNCHER_ROOT in paths:
            origin = "launcher"
        elif origin == "launcher":
            origin = "native"
        yield LayerView(digest, sum(member.size for member in members), origin)


def as_document(image: InspectedImage) -> dict[str, Any]:
    """Return everything as plain values."""
    label = image.label
    usual = {path for path, rule in default_rules().items() if rule.why == CONTAINER_RUNTIMES}
    protected: Mapping[str, Any] = {
        "root": label.protected.root,
        "encrypted": sorted(label.protected.encrypted),
        "unprotected": sorted(set(label.protected.outside) - usual - {LAUNCHER_ROOT}),
        "runtime_provided": sorted((set(label.protected.outside) & usual) - {LAUNCHER_ROOT}),
    }
    return {
        "image": image.reference,
        "found_in": image.place,
        "id": image.info.id,
        "architecture": image.info.architecture,
        "name": label.name,
        "toolchain": label.toolchain,
        "simulation": label.simulation,
        "measurement": label.measurement,
        "stable": list(label.stable),
        "mode": label.parameters.get("mode", ""),
        "signer": label.signer.model_dump() if label.signer else None,
        "parameters": label.parameters,
        "protected": protected,
        "user": label.user,
        "group": label.group,
        "exposed": list(label.exposed),
        "image_session": label.image_session,
        "variables": {"local": list(label.variables.local), "global": list(label.variables.global_)},
        "secrets": list(label.secrets),
        "imports": list(label.imports),
        "facts_digest": label.facts_digest,
        "public": _declaration(image),
        "layers": [{"digest": layer.digest, "size": layer.size, "origin": layer.origin} for layer in image.layers],
    }


def _declaration(image: InspectedImage) -> dict[str, Any] | None:
    """Return what the image declares in public, as plain values."""
    if image.declaration is None:
        return {"fault": image.fault} if image.fault else None
    facts = image.declaration.facts.model_dump(by_alias=True, mode="json")
    shown = ("command", "pwd", "environment", "injection_files", "secrets", "volumes")
    return {"signer": image.declaration.signer, **{name: facts[name] for name in shown if name in facts}}
