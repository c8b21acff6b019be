"""examples/two-cases: what an image is, and where it may run, is in one CAS, and the application in another."""

from __future__ import annotations

import re

import pytest

from .readme_walk import walk
from .world import World, free_port, gateway

CHECKSUM = re.compile(r"^The checksum of the password is '([0-9a-f]{16})'\.$", re.M)


@pytest.mark.shows("cas.two", "cas.apart", "cas.rules")
def test_the_readme(walker: World) -> None:
    host = gateway()
    said = walk(walker, "two-cases", {"172.17.0.1:8083": f"{host}:{free_port(host)}"})
    checksums = CHECKSUM.findall("".join(said.values()))
    assert len(checksums) == 3 and len(set(checksums)) == 1, said
