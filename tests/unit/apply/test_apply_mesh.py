"""Uploading a mesh: each session old or new, target/ whole, a second run finishes, and nothing is done twice."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.builders import compiled, facts, mesh_text
from fakes.stores import MemorySessionStore
from fakes.workspace import FakeKeys, MemoryWorkspace

from sconectl.adapters.workspace_disk import DiskWorkspace
from sconectl.apply.image_sessions import publish_facts, salt_of
from sconectl.errors import BuildFailed, CasError, InvalidInput, PlanImpossible
from sconectl.plan.facts.naming import without_tag
from sconectl.plan.mesh.mesh import MeshPlan
from sconectl.policy.reading import parse_session
from sconectl.policy.serialized.canonical import read_back
from sconectl.ports import SessionStore, Workspace
from sconectl.usecases.apply_mesh import MeshResult, MeshWorld, apply_mesh

WEB = facts("web", environment={"global": [{"name": "X"}]}, secrets={"import": ["password"]}, dirs=["/app/data"])
DB = facts("db", secrets={"global": [{"name": "password", "kind": "ascii"}]})


def plan(value: str = "1") -> MeshPlan:
    return compiled(WEB, DB, env={"global": {"X": value}})


def apply(
    given: MeshPlan,
    store: SessionStore | None,
    workspace: Workspace,
    images: SessionStore | None = None,
    machine: str = "a",
) -> MeshResult:
    return apply_mesh(given, MeshWorld(store, images, FakeKeys(machine), workspace, lambda _text: None))


def snapshot(root: Path) -> dict[str, tuple[bytes, int, int]]:
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino)
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != ".gitignore"  # is not counted among the files of a run
    }


MARK = re.compile(rb"(configuration: \"?[0-9a-f]{32}\"?|sconectl.io/content: \"?[0-9a-f]{64}\"?)")
NAMES = ["shop", WEB.image_session, "shop/web", "shop/db"]


def test_a_first_run_creates_everything_in_order(store: MemorySessionStore, workspace: DiskWorkspace) -> None:
    done = apply(plan(), store, workspace)
    assert store.put_log == NAMES
    assert [(entry.name, entry.outcome) for entry in done.sessions] == [(name, "created") for name in NAMES]
    assert done.files_changed == len(snapshot(workspace.root))
    assert {p.name for p in (workspace.root / "policies").iterdir()} == {"namespace.yaml", "web.yaml", "db.yaml"}
    for path in (workspace.root / "policies").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600


def test_an_unchanged_run_writes_nothing_anywhere(store: MemorySessionStore, workspace: DiskWorkspace) -> None:
    apply(plan(), store, workspace)
    before, hashes = snapshot(workspace.root), {name: _hash(store, name) for name in NAMES}
    store.put_log.clear()
    done = apply(plan(), store, workspace)
    assert [entry.outcome for entry in done.sessions] == ["unchanged"] * 4
    assert done.files_changed == 0
    assert store.put_log == []
    assert snapshot(workspace.root) == before
    assert {entry.name: entry.hash for entry in done.sessions} == hashes


def test_a_change_updates_what_it_touches_and_names_the_predecessor(
    store: MemorySessionStore, workspace: DiskWorkspace
) -> None:
    apply(plan(), store, workspace)
    old, before = _hash(store, "shop/web"), snapshot(workspace.root)
    store.put_log.clear()
    done = apply(plan("2"), store, workspace)
    assert [entry.outcome for entry in done.sessions] == ["unchanged", "unchanged", "updated", "unchanged"]
    assert store.put_log == ["shop/web"]
    assert parse_session(store.texts[-1]).predecessor == old
    after = snapshot(workspace.root)
    changed = {"policies/web.yaml", "helm/charts/web/values.yaml"}  # the pods of web are replaced, and no others
    changed |= {"helm/Chart.yaml", *(f"helm/charts/{name}/Chart.yaml" for name in ("web", "db"))}  # a new version
    assert {path for path in after if after[path] != before.get(path)} == changed
    assert b"predecessor:" not in after["policies/web.yaml"][0]


def _hash(store: MemorySessionStore, name: str) -> str:
    found = store.read(name)
    assert found is not None
    return found.hash


def _value(store: MemorySessionStore) -> str | None:
    found = store.read("shop/web")
    return parse_session(found.text).services[0].environment["X"] if found else None


@pytest.mark.parametrize("step", range(4))
def test_a_first_run_that_breaks_off_is_finished_by_the_next(
    store: MemorySessionStore, workspace: DiskWorkspace, step: int
) -> None:
    store.fail_on = {NAMES[step]}
    with pytest.raises(CasError) as caught:
        apply(plan(), store, workspace)
    assert store.put_log == NAMES[:step]
    assert [store.read(name) is not None for name in NAMES] == [n < step for n in range(4)]
    assert not workspace.root.exists()
    assert ("written before that: " + ", ".join(NAMES[:step]) in caught.value.hint) is (step > 0)
    store.fail_on = set()
    done = apply(plan(), store, workspace)
    assert [entry.outcome for entry in done.sessions] == ["unchanged"] * step + ["created"] * (4 - step)
    assert (workspace.root / "helm" / "Chart.yaml").is_file()


def changed_everywhere() -> MeshPlan:
    web = WEB.model_copy(update={"measurement": "11" * 32})
    web = _resalted(web)
    return compiled(web, DB.model_copy(update={"measurement": "22" * 32}), env={"global": {"X": "2"}})


def _resalted(image: Any) -> Any:
    return image.model_copy(update={"salt": salt_of(image, FakeKeys().image_key(without_tag(image.image)))})


CHANGING = [WEB.image_session, "shop/web", "shop/db"]


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("step", range(3))
def test_a_failing_update_leaves_each_session_old_or_new_and_target_as_it_was(
    store: MemorySessionStore, workspace: DiskWorkspace, step: int, lost: bool
) -> None:
    apply(plan(), store, workspace)
    before, old = snapshot(workspace.root), {name: _hash(store, name) for name in NAMES}
    (store.lost_answers if lost else store.fail_on).add(CHANGING[step])
    with pytest.raises(CasError):
        apply(changed_everywhere(), store, workspace)
    changed = [name for name in NAMES if _hash(store, name) != old[name]]
    assert changed == CHANGING[: step + lost]
    assert snapshot(workspace.root) == before
    store.lost_answers, store.fail_on = set(), set()
    done = apply(changed_everywhere(), store, workspace)
    outcomes = {entry.name: entry.outcome for entry in done.sessions}
    assert outcomes == {name: "unchanged" if name in changed or name == "shop" else "updated" for name in NAMES}
    assert snapshot(workspace.root) != before
    assert apply(changed_everywhere(), store, workspace).files_changed == 0


def test_an_unreachable_cas_changes_nothing(store: MemorySessionStore, workspace: DiskWorkspace) -> None:
    apply(plan(), store, workspace)
    before = snapshot(workspace.root)
    store.unreachable = True
    with pytest.raises(CasError):
        apply(plan("2"), store, workspace)
    assert snapshot(workspace.root) == before


def test_a_full_disk_after_the_upload_is_mended_by_the_next_run(store: MemorySessionStore) -> None:
    workspace = MemoryWorkspace()
    workspace.full = True
    with pytest.raises(BuildFailed):
        apply(plan(), store, workspace)
    assert workspace.content == {}
    workspace.full = False
    done = apply(plan(), store, workspace)
    assert [entry.outcome for entry in done.sessions] == ["unchanged"] * 4
    assert done.files_changed == len(workspace.content) > 0
    assert {path for path in workspace.content if path.startswith("policies/")} == workspace.private


def test_the_namespace_of_somebody_else_is_left_alone(
    store: MemorySessionStore, workspace: DiskWorkspace, tmp_path: Path
) -> None:
    apply(plan(), MemorySessionStore(tmp_path, "somebody"), workspace)
    before = snapshot(workspace.root)
    with pytest.raises(CasError) as caught:
        apply(plan("2"), store, workspace)
    assert "somebody else" in caught.value.hint or "another identity" in caught.value.hint
    assert store.put_log == []
    assert snapshot(workspace.root) == before


def test_stale_files_go_and_other_files_stay(store: MemorySessionStore, workspace: DiskWorkspace) -> None:
    apply(plan(), store, workspace)
    extra = [
        workspace.root / name for name in ("policies/gone.yaml", "helm/charts/gone/x.yaml", "images/web.json", "mine")
    ]
    for path in extra:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    done = apply(plan(), store, workspace)
    assert done.files_changed == 2
    assert [path.exists() for path in extra] == [False, False, True, True]
    assert not (workspace.root / "helm/charts/gone").exists()
    fewer = compiled(DB)
    apply(fewer, store, workspace)
    assert not (workspace.root / "policies/web.yaml").exists()
    assert not (workspace.root / "helm/charts/web").exists()


def test_policies_that_others_may_read_become_private_again(
    store: MemorySessionStore, workspace: DiskWorkspace
) -> None:
    apply(plan(), store, workspace)
    file = workspace.root / "policies/web.yaml"
    file.chmod(0o644)
    assert apply(plan(), store, workspace).files_changed == 1
    assert file.stat().st_mode & 0o777 == 0o600


def test_without_a_store_only_files_are_written(store: MemorySessionStore, workspace: DiskWorkspace) -> None:
    done = apply(plan(), None, workspace)
    assert done.sessions == ()
    with_upload = MemoryWorkspace()
    apply(plan(), store, with_upload)
    files = {path: content for path, (content, _, _) in snapshot(workspace.root).items()}
    values = "helm/charts/web/values.yaml"  # where a CAS is asked, the key of this mark is there
    marked = {name: MARK.sub(b"", content) for name, content in files.items()}
    assert marked == {name: MARK.sub(b"", content) for name, content in with_upload.content.items()}
    assert files[values] != with_upload.content[values]


def test_the_marks_of_pods_are_the_same_wherever_the_namespace_can_be_read(store: MemorySessionStore) -> None:
    charts = []
    for machine in "ab":
        image = compiled(facts("web", machine=machine))
        workspace = MemoryWorkspace()
        apply(image, store, workspace)
        charts.append({path: content for path, content in workspace.content.items() if path.startswith("helm/")})
    assert charts[0] == charts[1]
    namespace = store.read("shop")
    assert namespace is not None
    salt = parse_session(namespace.text).salt
    assert salt is not None
    without = parse_session(namespace.text).model_copy(update={"salt": None, "predecessor": namespace.hash})
    store.put(read_back(without))  # as somebody does by hand
    workspace = MemoryWorkspace()
    apply(compiled(facts("web")), store, workspace)
    assert {path: workspace.content[path] for path in charts[0]} == charts[0]
    again = store.read("shop")
    assert again is not None
    assert parse_session(again.text).salt == salt


def test_invalid_policies_are_refused_before_anything_happens(
    store: MemorySessionStore, workspace: DiskWorkspace
) -> None:
    broken, other = (
        facts(
            name,
            environment={"global": [{"name": "A"}]},
            secrets={"global": [{"name": f"raw-of-{name}", "kind": "binary"}]},
        )
        for name in ("web", "db")
    )
    raw_bytes = {name: {"A": f"$$SCONE::raw-of-{name}$$"} for name in ("web", "db")}
    with pytest.raises(InvalidInput) as caught:
        apply(compiled(broken, other, env=raw_bytes), store, workspace)
    assert {f.position.file for f in caught.value.findings} == {"policies/web.yaml", "policies/db.yaml"}
    assert store.put_log == store.read_log == []
    assert not workspace.root.exists()


DIGEST = f"sha256:{'d' * 64}"


def _images(workspace: MemoryWorkspace) -> dict[str, str]:
    """Return how the chart and the manifests name the images, by service."""
    found = {}
    for service in ("web", "db"):
        [named] = re.findall(rb'^image: "(.*)"$', workspace.content[f"helm/charts/{service}/values.yaml"], re.M)
        [same] = re.findall(rb'^ +image: "(.*)"$', workspace.content[f"manifests/{service}.yaml"], re.M)
        assert named == same
        found[service] = named.decode()
    return found


def test_an_image_that_was_pushed_is_named_by_its_digest(store: MemorySessionStore) -> None:
    given, workspace = plan(), MemoryWorkspace()
    web, db = (WEB.image, WEB.measurement), (DB.image, DB.measurement)
    world = MeshWorld(store, store, FakeKeys("a"), workspace, lambda _text: None, release="r", pushed={web: DIGEST})
    done = apply_mesh(given, world)
    assert _images(workspace) == {"web": f"{WEB.image}@{DIGEST}", "db": DB.image}
    head = workspace.content["helm/charts/web/Chart.yaml"]
    assert b'appVersion: "1"' in head
    assert apply_mesh(given, world).files_changed == 0
    other = replace(world, pushed={(WEB.image, "00" * 32): DIGEST, db: DIGEST}, last_chart=done.chart)
    changed = apply_mesh(given, other)
    assert _images(workspace) == {"web": WEB.image, "db": f"{DB.image}@{DIGEST}"}
    assert (done.chart.version, changed.chart.version) == ("0.1.0", "0.2.0")


def test_generated_secrets_are_in_no_file(store: MemorySessionStore, workspace: DiskWorkspace) -> None:
    apply(plan(), store, workspace)
    text = (workspace.root / "policies/db.yaml").read_text()
    assert "name: password" in text
    assert "value:" not in text


# --- keys of encrypted files ----------------------------------------------------------------------------------------


def _exports(store: MemorySessionStore) -> list[str | None]:
    found = store.read(WEB.image_session)
    assert found is not None
    secret = parse_session(found.text).secret("fspf-key")
    assert secret is not None
    return [export.session for export in secret.export]


def test_the_key_is_shared_with_each_mesh_that_uses_the_image(
    store: MemorySessionStore, workspace: DiskWorkspace
) -> None:
    publish_facts(store, WEB, FakeKeys().image_key("registry.example.org/web"))
    apply(plan(), store, workspace)
    apply(plan_in("other"), store, workspace)
    assert _exports(store) == ["shop/web", "other/web"]
    assert publish_facts(store, WEB, FakeKeys().image_key("registry.example.org/web")).outcome == "unchanged"
    assert _exports(store) == ["shop/web", "other/web"]


def plan_in(namespace: str) -> MeshPlan:
    text = mesh_text(["web", "db"], env={"global": {"X": "1"}}).replace("namespace: shop", f"namespace: {namespace}")
    return compiled(WEB, DB, text=text)


def test_another_machine_takes_the_key_from_the_image_session(
    store: MemorySessionStore, workspace: DiskWorkspace
) -> None:
    publish_facts(store, WEB, FakeKeys("a").image_key("registry.example.org/web"))
    apply(plan(), store, workspace, machine="b")
    assert _exports(store) == ["shop/web"]


def test_a_key_that_is_nowhere_is_not_replaced_by_another(store: MemorySessionStore, workspace: DiskWorkspace) -> None:
    with pytest.raises(PlanImpossible) as caught:
        apply(plan(), store, workspace, machine="b")
    assert caught.value.exit_code == 4
    assert WEB.image in caught.value.message
    assert "written before that: shop" in caught.value.hint
    assert store.read(WEB.image_session) is None
    assert not workspace.root.exists()


def test_images_may_live_in_another_cas(store: MemorySessionStore, workspace: DiskWorkspace, tmp_path: Path) -> None:
    images = MemorySessionStore(tmp_path / "images")
    apply(plan(), store, workspace, images)
    assert images.put_log == [WEB.image_session]
    assert store.put_log == ["shop", "shop/web", "shop/db"]
