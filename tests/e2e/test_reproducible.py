"""Two colleagues with the same inputs make the same image: another engine, day, folder, umask and time zone."""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .second_engine import Engine, available, second_engine
from .world import SCONECTL, World, docker, inspected, must, run

JDK = "sconectl-base/jdk:slim-bookworm"
NATIVE = "sconectl-test-image/nginx"
RUN = """
    - mkdir -p /opt/made && date +%H >/dev/null && cp -r data /opt/made/copy && ln -s ../made/copy /opt/made/link
    - python3 -m compileall -q main.py && touch /opt/made/copy/one && rm -rf __pycache__ /opt/made/copy/two
"""
SERVICES = {
    "python": """
  kind: python
  command: python3 main.py
  copy: [main.py, data, run.sh]
  requirements: requirements.txt
  dirs: [/app/data]
  run:"""
    + RUN,
    "java": """
  kind: java
  command: java Main
  copy: [Main.java]
""",
    "sconified": f"""
  kind: sconify_image
  from: {NATIVE}
  command: /docker-entrypoint.sh nginx -g 'daemon off;'
  dirs: [/srv/www, /etc/nginx]
""",
}
SOURCES = {
    "main.py": "import humanize\nprint(humanize.intcomma(1000000))\n",
    "requirements.txt": "humanize==4.9.0\n",
    "data/one": "one\n",
    "data/two": "two\n" * 100_000,
    "run.sh": "#!/bin/sh\nexec python3 main.py\n",
    "Main.java": (
        "public class Main {\n  record Inner(int number) {}\n"
        "  public static void main(String[] a) { System.out.println(new Inner(7)); }\n}\n"
    ),
}


@dataclass(frozen=True)
class Colleague:
    """Somebody with a checkout; `before` are words that start a program in the colleague's circumstances."""

    root: Path
    host: str
    before: Sequence[str]
    variables: dict[str, str]

    def check_out(self, images: dict[str, str], *, age: int) -> None:
        folder = self.root / "project"
        for name, text in SOURCES.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(0o755 if name == "run.sh" else 0o644)
            file.parent.chmod(0o755)
            os.utime(file, (time.time(), time.time() - age))
        for name, rest in SERVICES.items():
            head = f"apiVersion: scone/5.8\nkind: genservice\nbuild:\n  name: {name}\n  to: {images[name]}\n  pwd: /app"
            (folder / f"{name}.yaml").write_text(f"{head}{rest}environment: {{}}\n")

    def build(self, name: str, world: World) -> None:
        environment = {**world.environment, **self.variables, "XDG_CACHE_HOME": str(self.root / "cache")}
        environment |= {"XDG_DATA_HOME": str(self.root / "data"), "TMPDIR": str(self.root / "tmp")}
        environment |= {"DOCKER_HOST": self.host} if self.host else {}
        environment.pop("DOCKER_BUILDKIT", None)
        (self.root / "tmp").mkdir(exist_ok=True)
        words: list[str | Path] = [*self.before, SCONECTL, "apply", "-n", "--cas", "local"]
        words += ["--base-image", f"python={world.base_image}", "--base-image", f"java={JDK}"]
        must(run([*words, "-f", self.root / "project" / f"{name}.yaml"], env=environment, cwd=world.root))


@pytest.fixture(scope="module")
def other_engine(base_image: str) -> Iterator[Engine]:
    """A second engine that has the base images and nothing else; it builds with BuildKit."""
    if reason := available():
        pytest.skip(f"two engines are needed: {reason}")
    missing = [image for image in (JDK, NATIVE) if docker("image", "inspect", image).code != 0]
    if missing:
        pytest.skip(f"there is no image {missing[0]}; `make test` makes it where Debian packages can be had")
    with second_engine(Path(f"/tmp/sconectl-{uuid.uuid4().hex[:8]}"), network=True, features="buildkit") as engine:
        engine.take(base_image, JDK, NATIVE)
        yield engine
        engine.kill()  # stopping it in order takes longer


@dataclass(frozen=True)
class Twins:
    """The colleagues, and the second one's engine; both give their images the same names."""

    world: World
    first: Colleague
    second: Colleague
    engine: Engine

    def build(self, name: str) -> tuple[Any, Any]:
        """Build an image twice; return what the engines say of the two."""
        self.first.build(name, self.world)
        keys = Path("data", "sconectl", "keys")
        shutil.copytree(self.first.root / keys, self.second.root / keys, dirs_exist_ok=True)
        self.second.build(name, self.world)
        image = self.world.image(name)
        return inspected(image), json.loads(must(self.engine.docker("inspect", image)).out)[0]


@pytest.fixture(scope="module")
def twins(
    tmp_path_factory: pytest.TempPathFactory, base_image: str, ca_bundle: str, other_engine: Engine
) -> Iterator[Twins]:
    world = World(tmp_path_factory.mktemp("world"), base_image, ca_bundle)
    world.configure()
    another_day = ["faketime", "-f", "+29h"] if shutil.which("faketime") else []
    first = Colleague(tmp_path_factory.mktemp("ann"), "", ["sh", "-c", 'umask 022; exec "$@"', "sh"], {"TZ": "UTC"})
    second = Colleague(
        tmp_path_factory.mktemp("bob") / "a folder",
        other_engine.host,
        ["sh", "-c", 'umask 077; exec "$@"', "sh", *another_day],
        {"TZ": "Pacific/Apia", "LC_ALL": "C", "PYTHONHASHSEED": "1"},
    )
    names = {name: world.image(name) for name in SERVICES}
    first.check_out(names, age=0)
    second.check_out(names, age=100_000)
    yield Twins(world, first, second, other_engine)
    world.close()


@pytest.mark.parametrize("name", SERVICES)
def test_two_colleagues_make_the_same_image(twins: Twins, name: str) -> None:
    one, two = twins.build(name)
    assert one["RootFS"]["Layers"] == two["RootFS"]["Layers"]
    assert one["Config"] == two["Config"]
    assert one["Id"] == two["Id"]
    if name != "sconified":
        made = must(twins.engine.docker("history", "--format", "{{.Comment}}", f"sconectl-native/{name}")).out
        assert "buildkit" in made
