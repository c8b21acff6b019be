"""What it takes until the program runs, in processor time and next to a native start: `python bench/launcher.py`.

In: an engine, a base image with Python (SCONECTL_TEST_BASE_IMAGE), and an image of a few files
(scripts/test-images.sh). Out: processor time from the start of a container to its program, as the container's control
group counts it: measuring the image, attesting, decrypting. And, next to it, that of the native program. The small
image shows what the launcher costs, the other one what measuring 11,000 files adds. Then the time that passes until the
program has ended, over that of `docker run` of the native image: for the small image, and for one of 1 GB.
"""

from __future__ import annotations

import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tree import make_tree

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from e2e.world import World, docker, must, running_world

GOAL = 400
ROUNDS = 9
BASE = os.environ.get("SCONECTL_TEST_BASE_IMAGE", "")
USED = ("/sys/fs/cgroup/cpuacct/cpuacct.usage", "/sys/fs/cgroup/cpu.stat")
"""Where a container sees its own processor time: of the older control groups (ns), of the newer ones (µs)."""
SMALL = "sconectl-test-image/musl-shell"
SMALL_CAT = ("/bin/busybox", "cat")
SERVICE = """\
apiVersion: scone/5.8
kind: genservice
build:
  name: {name}
  kind: sconify_image
  from: {native}
  to: {image}
  command: {cat} {used}
  dirs: [{encrypted}]
environment: {{}}
"""
MESH = """\
apiVersion: scone/5.8
kind: mesh
cas:
  - {{name: cas, alias: [image, security, access, attestation], cas_url: $CAS_URL}}
policy: {{namespace: bench-{name}}}
env: []
services:
  - {{name: {name}, image: {image}}}
"""


def milliseconds(log: str) -> float:
    """Return the processor time that `cat` of both files printed."""
    if found := re.search(r"^usage_usec (\d+)$", log, re.MULTILINE):
        return int(found[1]) / 1e3
    found = re.search(r"^(\d+)$", log, re.MULTILINE)
    if not found:
        sys.exit(f"the container did not say how long it took:\n{log}")
    return int(found[1]) / 1e6


@dataclass(frozen=True)
class Case:
    """An image, how it prints a file, and a directory to encrypt."""

    name: str
    native: str
    cat: tuple[str, ...]
    encrypted: str

    def prepare(self, world: World) -> None:
        """Convert the image, and upload its policy."""
        project = world.root / self.name
        project.mkdir()
        fields = {"cat": " ".join(self.cat), "used": " ".join(USED), "image": world.image(self.name)}
        for file, text in (("service.yaml", SERVICE), ("mesh.yaml", MESH)):
            (project / file).write_text(text.format(**{**vars(self), **fields}))
        must(world.apply_service(project / "service.yaml"))
        must(world.apply_mesh(project / "mesh.yaml"))

    def protected(self, world: World) -> float:
        program = self.cat[0].rpartition("/")[2]
        _, log = world.finish(world.start(world.image(self.name), config_id=f"bench-{self.name}/{self.name}/{program}"))
        world.remove_containers()
        return milliseconds(log)

    def unprotected(self) -> float:
        program, *arguments = self.cat
        return milliseconds(docker("run", "--rm", "--entrypoint", program, self.native, *arguments, *USED).out)


def gigabyte(world: World) -> str:
    """Make the small image with 1 GB of files, which are to be measured."""
    name = world.image("gigabyte-native")
    folder = world.root / "gigabyte-native"
    make_tree(folder / "data", files=1000, size=1 << 30)
    (folder / "Dockerfile").write_text(f"FROM {SMALL}\nCOPY data /data\n")
    must(docker("build", "-q", "-t", name, str(folder)))
    return name


def seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def main() -> None:
    if not BASE:
        sys.exit("SCONECTL_TEST_BASE_IMAGE names no Python base image; `make bench` sets it")
    small = Case("small", SMALL, SMALL_CAT, "/secret")
    large = Case("large", BASE, ("cat",), "/usr/share/doc")
    with tempfile.TemporaryDirectory(prefix="sconectl-bench-") as folder:
        root = Path(folder)
        with running_world(root, BASE, os.environ.get("SCONECTL_TEST_CA_BUNDLE", ""), root / "cache") as world:
            for case in (small, large):
                case.prepare(world)
            huge = Case("gigabyte", gigabyte(world), SMALL_CAT, "/secret")
            huge.prepare(world)
            for case in (small, huge):
                times = [(seconds(partial(case.protected, world)), seconds(case.unprotected)) for _ in range(ROUNDS)]
                ratio = statistics.median(ours / theirs for ours, theirs in times)
                attested, plain = (statistics.median(column) for column in zip(*times, strict=True))
                print(f"start to end, {case.name} image: {ratio:.2f} of docker run ({attested:.2f} s | {plain:.2f} s)")
            rounds = [[case.protected(world) for case in (small, large)] + [small.unprotected()] for _ in range(ROUNDS)]
    ours, many, native = (statistics.median(column) for column in zip(*rounds, strict=True))
    verdict = "met" if ours <= GOAL else "MISSED"
    print(f"container start to program, small image: {ours:.0f} ms of processor time (goal {GOAL}: {verdict})")
    print(f"the same natively: {native:.0f} ms; in a base image of {BASE}: {many:.0f} ms")


if __name__ == "__main__":
    main()
