"""An application of examples/ on one machine: built by the installed command, run as its chart says, attacked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .changed_bytes import flip_file
from .confidential import address_of
from .curated_mesh import NATIVE_CLIENT, CuratedMesh, a_network, require_images
from .world import REPOSITORY, Outcome, World, docker, inspected, logs, must, run

REFUSED = 125


@dataclass
class Application(CuratedMesh):
    """An example, copied into a workspace, with image names of its own."""

    example: str = ""

    @property
    def folder(self) -> Path:
        return self.world.root / self.example

    def image(self, service: str) -> str:
        return f"{self.prefix}/{service}:1"

    @property
    def prefix(self) -> str:
        return self.world.prefix(self.example)

    def copy(self) -> None:
        shutil.copytree(REPOSITORY / "examples" / self.example, self.folder)
        for file in self.folder.glob("*.yaml"):
            file.write_text(file.read_text().replace("sconectl-demo/", f"{self.prefix}/"))

    def apply(self, *words: str) -> Outcome:
        """Build what is missing, and apply."""
        services = [word for file in sorted(self.folder.glob("*service.yaml")) for word in ("-f", file)]
        more = ("-n", "--release", self.release, "--set", f"CAS_URL={self.world.address}", *words)
        return must(self.world.sconectl("apply", *services, "-f", self.folder / "mesh.yaml", *more))

    def config_id(self, service: str) -> str:
        [container] = self.pods[service]["containers"]
        return str({entry["name"]: entry["value"] for entry in container["env"]}["SCONE_CONFIG_ID"])

    @contextmanager
    def kept_up(self) -> Iterator[None]:
        """Start a running service again that ended by itself, as a platform does: one may wait in vain for another."""
        names = list(self.running.values())
        must(docker("update", "--restart", "on-failure", *names))
        yield
        must(docker("update", "--restart", "no", *names))

    # --- who uses it ------------------------------------------------------------------------------------------------

    def certificate_of(self, session: str, secret: str, place: Path) -> Path:
        """Ask the CAS for a certificate that everybody may have, as the documents say."""
        url = f"https://{self.world.address}/v1/values/session={session}"
        answer = must(run(["curl", "-sSk", "--max-time", "20", url])).out
        place.write_text(json.loads(answer)["values"][secret]["value"])
        return place

    def curl(self, service: str, port: int, host: str, *words: str | Path) -> Outcome:
        """Send a request to a running service under a host name."""
        resolve = f"{host}:{port}:{address_of(self.running[service])}"
        return run(["curl", "-sS", "--max-time", "30", "--resolve", resolve, *words])

    # --- who attacks it ---------------------------------------------------------------------------------------------

    def stranger(self, command: str, *, mounts: Sequence[str] = (), user: str = "1000") -> Outcome:
        """Run a shell command in a container of the same network that has no policy, by its operator."""
        mounted = [word for mount in mounts for word in ("-v", mount)]
        words = ["--rm", "--network", self.network, "--user", user, *mounted, "--entrypoint", "timeout", NATIVE_CLIENT]
        return docker("run", *words, "25", "sh", "-c", command)

    def storage_shell(self, claim: str, script: str, other: str = "") -> str:
        """Run a script as somebody who can do everything with a service's storage, which is at /s (another at /o)."""
        mounts = ["-v", f"{self.storage(claim)}:/s", *(["-v", f"{other}:/o"] if other else [])]
        words = ("--rm", "--user", "0", *mounts, "--entrypoint", "sh", NATIVE_CLIENT, "-ec", script)
        return must(docker("run", *words)).out

    def plain_anywhere(self, claim: str, *texts: str) -> list[str]:
        """Return the files of a storage that hold one of the texts; there are files in it."""
        search = " ".join(f"-e '{text}'" for text in texts)
        found = self.storage_shell(claim, f"find /s -type f | wc -l; grep -rlF {search} /s || :").split()
        assert int(found[0]) > 1, found
        return found[1:]

    def refused_when_changed(self, service: str, path: str) -> None:
        """Change one byte of the image: it does not start, and says which file it was."""
        container = self.create(service, read_only=False)
        flip_file(container, path)
        must(docker("start", container))
        code, log = self.world.finish(container)
        assert code == REFUSED and f"changed: {path}" in log, log

    def not_started(self, service: str) -> str:
        """Start a service that must not come up; return what it says."""
        container = self.create(service)
        must(docker("start", container))
        code, log = self.world.finish(container)
        assert code == REFUSED, log
        return log

    def seen_by_operator(self, service: str) -> str:
        """Return all that the engine tells of a running container: its description, log, files and variables."""
        container = self.running[service]
        return json.dumps(inspected(container)) + logs(container) + must(docker("exec", container, "env")).text

    def edited_by_a_shell(self, service: str) -> None:
        """Change a protected file in a running container, as its root: it does not start again; start another."""
        container = self.running.pop(service)
        must(docker("exec", "-u", "0", container, "sh", "-c", "echo changed >>/etc/debian_version"))
        must(docker("restart", "-t", "5", container))
        code, log = self.world.finish(container)
        assert code == REFUSED and "changed: /etc/debian_version" in log, log
        self.start(service)


@contextmanager
def an_application(world: World, example: str, release: str = "demo") -> Iterator[Application]:
    """Copy and apply an example; take away what was started of it. Images that its README has built are taken."""
    require_images(world)
    world.start_cas()
    with a_network() as network:
        app = Application(world, network, release, example=example)
        app.copy()
        app.apply()
        try:
            yield app
        finally:
            world.remove_containers()
            made = must(docker("volume", "ls", "-q", "--filter", f"name=sconectl-test-{app.mark}")).out.split()
            docker("volume", "rm", "-f", *made) if made else None
