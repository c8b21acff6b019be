"""examples/flask-sconify: an image that exists, converted by the seed's commands; more is in test_sconify_seed.py."""

from __future__ import annotations

import shutil

import pytest

from .readme_walk import walk
from .world import World, free_port


@pytest.mark.shows("000.native", "000.compose", "000.other_command", "attack.environment.000", "attack.arguments.000")
def test_the_readme(walker: World) -> None:
    if not shutil.which("docker-compose"):
        pytest.skip("there is no docker-compose; `make test` installs it where Debian packages can be had")
    port = free_port("127.0.0.1")  # other tests have containers at the port of the README
    walk(
        walker,
        "flask-sconify",
        {
            "native_flask_restapi_image": f"sconectl-test/{walker.name}-native",
            "127.0.0.1:4996:4996": f"127.0.0.1:{port}:4996",
            "https://api:4996": f"https://api:{port}",
            "--resolve api:4996:": f"--resolve api:{port}:",
        },
    )
