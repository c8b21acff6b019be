"""The chart of the CAS as the real Helm engine and the schemas of Kubernetes see it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from sconectl import __version__
from sconectl.artefacts.policy_resources import policy_resource
from sconectl.policy.signed_session import EncryptedSession, Signature, SignedSession

CHART = Path(__file__).parents[3] / "charts" / "sconectl-cas"
KEY = {"masterKey": {"existingSecret": "team-key"}}
EPHEMERAL = {"persistence": {"enabled": False}, "anchor": {"persistence": {"enabled": False}}}
OPERATOR: dict[str, Any] = {"operator": {"enabled": True}}
FULL: dict[str, Any] = {
    **KEY,
    "image": {"repository": "reg.example.com:5000/cas", "digest": "sha256:" + "ab" * 32, "pullSecrets": ["reg"]},
    "persistence": {"size": "5Gi", "storageClass": "fast"},
    "anchor": {"persistence": {"existingClaim": "elsewhere"}},
    "networkPolicy": {"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]},
    "service": {"type": "NodePort", "port": 443, "annotations": {"a": "b: {{ c }}"}},
    "podAnnotations": {"x": "1"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "dev", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "resources": {},
    "operator": {
        "enabled": True,
        "namespaces": ["shop", "bank"],
        "names": ["cas.example.org:443"],
        "casKey": "46YyxrywJ8PFRruWX8YLxa9q4axxYJgTbA81tv7NBcJfn43DQt",
    },
}


def objects(values: dict[str, Any] | None = None, release: str = "team") -> dict[tuple[str, str], Any]:
    """Return the rendered objects by kind and name, after validating each of them strictly."""
    found: dict[tuple[str, str], Any] = {}
    with helm.Chart.load(str(CHART)) as chart:
        rendered = dict(chart.render(values, name=release, namespace="dev"))
    for path, text in rendered.items():
        for item in filter(None, YAML(typ="safe").load_all(text) if path.endswith(".yaml") else ()):
            kubernetes_validate.validate(item, kubernetes_validate.latest_version(), strict=True)
            found[item["kind"], item["metadata"]["name"]] = item
    return found


def pod(found: dict[tuple[str, str], Any], name: str = "team-sconectl-cas") -> dict[str, Any]:
    return pod_of(found, "StatefulSet", name)


def pod_of(found: dict[tuple[str, str], Any], kind: str, name: str) -> dict[str, Any]:
    return dict(found[kind, name]["spec"]["template"]["spec"])


def notes(values: dict[str, Any] | None = None) -> str:
    with helm.Chart.load(str(CHART)) as chart:
        rendered = dict(chart.render(values, name="team", namespace="dev"))
    return str(next(text for path, text in rendered.items() if path.endswith("NOTES.txt")))


@pytest.mark.parametrize(
    "values", [None, KEY, EPHEMERAL, OPERATOR, FULL], ids=["default", "key", "ephemeral", "operator", "full"]
)
def test_helm_and_kubernetes_have_nothing_to_say(values: dict[str, Any] | None) -> None:
    report = helm.lint(str(CHART), strict=True)
    problems = [message for message in report["messages"] if "icon" not in str(message)]
    assert (problems, report["errors"]) == ([], [])
    assert objects(values)


def test_names_that_yaml_takes_for_something_else() -> None:
    namespaces = ["on", "123"]
    found = objects({"operator": {"enabled": True, "namespaces": namespaces}}, release="123")
    bound = [item["metadata"]["namespace"] for (kind, _), item in found.items() if kind == "RoleBinding"]
    assert bound and set(bound) <= set(namespaces)


def test_what_is_made() -> None:
    name = "team-sconectl-cas"
    claims = {("PersistentVolumeClaim", f"{name}-store"), ("PersistentVolumeClaim", f"{name}-anchor")}
    made = {("StatefulSet", name), ("Service", name), ("NetworkPolicy", name)}
    assert objects().keys() == made | claims
    assert objects(EPHEMERAL).keys() == made
    assert ("PersistentVolumeClaim", f"{name}-anchor") not in objects(FULL)
    assert objects(FULL)["PersistentVolumeClaim", f"{name}-store"]["spec"]["storageClassName"] == "fast"
    assert ("Service", "my-sconectl-cas") in objects(release="my-sconectl-cas")
    for claim in claims:
        assert objects()[claim]["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_the_pod_is_restricted() -> None:
    """The `restricted` profile of the Pod Security Standards."""
    for values in (None, FULL):
        spec = pod(objects(values))
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert {kind for volume in spec["volumes"] for kind in volume if kind != "name"} <= {
            "emptyDir",
            "persistentVolumeClaim",
            "secret",
        }
        [container] = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_probes_speak_https() -> None:
    [container] = pod(objects())["containers"]
    paths = {probe: container[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {probe["scheme"] for probe in paths.values()} == {"HTTPS"}
    assert {name: probe["path"] for name, probe in paths.items()} == {
        "startupProbe": "/livez",
        "livenessProbe": "/livez",
        "readinessProbe": "/readyz",
    }


def test_store_and_anchor_are_kept_apart() -> None:
    spec = pod(objects())
    [container] = spec["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    claims = {v["name"]: v["persistentVolumeClaim"]["claimName"] for v in spec["volumes"] if v["name"] != "tmp"}
    assert claims == {"store": "team-sconectl-cas-store", "anchor": "team-sconectl-cas-anchor"}
    arguments = container["args"]
    assert arguments[arguments.index("--dir") + 1].startswith(mounts["store"] + "/")
    assert arguments[arguments.index("--anchor") + 1].startswith(mounts["anchor"] + "/")
    volumes = {v["name"]: v for v in pod(objects(FULL))["volumes"]}
    assert volumes["anchor"]["persistentVolumeClaim"]["claimName"] == "elsewhere"


def test_one_writer() -> None:
    assert objects()["StatefulSet", "team-sconectl-cas"]["spec"]["replicas"] == 1
    with pytest.raises(Exception, match="replicas"):
        objects({"replicas": 2})


def test_the_master_key_comes_from_a_secret() -> None:
    spec = pod(objects(KEY))
    [container] = spec["containers"]
    assert container["env"] == [{"name": "SCONECTL_CAS_KEY", "value": "file:/run/cas-key/cas-key"}]
    [volume] = [volume for volume in spec["volumes"] if volume["name"] == "master-key"]
    assert volume["secret"]["secretName"] == "team-key"
    assert volume["secret"]["defaultMode"] & 0o007 == 0
    assert "env" not in pod(objects())["containers"][0]


def test_images() -> None:
    assert pod(objects())["containers"][0]["image"] == f"sconectl-cas:{__version__}"
    assert pod(objects(FULL))["containers"][0]["image"] == f"reg.example.com:5000/cas@{FULL['image']['digest']}"


@pytest.mark.parametrize(
    "values",
    [
        {"image": {"pullPolicy": "Sometimes"}},
        {"image": {"digest": "sha256:12"}},
        {"persistence": {"size": "much"}},
        {"service": {"port": 0}},
        {"service": {"type": "ExternalName"}},
        {"masterkey": {}},
        {"masterKey": {"value": "a key in the values"}},
    ],
)
def test_wrong_values_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=r"schema|specification|values"):
        objects(values)


def test_it_says_what_it_is() -> None:
    assert notes().startswith("SIMULATION")
    assert "beside the store" in notes()
    assert "beside the store" not in notes(KEY)
    assert "Nothing is kept" in notes(EPHEMERAL)
    for text in ((CHART / "Chart.yaml").read_text(), (CHART / "values.yaml").read_text()):
        assert "SIMULATION" in text
    stateful = objects()["StatefulSet", "team-sconectl-cas"]
    for metadata in (stateful["metadata"], stateful["spec"]["template"]["metadata"]):
        assert metadata["annotations"]["sconectl.dev/simulation"] == "true"


def test_helm_packages_it(tmp_path: Path) -> None:
    assert Path(helm.package(str(CHART), destination=str(tmp_path))).is_file()


def test_only_the_port_of_the_cas_is_reached() -> None:
    policy = objects()["NetworkPolicy", "team-sconectl-cas"]["spec"]
    assert policy["ingress"] == [{"ports": [{"port": "https", "protocol": "TCP"}]}]
    assert policy["podSelector"]["matchLabels"] == objects()["Service", "team-sconectl-cas"]["spec"]["selector"]
    assert not any(kind == "NetworkPolicy" for kind, _ in objects({"networkPolicy": {"enabled": False}}))


def test_nobody_calls_the_operator_and_it_always_reaches_the_cas() -> None:
    peer = {"namespaceSelector": {"matchLabels": {"team": "a"}}}
    found = objects({**OPERATOR, "networkPolicy": {"from": [peer]}})
    labels = found["Deployment", "team-sconectl-cas-operator"]["spec"]["template"]["metadata"]["labels"]
    closed = found["NetworkPolicy", "team-sconectl-cas-operator"]["spec"]
    assert (closed["ingress"], closed["policyTypes"]) == ([], ["Ingress"])
    assert closed["podSelector"]["matchLabels"].items() <= labels.items()
    [rule] = found["NetworkPolicy", "team-sconectl-cas"]["spec"]["ingress"]
    first, operator = rule["from"]
    assert first == peer
    assert operator["podSelector"]["matchLabels"].items() <= labels.items()


def test_the_operator_may_read_the_objects_and_write_their_status() -> None:
    found = objects(OPERATOR)
    name = "team-sconectl-cas-operator"
    role = found["ClusterRole", f"dev-{name}"]
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"get", "list", "watch", "patch"}
    assert all(
        resource.endswith("/status") == (rule["verbs"] == ["patch"])
        for rule in role["rules"]
        for resource in rule["resources"]
    )
    assert found["ClusterRoleBinding", f"dev-{name}"]["subjects"] == [
        {"kind": "ServiceAccount", "name": name, "namespace": "dev"}
    ]
    assert "RoleBinding" not in {kind for kind, _ in found}
    spec = found["Deployment", name]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["args"][:3] == ["operator", "--cas", "team-sconectl-cas.dev.svc:8081"]
    assert "team-sconectl-cas.dev:8081" in container["args"]  # as meshes call it: CAS.NAMESPACE
    assert spec["securityContext"]["runAsNonRoot"] and container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    selected = found["Service", "team-sconectl-cas"]["spec"]["selector"]
    labels = found["Deployment", name]["spec"]["template"]["metadata"]["labels"]
    assert not selected.items() <= labels.items()  # the Service leads to the CAS alone


def test_the_operator_keeps_to_its_namespaces() -> None:
    with helm.Chart.load(str(CHART)) as chart:
        rendered = dict(chart.render(FULL, name="team", namespace="dev"))
    text = next(text for path, text in rendered.items() if path.endswith("operator.yaml"))
    bindings = [item for item in YAML(typ="safe").load_all(text) if item["kind"].endswith("RoleBinding")]
    assert [(item["kind"], item["metadata"]["namespace"]) for item in bindings] == [
        ("RoleBinding", "shop"),
        ("RoleBinding", "bank"),
    ]
    container = pod_of(objects(FULL), "Deployment", "team-sconectl-cas-operator")["containers"][0]
    words = " ".join(container["args"])
    assert "--namespace shop --namespace bank" in words and "--name cas.example.org:443" in words
    assert "--cas-key 46Yyxryw" in words and "--cas team-sconectl-cas.dev.svc:443" in words


def test_the_definitions_describe_what_apply_writes() -> None:
    found = objects(OPERATOR)
    for kind in ("SignedPolicy", "EncryptedPolicy"):
        plural = {"SignedPolicy": "signedpolicies", "EncryptedPolicy": "encryptedpolicies"}[kind]
        definition = found["CustomResourceDefinition", f"{plural}.cas.scone.cloud"]
        [version] = definition["spec"]["versions"]
        assert (version["name"], version["subresources"]) == ("v1beta1", {"status": {}})
        schema = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
        document = (
            SignedSession("name: a", (Signature("k", b"s"),))
            if kind == "SignedPolicy"
            else EncryptedSession(b"x", "ab")
        )
        written = policy_resource("a", "cas", document)
        assert written["kind"] == kind and written["spec"].keys() == schema["properties"].keys() == set(
            schema["required"]
        )
    assert not any(
        kind == "CustomResourceDefinition" for kind, _ in objects({"operator": {"enabled": True, "crds": False}})
    )
    assert not any(kind == "CustomResourceDefinition" for kind, _ in objects())
