"""Meshes with variables compile as they are, with the images that belong to them: ours, and those of upstream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fakes.builders import SIM, TOOLCHAINS, facts
from fakes.workspace import FakeKeys, MemoryWorkspace

from sconectl.apply.sources.service_files import read_service_files
from sconectl.manifest.model.genservice import GenService
from sconectl.manifest.model.mesh import Mesh
from sconectl.manifest.reading.reader import read_manifest
from sconectl.plan.facts.image_facts import ImageFacts
from sconectl.plan.facts.naming import with_tag
from sconectl.plan.mesh.mesh import MeshInput, plan_mesh
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


def certificates(prefix: str, *names: str) -> dict[str, Any]:
    key = {"name": f"{prefix}-key", "kind": "private-key"}
    return {"global": [key, *({"name": name, "kind": "x509-ca", "private_key": key["name"]} for name in names)]}


def curated() -> dict[str, ImageFacts]:
    """Return images like upstream's own: they define the secrets that the services of a mesh import."""
    password = {"name": "MYSQL_ROOT_PASSWORD", "kind": "ascii"}
    mariadb = certificates("mariadb", "MARIADB_CA_CERT", "MARIADB_CLIENT_CERT")
    images = {
        "redis": facts("redis", secrets=certificates("redis", "redis_ca_cert", "redis_client_cert")),
        "memcached": facts(
            "memcached", secrets=certificates("memcached", "MEMCACHED_CA_CERT", "MEMCACHED_CLIENT_CERT")
        ),
        "nginx": facts("nginx", secrets=certificates("nginx", "NGINX_SERVER_CA_CERT")),
        "mariadb": facts(
            "mariadb",
            secrets={"global": [*mariadb["global"], password]},
            environment={"global": [{"name": "sqlInitScript"}]},
        ),
    }
    return {f"registry.example.org/sconectl/{name}:6": image for name, image in images.items()}


def known_images(folder: Path) -> dict[str, ImageFacts]:
    found = curated()
    for file in sorted(folder.glob("*ervice.yaml.template")):
        manifest = read_manifest(file.read_bytes(), file.name, VARIABLES)
        assert isinstance(manifest.model, GenService)
        image = check_service(manifest, mode="production", bases={}, toolchain=SIM).facts
        assert image is not None
        found[image.image] = image
    return found


@pytest.mark.parametrize("file", MESHES, ids=lambda file: file.parent.name)
def test_a_mesh_with_variables_compiles(file: Path) -> None:
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
    if mesh.helm_extra_values:
        values = workspace.content["helm/charts/mariadb/values.yaml"].decode()
        assert "existingClaim: maria-data-pvc" in values and "claimName: maria-external-pvc" in values
