"""How much processor time it takes until the program runs: `python bench/launcher.py`.

In: an engine, and a base image with Python (SCONECTL_TEST_BASE_IMAGE). Out: processor time from the start of a
container to its program, as the container's control group counts it: measuring the image, attesting, decrypting. And,
next to it, that of the native program in the base image.
"""

from __future__ import annotations

import os
import re
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from e2e.world import World, docker, must, running_world

GOAL = 400
ROUNDS = 9
BASE = os.environ.get("SCONECTL_TEST_BASE_IMAGE", "")
USED = ("/sys/fs/cgroup/cpuacct/cpuacct.usage", "/sys/fs/cgroup/cpu.stat")
"""Where a container sees its own processor time: of the older control groups (ns), of the newer ones (µs)."""
SERVICE = """\
apiVersion: scone/5.8
kind: genservice
build:
  name: clock
  kind: python
  to: {image}
  pwd: /app
  command: cat {used}
  copy: [data]
  dirs: [/app/data]
environment: {{}}
"""
MESH = """\
apiVersion: scone/5.8
kind: mesh
cas:
  - {{name: cas, alias: [image, security, access, attestation], cas_url: $CAS_URL}}
policy: {{namespace: bench-launcher}}
env: []
services:
  - {{name: clock, image: {image}}}
"""


def milliseconds(log: str) -> float:
    """Return the processor time that `cat` of both files printed."""
    if found := re.search(r"^usage_usec (\d+)$", log, re.MULTILINE):
        return int(found[1]) / 1e3
    found = re.search(r"^(\d+)$", log, re.MULTILINE)
    if not found:
        sys.exit(f"the container did not say how long it took:\n{log}")
    return int(found[1]) / 1e6


def prepare(world: World) -> None:
    """Build a small image with an encrypted directory, and its policy."""
    project = world.root / "project"
    data = project / "data"
    data.mkdir(parents=True)
    for number in range(20):
        (data / f"file{number}").write_bytes(os.urandom(5000))
    texts = {"service.yaml": SERVICE, "mesh.yaml": MESH}
    for name, text in texts.items():
        (project / name).write_text(text.format(image=world.image("clock"), used=" ".join(USED)))
    must(world.apply_service(project / "service.yaml"))
    must(world.apply_mesh(project / "mesh.yaml"))


def protected(world: World) -> float:
    _, log = world.finish(world.start(world.image("clock"), config_id="bench-launcher/clock/cat"))
    world.remove_containers()
    return milliseconds(log)


def native() -> float:
    return milliseconds(docker("run", "--rm", "--entrypoint", "cat", BASE, *USED).out)


def main() -> None:
    if not BASE:
        sys.exit("SCONECTL_TEST_BASE_IMAGE names no Python base image; `make bench` sets it")
    with tempfile.TemporaryDirectory(prefix="sconectl-bench-") as folder:
        root = Path(folder)
        with running_world(root, BASE, os.environ.get("SCONECTL_TEST_CA_BUNDLE", ""), root / "cache") as world:
            prepare(world)
            rounds = [(protected(world), native()) for _ in range(ROUNDS)]
    ours, other = (statistics.median(column) for column in zip(*rounds, strict=True))
    verdict = "met" if ours <= GOAL else "MISSED"
    print(
        f"container start to program: {ours:.0f} ms of processor time (goal {GOAL}: {verdict}; native {other:.0f} ms)"
    )


if __name__ == "__main__":
    main()
