"""Kills `sconectl apply` at random moments, and checks that the next one succeeds and nothing is left behind.

Usage: python tests/nightly/kill_apply.py [--kills 100] [--seed N]

Needs the base image that SCONECTL_TEST_BASE_IMAGE names. Half of the builds use BuildKit. After each kill -9, the next
apply of the same input succeeds, the one after it does nothing, no temporary file, container or image is left, and the
image is the one that an apply without a kill makes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from e2e.world import SCONECTL, World, docker, must

LABEL = "io.sconectl.temporary"


def project(world: World, number: int) -> Path:
    """Write a service whose source is new, so that there is something to do."""
    folder = world.root / "project"
    folder.mkdir(exist_ok=True)
    (folder / "main.py").write_text(f"print({number})\n")
    build = {
        "name": f"kill-{world.name}", "kind": "python", "to": world.image("kill"), "command": "python3 /app/main.py",
        "pwd": "/app", "copy": ["main.py"], "run": ["cp main.py copy.py"], "dirs": ["/app"],
    }  # fmt: skip
    document = {"apiVersion": "scone/5.8", "kind": "genservice", "build": build, "environment": {}}
    (folder / "service.yaml").write_text(json.dumps(document))
    return folder / "service.yaml"


def command(file: Path) -> list[str]:
    return [str(SCONECTL), "apply", "-f", str(file), "-n", "--cas", "local"]


def apply(world: World, file: Path, environment: dict[str, str]) -> tuple[str, float]:
    """Run an apply to its end; return what it printed, and how long it took."""
    begun = time.monotonic()
    done = subprocess.run(
        command(file), env=environment, cwd=world.root, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    return done.stdout, time.monotonic() - begun


def leftovers(world: World, temporary: Path) -> list[str]:
    containers = must(docker("ps", "--all", "--filter", f"label={LABEL}", "--format", "{{.ID}}")).out.split()
    images = must(docker("images", "--all", "--filter", f"label={LABEL}", "--format", "{{.ID}}")).out.split()
    made = must(docker("images", "--format", "{{.Repository}}:{{.Tag}}")).out.split()
    half = [name for name in made if name.startswith("sconectl-from/")]
    parts = [str(path) for path in world.root.rglob(".sconectl-*")]
    return [*containers, *images, *half, *(path.name for path in temporary.iterdir()), *parts]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    print(f"{options.kills} kills, seed {options.seed}", flush=True)
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        base, ca = os.environ["SCONECTL_TEST_BASE_IMAGE"], os.environ.get("SCONECTL_TEST_CA_BUNDLE", "")
        world = World(root / "world", base, ca)
        world.configure()
        temporary = root / "tmp"
        temporary.mkdir()
        environment = {**world.environment, "TMPDIR": str(temporary)}
        try:
            _, seconds = apply(world, project(world, -1), environment)
            _, seconds = apply(world, project(world, -2), environment)
            killed = 0
            for number in range(options.kills):
                file = project(world, number)
                environment["DOCKER_BUILDKIT"] = str(number % 2)
                begun = subprocess.Popen(
                    command(file), env=environment, cwd=world.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
                time.sleep(moments.uniform(0, seconds * 1.1))
                begun.kill()
                killed += begun.wait() != 0
                apply(world, file, environment)
                again, _ = apply(world, file, environment)
                assert "unchanged" in again and ": built" not in again, again
                assert leftovers(world, temporary) == [], leftovers(world, temporary)
            print(f"{killed} of {options.kills} runs were killed before their end; all next ones succeeded")
        finally:
            docker("rmi", "--force", f"sconectl-native/kill-{world.name}")
            world.close()


if __name__ == "__main__":
    main()
