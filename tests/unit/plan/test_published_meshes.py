"""Meshes with variables compile as they are, with the images that belong to them: ours, and those of upstream."""

from __future__ import annotations

from pathlib import Path

import helm_python as helm
import pytest
import yaml  # type: ignore[import-untyped]
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fakes.builders import SIM, TOOLCHAINS
from fakes.workspace import FakeKeys, MemoryWorkspace

from sconectl import assets
from sconectl.apply.curated.catalogue import catalogue
from sconectl.apply.sources.service_files import read_service_files
from sconectl.artefacts.chart_values import chart_values
from sconectl.manifest.model.genservice import GenService
from sconectl.manifest.model.mesh import Mesh
from sconectl.manifest.reading.reader import read_manifest
from sconectl.plan.facts.image_facts import ImageFacts
from sconectl.plan.facts.naming import with_tag
from sconectl.plan.mesh.mesh import MeshInput, MeshPlan, draft_mesh, plan_mesh
from sconectl.plan.mesh.mesh_volumes import volume_block
from sconectl.usecases.apply_mesh import MeshWorld, apply_mesh
from sconectl.usecases.check_service import check_service

CORPUS = Path(__file__).resolve().parents[4] / "shared/corpus"
SHOP = Path(__file__).parents[2] / "templates/shop/mesh.yaml.template"
MESHES = [SHOP, *sorted(CORPUS.glob("*/mesh.yaml.template"))]
VARIABLES = {
    **{"APP_IMAGE_REPO": "registry.example.org/app", "SCONECTL_REPO": "registry.example.org/sconectl", "VERSION": "6"},
    **{"CAS_URL": "cas.scone-system", "CAS_KEY": "key", "CAS_SESSION_ENCRYPTION_KEY": "ab" * 32, "RELEASE": "demo"},
    **{
        "APP_NAMESPACE": "acme-1-2",
        "JAVA_VERSION": "java21",
        "UPLOAD_MODE": "EncryptedManifest",
        "NAMESPACE": "default",
        "SCONE": "$SCONE",
    },
}

DATABASE, CACHE, BACKEND = ("demo-mariadb", 3306), ("demo-memcached", 11211), ("demo-fastapi-scone", 8000)
CALLED = {"flask-redis": {("demo-redis", 6379)}, "secure-documents": {DATABASE, CACHE, BACKEND}}
"""What the pairs of variables of a mesh name, as host and port."""
WAITING = {
    "secure-documents": {("fastapi-scone", *DATABASE), ("fastapi-scone", *CACHE), ("nginx", *BACKEND)},
}
"""Which service waits for which host and port."""


def curated() -> dict[str, ImageFacts]:
    """Return the images of the curated services, as they are called in upstream's meshes."""
    found = {}
    for name, service in catalogue([assets.folder("curated")]).items():
        image = f"registry.example.org/sconectl/{name}:6"
        facts = check_service(service.manifest(image), mode="production", bases={}, toolchain=SIM).facts
        assert facts is not None
        found[image] = facts
    return found


def known_images(folder: Path) -> dict[str, ImageFacts]:
    found = curated()
    for file in sorted(folder.glob("*ervice.yaml.template")):
        manifest = read_manifest(file.read_bytes(), file.name, VARIABLES)
        assert isinstance(manifest.model, GenService)
        image = check_service(manifest, mode="production", bases={}, toolchain=SIM).facts
        assert image is not None
        found[image.image] = image
    return found


@pytest.mark.shows("003.upstream", "004.upstream", "004.claims")
@pytest.mark.parametrize("file", MESHES, ids=lambda file: file.parent.name)
def test_a_mesh_with_variables_compiles(file: Path, tmp_path: Path) -> None:
    manifest = read_manifest(file.read_bytes(), file.name, VARIABLES)
    mesh = manifest.model
    assert isinstance(mesh, Mesh)
    images = known_images(file.parent)
    known = {service.name: images[with_tag(service.image)] for service in mesh.services}
    files = read_service_files(mesh, manifest.document, file.parent)
    plan = plan_mesh(MeshInput(mesh, manifest.document, known, {}, "demo", "0", files=files, toolchains=TOOLCHAINS))
    assert plan.limits == ()
    workspace, key = MemoryWorkspace(), Ed25519PrivateKey.generate()
    apply_mesh(plan, MeshWorld(None, None, FakeKeys(), workspace, lambda _text: None, signing_key=lambda: key))
    assert len(plan.sessions) == len(mesh.services) + 1
    assert all(f"helm/policies/{session.file}.yaml" in workspace.content for session in plan.sessions)
    pairs = _pairs(plan)
    offered = _offered(workspace, tmp_path)
    assert {(f"demo-{each.name}", port.number) for each in plan.chart.services for port in each.ports} <= {*offered}
    assert {pair: offered.count(pair) for pair in pairs} == dict.fromkeys(pairs, 1)
    assert pairs == CALLED.get(file.parent.name, set())
    waits = {each.name: chart_values(each)["initContainers"] for each in plan.chart.services}
    peers = {(name, peer["host"], peer["port"]) for name, found in waits.items() for peer in found.values()
             if isinstance(peer, dict) and peer["enabled"]}  # fmt: skip
    assert peers == WAITING.get(file.parent.name, set()) and {peer[1:] for peer in peers} <= {*offered}
    if mesh.helm_extra_values:
        values = workspace.content["helm/charts/mariadb/values.yaml"].decode()
        assert "existingClaim: maria-data-pvc" in values and "claimName: maria-external-pvc" in values
        _starts_with_its_claims(plan)


def _starts_with_its_claims(plan: MeshPlan) -> None:
    """Look where the pods of MariaDB would have claims: the launcher refuses whatever is over a protected path."""
    [service] = [service for service in plan.chart.services if service.name == "mariadb"]
    values = chart_values(service)
    assert values["volumedata"]["persistence"] == {
        **volume_block("", encrypted=True)["persistence"],
        **{"enabled": True, "existingClaim": "maria-data-pvc"},
    }
    assert not values["persistence"]["enabled"]
    image = catalogue([assets.folder("curated")])["mariadb"].service("a/mariadb:1")
    mounted = {mount["mountPath"] for mount in values["extraVolumeMounts"]}
    assert mounted == {"/external", "/var/tmp"} == set(image.build.host_paths)
    assert service.workload == "statefulset"


def _offered(workspace: MemoryWorkspace, folder: Path) -> list[tuple[str, int]]:
    """Return the host and port of everything that the Services offer which the Helm engine makes of a chart."""
    for path, content in workspace.content.items():
        if path.startswith("helm/"):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
    with helm.Chart.load(str(folder / "helm")) as chart:
        rendered = chart.render(None, name="demo", namespace="default")
    texts = [text for path, text in rendered.items() if path.endswith(".yaml")]
    objects = [found for text in texts for found in yaml.safe_load_all(text) if found]
    services = [found for found in objects if found["kind"] == "Service"]
    return [(each["metadata"]["name"], port["port"]) for each in services for port in each["spec"]["ports"]]


def _pairs(plan: MeshPlan) -> set[tuple[str, int]]:
    """Return host and port of each pair of variables in the sessions that names a service of the mesh."""
    found = set()
    for document in (session.document for session in plan.sessions[1:]):
        values = {name.lower(): value for name, value in document["services"][0]["environment"].items()}
        for name, host in values.items():
            stem = name.removesuffix("_host").removesuffix("_name")
            port = values.get(f"{stem}_port", "")
            if host.startswith("demo-") and port:
                found.add((host, int(port)))
    return found


@pytest.mark.parametrize(
    ("mesh", "expected"),
    [
        (
            "secure-documents",
            {"memcached": [11211], "nginx": [443], "mariadb": [3306], "fastapi-scone": [8000], "client": [443]},
        ),
        ("flask-redis", {"flask": [4996], "redis": [6379]}),
    ],
)
def test_each_service_of_upstream_has_its_own_port(mesh: str, expected: dict[str, list[int]]) -> None:
    folder = CORPUS / mesh
    if not folder.is_dir():
        pytest.skip("upstream's manifests are not beside the checkout")
    manifest = read_manifest((folder / "mesh.yaml.template").read_bytes(), "mesh.yaml", VARIABLES)
    assert isinstance(manifest.model, Mesh)
    images = known_images(folder)
    known = {service.name: images[with_tag(service.image)] for service in manifest.model.services}
    draft = draft_mesh(MeshInput(manifest.model, manifest.document, known, {}, "demo", "0", toolchains=TOOLCHAINS))
    chart = draft.plan().chart
    assert {service.name: [port.number for port in service.ports] for service in chart.services} == expected
    stale = [finding.message for finding in draft.remarks]
    assert stale == (
        ["api_host names demo-python-hello-user, and no service of the mesh is reached there"]
        if mesh == "flask-redis"
        else []
    )
    known_callers = {service.name: service.callers for service in chart.services if service.callers}
    if mesh == "secure-documents":
        assert known_callers == {
            "memcached": ("fastapi-scone",),  # nginx is for everybody: its CA is public
            "mariadb": ("fastapi-scone",),
            "fastapi-scone": ("nginx",),
        }
    else:
        assert known_callers == {"redis": ("flask",)}
