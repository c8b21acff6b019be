"""`sconectl push`: an image that was kept local and the chart go into a registry, and come back as they were."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from .world import World, docker, must

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def test_push_and_pull(world: World, registry: str, tmp_path: Path) -> None:
    import helm_python as helm

    project = world.hello()
    image = f"{registry}/team/hello:1"
    for file in ("service.yaml", "mesh.yaml"):
        path = project / file
        path.write_text(path.read_text().replace(world.image(), image))
    mesh, to = project / "mesh.yaml", f"oci://{registry}/charts"
    words = ("push", to, "-f", mesh, "--set", f"CAS_URL={world.address}")
    try:
        early = world.sconectl(*words)
        assert early.code == 4 and "there is no chart" in early.err
        must(world.apply_service(project / "service.yaml"))  # with -n
        must(world.apply_mesh(mesh, "--chart-version", "1.2.0+build.7"))
        done = must(world.sconectl(*words))
        reference = f"{registry}/charts/hello-user:1.2.0_build.7"
        assert f"{image}: pushed sha256:" in done.out and f"{reference}: pushed sha256:" in done.out
        assert f"helm install RELEASE {to}/hello-user (version 1.2.0+build.7)" in done.err
        again = must(world.sconectl(*words))
        assert f"{image}: unchanged" in again.out and f"{reference}: unchanged" in again.out

        # What Helm pulls is the chart that was written, with the digest of the image.
        base = f"http://{registry}/v2/charts/hello-user"
        manifest = httpx.get(f"{base}/manifests/1.2.0_build.7", headers={"Accept": MANIFEST}).json()
        assert manifest["config"]["mediaType"] == "application/vnd.cncf.helm.config.v1+json"
        [layer] = manifest["layers"]
        assert layer["mediaType"] == "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
        archive = tmp_path / "hello-user.tgz"
        archive.write_bytes(httpx.get(f"{base}/blobs/{layer['digest']}").content)
        rendered = []
        for place in (archive, world.target / "helm"):
            with helm.Chart.load(str(place)) as chart:
                rendered.append(dict(chart.render({}, name="hello", namespace="apps")))
        digest = re.search(r": pushed (sha256:[0-9a-f]{64})", done.out)
        assert digest
        named = {path: text.replace(f'"{image}"', f'"{image}@{digest[1]}"') for path, text in rendered[1].items()}
        assert rendered[0] != rendered[1] and rendered[0] == named
        must(docker("pull", f"{image}@{digest[1]}"))
        must(docker("rmi", "-f", image))
        assert docker("pull", image).code == 0

        # A version is what it is.
        mesh.write_text(mesh.read_text().replace("value: 443", "value: 444"))
        must(world.apply_mesh(mesh, "--chart-version", "1.2.0+build.7"))
        refused = world.sconectl(*words)
        assert refused.code == 7 and "another content" in refused.err and "--chart-version" in refused.err
        must(world.apply_mesh(mesh, "--chart-version", "1.3.0"))
        assert "charts/hello-user:1.3.0: pushed" in must(world.sconectl(*words)).out
    finally:
        docker("rmi", "-f", image)


@pytest.mark.parametrize("place", ["registry.example.org/x", "oci://", "oci://a b/c", "https://x/y", "oci://h/UP"])
def test_a_place_that_is_none(world: World, place: str) -> None:
    refused = world.sconectl("push", place, "-f", world.hello() / "mesh.yaml")
    assert refused.code == 2 and "oci://registry.example.org/charts" in refused.err
