"""The rules that span more than one field of a session (LANG §22); `RULES` lists them all.

In: a draft, that is, those parts that are well formed by themselves. Out: findings at the position of the fault.
Each rule's docstring begins with its id; rules about one field or one part alone are validators of the models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sconectl.policy.forms.tolerations import ADVISORY_CATEGORIES, DEBUG_MODE, HARDWARE, LOCAL_TCB, MAA_TCB, SIMULATION
from sconectl.policy.model.security import Attestation
from sconectl.policy.rules import advice, placeholder_rules, secret_rules
from sconectl.policy.rules.session_draft import Draft
from sconectl.policy.serialized.features import features_of
from sconectl.text.findings import Finding
from sconectl.text.secret_placeholders import is_reference
from sconectl.text.yaml_tree import Path

__all__ = ["FAULTS", "RULES", "Check", "Draft"]

_ATTESTATION: Path = ("security", "attestation")


def unique_names(draft: Draft) -> Iterator[Finding]:
    """D2: names are unique within services, secrets, volumes and images, and paths within an image."""
    for section, named in draft.names.items():
        seen: set[str] = set()
        for index, name in named:
            if name in seen:
                yield draft.finding("D2", (section, index, "name"), "the name is used twice", "rename one of them")
            seen.add(name)
    for index, image in draft.images.items():
        yield from _unique_paths(draft, ("images", index, "injection_files"), [f.path for f in image.injection_files])
        yield from _unique_paths(draft, ("images", index, "volumes"), [mount.path for mount in image.volumes])


def _unique_paths(draft: Draft, place: Path, paths: list[str]) -> Iterator[Finding]:
    seen: set[str] = set()
    for number, path in enumerate(paths):
        if path in seen:
            yield draft.finding("D2", (*place, number), "the path is used twice in this image", "remove one of them")
        seen.add(path)


def image_resolves(draft: Draft) -> Iterator[Finding]:
    """S4: image_name is declared in images."""
    declared = draft.declared("images")
    for index, service in draft.services.items():
        if service.image_name is not None and service.image_name not in declared:
            yield draft.finding(
                "S4", ("services", index, "image_name"), "no image has this name", "declare it under images"
            )


def fspf_complete(draft: Draft) -> Iterator[Finding]:
    """S6: path, key and tag of the main file system come together; without rollback protection no tag is needed."""
    for index, service in draft.services.items():
        path: Path = ("services", index)
        if service.fspf_path is None:
            if service.fspf_key is not None or service.fspf_tag is not None:
                yield draft.finding("S6", path, "fspf_key and fspf_tag need fspf_path", "add fspf_path")
        elif service.fspf_key is None:
            yield draft.finding("S6", (*path, "fspf_path"), "fspf_path needs fspf_key", "add fspf_key")
        elif service.fspf_tag is None and service.fspf_update_policy != "no_rollback_protection":
            yield draft.finding("S6", (*path, "fspf_path"), "fspf_path needs fspf_tag", "add fspf_tag")


def volume_complete(draft: Draft) -> Iterator[Finding]:
    """S6: key and tag of a volume come together; without both it is set up when it is first used."""
    for index, volume in draft.volumes.items():
        if volume.import_ is None and (volume.fspf_key is None) != (volume.fspf_tag is None):
            missing = "fspf_tag" if volume.fspf_tag is None else "fspf_key"
            yield draft.finding(
                "S6", ("volumes", index), "fspf_key and fspf_tag come together", f"add {missing}, or remove both"
            )


def attested(draft: Draft) -> Iterator[Finding]:
    """A1: unless the mode is none, each service names at least one enclave; a reference may stand for one.

    Delegated security settings, or a delegated mode, may turn out to be `none`: then nothing can be said yet.
    """
    attestation = draft.attestation()
    if attestation is None or attestation.mode == "none" or is_reference(attestation.mode):
        return
    for index, service in draft.services.items():
        if not service.attestation:
            yield draft.finding(
                "A1",
                ("services", index),
                "no enclave is named that may run this service",
                "add attestation: [{mrenclave: …}]",
            )


def volume_import_alone(draft: Draft) -> Iterator[Finding]:
    """W1: an imported volume has its key, tag and further use from where it comes."""
    for index, volume in draft.volumes.items():
        if volume.import_ is None:
            continue
        for key, given in (("fspf_key", volume.fspf_key), ("fspf_tag", volume.fspf_tag), ("export", volume.export)):
            if given:
                path = ("volumes", index, key)
                yield draft.finding("W1", path, f"an imported volume takes no {key}", "remove it")
                break


def mounted_volume_declared(draft: Draft) -> Iterator[Finding]:
    """W4: the volumes of an image are declared in volumes."""
    declared = draft.declared("volumes")
    for index, image in draft.images.items():
        for number, mount in enumerate(image.volumes):
            if mount.name not in declared:
                path = ("images", index, "volumes", number, "name")
                yield draft.finding("W4", path, "no volume has this name", "declare it under volumes")


def provided_secrets_defined(draft: Draft) -> Iterator[Finding]:
    """P1: the secrets that an image is restricted to are defined."""
    declared = draft.declared("secrets")
    for index, image in draft.images.items():
        for number, name in enumerate(image.provide_secrets or ()):
            if name not in declared:
                path = ("images", index, "provide_secrets", number)
                yield draft.finding("P1", path, "no secret has this name", "define it under secrets")


def attestation_rules(draft: Draft) -> Iterator[Finding]:
    """Run the rules about the session-wide attestation section, if it is written out."""
    attestation = draft.attestation()
    if attestation is not None:
        for rule in (provider_named, provider_tcb_tolerated, advisory_with_category, local_attestation_tolerated):
            yield from rule(draft, attestation)


def provider_named(draft: Draft, attestation: Attestation) -> Iterator[Finding]:
    """C1: mode maa needs the address of the provider."""
    if attestation.mode == "maa" and attestation.url is None:
        yield draft.finding("C1", (*_ATTESTATION, "mode"), "mode maa needs url", "add url: https://…")


def provider_tcb_tolerated(draft: Draft, attestation: Attestation) -> Iterator[Finding]:
    """C2: mode maa leaves the judgement of platforms to the provider, which has to be tolerated."""
    delegated = any(is_reference(entry) for entry in attestation.tolerate)
    if attestation.mode == "maa" and MAA_TCB not in attestation.tolerate and not delegated:
        path = (*_ATTESTATION, "mode")
        yield draft.finding("C2", path, f"mode maa needs {MAA_TCB} in tolerate", f"add {MAA_TCB} to tolerate")


def advisory_with_category(draft: Draft, attestation: Attestation) -> Iterator[Finding]:
    """C4: ignoring advisories needs one of their categories in tolerate; all (`"*"`) belongs to debug-mode."""
    path = (*_ATTESTATION, "ignore_advisories")
    tolerated = set(attestation.tolerate)
    if any(is_reference(entry) for entry in tolerated):
        return
    named = [entry for entry in attestation.ignore_advisories if entry != "*"]
    if named and tolerated.isdisjoint(ADVISORY_CATEGORIES):
        yield draft.finding("C4", path, f"ignored advisories need one of {', '.join(ADVISORY_CATEGORIES)} in tolerate")
    if "*" in attestation.ignore_advisories and DEBUG_MODE not in tolerated:
        message = "all advisories are ignored although debug-mode is not tolerated"
        yield draft.finding("C4", path, message, "name the advisories", severity="warning")


def local_attestation_tolerated(draft: Draft, attestation: Attestation) -> Iterator[Finding]:
    """C5: forcing local attestation needs its toleration, and mode hardware, or what simulates it."""
    if not attestation.must_be_sgx_local:
        return
    path = (*_ATTESTATION, "must_be_sgx_local")
    if attestation.mode not in (HARDWARE, SIMULATION) and not is_reference(attestation.mode):
        yield draft.finding("C5", path, "local attestation needs mode hardware")
    elif LOCAL_TCB not in attestation.tolerate and not any(is_reference(entry) for entry in attestation.tolerate):
        yield draft.finding("C5", path, f"local attestation needs {LOCAL_TCB} in tolerate", "add it to tolerate")


def newer_features(draft: Draft) -> Iterator[Finding]:
    """V2: warn of each feature that the declared version does not have yet, where it is used first."""
    if draft.version is None:
        return
    declared = int(draft.version.removeprefix("0.3").removeprefix(".") or 0)
    seen: set[str] = set()
    for feature in features_of(draft.value, declared):
        if feature.since > declared and feature.name not in seen:
            seen.add(feature.name)
            message = f"{feature.name}: since version 0.3.{feature.since}, but the session declares {draft.version}"
            hint = f'write version: "0.3.{feature.since}" or higher'
            yield draft.finding("V2", feature.path, message, hint, severity="warning")


Check = Callable[[Draft], Iterator[Finding]]

FAULTS: tuple[Check, ...] = (
    unique_names,
    image_resolves,
    fspf_complete,
    volume_complete,
    attested,
    volume_import_alone,
    mounted_volume_declared,
    provided_secrets_defined,
    attestation_rules,
    *secret_rules.RULES,
    *placeholder_rules.RULES,
)
"""Rules that may find an error."""
RULES: tuple[Check, ...] = (*FAULTS, *advice.RULES, newer_features)
"""All rules, with those that only warn."""
