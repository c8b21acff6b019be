"""`extra_policies`: sessions written by hand, which go into the CAS with those of a mesh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes.builders import TOOLCHAINS, facts, mesh_text, read_mesh
from fakes.stores import MemorySessionStore
from fakes.workspace import FakeKeys, MemoryWorkspace

from sconectl.errors import SconectlError
from sconectl.plan.mesh.mesh import GivenFile, MeshInput, MeshPlan, plan_mesh
from sconectl.text.findings import Finding
from sconectl.usecases.apply_mesh import MeshWorld, apply_mesh

RULES = """\
name: "{{namespace}}/rules"
version: "0.3.12"
access_policy: {read: [CREATOR], update: [CREATOR]}
secrets:
  - name: attestation
    kind: config-fragment
    value: {mode: simulation, tolerate: [outdated-tcb]}
    export: [{session: "{{namespace}}/web"}]
  - {name: note, kind: ascii, value: "{{WHO}}: $$NAME", size: 7}
"""


def planned(*texts: str, mesh: str = "") -> MeshPlan:
    mesh = mesh or mesh_text(env={"global": {"WHO": 'a"b\n---\nc: {{raw}}', "raw": "{x}"}})
    names = "".join(f"  - {{name: p{number}.yaml}}\n" for number in range(len(texts)))
    model, manifest = read_mesh(f"{mesh}extra_policies:\n{names}")
    extra = tuple((number, GivenFile(f"p{number}.yaml", text.encode())) for number, text in enumerate(texts))
    return plan_mesh(
        MeshInput(model, manifest.document, {"web": facts()}, {}, "rel", "0", extra=extra, toolchains=TOOLCHAINS)
    )


def refused(*texts: str) -> tuple[Finding, ...]:
    with pytest.raises(SconectlError) as caught:
        planned(*texts)
    return caught.value.findings


def test_they_come_between_the_namespace_and_the_services() -> None:
    plan = planned(RULES, "name: other\nversion: 0.3.12\naccess_policy: {read: [ANY], update: [CREATOR]}\n")
    assert [session.name for session in plan.sessions] == ["shop", "shop/rules", "other", "shop/web"]
    assert [session.file for session in plan.sessions[1:3]] == ["extra.shop.rules", "extra.other"]
    fragment, note = plan.sessions[1].document["secrets"]
    assert fragment["value"] == {"mode": "simulation", "tolerate": ["outdated-tcb"]}
    assert note["value"] == 'a"b\n---\nc: {x}: $NAME'  # a value is text, whatever it looks like


def test_they_are_uploaded_once_and_written(tmp_path: Path) -> None:
    store = MemorySessionStore(tmp_path)
    plan, workspace = planned(RULES), MemoryWorkspace()
    world = MeshWorld(store, None, FakeKeys(), workspace, lambda _text: None)
    outcomes: list[Any] = [[(one.name, one.outcome) for one in apply_mesh(plan, world).sessions] for _ in range(2)]
    names = ["shop", "shop/rules", "shop/web"]
    assert outcomes == [[(name, "created") for name in names], [(name, "unchanged") for name in names]]
    assert b"outdated-tcb" in workspace.content["policies/extra.shop.rules.yaml"]
    stored = store.read("shop/rules")
    assert stored is not None and "outdated-tcb" in stored.text


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("name: [", "SC1001", 2),
        ("- name: x\n", "", 1),
        ("name: x\nversion: 0.3.12\nservices: [{nam: y}]\n", "", 3),
        ("name: x\npredecessor: " + "0" * 64 + "\n", "SC2015", 2),
        ("name: x\ncreator: {signer: x}\n", "SC2015", 2),
        ("name: x\nsecrets:\n  - {name: a, kind: ascii, value: '{{nobody}}'}\n", "SC2006", 3),
        ("name: x\nsecrets:\n  - {name: a, kind: ascii, value: $HOME}\n", "SC1003", 3),
    ],
)
def test_faults_stand_where_they_are(text: str, code: str, line: int) -> None:
    findings = refused(text)
    assert any(f.code.startswith(code or "SC") and f.position.line == line for f in findings), findings
    assert {finding.position.file for finding in findings} == {"p0.yaml"}


def test_all_files_are_looked_at() -> None:
    assert {finding.position.file for finding in refused("name: x\nbad: 1\n", "name: y\nbad: 1\n")} == {
        "p0.yaml",
        "p1.yaml",
    }


@pytest.mark.parametrize("name", ["shop", "shop/web", "twice"])
def test_a_session_of_the_mesh_is_not_replaced(name: str) -> None:
    text = f"name: {name}\nversion: 0.3.12\naccess_policy: {{read: [CREATOR], update: [CREATOR]}}\n"
    findings = refused(*([text, text] if name == "twice" else [text]))
    assert [(f.code, f.path) for f in findings] == [("SC2002", f"extra_policies[{int(name == 'twice')}].name")]


def test_two_sessions_are_not_written_into_the_same_file() -> None:
    text = "version: 0.3.12\naccess_policy: {read: [CREATOR], update: [CREATOR]}\n"
    (finding,) = refused(f"name: a/b\n{text}", f"name: a.b\n{text}")
    assert (finding.code, finding.path) == ("SC2002", "extra_policies[1].name")


def test_a_signer_cannot_read() -> None:
    mesh = mesh_text().replace('cas_url: "cas.example.org"', "cas_url: cas.example.org")
    signed = mesh.replace("cas_url: cas.example.org", "cas_url: cas.example.org\n    mode: SignedManifest")
    text = "name: shop/x\nversion: 0.3.12\naccess_policy: {read: [CREATOR], update: [CREATOR]}\n"
    with pytest.raises(SconectlError) as caught:
        planned(text, mesh=signed)
    assert [(f.code, f.path) for f in caught.value.findings] == [("SC2015", "extra_policies[0].name")]
    assert planned(text.replace("read: [CREATOR]", "read: [NONE]"), mesh=signed).signed
