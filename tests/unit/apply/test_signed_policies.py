"""Sessions that are signed or encrypted instead of uploaded: what is written, what stays, and what the CAS says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fakes.builders import compiled, facts, mesh_text
from fakes.workspace import FakeKeys, MemoryWorkspace
from ruamel.yaml import YAML

from sconectl.apply.image_sessions import publish_facts
from sconectl.apply.signed_policies import Receipts
from sconectl.cas.client.identity import CasConfig
from sconectl.cas.local import LocalCas
from sconectl.errors import CasUnreachable, PlanImpossible, SconectlError
from sconectl.plan.mesh.mesh import MeshPlan
from sconectl.policy.reading import parse_session
from sconectl.policy.signed_session import SignedSession, verify
from sconectl.usecases.apply_mesh import MeshResult, MeshWorld, apply_mesh

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SECRET = {"global": [{"name": "given", "kind": "ascii", "value": "hunter2"}]}


@pytest.fixture
def cas(tmp_path: Path) -> LocalCas:
    return LocalCas(tmp_path / "cas", CasConfig(tmp_path / "me"))


class Machine(MemoryWorkspace):
    """A workspace, and the receipts that the lock beside it keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.receipts: Receipts = {}


@pytest.fixture
def workspace() -> Machine:
    return Machine()


def plan(mode: str, value: str = "1", key: str = "", secrets: Any = None) -> MeshPlan:
    image = facts("web", environment={"global": [{"name": "X"}]}, secrets=secrets or {})
    more = f"\n    cas_encryption_key: {key}" if key else ""
    text = mesh_text(["web"], env={"global": {"X": value}})
    return compiled(image, text=text.replace("cas.example.org", f"cas.example.org\n    mode: {mode}{more}"))


def apply(
    given: MeshPlan, workspace: Machine, cas: LocalCas | None = None, release: str = "", asked: LocalCas | None = None
) -> MeshResult:
    """Apply; `cas` tells its encryption key, and `asked` which versions of sessions it has."""
    world = MeshWorld(None, None, FakeKeys(), workspace, lambda _text: None, signing_key=lambda: KEY, release=release)
    world = replace(world, receipts=workspace.receipts)
    if cas is not None:
        world = replace(world, encryption_key=cas.encryption_key)
    if asked is not None:
        world = replace(world, active_hash=asked.hash_of)
    done = apply_mesh(given, world)
    workspace.receipts = done.shipped.receipts
    return done


def names(workspace: Machine, folder: str) -> set[str]:
    return {path.removeprefix(f"{folder}/") for path in workspace.files(folder)}


def upload(cas: LocalCas, workspace: Machine, files: Iterable[str] = ("namespace", "web")) -> list[str]:
    return [cas.put(workspace.content[f"policies/{file}.json"].decode()) for file in files]


def receipts(workspace: Machine) -> Mapping[str, Mapping[str, str]]:
    return workspace.receipts["cas.example.org"]


@pytest.mark.parametrize("mode", ["SignedManifest", "EncryptedManifest"])
def test_the_cas_takes_what_was_written_and_each_change_of_it(mode: str, cas: LocalCas, workspace: Machine) -> None:
    done = apply(plan(mode), workspace, cas)
    assert done.shipped.changed == ("shop", "shop/web") and done.sessions == ()
    assert upload(cas, workspace) == [receipts(workspace)[name]["hash"] for name in ("shop", "shop/web")]
    changed = apply(plan(mode, "2"), workspace, cas)
    assert changed.shipped.changed == ("shop/web",)
    assert upload(cas, workspace, ["web"]) == [receipts(workspace)["shop/web"]["hash"]]
    assert receipts(workspace)["shop/web"]["predecessor"]


@pytest.mark.parametrize("mode", ["SignedManifest", "EncryptedManifest", "EncryptedOnly"])
def test_what_did_not_change_stays_byte_by_byte(mode: str, cas: LocalCas, workspace: Machine) -> None:
    apply(plan(mode, secrets=None if mode == "SignedManifest" else SECRET), workspace, cas)
    before = dict(workspace.content)
    done = apply(plan(mode, secrets=None if mode == "SignedManifest" else SECRET), workspace, cas)
    assert (done.shipped.changed, done.files_changed) == ((), 0)
    assert workspace.content == before


def test_signed_sessions_are_valid_and_in_the_chart(workspace: Machine) -> None:
    apply(plan("SignedManifest"), workspace)
    signed = SignedSession.from_json(workspace.content["policies/web.json"])
    (signer,) = verify(signed)
    resource = YAML(typ="safe").load(workspace.content["helm/policies/web.yaml"])
    assert (resource["apiVersion"], resource["kind"]) == ("cas.scone.cloud/v1beta1", "SignedPolicy")
    assert resource["metadata"]["name"] == "shop-web"
    assert resource["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    spec = resource["spec"]
    assert spec["casAddress"] == "https://cas.example.org:8081"
    assert (spec["policy"], spec["signatures"][0]["signer"]) == (signed.session, signer.signer)
    hooks = [YAML(typ="safe").load(workspace.content[f"helm/policies/{name}.yaml"]) for name in ("namespace", "web")]
    assert [hook["metadata"]["annotations"]["helm.sh/hook-weight"] for hook in hooks] == ["0", "1"]
    assert names(workspace, "policies") == {
        *("namespace.yaml", "web.yaml", "namespace.json", "web.json"),
    }
    assert {f"policies/{name}" for name in names(workspace, "policies")} == workspace.private


@pytest.mark.parametrize("mode", ["EncryptedManifest", "EncryptedOnly"])
def test_encrypted_sessions_reveal_nothing(mode: str, cas: LocalCas, workspace: Machine) -> None:
    apply(plan(mode, "hunter-value", secrets=SECRET), workspace, cas)
    for path, content in workspace.content.items():
        if path != "policies/web.yaml":
            assert b"hunter" not in content, path
    in_chart = {path for path in workspace.content if path.startswith("helm/policies/")}
    if mode == "EncryptedOnly":
        assert in_chart == set() and "helm/templates/policies.yaml" not in workspace.content
        assert names(workspace, "policies") == {"namespace.json", "web.json"}
    else:
        assert in_chart == {"helm/policies/namespace.yaml", "helm/policies/web.yaml"}
        resource = YAML(typ="safe").load(workspace.content["helm/policies/web.yaml"])
        assert resource["kind"] == "EncryptedPolicy"
        assert resource["spec"]["encryptionKey"] == cas.encryption_key()
    assert upload(cas, workspace) == [receipts(workspace)[name]["hash"] for name in ("shop", "shop/web")]


def test_the_key_of_the_manifest_needs_no_cas(cas: LocalCas, workspace: Machine) -> None:
    key = cas.encryption_key()
    apply(plan("EncryptedManifest", key=key.upper()), workspace)
    upload(cas, workspace)
    with pytest.raises(PlanImpossible):
        apply(plan("EncryptedManifest"), Machine())


def test_a_cas_that_does_not_answer_is_not_needed_with_its_key(workspace: Machine) -> None:
    def no_cas() -> str:
        raise CasUnreachable("no CAS answers", hint="start one")

    world = MeshWorld(
        *(None, None, FakeKeys(), workspace, lambda _text: None), signing_key=lambda: KEY, encryption_key=no_cas
    )
    with pytest.raises(CasUnreachable) as caught:
        apply_mesh(plan("EncryptedManifest"), world)
    assert caught.value.hint == "start one; or give the key of the CAS with cas_encryption_key"


def test_for_another_cas_it_is_encrypted_anew_without_a_new_version(cas: LocalCas, workspace: Machine) -> None:
    apply(plan("EncryptedManifest", key="ab" * 32), workspace)
    before = receipts(workspace)
    done = apply(plan("EncryptedManifest"), workspace, cas)
    assert done.shipped.changed == ("shop", "shop/web")
    assert without_documents(receipts(workspace)) == without_documents(before)
    upload(cas, workspace)


def without_documents(found: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    return {name: {key: one[key] for key in one if key not in {"document", "seal"}} for name, one in found.items()}


def test_a_change_and_back_is_a_new_version(workspace: Machine) -> None:
    for value in ("1", "2", "1"):
        apply(plan("SignedManifest", value), workspace)
    text = SignedSession.from_json(workspace.content["policies/web.json"]).session
    assert f"predecessor: {receipts(workspace)['shop/web']['predecessor']}" in text.replace('"', "")


def test_another_cas_gets_the_first_version(cas: LocalCas, workspace: Machine) -> None:
    apply(plan("SignedManifest", "1"), workspace)
    moved = plan("SignedManifest", "2")
    apply(replace(moved, cas=moved.cas.model_copy(update={"cas_url": "other.example.org"})), workspace)
    assert "predecessor" not in SignedSession.from_json(workspace.content["policies/web.json"]).session
    upload(cas, workspace)
    apply(plan("SignedManifest", "3"), workspace)
    assert receipts(workspace)["shop/web"]["predecessor"]


@pytest.mark.parametrize("mode", ["SignedManifest", "EncryptedManifest", "EncryptedOnly"])
@pytest.mark.parametrize("lost", [False, True], ids=["receipts", "no receipts"])
def test_the_cas_says_which_version_is_replaced(mode: str, lost: bool, cas: LocalCas, workspace: Machine) -> None:
    """A version that was never uploaded is no dead end, and neither is a directory that begins anew."""
    apply(plan(mode), workspace, cas, asked=cas)
    apply(plan(mode, "2"), workspace, cas, asked=cas)  # nobody uploaded the first
    upload(cas, workspace)
    machine = Machine() if lost else workspace
    done = apply(plan(mode, "3"), machine, cas, asked=cas)
    assert done.shipped.unknown == ()
    upload(cas, machine, ["web"])
    stored = cas.hash_of("shop/web")
    assert stored == receipts(machine)["shop/web"]["hash"]
    again = Machine()
    apply(plan(mode, "3"), again, cas, asked=cas)
    assert upload(cas, again)[1] == stored  # the same content is no new version


def test_what_nobody_knows_is_said(cas: LocalCas, workspace: Machine) -> None:
    assert apply(plan("SignedManifest"), workspace).shipped.unknown == ("shop", "shop/web")
    assert apply(plan("SignedManifest", "2"), workspace).shipped.unknown == ()
    assert apply(plan("SignedManifest"), Machine(), asked=cas).shipped.unknown == ()


def test_hashes_in_receipts_are_salted_with_what_only_the_signer_knows(workspace: Machine) -> None:
    apply(plan("SignedManifest"), workspace)
    files = [workspace.content[f"policies/{name}.json"] for name in ("namespace", "web")]
    salts = {parse_session(SignedSession.from_json(file).session).salt for file in files}
    assert len(salts) == 2 and None not in salts


def test_a_template_must_not_let_a_signer_read(workspace: Machine) -> None:
    given = plan("SignedManifest")
    namespace, web = given.sessions
    readable = {**web.document, "access_policy": {"read": ["CREATOR"], "update": ["CREATOR"]}}
    broken = MeshPlan(given.cas, (namespace, type(web)(web.name, web.file, readable)), (), given.chart)
    with pytest.raises(SconectlError, match="cannot read"):
        apply(broken, workspace)
    assert workspace.content == {}


@pytest.mark.parametrize("mode", ["SignedManifest", "EncryptedManifest"])
def test_keys_of_encrypted_files_are_shared_before_anything_is_written(
    mode: str, cas: LocalCas, workspace: Machine
) -> None:
    image = facts("web", dirs=["/app/data"])
    publish_facts(cas, image, FakeKeys().image_key("registry.example.org/web"))
    text = mesh_text(["web"]).replace("cas.example.org", f"cas.example.org\n    mode: {mode}")
    world = MeshWorld(
        *(None, cas, FakeKeys(), workspace, lambda _text: None),
        signing_key=lambda: KEY,
        encryption_key=cas.encryption_key,
    )
    done = apply_mesh(compiled(image, text=text), world)
    assert [(entry.name, entry.outcome) for entry in done.sessions] == [(image.image_session, "updated")]
    stored = cas.read(image.image_session)
    assert stored is not None and "session: shop/web" in stored.text
    upload(cas, workspace)


def test_back_to_upload_removes_what_was_shipped(workspace: Machine) -> None:
    apply(plan("SignedManifest"), workspace)
    apply(plan("Upload"), workspace)
    assert names(workspace, "policies") == {"namespace.yaml", "web.yaml"}
    assert not any(path.startswith("helm/policies/") for path in workspace.content)


def test_manifests_bring_the_resources_before_the_services(workspace: Machine) -> None:
    apply(plan("SignedManifest"), workspace, release="demo")
    assert names(workspace, "manifests") == {"namespace.yaml", "web.yaml"}
    documents = list(YAML(typ="safe").load_all(workspace.content["manifests/web.yaml"]))
    assert [item["kind"] for item in documents] == ["SignedPolicy", "ServiceAccount", "Deployment"]
    assert "annotations" not in documents[0]["metadata"]
    apply(plan("SignedManifest"), workspace)
    assert names(workspace, "manifests") == set()


def test_an_encrypted_document_in_the_lock_is_believed_only_if_it_is_ours(cas: LocalCas, workspace: Machine) -> None:
    apply(plan("EncryptedManifest", "1"), workspace, cas)
    older = workspace.receipts["cas.example.org"]["shop/web"]
    apply(plan("EncryptedManifest", "2"), workspace, cas)
    receipt = workspace.receipts["cas.example.org"]["shop/web"]
    for change in (
        {"document": older["document"]},
        {key: older[key] for key in ("document", "seal")},
        {"seal": "é"},
        {"seal": ""},
    ):
        tampered = {**workspace.receipts["cas.example.org"], "shop/web": {**receipt, **change}}
        machine = Machine()
        machine.receipts = {"cas.example.org": tampered}
        apply(plan("EncryptedManifest", "2"), machine, cas)
        assert machine.receipts["cas.example.org"]["shop/web"]["document"] not in (
            older["document"],
            receipt["document"],
        )
        assert machine.receipts["cas.example.org"]["shop/web"]["hash"] == receipt["hash"]
