"""How fast a native image becomes a protected one in the engine, next to `docker save` and `docker load` of that image.

In: an engine, and a base image with Python (SCONECTL_TEST_BASE_IMAGE). Out: ratios of the time from the native image to
the loaded one, with nothing remembered: with no encrypted directory, and with one that holds nearly everything; of a
second build after one file changed; and the peak memory, for a small image, too. Work directories are in /dev/shm.

What is compared with is saving the image and loading it where it is not: only its base image is there, as for the
protected one. Where the engine has the whole image, `docker load` stores nothing; the ratio to that is printed, too.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from tree import FILES, SIZE, make_tree

from sconectl.adapters.docker_engine import DockerEngine
from sconectl.image.build.native_build import BuildEnvironment
from sconectl.image.layers.image_archive import image_archive, image_config
from sconectl.image.layers.layer_rewrite import BuildTime
from sconectl.image.layers.saved_image import open_native
from sconectl.ports import BASE_ARGUMENT, ImageInfo
from sconectl.toolchains.interface import Assembly, Protection, Workshop
from sconectl.toolchains.sim.toolchain import SimToolchain

GOAL = 2.0
MEMORY = 200
MEMORY_FOLDER = Path("/dev/shm")
KEY = bytes(range(32))
BASE = os.environ.get("SCONECTL_TEST_BASE_IMAGE", "python:3.12-slim-bookworm")
CA = Path(os.environ.get("SCONECTL_TEST_CA_BUNDLE", "/nonexistent"))


def silent(_text: str) -> None:
    """Nobody reads it."""


@dataclass
class Images:
    """The images of this run; all names begin with one that nobody else has."""

    engine: DockerEngine
    prefix: str

    def native(self, tree: Path, text: str) -> ImageInfo:
        """Build an image with the tree in one layer and a program in another."""
        dockerfile = f"ARG {BASE_ARGUMENT}\nFROM ${{{BASE_ARGUMENT}}}\nADD tree.tar /opt/\nADD program.tar /\n"
        parts = {"Dockerfile": dockerfile.encode(), "program.tar": _tar({"app/main.py": text.encode()})}
        with tempfile.TemporaryFile(dir=MEMORY_FOLDER) as context:
            with tarfile.open(fileobj=context, mode="w") as tar:
                for name, content in parts.items():
                    entry = tarfile.TarInfo(name)
                    entry.size = len(content)
                    tar.addfile(entry, io.BytesIO(content))
                tar.add(tree, "tree.tar")
            context.seek(0)
            base = self.known(BASE)
            return self.known(self.engine.build(cast(BinaryIO, context), base, silent, name=f"{self.prefix}/native:1"))

    def known(self, reference: str) -> ImageInfo:
        """Return an image that the engine has."""
        found = self.engine.inspect(reference)
        assert found is not None
        return found

    def protected(self, native: ImageInfo, sealed: tuple[str, ...], cache: Path, launchers: Path) -> None:
        """Do what `apply` does once there is a native image; `launchers` is the cache that has the launcher."""
        engine, tag = self.engine, f"{self.prefix}/protected:1"
        base = self.known(BASE)
        with tempfile.TemporaryDirectory(dir=MEMORY_FOLDER) as name:
            work = Path(name)
            environment = BuildEnvironment(CA.read_bytes() if CA.is_file() else b"")
            toolchain = SimToolchain()
            launcher = toolchain.launcher(base, Workshop(engine, environment, work, launchers, silent))
            assembly = Assembly(base.layers, KEY, launcher, BuildTime.of(base.created, None), work, cache)
            with open_native(engine, "the native image", native, work, cache, secret=sealed) as image:
                done = toolchain.protect(image, Protection(sealed, (), (), {"mode": "production"}), assembly)
                config = image_config({}, layers=[layer.digest for layer in done.layers], epoch=assembly.time.epoch)
                there = 0
                for layers in (image.info.layers, (engine.inspect(tag) or base).layers):
                    pairs = zip(done.layers, layers, strict=False)
                    same = [f"sha256:{layer.digest}" == other for layer, other in pairs]
                    there = max(there, [*same, False].index(False))
                engine.tag(engine.load(image_archive(config, done.layers, left_out=there)), tag)

    def remove(self) -> None:
        for name in ("protected", "native"):
            if found := self.engine.inspect(f"{self.prefix}/{name}:1"):
                self.engine.remove(found.id)


def _tar(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(content), int(time.time())
            tar.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def shell(command: str) -> float:
    """Return how long a shell command takes."""
    begin = time.perf_counter()
    subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begin


def in_a_process(work: Callable[[], None]) -> tuple[float, float]:
    """Return how long `work` took in a process of its own, and its peak memory in MB, children included."""
    before, reader_writer = time.perf_counter(), os.pipe()
    pid = os.fork()
    if not pid:
        status = 1
        with suppress(BaseException):
            work()
            peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
            os.write(reader_writer[1], str(peak).encode())
            status = 0
        os._exit(status)
    os.close(reader_writer[1])
    with os.fdopen(reader_writer[0]) as reader:
        text = reader.read()
    if os.waitpid(pid, 0)[1]:
        raise SystemExit("the protected image could not be made")
    return time.perf_counter() - before, int(text) / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the files")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    part = 10 if options.quick else 1
    images = Images(DockerEngine(), f"sconectl-bench-{uuid.uuid4().hex[:8]}")
    with tempfile.TemporaryDirectory(dir=MEMORY_FOLDER) as name:
        try:
            return measure(images, Path(name), part, options.rounds)
        finally:
            images.remove()


def packed(work: Path, files: int, size: int) -> Path:
    make_tree(work / "tree", files=files, size=size)
    with tarfile.open(work / "tree.tar", "w") as tar:
        tar.add(work / "tree", "environment")
    shutil.rmtree(work / "tree")
    return work / "tree.tar"


def measure(images: Images, work: Path, part: int, rounds: int) -> int:
    native = images.native(packed(work, FILES // part, SIZE // part), "print(1)")
    warm = work / "warm"
    images.protected(native, (), warm, warm)  # the launcher is there now
    tag = f"{images.prefix}/native:1"
    cases = {"nothing encrypted": (), "nearly everything encrypted": ("/opt/environment",)}
    found: dict[str, list[float]] = {}
    there: dict[str, list[float]] = {}
    peaks: dict[str, float] = {}
    for number in range(rounds):
        piped = shell(f"docker save {tag} | docker load")
        plain = shell(f"docker save {tag} -o {work}/saved.tar")
        images.engine.remove(tag)
        plain += shell(f"docker load -i {work}/saved.tar")
        (work / "saved.tar").unlink()
        for case, sealed in cases.items():
            images.engine.remove(f"{images.prefix}/protected:1")
            cache = work / f"cache-{number}"
            took, peak = in_a_process(partial(images.protected, native, sealed, cache, warm))
            found.setdefault(case, []).append(took / plain)
            there.setdefault(case, []).append(took / piped)
            peaks[case] = max(peak, peaks.get(case, 0))
            changed = images.native(work / "tree.tar", f"print({number + 2})")
            took, _ = in_a_process(partial(images.protected, changed, sealed, cache, warm))
            found.setdefault(f"{case}, one file changed", []).append(took / plain)
            native = images.native(work / "tree.tar", "print(1)")
            shutil.rmtree(cache)
        print(f"round {number + 1}: save and load {plain:.2f} s, {piped:.2f} s if it is there", file=sys.stderr)
    small = images.native(packed(work, 100, 1 << 20), "print(1)")
    _, least = in_a_process(lambda: images.protected(small, ("/opt/environment",), work / "small", warm))
    bad = 0
    for case, ratios in found.items():
        best = min(ratios)
        bad += best > GOAL
        print(f"assembly, {case}: {best:.2f} of docker save and docker load (goal: at most {GOAL})")
    for case, ratios in there.items():
        print(f"assembly, {case}: {min(ratios):.2f} of docker save | docker load of an image that is there")
    most = max(peaks.values())
    bad += most > MEMORY
    print(f"assembly, peak memory: {most:.0f} MB, and {least:.0f} MB for a small image (goal: at most {MEMORY} MB)")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
