"""Who may see and change the sessions of a mesh: `policy.access`."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.builders import compiled, facts, mesh_text, read_mesh, session

from sconectl.errors import InvalidInput, PlanImpossible
from sconectl.plan.mesh.mesh import MeshPlan
from sconectl.usecases.apply_mesh import check_sessions

ME, CI, AUDITOR = (
    "3T6WZsab9SuH9JYqdVqZKp9zAF1YAMt4G2G7QN8pMqX3nz4Fnh",
    "41QdKr5zBvqMMxgdNWY8EzZU9pdDLcprPUNmLNcEViKd3tPpFU",
    "46YyxrywJ8PFRruWX8YLxa9q4axxYJgTbA81tv7NBcJfn43DQt",
)


def plan(access: str, *, mode: str = "") -> MeshPlan:
    text = mesh_text().replace("namespace: shop", f"namespace: shop\n  access: {access}")
    return compiled(facts(), text=text.replace("cas.example.org", f"cas.example.org\n    mode: {mode or 'Upload'}"))


def policies(given: MeshPlan) -> tuple[Any, Any]:
    check_sessions(given)
    return session(given, "namespace")["access_policy"], session(given, "web")["access_policy"]


def test_each_list_grants_what_it_says() -> None:
    namespace, web = policies(plan(f"{{owners: [{ME}, {ME}], updaters: [{CI}], readers: [{AUDITOR}, {CI}]}}"))
    everybody = ["CREATOR", ME, CI, AUDITOR]
    assert namespace == {"read": everybody, "update": ["CREATOR", ME], "create_sessions": ["CREATOR", ME]}
    assert web == {"read": everybody, "update": ["CREATOR", ME, CI]}


@pytest.mark.parametrize("access", ["", "{}", "{owners: []}", "{readers: , updaters: []}"])
def test_nobody_is_named(access: str) -> None:
    given = plan(access)
    assert given.sessions == compiled(facts()).sessions
    creator = ["CREATOR"]
    assert policies(given) == (
        {"read": creator, "update": creator, "create_sessions": creator},
        {"read": creator, "update": creator},
    )


def test_signed_sessions_can_be_read_by_whom_they_name() -> None:
    namespace, web = policies(plan(f"{{owners: [{ME}], readers: [{CI}]}}", mode="SignedManifest"))
    assert namespace == {"read": [ME, CI], "update": ["CREATOR", ME], "create_sessions": ["CREATOR", ME]}
    assert web == {"read": [ME, CI], "update": ["CREATOR", ME]}
    assert policies(plan("{}", mode="SignedManifest"))[1] == {"read": ["NONE"], "update": ["CREATOR"]}


@pytest.mark.parametrize("wrong", ["CREATOR", "ANY", ME[:-1] + "A", "[" + ME + "]", "me"])
def test_only_key_hashes_are_taken(wrong: str) -> None:
    text = mesh_text().replace("namespace: shop", f"namespace: shop\n  access:\n    readers:\n      - {wrong}")
    with pytest.raises(InvalidInput) as caught:
        read_mesh(text)
    (finding,) = caught.value.findings
    assert finding.path == "policy.access.readers[0]"
    assert text.splitlines()[finding.position.line - 1].strip() == f"- {wrong}"
    assert finding.message in ("expected a key hash", "expected text")


def test_a_fragment_says_it_all() -> None:
    with pytest.raises(PlanImpossible) as caught:
        plan(f"{{owners: [{ME}]}}\n  access_policy_name: security/policies/access")
    (finding,) = caught.value.findings
    assert (finding.code, finding.path) == ("SC2014", "policy.access")
