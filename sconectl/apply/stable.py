"""The image of the last stable version, which stays valid while a new one is rolled out.

In: its name, engine and registry. Out: what its label says. Raises `BuildFailed` if there is no such image, and
`PlanImpossible` if it cannot stay valid beside the new one. Nothing is pulled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sconectl.apply.image_sessions import read_facts
from sconectl.apply.inspect import find_image
from sconectl.errors import BuildFailed, CasError, PlanImpossible
from sconectl.plan.facts.image_facts import ImageFacts
from sconectl.plan.facts.image_label import ImageLabel
from sconectl.plan.facts.naming import image_session_name
from sconectl.ports import ImageEngine, Registry, SessionStore


def find_stable(reference: str, toolchain: str, *, engine: ImageEngine, registry: Callable[[], Registry]) -> ImageLabel:
    """Return the facts in the label of the stable image; `toolchain` is that of the new one.

    Raises `BuildFailed` and `PlanImpossible`.
    """
    try:
        _, info = find_image(reference, engine=lambda: engine, registry=registry)
    except BuildFailed as error:
        error.hint = "push or pull it, or remove `stable` while there is no earlier version"
        raise
    label = ImageLabel.read(reference, info.labels)
    if label.toolchain != toolchain:
        raise PlanImpossible(
            f"the stable image {reference} was made with toolchain {label.toolchain}, the new one is with {toolchain}",
            hint="build the stable version again with this toolchain, or remove `stable`",
        )
    return label


def stable_remarks(reference: str, stable: ImageLabel, facts: ImageFacts, store: SessionStore | None) -> Iterator[str]:
    """Yield warnings about the stable image before the policy of the new one (`facts`) accepts it, too."""
    if not _confirmed(reference, stable, store):
        yield (
            f"nothing but its label says that the stable image {reference} has the measurement {stable.measurement}: "
            "compare it with `sconectl measure`"
        )
    if stable.protected.encrypted and stable.fspf != facts.fspf:
        yield (
            "the encrypted files of the stable image are not those of the new one: where the CAS has no session of the "
            "service yet, it attests, but cannot open them"
        )
    if stable.parameters.get("mode") == "debug" != facts.parameters.get("mode"):
        yield "the stable image runs in debug mode, which the new policy does not tolerate"


def _confirmed(reference: str, stable: ImageLabel, store: SessionStore | None) -> bool:
    """Tell whether the session of that image says the same as its label: whoever may push could write any label."""
    try:
        known = read_facts(store, image_session_name(reference)) if store else None
    except CasError:
        return False
    return known is not None and known.digest() == stable.facts_digest
