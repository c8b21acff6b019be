"""A registry on this machine that tells what it was asked."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from .world import free_port

_ACCESS = re.compile(r'"((?:GET|HEAD|POST|PUT|PATCH|DELETE) /\S*) HTTP/1\.[01]" (\d+)')


@dataclass(frozen=True)
class Registry:
    """Where it listens, and its access log."""

    address: str
    log: Path

    def requests(self) -> list[str]:
        """Return all requests so far, like `PUT /v2/… 201`, without their queries."""
        found = _ACCESS.findall(self.log.read_text())
        return [f"{request.partition('?')[0]} {status}" for request, status in found]

    def uploads(self) -> int:
        """Return how many blobs were uploaded so far."""
        return sum(bool(re.match(r"PUT /v2/.*/blobs/uploads/.* 201", request)) for request in self.requests())


@contextmanager
def running_registry(folder: Path, options: str = "") -> Iterator[Registry]:
    """Run a registry with its data in `folder`; `options` are further lines of its configuration."""
    program = shutil.which("docker-registry") or shutil.which("registry")
    if program is None:
        pytest.skip("docker-registry is not installed; `make test` installs it on Debian")
    address = f"127.0.0.1:{free_port('127.0.0.1')}"
    config = folder / "registry.yml"
    config.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}/registry}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '{address}'}}\n{options}"
    )
    log = folder / "registry.log"
    with log.open("w") as output:
        process = subprocess.Popen([program, "serve", str(config)], stdout=output, stderr=output)
        try:
            _wait_for(address)
            yield Registry(address, log)
        finally:
            process.terminate()
            process.wait(10)


def _wait_for(address: str) -> None:
    for _ in range(600):
        try:
            httpx.get(f"http://{address}/v2/")
            return
        except httpx.HTTPError:
            time.sleep(0.1)
