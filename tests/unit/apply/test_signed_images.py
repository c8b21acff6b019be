"""Signed images: whose key signs, when a new one is needed, and which keys are refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.builders import service_plan, service_text
from fakes.engine import FakeEngine, FakeRegistry, image
from fakes.stores import MemorySessionStore
from fakes.workspace import FakeKeys, signing_key

from sconectl.adapters.workspace_disk import DiskWorkspace
from sconectl.apply.native import NativeSources, collect_sources
from sconectl.apply.signing import read_signing_key
from sconectl.errors import BuildFailed, PlanImpossible, Refused
from sconectl.image.build.native_build import BuildEnvironment
from sconectl.manifest.reading.reader import read_manifest
from sconectl.plan.facts.image_facts import Signer
from sconectl.plan.facts.image_label import LABEL, ImageLabel
from sconectl.plan.service.service import ServicePlan
from sconectl.protect.signature import mrsigner_of, verify
from sconectl.text.yaml_tree import Document
from sconectl.toolchains.sim.toolchain import SimToolchain
from sconectl.usecases.apply_service import ServiceResult, ServiceWorld, apply_service

IMAGE = "registry.example.org/web:1"
VERSION = {
    "environment": {"local": [{"name": "SCONE_ISVPRODID", "value": "7"}, {"name": "SCONE_ISVSVN", "value": "3"}]}
}


class Bench:
    """One project on one machine."""

    def __init__(self, engine: FakeEngine, store: MemorySessionStore, workspace: DiskWorkspace, root: Path) -> None:
        self.engine, self.root = engine, root
        self.remarks: list[str] = []
        self.world = ServiceWorld(
            toolchain=SimToolchain(),
            engine=engine,
            registry=lambda: FakeRegistry(engine.remote),
            keys=FakeKeys(),
            workspace=workspace,
            store=store,
            environment=BuildEnvironment(),
            launcher_base="base:1",
            cache=root / "cache",
            push=False,
            progress=lambda _text: None,
            detail=lambda _text: None,
            remark=self.remarks.append,
            epoch=1715000000,
        )

    def apply(self, *, key: str = "", mode: str = "production", **changes: Any) -> ServiceResult:
        text = service_text(**VERSION | changes)
        sources = NativeSources(signing_key=signing_key(key) if key else b"")
        self.remarks.clear()
        return apply_service(service_plan(text, mode=mode), sources, self.world)

    def file(self, name: str) -> bytes:
        content = self.engine.images[IMAGE].root[f"/scone/image/{name}"][1]
        assert isinstance(content, bytes)
        return content


@pytest.fixture
def bench(engine: FakeEngine, store: MemorySessionStore, workspace: DiskWorkspace, tmp_path: Path) -> Bench:
    return Bench(engine, store, workspace, tmp_path)


def test_an_image_is_signed_with_the_key_of_the_machine(bench: Bench) -> None:
    done = bench.apply(signature={})
    mrsigner = mrsigner_of(FakeKeys().signing_key())
    assert done.facts.signer == Signer(mrsigner=mrsigner, isvprodid=7, isvsvn=3)
    found = verify(bench.file("sigstruct.bin"))
    assert (found.mrsigner, found.isvprodid, found.isvsvn) == (mrsigner, 7, 3)
    assert (found.measurement, found.debug, found.date) == (done.facts.measurement, False, "20240506")
    assert json.loads(bench.file("enclave.json"))["signer"] == mrsigner
    assert json.loads(bench.engine.images[IMAGE].info.labels[LABEL])["signer"]["mrsigner"] == mrsigner
    assert not bench.apply(signature={}).built


def test_an_image_that_is_not_to_be_signed_names_no_signer(bench: Bench) -> None:
    plain = bench.apply()
    assert plain.facts.signer is None
    assert "/scone/image/sigstruct.bin" not in bench.engine.images[IMAGE].root
    assert "signer" not in json.loads(bench.file("enclave.json"))
    signed = bench.apply(signature={})
    assert signed.built
    assert signed.facts.measurement == plain.facts.measurement
    assert not bench.apply(signature={"sign": False}).facts.signer


def test_a_key_of_the_user_signs_instead(bench: Bench) -> None:
    mine = bench.apply(signature={"key": "k"}, key="mine").facts
    assert mine.signer is not None
    assert mine.signer.mrsigner == mrsigner_of(signing_key("mine"))
    assert not bench.apply(signature={"key": "k"}, key="mine").built
    other = bench.apply(signature={"key": "k"}, key="other")
    assert other.built
    assert other.facts.measurement == mine.measurement
    assert other.facts.signer != mine.signer


def test_mode_and_version_change_the_signature_and_not_the_measurement(bench: Bench) -> None:
    production = bench.apply(signature={})
    debug = bench.apply(signature={}, mode="debug")
    assert debug.built
    assert verify(bench.file("sigstruct.bin")).debug
    assert debug.facts.measurement == production.facts.measurement
    newer = bench.apply(signature={}, environment={"local": [{"name": "SCONE_ISVSVN", "value": "4"}]})
    assert newer.facts.measurement == production.facts.measurement
    assert newer.facts.signer is not None
    assert newer.facts.signer.isvsvn == 4


def test_the_heap_changes_the_measurement(bench: Bench) -> None:
    one = bench.apply(environment={"local": [{"name": "SCONE_HEAP", "value": "64M"}]})
    other = bench.apply(environment={"local": [{"name": "SCONE_HEAP", "value": "65M"}]})
    assert one.facts.measurement != other.facts.measurement


def test_no_part_of_the_key_is_in_the_image_or_the_facts(bench: Bench) -> None:
    done = bench.apply(signature={})
    body = FakeKeys().signing_key().split(b"\n")[5]
    assert body not in b"".join(bench.engine.archives + bench.engine.contexts)
    assert body.decode() not in done.facts.to_json()
    assert body.decode() not in repr(NativeSources(signing_key=FakeKeys().signing_key()))


OLDER = "registry.example.org/web:0"
LARGER: dict[str, Any] = {"environment": {"local": [{"name": "SCONE_HEAP", "value": "65M"}]}}


def test_the_stable_version_stays_valid(bench: Bench) -> None:
    first = bench.apply(to=OLDER).facts.measurement
    second = bench.apply(stable=OLDER, **LARGER)
    assert second.facts.stable == (first,)
    assert second.facts.measurement != first
    assert bench.remarks == []
    assert not bench.apply(stable=OLDER, **LARGER).built
    bench.engine.remote[OLDER] = bench.engine.images.pop(OLDER)  # in the registry is enough
    assert not bench.apply(stable=OLDER, **LARGER).built
    assert bench.engine.count("pull") == 0


def test_another_stable_version_is_noticed(bench: Bench) -> None:
    bench.apply(to=OLDER)
    before = bench.apply(stable=OLDER).facts
    bench.apply(to=OLDER, **LARGER)
    after = bench.apply(stable=OLDER)
    assert after.built
    assert after.facts.stable != before.stable


@pytest.mark.parametrize("offline", [False, True])
def test_a_stable_version_of_which_only_the_label_is_known_is_remarked(bench: Bench, offline: bool) -> None:
    """Whoever may push an image under that name could have written any measurement."""
    first = bench.apply(to=OLDER).facts
    label = json.loads(ImageLabel.of(first, simulated=True).text()) | {
        "measurement": "00" * 32,
        "facts_digest": "00" * 32,
    }
    bench.engine.images[OLDER] = image({}, Labels={LABEL: json.dumps(label)})
    if offline:
        bench.world = replace(bench.world, store=None)
    bench.apply(stable=OLDER)
    [remark] = bench.remarks
    assert "nothing but its label says" in remark
    assert "sconectl measure" in remark


def test_a_stable_version_that_is_not_there(bench: Bench) -> None:
    with pytest.raises(BuildFailed, match="web:0 was not found") as caught:
        bench.apply(stable="web:0")
    assert "remove `stable`" in caught.value.hint
    assert IMAGE not in bench.engine.images


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ({}, "no confidential image"),
        ({LABEL: "{}"}, "cannot be understood"),
        ({LABEL: '{"format": 1}'}, "cannot be understood"),
    ],
)
def test_a_stable_version_that_is_none(bench: Bench, labels: dict[str, str], reason: str) -> None:
    bench.engine.images["web:0"] = image({}, Labels=labels)
    with pytest.raises(PlanImpossible, match=reason):
        bench.apply(stable="web:0")


def test_a_stable_version_of_another_toolchain(bench: Bench) -> None:
    label = json.loads(ImageLabel.of(bench.apply().facts, simulated=True).text()) | {"toolchain": "scone"}
    bench.engine.images["web:0"] = image({}, Labels={LABEL: json.dumps(label)})
    with pytest.raises(PlanImpossible, match="toolchain scone"):
        bench.apply(stable="web:0")


def test_a_stable_version_that_could_not_work_is_remarked(bench: Bench) -> None:
    label = json.loads(ImageLabel.of(bench.apply(mode="debug").facts, simulated=True).text())
    label["protected"]["encrypted"] = ["/app"]
    label["fspf"] = {"path": "/scone/image/fs.fspf", "tag": "00" * 16}
    bench.engine.images["web:0"] = image({}, Labels={LABEL: json.dumps(label)})
    bench.apply(stable="web:0")
    _, encrypted, debug = bench.remarks
    assert "cannot open them" in encrypted
    assert "debug mode" in debug


@pytest.fixture
def document() -> Document:
    return read_manifest(service_text(signature={"key": "key.pem"}), "service.yaml", {}).document


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "key.pem"
    file.write_bytes(signing_key("mine"))
    file.chmod(0o600)
    return file


def test_a_key_is_read_from_anywhere(key_file: Path, document: Document) -> None:
    assert read_signing_key(key_file, document) == signing_key("mine")
    link = key_file.with_name("link")
    link.symlink_to(key_file)
    assert read_signing_key(link, document) == signing_key("mine")
    project = key_file.parent / "project"
    project.mkdir()
    for name in ("../key.pem", str(key_file)):
        plan = service_plan(service_text(signature={"key": name}))
        assert collect_sources(plan, project, document).signing_key == signing_key("mine")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777])
def test_a_key_that_others_can_read_is_refused(key_file: Path, document: Document, mode: int) -> None:
    key_file.chmod(mode)
    with pytest.raises(Refused) as caught:
        read_signing_key(key_file, document)
    assert caught.value.hint == f"chmod 600 {key_file}"


def absent(file: Path) -> None:
    file.unlink()


def folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (absent, "No such file"),
        (folder, "is not a file"),
        (pipe, "is not a file"),
        (lambda file: file.write_bytes(b""), "no private key in PEM form"),
        (lambda file: file.write_bytes(bytes(1 << 20)), "no private key in PEM form"),
    ],
)
def test_a_key_that_cannot_be_used(
    key_file: Path, document: Document, change: Callable[[Path], object], reason: str
) -> None:
    change(key_file)
    with pytest.raises(PlanImpossible) as caught:
        read_signing_key(key_file, document)
    [finding] = caught.value.findings
    assert (finding.code, finding.path) == ("SC1005", "build.signature.key")
    assert finding.position.line > 1
    assert reason in finding.message
    assert "openssl genrsa -3" in finding.hint


def test_the_name_of_a_key_may_be_nonsense(tmp_path: Path, document: Document) -> None:
    with pytest.raises(PlanImpossible):
        read_signing_key(tmp_path / "a\0b", document)


def test_the_key_is_never_copied_into_the_image(key_file: Path, document: Document) -> None:
    project = key_file.parent
    (project / "main.py").write_text("print(1)")

    def plan(*copied: str) -> ServicePlan:
        return service_plan(service_text(signature={"key": "key.pem"}, copy=list(copied)))

    assert [file.path for file in collect_sources(plan("."), project, document).files if "pem" in file.path] == []
    assert [file.path for file in collect_sources(plan("*.p*"), project, document).files] == ["/app/main.py"]
    (project / "alias").symlink_to("key.pem")
    for name in ("key.pem", "alias"):
        with pytest.raises(PlanImpossible) as caught:
            collect_sources(plan("main.py", name), project, document)
        assert [finding.path for finding in caught.value.findings] == ["build.copy[1]"]
