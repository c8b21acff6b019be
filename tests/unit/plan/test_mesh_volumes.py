"""Volumes: in the session of the service, in its chart, and between services of a mesh."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.builders import compiled, facts, session

from sconectl.errors import PlanImpossible
from sconectl.plan.mesh.mesh_volumes import ServiceVolumes, on_volumes
from sconectl.runtime.files import volume_storage
from sconectl.usecases.apply_mesh import check_sessions

DATA: dict[str, Any] = {"name": "data", "path": "/data"}


def test_a_volume_is_in_session_and_chart() -> None:
    plan = compiled(facts(volumes=[DATA, {"name": "My.logs", "path": "/logs", "tags": "bounded"}]))
    document = session(plan, "web")
    assert document["volumes"] == [{"name": "data"}, {"name": "My.logs"}]
    assert document["images"] == [{"name": "web", "volumes": [DATA, {"name": "My.logs", "path": "/logs"}]}]
    values = plan.chart.services[0].volume_values
    assert {label: block["mountPath"] for label, block in values.items()} == {
        "volumedata": "/scone/volumes/data",
        "volumemy-logs": "/scone/volumes/My.logs",
    }
    assert all(block["encrypted"] and not block["persistence"]["enabled"] for block in values.values())
    assert values["volumedata"]["mountPath"] == volume_storage("data")
    check_sessions(plan)


def test_a_program_that_is_not_root_gets_a_group_that_may_write() -> None:
    plan = compiled(facts(volumes=[DATA]).model_copy(update={"group": 998}))
    context = plan.chart.services[0].volume_values["podSecurityContext"]
    assert context == {"fsGroup": 998, "fsGroupChangePolicy": "OnRootMismatch"}
    assert '"group":998' in facts(volumes=[DATA]).model_copy(update={"group": 998}).to_json()
    assert '"group"' not in facts(volumes=[DATA]).to_json()


def test_no_volume_changes_nothing() -> None:
    plan = compiled(facts())
    assert "volumes" not in session(plan, "web")
    assert plan.chart.services[0].volume_values == {}
    assert '"volumes"' not in facts().to_json()
    assert '"volumes"' in facts(volumes=[DATA]).to_json()


def test_a_volume_is_shared_between_services() -> None:
    export = [{"session": "db", "update_policy": "ephemeral", "volume_alias": "theirs"}, {"session": "far/away"}]
    owner = facts("web", volumes=[{**DATA, "export": export}])
    importer = facts("db", volumes=[{"name": "theirs", "path": "/x", "import": {"session": "web"}}])
    plan = compiled(owner, importer)
    assert session(plan, "web")["volumes"][0]["export"] == [
        {"to": {"session": "shop/db"}, "update_policy": "ephemeral", "volume_alias": "theirs"},
        {"session": "far/away"},
    ]
    assert session(plan, "db")["volumes"] == [{"name": "theirs", "import": {"volume": "theirs", "session": "shop/web"}}]
    assert session(plan, "db")["images"][0]["volumes"] == [
        {"name": "theirs", "path": "/x", "update_policy": "ephemeral"}
    ]
    block = plan.chart.services[1].volume_values["volumetheirs"]
    assert block["importedFrom"] == {"service": "web", "volume": "volumedata"}
    check_sessions(plan)


@pytest.mark.parametrize("terms", [None, "rollback_protected", "no_rollback_protection", "ephemeral"])
def test_a_volume_is_mounted_on_the_terms_of_its_export(terms: str | None) -> None:
    export = {"session": "db", **({"update_policy": terms} if terms else {})}
    owner = facts("web", volumes=[{**DATA, "export": [export]}])
    importer = facts("db", volumes=[{"name": "mine", "path": "/x", "import": {"session": "web", "volume": "data"}}])
    plan = compiled(owner, importer)
    [mount] = session(plan, "db")["images"][0]["volumes"]
    assert mount.get("update_policy", "rollback_protected") == terms or (terms is None and len(mount) == 2)
    assert session(plan, "web")["images"][0]["volumes"] == [DATA]
    check_sessions(plan)


def test_a_volume_of_another_mesh_needs_a_claim_by_name() -> None:
    plan = compiled(facts(volumes=[{**DATA, "import": {"session": "far/away"}}]))
    assert plan.chart.services[0].volume_values["volumedata"]["importedFrom"] == {}
    assert session(plan, "web")["images"][0]["volumes"] == [DATA]


@pytest.mark.parametrize(
    ("volumes", "hint"),
    [
        ([{"name": "x", "path": "/x", "import": {"session": "web", "volume": "dta"}}], "did you mean data?"),
        ([{"name": "data", "path": "/x", "import": {"session": "shop/alone", "volume": "data"}}], "add export"),
    ],
)
def test_volumes_that_cannot_be_shared(volumes: list[dict[str, Any]], hint: str) -> None:
    owner = facts("web", volumes=[{**DATA, "export": [{"session": "shop/db"}]}])
    with pytest.raises(PlanImpossible) as caught:
        compiled(owner, facts("db", volumes=volumes), facts("alone"))
    (finding,) = caught.value.findings
    assert (finding.code, finding.path) == ("SC2018", "services[1]")
    assert finding.hint.startswith(hint)


def test_names_of_the_mesh_stand_in_volumes() -> None:
    volume = {**DATA, "export": [{"session": "{{namespace}}/other"}]}
    assert session(compiled(facts(volumes=[volume])), "web")["volumes"][0]["export"] == [{"session": "shop/other"}]


@pytest.mark.parametrize("place", ["/data", "/elsewhere", None])
def test_the_one_claim_of_charts_in_use_is_that_of_the_volume_where_it_is_mounted(place: str | None) -> None:
    claim = {"enabled": True, "existingClaim": "mine", "size": "2Gi"}
    given = {**claim, **({"mountPath": place} if place else {})}
    volumes = ServiceVolumes("n/web", "web", [DATA])
    found = on_volumes({"persistence": given, "replicaCount": 1}, volumes)
    if place != DATA["path"]:
        assert found == {"persistence": given, "replicaCount": 1}
        return
    assert found == {"replicaCount": 1, "volumedata": {"persistence": claim}}
    both = {"persistence": given, "volumedata": {"persistence": {"size": "3Gi"}}}
    assert on_volumes(both, volumes) == {"volumedata": {"persistence": {**claim, "size": "3Gi"}}}


@pytest.mark.parametrize("extra", [{}, {"persistence": None}, {"persistence": {"mountPath": None}}, {"volumedata": 1}])
def test_other_values_stay_as_they_are(extra: dict[str, Any]) -> None:
    assert on_volumes(extra, ServiceVolumes("n/web", "web", [DATA])) == extra
