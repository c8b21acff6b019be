"""What somebody tries who has the registry, or a container in the network, and no policy."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from .changed_bytes import put_back, taken
from .curated_mesh import NATIVE_CLIENT
from .world import World, docker, must

NOT_TRUSTED = "The program enclave is not trustworthy"
OWN_CERTIFICATE = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /tmp/own.key -out /tmp/own.crt "
    "-subj /CN=stranger 2>/dev/null\n"
)


@contextmanager
def another_under_the_tag(image: str) -> Iterator[None]:
    """Put another image under a tag: it is whole in itself, so that nobody but the CAS sees that it is another one."""
    kept, container = f"{image}-kept", must(docker("create", image)).out.strip()
    try:
        ((member, content),) = taken(container, "/scone/image/enclave.json").values()
        changed = content.replace(b'"heap": "', b'"heap": "1')
        assert changed != content
        put_back(container, "/scone/image", member, changed)
        must(docker("tag", image, kept))
        must(docker("commit", container, image))
        yield
    finally:
        docker("rm", "-f", container)
        docker("tag", kept, image)
        docker("rmi", kept)


def learns_nothing(world: World, config_id: str, secret: str = "any", network: str = "bridge") -> None:
    """Ask the CAS in a container of the network that has no policy: for a session, a secret, and as its program."""
    cas, session = f"https://{world.address}", config_id.rpartition("/")[0]
    claim = json.dumps({"config_id": config_id, "quote": {"toolchain": "sim", "measurement": "00" * 32}})
    asked = [
        [f"{cas}/session/{session}"],
        [f"{cas}/v1/sessions/{session}"],
        [f"{cas}/v1/values/session={session},secret={secret}"],
        ["--cert", "/tmp/own.crt", "--key", "/tmp/own.key", "-d", claim, f"{cas}/v1/sim/attest"],
    ]
    script = OWN_CERTIFICATE
    for line in asked:
        script += f"curl -sSk --max-time 20 -w '\\n%{{http_code}}\\n' {shlex.join(line)}\n"
    words = ("--rm", "--network", network, "--entrypoint", "sh", NATIVE_CLIENT, "-c", script)
    lines = must(docker("run", *words)).out.splitlines()
    refusals = [json.loads(line) for line in lines[::2]]
    assert [code[0] for code in lines[1::2]] == ["4"] * len(asked), lines
    assert all(refusal.keys() == {"msg", "version", "simulation"} for refusal in refusals), refusals
