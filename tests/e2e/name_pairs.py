"""Two services that have the same `build.name`, applied at the same time: each image must hold its own program."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .bad_inputs import member, tiny_program
from .world import SCONECTL, World, docker, must


def import_image(name: str, files: dict[str, bytes], *changes: str) -> str:
    """Make an image of one layer with these files, and return its id. `changes` are lines of a Dockerfile."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for path, content in files.items():
            info, _ = member(path, content)
            tar.addfile(info, io.BytesIO(content))
    words = [word for change in changes for word in ("--change", change)]
    done = subprocess.run(
        ["docker", "import", *words, "-", name], input=data.getvalue(), capture_output=True, check=True
    )
    return done.stdout.decode().strip()


def file_of(image: str, path: str) -> bytes:
    """Return a file of an image."""
    container = must(docker("create", image, "-")).out.strip()
    try:
        done = subprocess.run(["docker", "cp", f"{container}:{path}", "-"], capture_output=True, check=True)
    finally:
        docker("rm", "-f", container)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        content = tar.extractfile(tar.getmembers()[0])
        assert content is not None
        return content.read()


@dataclass
class Pair:
    """Two projects of one user, with one base image of a few bytes."""

    world: World

    @property
    def base(self) -> str:
        return f"sconectl-test/{self.world.name}-base:1"

    @cached_property
    def base_id(self) -> str:
        return import_image(self.base, {"bin/program": tiny_program(), "etc/origin": b"the base image"})

    def make_base(self) -> None:
        """Give the base image its name, which a test may have given to another one."""
        must(docker("tag", self.base_id, self.base))

    def project(self, which: str, program: str, image: str, **build: object) -> Path:
        """Write a project whose image has `program` as a file, and return its directory."""
        folder = self.world.root / f"project-{which}"
        folder.mkdir(exist_ok=True)
        (folder / "main.txt").write_text(program)
        about = {
            "name": f"pair-{self.world.name}", "kind": "python", "from": self.base, "to": image, "copy": ["main.txt"],
            "pwd": "/app", "command": "/bin/program", **build,
        }  # fmt: skip
        document = {"apiVersion": "scone/5.8", "kind": "genservice", "build": about, "environment": {}}
        (folder / "service.yaml").write_text(json.dumps(document))
        (folder / "sconectl.toml").write_text((self.world.root / "sconectl.toml").read_text())
        return folder

    def recorded(self, folder: Path) -> str:
        """Return the id of the image that an apply says it made."""
        [file] = (folder / "target" / "images").glob("*.json")
        return str(json.loads(file.read_text())["image_id"])

    def together(self, number: int, *, same_tag: bool) -> None:
        """Apply both at the same time, and check both images."""
        programs = {which: f"program {which} of pair {number} in {self.world.name}\n" for which in "ab"}
        folders = {
            which: self.project(which, program, self.world.image("both" if same_tag else which))
            for which, program in programs.items()
        }
        running = {which: self.start(folder) for which, folder in folders.items()}
        for which, process in running.items():
            _, err = process.communicate(timeout=300)
            assert process.returncode == 0, f"{which} of pair {number}: {err}"
        for which, folder in folders.items():
            found = file_of(self.recorded(folder), "/app/main.txt").decode()
            assert found == programs[which], f"pair {number}: the image of {which} has {found!r}"

    def start(self, folder: Path) -> subprocess.Popen[str]:
        words = [str(SCONECTL), "apply", "-f", "service.yaml", "-n", "--cas", "local"]
        return subprocess.Popen(
            words, cwd=folder, env=self.world.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def close(self) -> None:
        """Remove the images."""
        for image in (
            self.base_id,
            self.base,
            f"sconectl-native/pair-{self.world.name}",
            *map(self.world.image, ("both", "a", "b")),
        ):
            docker("rmi", "-f", image)
