"""Manifests that exist in the wild work unchanged; run where the collection of them is at hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .world import EXAMPLE, REPOSITORY, World, must

CORPUS = REPOSITORY.parent / "shared" / "corpus" / "hello"


@pytest.mark.skipif(not CORPUS.is_dir(), reason="upstream's manifests are not beside this checkout")
@pytest.mark.parametrize("mode", ["Upload", ""])
@pytest.mark.shows("002.upstream", "002.overridden")
def test_hello(world: World, tmp_path: Path, mode: str) -> None:
    folder = world.root / "upstream"
    shutil.copytree(CORPUS, folder)
    shutil.copy(EXAMPLE / "print_env.py", folder)
    (folder / "requirements.txt").write_text("humanize\n")
    variables = {
        "APP_IMAGE_REPO": f"sconectl-test/{world.name}-up",
        "RELEASE": "hello",
        "APP_NAMESPACE": "ns-up",
        "CAS_URL": world.address,
        "CAS_KEY": must(world.sconectl("cas", "show-identification", "--dir", world.cas_directory)).out.strip(),
        "CAS_SESSION_ENCRYPTION_KEY": "",
        "UPLOAD_MODE": mode,
    }
    service, mesh = folder / "service.yaml.template", folder / "mesh.yaml.template"
    must(world.sconectl("apply", "-f", service, "-n", "--cas", world.address, cwd=None, **variables))
    must(world.sconectl("apply", "-f", mesh, "--release", "hello", cwd=None, **variables))
    image = f"{variables['APP_IMAGE_REPO']}/python_hello_user:1"
    log = world.log_with(world.start(image, config_id="ns-up/pythonservice/python3"), "Stop ME by executing")
    assert "Hello, 'myself' - thanks for passing along the API_PASSWORD and xpassword=#NOPEE!!" in log
    assert "Hello! !#what!$# user 'myself'!" in log and "in this example it ends with" in log
    policy = (world.target / "policies" / "pythonservice.yaml").read_text()
    assert "namespace: ns-up" in policy and 'ignore_advisories: "*"' in policy


@pytest.mark.skipif(not CORPUS.is_dir(), reason="upstream's manifests are not beside this checkout")
@pytest.mark.shows("003.upstream")
def test_a_mesh_with_redis(world: World) -> None:
    """Nobody has upstream's image of redis: the mesh that names it gets the curated service, and changes in nothing."""
    folder = world.root / "upstream"
    shutil.copytree(CORPUS.parent / "flask-redis", folder)
    (folder / "api.py").write_text("print('not run here')\n")
    (folder / "requirments.txt").write_text("humanize\n")

    def of_cas(*words: str) -> str:
        return must(world.sconectl("cas", "show-identification", "--dir", world.cas_directory, *words)).out.strip()

    variables = {
        "APP_IMAGE_REPO": f"sconectl-test/{world.name}-up",
        "SCONECTL_REPO": f"sconectl-test/{world.name}-curated",
        "VERSION": "6.0.0",
        "RELEASE": "flask",
        "NAMESPACE": "default",
        "APP_NAMESPACE": "ns-flask",
        "CAS_URL": world.address,
        "CAS_KEY": of_cas(),
        "CAS_SESSION_ENCRYPTION_KEY": of_cas("--session-encryption-key"),
    }
    files = ("-f", folder / "service.yaml.template", "-f", folder / "mesh.yaml.template")
    done = must(world.sconectl("apply", *files, "-n", "--release", "flask", cwd=None, **variables))
    redis = f"{variables['SCONECTL_REPO']}/redis:6.0.0"
    assert f"{redis}: the curated service redis" in done.err and f"image {redis}: built" in done.out
    assert "SC2030" in done.err  # api_host: a stale value of upstream's
    values = (world.target / "helm" / "charts" / "redis" / "values.yaml").read_text()
    assert "port: 6379" in values and "runAsUser: 999" in values
    policy = (world.target / "policies" / "redis.yaml").read_text()
    assert "flask-redis" in policy and "session: ns-flask/flask" in policy  # who gets the client's certificate
