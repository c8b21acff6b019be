"""What a mesh can say beyond names and values: Helm values, files of a service, signed and encrypted sessions.

One image, two services of it, and every way in which their sessions come to a CAS: each of them ends in a container
that runs with what the mesh says, and in a chart that Helm renders.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from .world import Outcome, World, must, snapshot

PROGRAM = """
import os

print({name: value for name, value in os.environ.items() if name in ("WHOM", "STYLE", "EXTRA")})
print("data", open("/app/data/text").read())
print("key", len(os.environ["KEY"]))
"""
SERVICE = """
apiVersion: scone/5.8
kind: genservice
build:
  name: fields
  kind: python
  to: $IMAGE
  pwd: /app
  copy: [main.py, data]
  dirs: [/app/data]
  command: python3 main.py
environment:
  local:
    - {name: KEY, value: "$$SCONE::{{service_name}}-key$$"}
  global:
    - {name: WHOM}
"""
MESH = """
apiVersion: scone/5.8
kind: mesh
cas:
  - {name: cas, alias: [image], cas_url: $CAS_URL, mode: "${MODE:-Upload}"}
policy:
  namespace: fields
env:
  - service: global
    env:
      - {name: WHOM, value: everybody}
      - {name: APP_SERVICE_PORT, value: 8080}
  - service: web
    env:
      - {name: WHOM, value: the web}
services:
  - name: web
    image: $IMAGE
    image_secrets: files/secrets.yaml
    env: files/variables.yaml
    image_policy: files/session.yaml
    helm_extra_values:
      replicaCount: 3
      persistence: {enabled: true, mountPath: /var/data, size: 2Gi}
  - name: worker
    image: $IMAGE
    image_secrets: files/secrets.yaml
helm_extra_values: # the chart's name stands for both services
  fields:
    replicaCount: 2
    podAnnotations: {example.org/team: "{{ .Values.team }}"}
  global:
    imagePullSecrets: [{name: registry}]
"""
VARIABLES = """
- {name: WHOM}
- {name: STYLE, value: "in {{namespace}}"}
"""
SECRETS = """
- {name: {{service_name}}-key, kind: ascii, size: 24}
"""
SESSION = """
services:
  - name: {{cas_service_name}}
    environment: {EXTRA: from the template of {{service_name}}}
"""
EXPECTED = {
    "web": "{'EXTRA': 'from the template of hello-web', 'STYLE': 'in NAMESPACE', 'WHOM': 'the web'}",
    "worker": "{'WHOM': 'everybody'}",
}


@dataclass(frozen=True)
class Fields:
    """The directory of a mesh whose image is built."""

    world: World
    folder: Path

    @property
    def settings(self) -> list[str]:
        return ["--set", f"IMAGE={self.world.image('fields')}", "--set", f"CAS_URL={self.world.address}"]

    def apply(self, *words: str | Path, file: str = "mesh.yaml", settings: bool = True) -> Outcome:
        given = self.settings if settings else []
        return self.world.sconectl("apply", "-f", file, *given, "--release", "hello", *words, cwd=self.folder)

    def run(self, namespace: str, service: str) -> str:
        container = self.world.start(self.world.image("fields"), config_id=f"{namespace}/{service}/python3")
        code, log = self.world.finish(container)
        assert code == 0, log
        return log

    def works(self, namespace: str) -> None:
        """Require that both services run, with the values of the mesh, their secret and their encrypted file."""
        for service, values in EXPECTED.items():
            log = self.run(namespace, service)
            printed = next(line for line in log.splitlines() if line.startswith("{"))
            found = dict(sorted(YAML(typ="safe").load(printed).items()))
            assert str(found) == values.replace("NAMESPACE", namespace)
            assert "data a text" in log and "key 24" in log


@pytest.fixture(scope="module")
def fields(module_world: World) -> Fields:
    made = Fields(module_world, module_world.root / "fields")
    for folder in ("data", "files"):
        (made.folder / folder).mkdir(parents=True)
    content = {"main.py": PROGRAM, "data/text": "a text", "service.yaml": SERVICE, "mesh.yaml": MESH}
    content |= {"files/variables.yaml": VARIABLES, "files/session.yaml": SESSION, "files/secrets.yaml": SECRETS}
    for name, text in content.items():
        (made.folder / name).write_text(text)
    words = ["-n", "--cas", module_world.address, *made.settings]
    must(module_world.sconectl("apply", "-f", "service.yaml", *words, cwd=made.folder))
    must(made.apply("-o", "yaml"))
    return made


Objects = Mapping[tuple[str, str], Any]


def objects(texts: Mapping[str, str]) -> Objects:
    found = {}
    for name, text in texts.items():
        for item in YAML(typ="safe").load_all(text) if name.endswith(".yaml") else ():
            if item:
                found[item["kind"], item["metadata"]["name"]] = item
    return found


def rendered(chart: Path) -> Objects:
    """Return what Helm makes of a chart with which it finds no fault; Kubernetes' own objects are valid."""
    report = helm.lint(str(chart), strict=True, with_subcharts=True)
    assert not report["messages"] and not report["errors"]
    with helm.Chart.load(str(chart)) as loaded:
        found = objects(loaded.render(name="hello", namespace="default"))
    for (kind, _), item in found.items():
        if kind not in ("SignedPolicy", "EncryptedPolicy"):
            kubernetes_validate.validate(item, kubernetes_validate.latest_version(), strict=True)
    return found


def without_manager(found: Objects) -> str:
    """Return objects as text, without the labels that say who installs them and the version of the chart."""
    text = json.dumps([[*key, item] for key, item in sorted(found.items())], sort_keys=True)
    text = text.replace('"app.kubernetes.io/managed-by": "Helm"', '"app.kubernetes.io/managed-by": "sconectl"')
    return re.sub(r', "helm.sh/chart": "[^"]*"', "", text)


def test_services_run_with_their_files(fields: Fields) -> None:
    fields.works("fields")


def test_helm_values_are_in_the_chart(fields: Fields) -> None:
    found = rendered(fields.folder / "target/helm")
    web, worker = (found["Deployment", f"hello-{name}"]["spec"] for name in ("web", "worker"))
    assert (web["replicas"], worker["replicas"]) == (3, 2)  # the service's own value wins
    for spec in (web, worker):
        assert spec["template"]["metadata"]["annotations"]["example.org/team"] == "{{ .Values.team }}"
        assert spec["template"]["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    claim = found["PersistentVolumeClaim", "hello-web"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "2Gi"
    assert ("PersistentVolumeClaim", "hello-worker") not in found
    assert found["Service", "hello-web"]["spec"]["ports"][0]["port"] == 8080


def test_manifests_are_what_helm_makes(fields: Fields) -> None:
    files = fields.folder / "target/manifests"
    written = objects({path.name: path.read_text() for path in sorted(files.iterdir())})
    assert without_manager(written) == without_manager(rendered(fields.folder / "target/helm"))


def test_applying_again_changes_no_byte(fields: Fields) -> None:
    before = snapshot(fields.folder)
    done = must(fields.apply("-o", "yaml"))
    nothing_changed(done)
    assert "sconectl.lock: unchanged" in done.out
    assert snapshot(fields.folder) == before


def nothing_changed(done: Outcome) -> None:
    lines = [line for line in done.out.splitlines() if ".lock: " not in line]
    assert len(lines) == len(set(lines)) == 5 and all("unchanged" in line for line in lines), done.out


def test_values_for_nobody_and_of_the_wrong_name_are_refused(fields: Fields) -> None:
    before = snapshot(fields.folder)
    faulty = MESH.replace("  fields:\n", "  feilds:\n").replace("size: 2Gi", "sice: 2Gi")
    (fields.folder / "faulty.yaml").write_text(faulty)
    try:
        done = fields.apply(file="faulty.yaml")
    finally:
        (fields.folder / "faulty.yaml").unlink()
    assert (done.code, done.out) == (4, "")
    assert "SC2011" in done.err and "SC2012" in done.err
    assert snapshot(fields.folder) == before


def test_the_table_of_variables(fields: Fields) -> None:
    before = snapshot(fields.folder)
    done = must(fields.apply("-p"))
    parts = {part.split()[0]: part for part in done.out.split("service ") if part}
    line = MESH.splitlines().index("      - {name: WHOM, value: the web}") + 1
    assert f"web (mesh.yaml:{line})" in parts["web"]
    assert "STYLE" in parts["web"] and "STYLE" not in parts["worker"]
    assert snapshot(fields.folder) == before


def test_the_mesh_with_all_its_variables_makes_the_same(fields: Fields) -> None:
    complete = fields.folder / "complete.yaml"
    before = snapshot(fields.folder)
    must(fields.apply("-p", "--file", "complete.yaml"))
    try:
        text = complete.read_text()
        assert "STYLE" in text and "$IMAGE" not in text
        lock = ("--lock", fields.world.root / "complete.lock")  # it is another manifest
        nothing_changed(must(fields.apply("-o", "yaml", *lock, file="complete.yaml", settings=False)))
        complete.write_text(text + "- service: web\n  env:\n    - {name: STYLE, value: patched}\n")
        patched = fields.world.root / "patched"
        must(fields.apply("-d", "-t", patched, file="complete.yaml", settings=False))
    finally:
        complete.unlink()
    assert "STYLE: patched" in (patched / "policies/web.yaml").read_text()
    assert snapshot(fields.folder) == before


@pytest.mark.parametrize("mode", ["SignedManifest", "EncryptedManifest"])
def test_sessions_that_the_chart_brings(fields: Fields, tmp_path: Path, mode: str) -> None:
    """An operator takes the custom resources as they are and hands them to the CAS; then the services run."""
    namespace = mode.lower()
    words = ["-t", namespace, "--set", f"MODE={mode}", "--policy-namespace", namespace, "-o", "yaml"]
    done = must(fields.apply(*words))
    assert ("SC2019" in done.err) == (mode == "SignedManifest")
    target = fields.folder / namespace
    before = snapshot(fields.folder)
    again = must(fields.apply(*words))
    assert "created" not in again.out and "written" not in again.out, again.out
    assert snapshot(fields.folder) == before
    found = rendered(target / "helm")
    resources = [item for (kind, _), item in found.items() if kind == mode.replace("Manifest", "Policy")]
    assert len(resources) == 3 and len(found) > 3
    resources.sort(key=lambda item: int(item["metadata"]["annotations"]["helm.sh/hook-weight"]))
    chart = b"".join(content for content, _ in snapshot(target / "helm").values())
    assert (b"the web" in chart) == (mode == "SignedManifest")
    for resource in resources:
        assert resource["spec"]["casAddress"] == f"https://{fields.world.address}"
        file = tmp_path / "document.json"
        file.write_text(json.dumps(document(resource["spec"])))
        must(fields.world.sconectl("session", "create", file, "--cas", fields.world.address))
    fields.works(namespace)


def document(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the form in which the CAS takes the session of a custom resource."""
    if "encryptionKey" in spec:
        assert base64.b64decode(spec["policy"])
        return {"encrypted_session": spec["policy"], "encryption_key": spec["encryptionKey"]}
    return {"session": spec["policy"], "signatures": spec["signatures"]}


def test_sessions_that_only_the_cas_can_read(fields: Fields) -> None:
    words = ["-t", "secretly", "--set", "MODE=EncryptedOnly", "--policy-namespace", "secretly"]
    must(fields.apply(*words))
    target = fields.folder / "secretly"
    before = snapshot(target)
    must(fields.apply(*words))
    assert snapshot(target) == before
    assert not [name for name, (content, _) in before.items() if b"the web" in content]
    assert {kind for kind, _ in rendered(target / "helm")}.isdisjoint({"SignedPolicy", "EncryptedPolicy"})
    for name in ("namespace", "web", "worker"):
        file = target / "policies" / f"{name}.json"
        must(fields.world.sconectl("session", "create", file, "--cas", fields.world.address))
