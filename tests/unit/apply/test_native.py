"""The native part as a whole: sources in, an image out, in the order that the manifest promises."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from fakes.builders import SIM, service_text

from sconectl.apply import native
from sconectl.apply.native import NativeSources, build_native, collect_sources, complete_plan, sources_digest
from sconectl.errors import BuildFailed, PlanImpossible
from sconectl.image.build.native_build import BuildEnvironment, Wheel
from sconectl.manifest.model.genservice import GenService
from sconectl.manifest.reading.reader import read_manifest
from sconectl.plan.service.service import ServicePlan
from sconectl.ports import ImageInfo, Progress
from sconectl.usecases.check_service import check_service


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    for name in ("Main.java", "lib/b.jar", "lib/a.jar", "lib/notes.txt", "util/Tool.java", "main.py", "r.txt", "c.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"# {name}\n")
    (folder / "r.txt").write_text("-r c.txt\n")
    return folder


def collected(project: Path, **changes: Any) -> tuple[ServicePlan, NativeSources]:
    manifest = read_manifest(service_text(**changes), "service.yaml", {})
    assert isinstance(manifest.model, GenService)
    plan = check_service(manifest, mode="debug", bases={"python": "base:1", "java": "jdk:1"}, toolchain=SIM).planned()
    return plan, collect_sources(plan, project, manifest.document)


BASE = ImageInfo("sha256:base", "amd64", {})


class Engine:
    """An engine that keeps what it is asked to build."""

    def __init__(self, failure: BuildFailed | None = None) -> None:
        self.failure = failure
        self.files: dict[str, bytes] = {}

    def build(self, context: BinaryIO, base: ImageInfo, progress: Progress, *, name: str = "") -> str:
        assert (base, name) == (BASE, "sconectl-native/web:latest")
        if self.failure:
            raise self.failure
        with tarfile.open(fileobj=context) as tar:
            self.files = {member.name: (tar.extractfile(member) or io.BytesIO()).read() for member in tar}
        return "sha256:native"

    @property
    def steps(self) -> list[str]:
        return [line for line in self.files["Dockerfile"].decode().splitlines() if not line.startswith("ARG")]


def build(engine: Engine, plan: ServicePlan, sources: NativeSources, cache: Path) -> str:
    return build_native(
        plan,
        sources,
        BASE,
        engine=engine,  # type: ignore[arg-type]
        environment=BuildEnvironment(),
        cache=cache,
        progress=lambda _text: None,
        detail=lambda _text: None,
    )


def test_a_python_program(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / "demo-1-py3-none-any.whl"
    wheel.write_bytes(b"a wheel")
    asked: list[Any] = []

    def obtain(*given: Any) -> tuple[Wheel, ...]:
        asked.append(given)
        return (Wheel(wheel, "ab"),)

    monkeypatch.setattr(native, "obtain_wheels", obtain)
    plan, sources = collected(project, copy=["main.py", "lib"], requirements="r.txt", run=["echo 1\n&& echo 2\n"])
    engine = Engine()
    assert build(engine, plan, sources, tmp_path) == "sha256:native"
    assert complete_plan(plan, sources) is plan
    assert asked[0][1] == BASE and sorted(asked[0][2].files) == ["c.txt", "r.txt"]
    assert [step.split()[0] for step in engine.steps] == ["FROM", "USER", "ADD", "WORKDIR", "RUN", "ADD", "RUN"]
    assert json.loads(engine.steps[-1].removeprefix("RUN ")) == ["/bin/sh", "-c", "echo 1 && echo 2"]


def test_a_java_program(project: Path, tmp_path: Path) -> None:
    plan, sources = collected(
        project, kind="java", copy=["lib/b.jar", "*.java", "util", "lib"], command="java -Xmx64m Main", pwd="/app"
    )
    assert [file.path for file in sources.java] == ["/app/Main.java", "/app/util/Tool.java"]
    assert [file.path for file in sources.files if file.source] == [
        *("/app/lib/a.jar", "/app/lib/b.jar", "/app/lib/notes.txt"),
    ]
    assert complete_plan(plan, sources).command == "java -cp /app:/app/lib/b.jar:/app/lib/a.jar -Xmx64m Main"
    engine = Engine()
    build(engine, plan, sources, tmp_path)
    step = json.loads(engine.steps[-2].removeprefix("RUN "))
    assert step[step.index("-cp") + 1] == "/app:/app/lib/b.jar:/app/lib/a.jar"


def test_sources_of_another_kind_are_files(project: Path) -> None:
    _, sources = collected(project, copy=["Main.java"])
    assert [file.path for file in sources.files] == ["/app/Main.java"]
    assert sources.java == ()


@pytest.mark.parametrize("name", ["a:b.jar", "$$SCONE::x$$.jar", "{{x}}.jar"])
def test_names_that_a_class_path_cannot_hold(project: Path, name: str) -> None:
    (project / "lib" / name).write_text("x")
    with pytest.raises(PlanImpossible) as caught:
        collected(project, kind="java", copy=["Main.java", "lib"], command="java Main")
    (finding,) = caught.value.findings
    assert finding.path == "build.copy[1]"
    assert "class path" in finding.message


@pytest.mark.parametrize(
    ("output", "hint"),
    [
        ('Step 9/9 : RUN ["env", "LC_ALL=C.UTF-8", "javac", "-d"]\nMain.java:1: error', "correct the sources"),
        ('Step 9/9 : RUN ["/bin/sh", "-c", "false"]\n"javac"', "as the engine says"),
    ],
)
def test_errors_of_the_compiler(project: Path, tmp_path: Path, output: str, hint: str) -> None:
    plan, sources = collected(project, kind="java", copy=["Main.java"], command="java Main")
    with pytest.raises(BuildFailed) as caught:
        build(Engine(BuildFailed("failed", hint="as the engine says", output=output)), plan, sources, tmp_path)
    assert hint in caught.value.hint


def test_the_digest_follows_from_the_content(project: Path, tmp_path: Path) -> None:
    def digest(**changes: Any) -> str:
        return sources_digest(collected(project, copy=["lib"], **changes)[1], tmp_path / "cache")

    first, asked = digest(), digest(requirements="r.txt")
    java = digest(kind="java", command="java Main")
    assert len({first, asked, java}) == 3
    (project / "c.txt").write_text("other")
    assert digest() == first
    assert digest(requirements="r.txt") != asked
    (project / "lib/notes.txt").write_text("other")
    assert digest() != first
