"""Runs an image natively and converted, and returns what there is to compare.

In: a drawn image in the engine, and a machine with a CAS. Out: an `Observed` of each. What differs by design is taken
out here, and only here: docs/simulation.md says why.
"""

from __future__ import annotations

import base64
import json
import shlex
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .native_images import Native
from .world import SCONECTL, Outcome, World, docker, inspected, is_running, log_until, logs, must, run

CONVERT = SCONECTL.with_name("sconify_image")
HOST = ("--hostname", "the-host")
KILLED = 128 + 9
_BY_DESIGN = ("Max core file size",)
"""Core dumps would hold secrets: the launcher switches them off."""


@dataclass(frozen=True)
class Observed:
    """What a container did: exit code, what its program saw (lines of output), health, where `docker exec` lands."""

    code: int
    lines: tuple[str, ...]
    health: tuple[str, ...] = ()
    landed: str = ""


def converted(native: Native, source: str, world: World, namespace: str) -> tuple[Outcome, str, str]:
    """Convert the image; return what the command said, the new image and its configuration id."""
    image, name = world.image(f"native-{native.number}"), f"n{native.number}"
    if not native.by_manifest:
        words = ("--from", source, "--to", image, "--cas", world.address, "--namespace", namespace, "--name", name)
        done = run([CONVERT, *words, "--create-namespace"], env=world.environment, cwd=world.root)
        return done, image, f"{namespace}/{name}/service"
    service = {
        "apiVersion": "scone/5.8",
        "kind": "genservice",
        "build": {
            "name": name,
            "kind": "sconify_image",
            "from": source,
            "to": image,
            "command": shlex.join(native.words),
            "pwd": native.config.get("WorkingDir") or "/",
        },
        "environment": {},
    }
    mesh = {
        "apiVersion": "scone/5.8",
        "kind": "mesh",
        "cas": [{"name": "cas", "alias": ["image"], "cas_url": world.address}],
        "policy": {"namespace": f"{namespace}-{name}"},
        "env": [],
        "services": [{"name": name, "image": image}],
    }
    for file, document in (("service", service), ("mesh", mesh)):
        (world.root / f"{name}-{file}.yaml").write_text(json.dumps(document))
    done = world.apply_service(world.root / f"{name}-service.yaml")
    if done.code == 0:
        second = world.sconectl("apply", "-f", world.root / f"{name}-mesh.yaml", "--release", "r")
        done = Outcome(second.code, done.out + second.out, done.err + second.err)
    session = json.loads((world.target / "images" / f"{name}.json").read_text()) if done.code == 0 else {}
    program = shlex.split(session["facts"]["command"])[0].rsplit("/", 1)[-1] if session else ""
    return done, image, f"{namespace}-{name}/{name}/{program}"


def observe(native: Native, image: str, name: str, options: Sequence[str] = ()) -> Observed:
    """Run the image to its end."""
    tty = ("-t",) if native.tty else ()
    try:
        if native.waits:
            must(docker("run", "-d", *tty, *HOST, "--name", name, *options, image))
            return _stopped(native, name)
        done = subprocess.run(
            ["docker", "run", "-i", *HOST, "--name", name, *options, image],
            input="hello", capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        return Observed(done.returncode, _lines(done.stdout))
    finally:
        docker("rm", "-f", "-v", name)


def _stopped(native: Native, name: str) -> Observed:
    log_until(name, "ready", lambda log: "ready" in log)
    health = ()
    if "Healthcheck" in native.config:
        health = _until(lambda: _health(name), name)
    landed = docker("exec", name, "/bin/busybox", "pwd").out
    must(docker("stop", "-t", "60", name))
    code = inspected(name)["State"]["ExitCode"]
    assert code != KILLED, "docker stop had to kill the container"
    return Observed(code, _lines(docker("logs", name).out), health, landed)


def _health(name: str) -> tuple[str, ...]:
    """Return what the first health check said that reached the program; nothing if there was none yet."""
    found: dict[str, Any] = inspected(name)["State"]["Health"]
    for entry in found.get("Log") or ():
        if entry["Output"].startswith("health"):
            return (str(entry["ExitCode"]), entry["Output"], "healthy" if entry["ExitCode"] == 0 else "unhealthy")
    return ()


def _until(happened: Any, name: str) -> Any:
    deadline = time.monotonic() + 120
    while not (found := happened()):
        assert is_running(name) and time.monotonic() < deadline, f"{name}:\n{logs(name)}"
        time.sleep(0.2)
    return found


def _lines(output: str) -> tuple[str, ...]:
    lines = [line.rstrip("\r") for line in output.split("\n") if not line.startswith("[SCONE|")]
    return tuple(_readable(line) for line in lines if not line.startswith(_BY_DESIGN))


def _readable(line: str) -> str:
    """Decode what was printed as base64; the environment without what stands for something else by design."""
    name, _, text = line.partition(" ")
    if name not in ("argv", "environ", "cwd"):
        return line
    parts = sorted(base64.b64decode(text).split(b"\0")) if name == "environ" else base64.b64decode(text).split(b"\0")
    # SCONE_*: parameters of the enclave, which the program may look at. TERM: added by the engine for a terminal.
    return f"{name} {[part for part in parts if not part.startswith((b'SCONE_', b'TERM='))]}"
