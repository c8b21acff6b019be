"""Certificates of a mesh that end while programs keep them: who is warned, and of what."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from fakes.builders import TOOLCHAINS, facts, mesh_text, read_mesh

from sconectl.plan.facts.image_facts import ImageFacts
from sconectl.plan.mesh.mesh import MeshDraft, MeshInput

KEY = {"name": "key", "kind": "private-key"}
CA = {"name": "ca", "kind": "x509-ca", "private_key": "key"}
LEAF = {"name": "leaf", "kind": "x509", "private_key": "key"}
DAY = {"valid_for": "1 day"}
FILE: dict[str, Any] = {"injection_files": [{"path": "/leaf", "content": "x $$SCONE::leaf:chain$$"}]}
OLD_FILE: dict[str, Any] = {"injection_files": [{"path": "/leaf", "content": "$$SCONE::leaf.crt$$"}]}
OTHER_FILE: dict[str, Any] = {"injection_files": [{"path": "/leaf", "content": "$$SCONE::leaf2:crt$$"}]}
VARIABLE: dict[str, Any] = {"environment": {"local": [{"name": "A", "value": "$$SCONE::leaf:crt$$"}]}}
ARGUMENT: dict[str, Any] = {"command": "web --crt $$SCONE::leaf:crt$$"}
LEFT: dict[str, Any] = {"environment": {"global": [{"name": "A"}]}}


def owner(*secrets: dict[str, Any], **more: Any) -> ImageFacts:
    return facts("owner", secrets={"global": [KEY, *secrets]}, reload={}, **more)


def user(*imported: str, **more: Any) -> ImageFacts:
    return facts("user", secrets={"import": imported or ("leaf",)}, **more)


def warned(*images: ImageFacts, env: dict[str, dict[str, str]] | None = None) -> list[tuple[str, str]]:
    mesh, manifest = read_mesh(mesh_text([each.name for each in images], env=env))
    known = {each.name: each for each in images}
    draft = MeshDraft(MeshInput(mesh, manifest.document, known, {}, "r", "0", toolchains=TOOLCHAINS))
    assert all(found.severity == "warning" and found.code == "SC2033" and found.hint for found in draft.remarks)
    return [(found.path, found.message) for found in draft.remarks]


FILES: dict[str, dict[str, Any]] = {"none": {}, "file": FILE, "old form": OLD_FILE, "another": OTHER_FILE}
KEPT: dict[str, dict[str, Any]] = {"none": {}, "variable": VARIABLE, "argument": ARGUMENT}
RELOADS: dict[str, dict[str, Any]] = {
    "none": {}, "by itself": {"reload": {}}, "signal": {"reload": {"signal": "SIGHUP"}},
}  # fmt: skip
LIVES = {"ever": {}, "a month": {"valid_for": "30 days"}, "a day": DAY}


@pytest.mark.parametrize(
    ("files", "kept", "reload", "life"), list(itertools.product(FILES, KEPT, RELOADS, LIVES)), ids="-".join
)
def test_who_imports_a_certificate(files: str, kept: str, reload: str, life: str) -> None:
    importer = user("leaf", "leaf2", **FILES[files], **KEPT[kept], **RELOADS[reload])
    another = {**LEAF, "name": "leaf2"}
    found = warned(owner(LEAF | LIVES[life], another), importer)
    short = life == "a day"
    in_file = short and files in ("file", "old form") and reload == "none"
    assert [path for path, _ in found] == ["services[1]"] * (in_file + (short and kept != "none"))
    said = " ".join(text for _, text in found)
    assert ("keeps the leaf of its start, which may end after a third of 1 day: its image has no reload" in said) is (
        in_file
    )
    assert ("only files are renewed" in said) is (short and kept != "none")


@pytest.mark.parametrize(
    ("secrets", "expected"),
    [
        ((CA, LEAF | {"issuer": "ca"}), False),
        ((CA | DAY, LEAF | {"issuer": "ca"}), True),
        ((CA | DAY, LEAF), False),
        ((CA | DAY | {"issuer": "top"}, LEAF | {"issuer": "ca"}, CA | {"name": "top"}), True),
        ((CA | {"issuer": "top"}, LEAF | {"issuer": "ca"}, CA | DAY | {"name": "top"}), True),
    ],
)
def test_no_certificate_outlives_its_issuer(secrets: tuple[dict[str, Any], ...], expected: bool) -> None:
    assert bool(warned(owner(*secrets), user(**FILE))) is expected


def test_who_makes_a_certificate_is_told_by_its_own_manifest() -> None:
    """Unless it leaves to the mesh how long the certificate lasts."""
    own = [KEY, LEAF | {"valid_for": "{{A}}"}]
    assert warned(facts("owner", secrets={"global": [KEY, LEAF | DAY]}, **FILE)) == []
    left = facts("owner", secrets={"global": own}, **FILE, **LEFT)
    assert warned(left, env={"owner": {"A": "40 days"}}) == []
    [(path, message)] = warned(left, env={"owner": {"A": "2 h"}})
    assert path == "services[0]" and "a third of 2 h" in message
    assert warned(left.model_copy(update={"parameters": {"reload": "{}"}}), env={"owner": {"A": "2 h"}}) == []


def test_values_of_the_mesh_count() -> None:
    importer = user(environment={"global": [{"name": "A"}]})
    found = warned(owner(LEAF | DAY), importer, env={"user": {"A": "$$SCONE::leaf:crt$$"}})
    assert [path for path, _ in found] == ["services[1]"]
