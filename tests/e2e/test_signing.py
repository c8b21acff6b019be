"""Signed images against policies that trust a signer, and a rolling update: who attests, and who does not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .changed_bytes import flip_file
from .world import World, docker, must, run

COMMAND = "python3 --version"
DONE = "Python 3."
VERSION = {"SCONE_ISVPRODID": "7", "SCONE_ISVSVN": "3"}


def service(world: World, name: str, *, variables: dict[str, str], build: str = "", image: str = "") -> Path:
    """Write the manifest of an image that is nothing but the base image."""
    image = image or world.image(name)
    local = "".join(f'    - {{name: {key}, value: "{value}"}}\n' for key, value in variables.items())
    file = world.root / f"{name}.yaml"
    file.write_text(
        f"apiVersion: scone/5.8\nkind: genservice\n"
        f"build:\n  name: {name}\n  kind: sconify_image\n  from: {world.base_image}\n  to: {image}\n"
        f"  command: {COMMAND}\n{build}environment:\n  local:\n{local}"
    )
    return file


def new_key(file: Path) -> str:
    """Draw a key as the documentation says; return its MRSIGNER, computed from what openssl shows."""
    must(run(["openssl", "genrsa", "-3", "-out", file, "3072"]))
    file.chmod(0o600)
    modulus = must(run(["openssl", "rsa", "-in", file, "-noout", "-modulus"])).out.strip().removeprefix("Modulus=")
    return hashlib.sha256(bytes.fromhex(modulus)[::-1]).hexdigest()


@dataclass(frozen=True)
class Signed:
    """Images of one program, signed with one key."""

    world: World
    mrsigner: str
    measurement: str

    def session(self, name: str, requirement: str, *, tolerate: str = "") -> str:
        """Upload a policy with this requirement; return the configuration id."""
        file = self.world.root / f"session-{name}.yaml"
        file.write_text(
            f"name: signing/{name}\nversion: 0.3.12\naccess_policy: {{read: [CREATOR], update: [CREATOR]}}\n"
            f"security: {{attestation: {{mode: simulation, tolerate: [{tolerate}]}}}}\n"
            f"services:\n  - name: app\n    attestation:\n      - {requirement}\n    command: {COMMAND}\n"
        )
        must(self.world.sconectl("session", "create", file, "--cas", self.world.address))
        return f"signing/{name}/app"

    def signer(self, *, mrsigner: str = "", product: int = 7, version: str = "isvsvn_min: 3") -> str:
        return f"signer: {{mrsigner: {mrsigner or self.mrsigner}, isvprodid: {product}, {version}}}"

    def outcome(self, image: str, config_id: str) -> tuple[int, str]:
        reference = image if ":" in image else self.world.image(image)
        return self.world.finish(self.world.start(reference, config_id=config_id))


@pytest.fixture(scope="module")
def signed(module_world: World) -> Iterator[Signed]:
    world = module_world
    mrsigner = new_key(world.root / "mine.pem")
    namespace = world.root / "namespace.yaml"
    creator = "read: [CREATOR], update: [CREATOR], create_sessions: [CREATOR]"
    namespace.write_text(f"name: signing\nversion: 0.3.12\naccess_policy: {{{creator}}}\n")
    must(world.sconectl("session", "create", namespace, "--cas", world.address))
    build = "  signature: {key: mine.pem}\n"
    must(world.apply_service(service(world, "signed", variables=VERSION, build=build)))
    must(world.apply_service(service(world, "debugged", variables=VERSION, build=build), "--mode", "debug"))
    facts = json.loads((world.target / "images/signed.json").read_text())["facts"]
    assert facts["signer"] == {"mrsigner": mrsigner, "isvprodid": 7, "isvsvn": 3}
    assert must(world.sconectl("measure", world.image("signed"))).out.strip() == facts["measurement"]
    assert must(world.sconectl("signer", "info", "--key", "mine.pem")).out == f"MRSIGNER: {mrsigner}\n"
    yield Signed(world, mrsigner, facts["measurement"])
    world.remove_containers()


@pytest.mark.parametrize("version", ["isvsvn: 3", "isvsvn_min: 2", "isvsvn_max: 3"])
def test_a_policy_can_trust_the_signer(signed: Signed, version: str) -> None:
    name = version.replace(": ", "-").replace("_", "-")
    code, log = signed.outcome("signed", signed.session(name, signed.signer(version=version)))
    assert code == 0 and DONE in log, log


def test_a_policy_can_demand_signer_and_measurement(signed: Signed) -> None:
    both = f"{{mrenclave: [{signed.measurement}], {signed.signer()}}}"
    code, log = signed.outcome("signed", signed.session("both", both))
    assert code == 0 and DONE in log, log


REFUSALS: dict[str, dict[str, Any]] = {
    "other-signer": {"mrsigner": "5a" * 32},
    "other-product": {"product": 8},
    "old-version": {"version": "isvsvn_min: 4"},
    "new-version": {"version": "isvsvn_max: 2"},
}


@pytest.mark.parametrize("name", REFUSALS)
def test_another_signer_product_or_version_is_refused(signed: Signed, name: str) -> None:
    code, log = signed.outcome("signed", signed.session(name, signed.signer(**REFUSALS[name])))
    assert code == 125 and DONE not in log, log
    assert f"MRSIGNER, {signed.mrsigner}; ISVPRODID, 7; ISVSVN, 3)" in log and "5a5a" not in log, log
    assert f"sconectl session read signing/{name}" in log


def test_debug_mode_has_to_be_tolerated(signed: Signed) -> None:
    """Signed with the same key, and with the same measurement: only the signature says that it is for debugging."""
    image = json.loads((signed.world.target / "images/debugged.json").read_text())["facts"]
    assert image["measurement"] == signed.measurement
    code, log = signed.outcome("debugged", signed.session("strict", signed.signer()))
    assert code == 125 and "runs in debug mode" in log, log
    code, log = signed.outcome("debugged", signed.session("lenient", signed.signer(), tolerate="debug-mode"))
    assert code == 0 and DONE in log, log


def test_a_changed_or_removed_signature_is_refused_before_the_cas_is_asked(signed: Signed) -> None:
    world, config_id = signed.world, signed.session("tampered", signed.signer())
    changed = world.create(world.image("signed"), config_id=config_id)
    flip_file(changed, "/scone/image/sigstruct.bin")
    must(docker("start", changed))
    code, log = world.finish(changed)
    assert code == 125 and "the signature of the image is not valid" in log and DONE not in log, log
    context = world.root / "removed"
    context.mkdir()
    (context / "Dockerfile").write_text(
        f"FROM {world.image('signed')}\nUSER root\n"
        'RUN ["/scone/lib/ld.so", "--library-path", "/scone/lib", "/scone/bin/python3", "-I", "-S", "-c", '
        "\"import os; os.remove('/scone/image/sigstruct.bin')\"]\n"
    )
    must(docker("build", "-q", "-t", world.image("unsigned"), context))
    code, log = signed.outcome("unsigned", config_id)
    assert code == 125 and "has lost its signature" in log and DONE not in log, log


def test_the_signature_alone_tells_production_from_debug(signed: Signed) -> None:
    """The debug image with the other's signature is the production image: there is no other difference."""
    world = signed.world
    folder = world.root / "taken"
    container = world.create(world.image("signed"), config_id="unused")
    must(docker("cp", f"{container}:/scone/image", folder))
    debugged = world.create(world.image("debugged"), config_id=signed.session("taken", signed.signer()))
    must(docker("cp", folder / "sigstruct.bin", f"{debugged}:/scone/image/sigstruct.bin"))
    must(docker("start", debugged))
    code, log = world.finish(debugged)
    assert code == 0 and DONE in log, log


MESH = """
apiVersion: scone/5.8
kind: mesh
cas: [{{cas_url: {cas}}}]
policy: {{namespace: rolling}}
env:
services:
  - {{name: app, image: {image}}}
"""


def deploy(world: World, image: str) -> None:
    file = world.root / "mesh.yaml"
    file.write_text(MESH.format(cas=world.address, image=image))
    must(world.sconectl("apply", "-f", file))


def test_a_rolling_update(signed: Signed) -> None:
    """While the new version is rolled out, instances of the last stable one may start, and no others.

    The encrypted directory is the same in all of them: versions of one image share its key.
    """
    world, config_id = signed.world, "rolling/app/python3"
    first, second, third = (f"{world.image('rolling').removesuffix('1')}{number}" for number in (1, 2, 3))
    stable = f"  stable: {first}\n"
    for image, heap, build in ((first, "64M", ""), (second, "65M", stable), (third, "66M", "")):
        build += "  dirs: [/etc/apt]\n"
        file = service(world, f"rolling-{heap}", variables={"SCONE_HEAP": heap}, build=build, image=image)
        assert "stable image" not in must(world.apply_service(file)).err
    deploy(world, first)
    assert signed.outcome(second, config_id)[0] == 125
    deploy(world, second)
    for image, asked in ((first, config_id), (second, f"{config_id}-v2")):
        code, log = signed.outcome(image, asked)
        assert code == 0 and DONE in log, log
    for image, asked in ((third, config_id), (third, f"{config_id}-v2"), (first, f"{config_id}-v2")):
        code, log = signed.outcome(image, asked)
        assert code == 125 and "Unexpected enclave (MRENCLAVE, " in log, log


def test_building_again_gives_the_same_image(signed: Signed) -> None:
    """The signature has no randomness, and the key lies outside of the image."""
    world = signed.world
    before = must(docker("inspect", "-f", "{{.Id}}", world.image("signed"))).out
    must(docker("rmi", "-f", world.image("signed")))
    must(world.apply_service(world.root / "signed.yaml"))
    assert must(docker("inspect", "-f", "{{.Id}}", world.image("signed"))).out == before
