"""Fields of a mesh through the command line: what is written, what is said, and how it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes.builders import facts, mesh_text, record

from .conftest import Run

WEB = facts("web", environment={"global": [{"name": "X", "value": "1"}]})


@pytest.fixture
def offline(project: Path) -> Path:
    (project / "facts.json").write_text(record(WEB).to_text())
    (project / "mesh.yaml").write_text(mesh_text(["web"]).replace("cas.example.org", "local"))
    return project / "mesh.yaml"


def changed(mesh: Path, old: str, new: str) -> None:
    text = mesh.read_text()
    assert old in text
    mesh.write_text(text.replace(old, new))


APPLY = ("apply", "-f", "mesh.yaml", "--facts", "facts.json", "-q")


def test_files_of_a_service_are_beside_the_manifest(run: Run, offline: Path) -> None:
    folder = offline.parent / "inner"
    (folder / "chart").mkdir(parents=True)
    (folder / "envs.yaml").write_text("- {name: X, value: from-file}\n- {name: NEXT, value: more}\n")
    (folder / "session.yaml").write_text("services: [{name: python3, pwd: /other}]\n")
    (folder / "secrets.yaml").write_text("- {name: token, kind: ascii}\n")
    (folder / "chart/Chart.yaml").write_text("apiVersion: v2\nname: x\nversion: 0.1.0\n")
    (folder / "chart/values.yaml.template").write_text("image: {{image_name}}\n")
    fields = ("image_policy: session.yaml", "image_secrets: secrets.yaml", "env: envs.yaml", "helm_chart: chart")
    (folder / "mesh.yaml").write_text(offline.read_text() + "".join(f"    {field}\n" for field in fields))
    done = run("apply", "-f", "inner/mesh.yaml", "--facts", "facts.json", "--dry-run")
    assert done.code == 0
    policy = Path("target/policies/web.yaml").read_text()
    assert "X: from-file" in policy and "NEXT: more" in policy
    assert "pwd: /other" in policy and "name: token" in policy
    assert 'image: "registry.example.org/web:1"' in Path("target/helm/charts/web/values.yaml").read_text()


def test_a_file_that_is_not_there(run: Run, offline: Path) -> None:
    changed(offline, "services:\n  - name: web", "services:\n  - name: web\n    env: gone.yaml")
    done = run(*APPLY)
    assert done.code == 4
    assert "mesh.yaml:11:10" in done.err and "SC1005: services[0].env" in done.err


def test_a_faulty_file_is_an_invalid_manifest(run: Run, offline: Path) -> None:
    changed(offline, "services:\n  - name: web", "services:\n  - name: web\n    image_policy: session.yaml")
    Path("session.yaml").write_text("servces: []\n")
    done = run(*APPLY)
    assert done.code == 3
    assert "session.yaml:1:1: error SC2015: servces" in done.err and "did you mean services?" in done.err


def test_signed_sessions_are_taken_by_the_cas(run: Run, offline: Path) -> None:
    changed(offline, "cas_url: local", "cas_url: local\n    mode: SignedManifest")
    done = run(*APPLY)
    assert done.code == 0
    assert "session shop: signed\nsession shop/web: signed\n" in done.out
    assert "helm install" in done.err and "SC2019" in done.err
    for name in ("namespace", "web"):
        assert run("session", "create", f"target/policies/{name}.json").code == 0
    assert "signed" not in run(*APPLY).out


@pytest.mark.parametrize("mode", ["SignedManifest", "EncryptedManifest"])
def test_a_loop_over_all_sessions_may_be_run_again_and_again(run: Run, offline: Path, mode: str) -> None:
    def loop() -> list[tuple[int, str, str]]:
        files = [Path("target/policies", f"{name}.json") for name in ("namespace", "web")]
        done = [run("session", "create", file) for file in files]
        return [(each.code, each.out, each.err.splitlines()[-1].rpartition(" ")[2]) for each in done]

    changed(offline, "cas_url: local", f"cas_url: local\n    mode: {mode}")
    assert run(*APPLY).code == 0
    first = loop()
    assert [(code, what) for code, _, what in first] == [(0, "created")] * 2
    again = loop()
    assert again == [(0, hash_, "unchanged") for _, hash_, _ in first]
    Path("facts.json").write_text(record(facts("web", environment={"global": [{"name": "X", "value": "2"}]})).to_text())
    assert run(*APPLY).code == 0
    second = loop()
    assert [(code, what) for code, _, what in second] == [(0, "unchanged"), (0, "updated")]
    assert second[0][1] == first[0][1] and second[1][1] != first[1][1]
    assert loop() == [(0, hash_, "unchanged") for _, hash_, _ in second]


@pytest.mark.parametrize("mode", ["EncryptedManifest", "EncryptedOnly"])
def test_encrypted_sessions_are_taken_by_the_cas(run: Run, offline: Path, mode: str) -> None:
    changed(offline, "cas_url: local", f"cas_url: local\n    mode: {mode}")
    done = run(*APPLY)
    assert done.code == 0 and "session shop/web: encrypted\n" in done.out
    assert ("helm install" in done.err) is (mode == "EncryptedManifest")
    for name in ("namespace", "web"):
        assert run("session", "create", f"target/policies/{name}.json").code == 0


def test_manifests_beside_the_chart(run: Run, offline: Path) -> None:
    assert run(*APPLY, "--dry-run", "-o", "yaml", "--release", "demo").code == 0
    assert "name: demo-web" in Path("target/manifests/web.yaml").read_text()
    assert Path("target/helm/Chart.yaml").is_file()
    assert run(*APPLY, "--dry-run").code == 0
    assert not Path("target/manifests").exists()


def test_a_chart_of_ones_own_needs_helm(run: Run, offline: Path) -> None:
    Path("chart").mkdir()
    Path("chart/Chart.yaml").write_text("apiVersion: v2\nname: x\nversion: 0.1.0\n")
    changed(offline, "services:\n  - name: web", "services:\n  - name: web\n    helm_chart: chart")
    done = run(*APPLY, "-o", "yaml")
    assert done.code == 4 and "SC2020: services[0].helm_chart" in done.err
    assert not Path("target").exists()


@pytest.mark.parametrize("mode", ["apply", "dry-run", "plan"])
def test_azure_is_planned_and_refused_by_apply(run: Run, offline: Path, mode: str) -> None:
    url = "https://x.attest.azure.net"
    words = {"apply": [*APPLY, "--maa", url], "dry-run": [*APPLY, "--maa", url, "--dry-run"]}
    changed(offline, "namespace: shop", f"namespace: shop\n  maa: {url}/other")
    done = run(*words.get(mode, ["plan", *APPLY[1:5]]))
    assert "SC2001: policy.maa" in done.err
    assert done.code == (4 if mode == "apply" else 0)
    if mode == "dry-run":
        policy = Path("target/policies/web.yaml").read_text()
        assert f'url: "{url}"' in policy and "maa-managed-tcb" in policy
    else:
        assert not Path("target").exists()


def test_an_address_of_azure_that_is_none(run: Run, offline: Path) -> None:
    done = run(*APPLY, "--maa", "http://x")
    assert done.code == 2 and "--maa" in done.err


def test_a_signing_service_is_refused(run: Run, offline: Path) -> None:
    changed(offline, "cas_url: local", "cas_url: local\n    mode: SignOnline")
    done = run(*APPLY)
    assert done.code == 4 and "SC2001: cas[0].mode" in done.err
    assert run(*APPLY, "--dry-run").code == 0


def test_volumes_are_in_the_session(run: Run, project: Path) -> None:
    image = facts("web", volumes=[{"name": "data", "path": "/data"}])
    (project / "facts.json").write_text(record(image).to_text())
    (project / "mesh.yaml").write_text(mesh_text(["web"]).replace("cas.example.org", "local"))
    assert run(*APPLY).code == 0
    assert "volumes:\n  - name: data\n" in Path("target/policies/web.yaml").read_text()


def test_values_for_helm_from_the_manifest(run: Run, offline: Path) -> None:
    offline.write_text(offline.read_text() + "helm_extra_values: |\n  web: {replicaCount: $COUNT}\n")
    assert run(*APPLY, "--dry-run", "--set", "COUNT=3").code == 0
    assert "replicaCount: 3\n" in Path("target/helm/charts/web/values.yaml").read_text()
    done = run(*APPLY, "--dry-run", "--set", "COUNT=many")
    assert done.code == 4 and "SC2012: helm_extra_values.web.replicaCount: expected a whole number" in done.err


def test_a_value_that_is_made_from_others_is_the_same_everywhere(run: Run, offline: Path) -> None:
    image = facts(
        "web",
        environment={"global": [{"name": "HOST"}]},
        injection_files=[{"path": "/conf", "content": "host={{HOST}}\n"}],
    )
    (offline.parent / "facts.json").write_text(record(image).to_text())
    offline.write_text(
        mesh_text(["web"], env={"global": {"HOST": "{{service_name}}-{{KIND}}", "KIND": "db", "RING": "{{RING}}"}})
    )
    assert run(*APPLY, "--dry-run", "--release", "r1").code == 0
    policy = Path("target/policies/web.yaml").read_text()
    assert "HOST: r1-web-db\n" in policy and "host=r1-web-db\n" in policy and "{{" not in policy
    changed(offline, "value: db", 'value: "{{HOST}}"')
    done = run(*APPLY, "--dry-run", "--release", "r1")
    assert done.code == 4
    assert "SC2021" in done.err and "HOST → KIND → HOST" in done.err and "env[0].env[0].value" in done.err


def test_two_services_with_one_image_have_secrets_of_their_own(run: Run, offline: Path) -> None:
    fields: dict[str, Any] = {"environment": {"local": [{"name": "P", "value": "$$SCONE::password$$"}]}}
    image = facts("web", secrets={"global": [{"name": "password", "kind": "ascii"}]}, **fields)
    reader = facts("reader", secrets={"import": ["password"]}, **fields)
    (offline.parent / "facts.json").write_text(record(image).to_text())
    changed(offline, "services:\n", "services:\n  - {name: more, image: registry.example.org/web:1}\n")
    done = run(*APPLY)
    assert done.code == 0, done.err
    for name in ("web", "more"):
        policy = Path(f"target/policies/{name}.yaml").read_text()
        assert "- name: password\n    kind: ascii\n" in policy and "import" not in policy
        assert f"session shop/{name}: created" in done.out
    Path("reader").mkdir()
    for given in (image, reader):
        Path(f"reader/{given.name}.json").write_text(record(given).to_text())
    changed(offline, "services:\n", "services:\n  - {name: reader, image: registry.example.org/reader:1}\n")
    done = run("apply", "-f", "mesh.yaml", "--facts", "reader", "-q")
    assert done.code == 4 and "each of more, web has one of its own" in done.err
    assert "import it in that of more" in done.err
