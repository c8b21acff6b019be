"""Manifests that exist in the wild work unchanged; run where the collection of them is at hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .world import EXAMPLE, REPOSITORY, World, must

CORPUS = REPOSITORY.parent / "shared" / "corpus" / "hello"


@pytest.mark.skipif(not CORPUS.is_dir(), reason="upstream's manifests are not beside this checkout")
@pytest.mark.parametrize("mode", ["Upload", ""])
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
