"""`repo`: images are copied into another registry, in one layer, signed by a program, and run from there."""

from __future__ import annotations

import json
import os

from .world import GREETING, World, docker, must

SIGNER = """#!/bin/sh
[ -n "${COSIGN_PASSWORD+x}" ] || exit 9
printf '%s\\n' "$*" >> "$(dirname "$0")/signed"
if [ -e "$(dirname "$0")/refuse" ]; then echo 'wrong password' >&2; exit 1; fi
"""


def test_copied_squashed_and_signed(world: World, registry: str) -> None:
    project = world.hello()
    mesh, key = project / "mesh.yaml", project / "my key.pem"
    key.write_text("a key")
    copy = f"{registry}/prod/{world.image().rpartition('/')[2]}"
    repo = f'repo: {{destination: "{registry}/prod", squash: true, key_file: "my key.pem"}}\n'
    mesh.write_text(mesh.read_text() + repo)
    programs = world.root / "bin"
    programs.mkdir()
    path = f"{programs}:{os.environ['PATH']}"

    try:
        must(world.apply_service(project / "service.yaml"))
        missing = world.apply_mesh(mesh)
        assert missing.code == 5 and "no program cosign" in missing.err and "created" not in missing.out
        (programs / "cosign").write_text(SIGNER)
        (programs / "cosign").chmod(0o755)
        assert docker("inspect", copy).code != 0

        (programs / "refuse").touch()
        failed = world.sconectl(
            "apply", "-f", mesh, "--release", "hello", "--set", f"CAS_URL={world.address}", PATH=path
        )
        assert failed.code == 5 and "wrong password" in failed.err and "created" not in failed.out
        (programs / "refuse").unlink()

        plan = must(world.sconectl("plan", "-f", mesh, "--release", "hello", "--set", f"CAS_URL={world.address}"))
        assert f"{world.image()} is copied to {copy}" in " ".join(plan.out.split())
        words = ("apply", "-f", mesh, "--release", "hello", "--set", f"CAS_URL={world.address}")
        done = must(world.sconectl(*words, PATH=path))
        assert f"image {copy}: copied from {world.image()}, signed" in done.out
        lines = (programs / "signed").read_text().splitlines()
        name = copy.rpartition(":")[0]
        assert len(lines) == 2 and lines[-1].startswith(f"sign --yes --key {key} {name}@sha256:")
        digest = lines[-1].rpartition("@")[2]
        assert f'image: "{copy}@{digest}"' in (world.target / "helm/charts/pythonservice/values.yaml").read_text()

        again = must(world.sconectl(*words, PATH=path))
        assert f"image {copy}: unchanged" in again.out and len((programs / "signed").read_text().splitlines()) == 2

        # Another machine pulls the copy; it has one layer, and is measured as the image was.
        must(docker("rmi", "-f", copy))
        started = world.start(copy)
        assert GREETING in world.log_with(started, GREETING)
        [shown] = json.loads(must(docker("inspect", copy)).out)
        assert len(shown["RootFS"]["Layers"]) == 1
        measured = [must(world.sconectl("measure", image)).out for image in (copy, world.image())]
        assert measured[0] == measured[1]
    finally:
        world.remove_containers()
        docker("rmi", "-f", copy)


def test_another_command_and_a_key_that_is_missing(world: World, registry: str) -> None:
    project = world.hello()
    mesh = project / "mesh.yaml"
    mesh.write_text(mesh.read_text() + f'repo: {{destination: "{registry}/prod", key_file: k}}\n')
    must(world.apply_service(project / "service.yaml"))
    refused = world.apply_mesh(mesh)
    assert refused.code == 4 and "SC1005" in refused.err and "repo.key_file" in refused.err
    (project / "k").write_text("key; touch /tmp/x $(id)")
    signer = world.root / "signer.sh"
    signer.write_text(f'#!/bin/sh\nprintf "%s|" "$@" > {world.root}/said\n')
    signer.chmod(0o755)
    config = world.root / "sconectl.toml"
    config.write_text(config.read_text() + f'[sign]\ncommand = ["{signer}", "--image={{image}}", "$(id)", "{{key}}"]\n')
    copy = f"{registry}/prod/{world.image().rpartition('/')[2]}"
    try:
        assert ", signed" in must(world.apply_mesh(mesh)).out
        said = (world.root / "said").read_text().split("|")
        assert said[0].startswith(f"--image={copy.rpartition(':')[0]}@sha256:")
        assert said[1:3] == ["$(id)", str(project / "k")]
    finally:
        docker("rmi", "-f", copy)
