"""Manifests and facts in, target/policies and target/helm out: compared byte for byte."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from fakes.builders import SIM, TOOLCHAINS
from fakes.workspace import FakeKeys, MemoryWorkspace

from sconectl import assets
from sconectl.apply.image_sessions import salt_of
from sconectl.apply.sources.service_files import read_service_files
from sconectl.errors import SconectlError
from sconectl.manifest.model.genservice import GenService
from sconectl.manifest.model.mesh import Mesh
from sconectl.manifest.reading.reader import read_manifest
from sconectl.plan.facts.image_facts import Fspf, ImageFacts
from sconectl.plan.facts.naming import without_tag
from sconectl.plan.mesh.availability import refuse
from sconectl.plan.mesh.mesh import MeshInput, plan_mesh
from sconectl.plan.service.service import image_facts
from sconectl.policy.signed_session import EncryptedSession, SignedSession, decrypt, read_document
from sconectl.usecases.apply_mesh import MeshWorld, apply_mesh
from sconectl.usecases.check_service import check_service

CASES = sorted(path for path in (Path(__file__).parent / "cases").iterdir() if path.is_dir())
CURATED = Path(__file__).parents[2] / "curated"
COPIED = "copied.txt"
KEPT_AS = ".expected"  # at the end of names that only Helm asks for, like _helpers.tpl
SIGNING_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))  # every machine signs with this one here
VERSION = "0.0.0"  # the chart names the version that wrote it; releases must not change every case


def image(file: Path, learnt: dict[str, Any]) -> ImageFacts:
    manifest = read_manifest(file.read_bytes(), file.name, learnt["variables"])
    assert isinstance(manifest.model, GenService)
    plan = check_service(manifest, mode="production", bases={}, toolchain=SIM).planned()
    seen = learnt["images"][plan.build.name]
    facts = image_facts(
        plan,
        measurement=seen["measurement"],
        root=seen["root"],
        outside=plan.outside,
        fspf=Fspf(path="/scone/image/fs.fspf", tag=seen["fspf_tag"]) if plan.sealed else None,
        image_environment=seen["environment"],
        salt="",
    )
    return facts.model_copy(update={"salt": salt_of(facts, FakeKeys().image_key(without_tag(plan.image)))})


def compile_case(case: Path) -> dict[str, bytes]:
    """Return the files of target/ that a case gives."""
    learnt = json.loads((case / "facts.json").read_text())
    found = [image(file, learnt) for file in sorted(case.glob("*.service.yaml"))]
    for name, reference in learnt.get("curated", {}).items():
        variables = {"CURATED_IMAGE": reference, "CURATED_NATIVE": f"sconectl-native/{name}"}
        found.append(image(CURATED / name / "service.yaml", {**learnt, "variables": variables}))
    images = {facts.image: facts for facts in found}
    manifest = read_manifest((case / "mesh.yaml").read_bytes(), "mesh.yaml", learnt["variables"])
    mesh = manifest.model
    assert isinstance(mesh, Mesh)
    facts = {service.name: images[service.image] for service in mesh.services}
    given = MeshInput(mesh, manifest.document, facts, {}, learnt["release"], VERSION, toolchains=TOOLCHAINS)
    with contextlib.chdir(case):
        files = read_service_files(mesh, manifest.document, Path())
    plan = plan_mesh(replace(given, files=files))
    if not learnt.get("dry_run"):
        refuse(plan.limits)
    workspace = MemoryWorkspace()
    world = MeshWorld(None, None, FakeKeys(), workspace, lambda _text: None, signing_key=lambda: SIGNING_KEY)
    apply_mesh(plan, replace(world, release=learnt.get("manifests", "")))
    return opened(workspace.content, learnt["private_key"]) if "private_key" in learnt else workspace.content


def opened(files: dict[str, bytes], private_key: str) -> dict[str, bytes]:
    """Return files with encrypted sessions as the CAS with this key decrypts them: each encryption has other bytes."""
    key, found = X25519PrivateKey.from_private_bytes(bytes.fromhex(private_key)), dict(files)
    for path, content in files.items():
        if not path.startswith("policies/") or not path.endswith(".json"):
            continue
        encrypted = read_document(content)
        assert isinstance(encrypted, EncryptedSession)
        sealed, clear = base64.b64encode(encrypted.ciphertext), decrypt(encrypted, key)
        assert isinstance(read_document(clear), SignedSession)
        name = PurePosixPath(path).stem
        found[path] = b"decrypted: " + clear + b"\n"
        for brought in (f"helm/policies/{name}.yaml", f"manifests/{name}.yaml"):
            assert found[brought].count(sealed) == 1, "what is brought is what was written"
            found[brought] = found[brought].replace(sealed, f"what is in {path}".encode())
    head = "helm/Chart.yaml"
    found[head] = re.sub(rb'(?<=sconectl.io/content: )"?\w{64}"?', b"a digest of that", found[head])
    return found


def result(case: Path) -> dict[str, bytes]:
    try:
        return compile_case(case)
    except SconectlError as error:
        lines = [*map(str, error.findings), f"error: {error.message}", f"exit code {error.exit_code}", ""]
        return {"findings.txt": "\n".join(lines).encode()}


def files_below(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix().removesuffix(KEPT_AS): path.read_bytes() for path in files}


def copies(files: dict[str, bytes]) -> dict[str, str]:
    """Return which files of charts are copied from where: they are the same in every case."""
    known = {
        (name, content): f"charts_templates/{folder}/{name}"
        for folder in ("umbrella", "service")
        for name, content in assets.read_tree(f"charts_templates/{folder}").items()
    }
    below = {path: re.sub(r"^helm/(charts/[^/]+/)?", "", path) for path in files if path.startswith("helm/")}
    return {path: source for path, name in below.items() if (source := known.get((name, files[path]), ""))}


def without_copies(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return files as they are kept here: a list says what is copied."""
    found = copies(files)
    rest = {path: content for path, content in files.items() if path not in found}
    listed = "".join(f"{path} is {source}\n" for path, source in sorted(found.items()))
    return {**rest, **({COPIED: listed.encode()} if listed else {})}


def kept_as(path: str) -> str:
    """Return the name of an expected file in this folder."""
    return path + KEPT_AS if path.rpartition("/")[2].startswith("_") else path


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_golden(case: Path, request: pytest.FixtureRequest) -> None:
    found, expected = without_copies(result(case)), case / "expected"
    if request.config.getoption("--update-golden", default=False):
        shutil.rmtree(expected, ignore_errors=True)
        for path, content in found.items():
            file = expected / kept_as(path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    wanted = files_below(expected)
    assert sorted(found) == sorted(wanted)
    for path, content in wanted.items():
        assert found[path].decode() == content.decode(), path


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_golden_values_stay_out_of_the_chart_and_of_messages(case: Path) -> None:
    for path, content in files_below(case / "expected").items():
        if not path.startswith("policies/"):
            assert b"hunter" not in content, path


def test_there_are_cases_of_both_kinds() -> None:
    refused = [case.name for case in CASES if (case / "expected/findings.txt").is_file()]
    assert len(refused) >= 2
    assert len(CASES) - len(refused) >= 2
