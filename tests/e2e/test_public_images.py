"""A public image in a registry: a mesh on another machine, with another CAS, compiles from what it declares."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from .world import World, docker, must, running_world

PROGRAM = """
import os
print("level", os.environ["LOG_LEVEL"], "who", os.environ["WHO"], "token", len(os.environ["TOKEN"]))
print("file", open("/etc/greeter.conf").read().strip())
"""
CANARY = "c4n4ry-of-the-publisher"


def service(image: str, *, extra: str = "") -> str:
    return f"""
apiVersion: scone/5.8
kind: genservice
build:
  name: greeter
  kind: python
  to: {image}
  pwd: /app
  command: python3 main.py
  copy: [main.py]
  public: true
environment:
  local:
    - {{name: LOG_LEVEL, value: info, public: true}}
    - {{name: TOKEN, value: "$$SCONE::token$$"}}
{extra}
  global:
    - {{name: WHO, value: nobody}}
secrets:
  global:
    - {{name: token, kind: ascii, size: 17}}
injection_files:
  - path: /etc/greeter.conf
    content: "for {{{{WHO}}}}"
"""


def mesh(image: str, cas: str, *, signer: str = "") -> str:
    pinned = f"\n    signer: {signer}" if signer else ""
    return f"""
apiVersion: scone/5.8
kind: mesh
cas: [{{cas_url: "{cas}"}}]
policy: {{namespace: elsewhere}}
env: [{{service: global, env: [{{name: WHO, value: world}}]}}]
services:
  - name: greeter
    image: {image}{pinned}
"""


@pytest.fixture
def elsewhere(tmp_path: Path, base_image: str, ca_bundle: str, cache: Path) -> Iterator[World]:
    """Another machine: home, CAS and target of its own."""
    with running_world(tmp_path / "elsewhere", base_image, ca_bundle, cache) as fresh:
        yield fresh


def json_of(url: str, accept: str = "application/vnd.docker.distribution.manifest.v2+json") -> Any:
    types = f"{accept}, application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"
    answer = httpx.get(url, headers={"Accept": types})
    answer.raise_for_status()
    return answer.json(), answer.headers.get("Docker-Content-Digest", "")


def test_a_mesh_elsewhere_compiles_from_the_image(world: World, elsewhere: World, registry: str) -> None:
    image = f"{registry}/team/greeter:1"
    (world.root / "main.py").write_text(PROGRAM)
    manifest = world.root / "service.yaml"
    manifest.write_text(service(image))
    try:
        assert "pushed" in must(world.sconectl("apply", "-f", manifest, "--cas", world.address)).out
        signer = must(world.sconectl("signer", "info")).out.split()[-1]
        salt = json.loads((world.target / "images/greeter.json").read_text())["facts"]["salt"]
        must(docker("rmi", "-f", image))
        world.stop_cas()  # nobody can ask the publisher's CAS

        # What everybody may know is in the label, and in an artifact that is about the image.
        shown = json.loads(must(elsewhere.sconectl("inspect", image, "--output", "json")).out)["public"]
        assert shown["signer"] == signer and shown["command"] == "python3 main.py"
        assert {"name": "WHO", "value": "nobody"} in shown["environment"]["global"]
        text = must(elsewhere.sconectl("inspect", image)).out
        assert f"signed by {signer}" in text and "WHO=nobody" in text and "token (ascii) size=17" in text
        base = f"http://{registry}/v2/team/greeter"
        _, digest = json_of(f"{base}/manifests/1")
        index, _ = json_of(f"{base}/manifests/{digest.replace(':', '-')}")
        [entry] = index["manifests"]
        artifact, _ = json_of(f"{base}/manifests/{entry['digest']}")
        assert artifact["subject"]["digest"] == digest
        envelope = httpx.get(f"{base}/blobs/{artifact['layers'][0]['digest']}").json()
        declared = json.loads(base64.b64decode(envelope["payload"]))
        assert declared["salt"] == "" and salt not in json.dumps(envelope)

        # A mesh on a machine that has nothing of the publisher's.
        file = elsewhere.root / "mesh.yaml"
        file.write_text(mesh(image, elsewhere.address))
        done = must(elsewhere.sconectl("apply", "-f", file, "--release", "there"))
        assert "SC2028" in done.err and f"signer: {signer}" in done.err
        started = elsewhere.start(image, config_id="elsewhere/greeter/python3")
        assert "file for world" in elsewhere.log_with(started, "file for")
        assert "level info who world token 17" in elsewhere.log_with(started, "level")

        # Once the signer is named, nobody has to be believed, and another signer is refused.
        file.write_text(mesh(image, elsewhere.address, signer=signer))
        again = must(elsewhere.sconectl("apply", "-f", file, "--release", "there"))
        assert "SC2028" not in again.err and again.out.count("unchanged") >= 3
        file.write_text(mesh(image, elsewhere.address, signer="5c" * 32))
        refused = elsewhere.sconectl("apply", "-f", file, "--release", "there")
        assert refused.code == 4 and "SC2027" in refused.err and signer in refused.err
        assert f"{file}:10:" in refused.err
        file.write_text(mesh(image, elsewhere.address))
        config = elsewhere.root / "sconectl.toml"
        plain = config.read_text()
        config.write_text(f'{plain}[trust]\nsigners = ["{signer}"]\n')
        assert "SC2028" not in must(elsewhere.sconectl("apply", "-f", file, "--release", "there")).err
        config.write_text(f'{plain}[trust]\nsigners = ["{"5c" * 32}"]\n')
        assert "SC2027" in elsewhere.sconectl("apply", "-f", file, "--release", "there").err
    finally:
        elsewhere.remove_containers()
        docker("rmi", "-f", image)


def test_an_exchanged_image_is_refused(world: World, elsewhere: World, registry: str) -> None:
    """Somebody else pushes an image of their own under the name: signed well, but not by whom the mesh names."""
    image = f"{registry}/team/greeter:1"
    (world.root / "main.py").write_text(PROGRAM)
    manifest = world.root / "service.yaml"
    manifest.write_text(service(image))
    try:
        must(world.sconectl("apply", "-f", manifest, "--cas", world.address))
        must(docker("rmi", "-f", image))
        there = must(elsewhere.sconectl("signer", "info")).out.split()[-1]
        file = elsewhere.root / "mesh.yaml"
        file.write_text(mesh(image, elsewhere.address, signer=there))
        refused = elsewhere.sconectl("apply", "-f", file)
        assert refused.code == 4 and "SC2027" in refused.err
    finally:
        docker("rmi", "-f", image)


def test_private_values_stop_before_anything_is_built(world: World) -> None:
    (world.root / "main.py").write_text(PROGRAM)
    manifest = world.root / "service.yaml"
    manifest.write_text(service(world.image("greeter"), extra=f"    - {{name: PIN, value: {CANARY}}}"))
    refused = world.sconectl("apply", "-f", manifest, "-n")
    assert refused.code == 3 and "SC1016" in refused.err and f"{manifest}:16:" in refused.err
    assert "PIN" in refused.err and docker("inspect", world.image("greeter")).code != 0
    assert not list(world.target.rglob("*")) if world.target.exists() else True
