"""Applies pairs of services that have the same name at the same time, and checks that each image has its own program.

Usage: python tests/nightly/pairs_of_builds.py [--pairs 200]

Needs the base image that SCONECTL_TEST_BASE_IMAGE names. Half of the builds use BuildKit, and half of the pairs give
both images the same name.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from e2e.name_pairs import Pair
from e2e.world import World


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        base, ca = os.environ["SCONECTL_TEST_BASE_IMAGE"], os.environ.get("SCONECTL_TEST_CA_BUNDLE", "")
        world = World(Path(name), base, ca)
        world.configure()
        pair = Pair(world)
        pair.make_base()
        try:
            for number in range(options.pairs):
                os.environ["DOCKER_BUILDKIT"] = str(number // 2 % 2)
                pair.together(number, same_tag=number % 2 == 1)
            print(f"{2 * options.pairs} images, each with its own program")
        finally:
            pair.close()
            world.close()


if __name__ == "__main__":
    main()
