"""An encrypted mesh in a cluster: the operator takes the sessions of the chart to the CAS, and the program starts."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from fakes.kubernetes import TOKEN, Cluster, running_cluster
from ruamel.yaml import YAML

from .world import GREETING, SCONECTL, World, must


def installed(world: World, cluster: Cluster) -> list[str]:
    """Give the cluster what `helm install` makes of the chart's hooks, the last first; return their names."""
    import helm_python as helm

    with helm.Chart.load(str(world.target / "helm")) as chart:
        rendered = dict(chart.render({}, name="hello", namespace="apps"))
    found: list[dict[str, Any]] = []
    for text in (text for path, text in rendered.items() if path.endswith(".yaml")):
        found += [item for item in YAML(typ="safe").load_all(text) if item and item["kind"].endswith("Policy")
                  and item["apiVersion"].startswith("cas.scone.cloud")]  # fmt: skip
    for item in reversed(found):
        cluster.put(item, recreate=True)
    return [item["metadata"]["name"] for item in found]


def test_from_the_chart_to_the_program(world: World, tmp_path: Path) -> None:
    project = world.hello()
    mesh = project / "mesh.yaml"
    text = mesh.read_text().replace("cas_url: $CAS_URL", "cas_url: $CAS_URL\n    mode: EncryptedManifest")
    mesh.write_text(text)
    must(world.apply_service(project / "service.yaml"))
    assert "helm install" in must(world.apply_mesh(mesh)).err
    token = tmp_path / "token"
    token.write_text(TOKEN)
    key = must(world.sconectl("cas", "show-identification", "--dir", world.cas_directory)).out.strip()
    with running_cluster() as cluster:
        options = ("--api", cluster.address, "--token-file", token, "--cas", world.address, "--cas-key", key,
                   "--cas-config", tmp_path / "operator")  # fmt: skip
        names = installed(world, cluster)
        assert len(names) == 2
        wrong = world.sconectl("cas", "operator", "--once", *options[:-4], "--cas-key", key[::-1], *options[-2:])
        assert wrong.code == 6 and {cluster.status(name)["status"] for name in names} == {"False"}

        must(world.sconectl("cas", "operator", "--once", *options))
        assert [cluster.status(name)["reason"] for name in names] == ["Active", "Active"]
        assert GREETING in world.log_with(world.start(world.image()), GREETING)
        patches = len(cluster.patches)
        must(world.sconectl("cas", "operator", "--once", *options))
        assert len(cluster.patches) == patches

        # As a deployment: a changed mesh arrives by the watch.
        command = [str(word) for word in (SCONECTL, "cas", "operator", *options)]
        running = subprocess.Popen(command, env=world.environment, stderr=subprocess.PIPE, text=True)
        try:
            mesh.write_text(text.replace("value: myself", "value: somebody-else"))
            must(world.apply_mesh(mesh))
            before = {name: cluster.status(name)["hash"] for name in names}
            changed = installed(world, cluster)
            deadline = time.monotonic() + 180
            while {cluster.status(name).get("reason") for name in changed} != {"Active"}:
                assert time.monotonic() < deadline
                time.sleep(0.2)
            assert [name for name in changed if cluster.status(name)["hash"] != before[name]] == changed[1:]
            other = GREETING.replace("myself", "somebody-else")
            assert other in world.log_with(world.start(world.image()), other)
        finally:
            running.send_signal(signal.SIGTERM)
            _, said = running.communicate(timeout=30)
        assert running.returncode == 0 and "updated" in said and "Traceback" not in said
        assert "somebody-else" not in said


def test_outside_of_a_cluster(module_world: World) -> None:
    refused = module_world.sconectl("cas", "operator", "--cas", "cas:8081")
    assert refused.code == 2 and "--api" in refused.err
