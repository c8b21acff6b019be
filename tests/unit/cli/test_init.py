"""`sconectl init`: what it sees in a directory, and that what it writes is valid as it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.engine import PYTHON, FakeEngine

from sconectl.cli.wiring import Wiring
from sconectl.errors import EngineUnreachable
from sconectl.manifest.model.genservice import GenService
from sconectl.manifest.model.mesh import Mesh
from sconectl.manifest.reading.reader import read_manifest
from sconectl.starter.init_sources import Variable

from .conftest import Outcome, Run

PROGRAM = """
import os
from helpers_of_mine import greeting

print(os.environ["WHOM"], os.environ.get("MOOD", "good"), os.getenv('API_KEY'), os.environ["HOME"])
print(open("words.txt").read(), open("templates/page.html").read())

if __name__ == "__main__":
    print(greeting)
"""
JAVA = """
package main.java;

public class Shop {
    public static void main(String[] arguments) {
        System.out.println(System.getenv("SHOP_NAME") + System.getenv("DB_PASSWORD"));
    }
}
"""
DOCKERFILE = """
FROM golang:1 AS build
CMD ["wrong"]

FROM debian:12
# ENTRYPOINT ["not", "this"]
WORKDIR /srv
WORKDIR app
ENTRYPOINT ["/srv/app/shop", \\
            "--port"]
CMD ["80 80"]
"""


def read(folder: Path) -> tuple[GenService, Mesh]:
    service = read_manifest((folder / "service.yaml").read_text(), "service.yaml", {})
    mesh = read_manifest((folder / "mesh.yaml").read_text(), "mesh.yaml", {})
    assert not service.warnings
    assert not mesh.warnings
    assert isinstance(service.model, GenService)
    assert isinstance(mesh.model, Mesh)
    return service.model, mesh.model


def validated(run: Run, folder: Path) -> Outcome:
    done = run("validate", "-f", folder / "service.yaml", "-f", folder / "mesh.yaml")
    assert done.code == 0, done.err + done.out
    return done


@pytest.fixture
def python(project: Path) -> Path:
    folder = project / "Hello World"
    (folder / "templates").mkdir(parents=True)
    (folder / "tests").mkdir()
    (folder / "__pycache__").mkdir()
    (folder / "templates/page.html").write_text("<p>")
    (folder / "words.txt").write_text("a")
    (folder / "unused.txt").write_text("a")
    (folder / "secret.pem").write_text("a")
    (folder / "helpers_of_mine.py").write_text("greeting = 'hello'\n")
    (folder / "tests/test_it.py").write_text("import os; os.environ['TESTING']\n")
    (folder / "say.py").write_text(PROGRAM)
    (folder / "requirements.txt").write_text("humanize\n")
    return folder


@pytest.fixture
def java(project: Path) -> Path:
    folder = project / "shop"
    (folder / "main/java").mkdir(parents=True)
    (folder / "lib").mkdir()
    (folder / "main/java/Shop.java").write_text(JAVA)
    (folder / "lib/json.jar").write_bytes(b"PK")
    (folder / "extra.jar").write_bytes(b"PK")
    return folder


@pytest.fixture
def docker(project: Path) -> Path:
    folder = project / "native"
    folder.mkdir()
    (folder / "Dockerfile").write_text(DOCKERFILE)
    return folder


@pytest.mark.parametrize("kind", ["python", "java", "docker"])
def test_what_it_writes_is_valid_as_it_is(run: Run, kind: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(kind)
    assert run("init", folder).code == 0
    read(folder)
    validated(run, folder)


def test_a_python_program(run: Run, python: Path) -> None:
    done = run("init", python)
    assert done.code == 0, done.err
    assert "service.yaml: written\n" in done.out
    assert "next: sconectl validate -f" in done.out
    assert "fill in the values in mesh.yaml: WHOM" in done.err
    service, mesh = read(python)
    build = service.build
    assert (build.name, build.kind, build.to) == ("hello-world", "python", "hello-world:1")
    assert (build.command, build.pwd) == ("python3 say.py", "/app")
    assert build.requirements == "requirements.txt"
    assert build.copied == ("helpers_of_mine.py", "say.py", "templates", "words.txt")
    local = {variable.name: variable.value for variable in service.environment.local}
    assert local == {
        "SCONE_HEAP": "256M",
        "SCONE_ALLOW_DLOPEN": "1",
        "API_KEY": "$$SCONE::hello-world-api-key$$",
    }
    assert {variable.name: variable.value for variable in service.environment.global_} == {"MOOD": "good", "WHOM": None}
    assert [(secret.name, secret.kind) for secret in service.secrets.global_] == [("hello-world-api-key", "ascii")]
    assert mesh.policy.namespace == "hello-world"
    assert [(one.name, one.image) for one in mesh.services] == [("hello-world", "hello-world:1")]
    assert [value.name for section in mesh.env for value in section.env] == ["WHOM"]


def test_a_java_program(run: Run, java: Path) -> None:
    done = run("init", java, "--name", "till", "--to", "registry.example.org/till:2")
    assert done.code == 0, done.err
    build = read(java)[0].build
    assert (build.name, build.kind, build.to) == ("till", "java17", "registry.example.org/till:2")
    assert build.command == "java main.java.Shop"
    assert build.copied == ("main", "extra.jar", "lib/*.jar")
    assert [secret.name for secret in read(java)[0].secrets.global_] == ["till-db-password"]
    assert run("init", java, "--kind", "java21", "--force").code == 0
    assert read(java)[0].build.kind == "java21"


def test_a_dockerfile_comes_first(run: Run, docker: Path) -> None:
    (docker / "say.py").write_text(PROGRAM)
    done = run("init", docker)
    assert done.code == 0, done.err
    build = read(docker)[0].build
    assert (build.kind, build.base, build.copied) == ("sconify_image", "native-native:1", ())
    assert (build.command, build.pwd) == ("/srv/app/shop --port '80 80'", "/srv/app")
    assert "next: docker build -t native-native:1" in done.out
    assert "target/" in (docker / ".dockerignore").read_text()
    assert run("init", docker, "--kind", "python", "--force").code == 0
    assert read(docker)[0].build.kind == "python"


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ('CMD ["python", "-u", "app.py"]', "python -u app.py"),
        ("CMD python -u app.py", "python -u app.py"),
        ("CMD python app.py && echo done", "/bin/sh -c 'python app.py && echo done'"),
        ("cmd exec app 'open", "/bin/sh -c 'exec app '\"'\"'open'"),
        ('ENTRYPOINT ["a"]\nCMD ["b"]\nENTRYPOINT ["c"]', "c"),
        ("RUN x", "/path/to/program argument"),
    ],
)
def test_the_command_of_a_dockerfile(run: Run, docker: Path, line: str, command: str) -> None:
    (docker / "Dockerfile").write_text(f"FROM debian:12\n{line}\n")
    done = run("init", docker)
    assert done.code == 0
    assert read(docker)[0].build.command == command
    assert ("the Dockerfile names no command" in done.err) == (line == "RUN x")


def test_an_existing_ignore_file_is_kept(run: Run, docker: Path) -> None:
    (docker / ".dockerignore").write_text("mine\n")
    assert run("init", docker, "--force").code == 0
    assert (docker / ".dockerignore").read_text() == "mine\n"


def test_an_image_that_the_engine_knows(run: Run, project: Path, engine: FakeEngine) -> None:
    config = {"Entrypoint": ["/usr/bin/redis"], "Cmd": ["--port", "6379"], "WorkingDir": "/data"}
    engine.images["docker.io/library/redis:7"] = replace(PYTHON, info=replace(PYTHON.info, config=config))
    done = run("init", "--from", "docker.io/library/redis:7")
    assert done.code == 0, done.err
    build = read(project)[0].build
    assert (build.name, build.kind, build.base) == ("redis", "sconify_image", "docker.io/library/redis:7")
    assert (build.command, build.pwd) == ("/usr/bin/redis --port 6379", "/data")
    validated(run, project)
    assert not (project / ".dockerignore").exists()


def test_an_image_without_an_engine(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(_self: Wiring) -> Any:
        raise EngineUnreachable("no engine answers")

    monkeypatch.setattr(Wiring, "engine", property(unreachable))
    done = run("init", "--from", "redis:7")
    assert done.code == 0, done.err
    assert "redis:7 is not on this machine: put its command line into build.command" in done.err
    assert "put the command line here" in (project / "service.yaml").read_text()
    validated(run, project)


# --- files that exist -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["service.yaml", "mesh.yaml"])
def test_never_overwrites(run: Run, python: Path, file: str) -> None:
    (python / file).write_text("mine")
    before = sorted(python.iterdir())
    done = run("init", python)
    assert done.code == 2
    assert f"{file} already exists; nothing was written" in done.err
    assert "--force" in done.err
    assert sorted(python.iterdir()) == before
    assert (python / file).read_text() == "mine"


def test_a_link_counts_as_a_file(run: Run, python: Path, tmp_path: Path) -> None:
    (python / "mesh.yaml").symlink_to(tmp_path / "elsewhere")
    assert run("init", python).code == 2
    assert run("init", python, "--force").code == 0
    assert not (tmp_path / "elsewhere").exists()
    assert not (python / "mesh.yaml").is_symlink()


def test_the_same_directory_gives_the_same_bytes(run: Run, python: Path) -> None:
    assert run("init", python).code == 0
    first = {path.name: path.read_bytes() for path in python.glob("*.yaml")}
    assert run("init", python, "--force").code == 0
    assert {path.name: path.read_bytes() for path in python.glob("*.yaml")} == first


# --- what it refuses, and what it leaves out ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing"], "missing is not a directory"),
        ([], "there is no Python or Java program and no Dockerfile here"),
        (["--kind", "pyhton"], "did you mean python?"),
        (["--kind", "python"], "there is no Python file here"),
        (["--kind", "java17"], "there is no Java file here"),
        (["--kind", "sconify_image"], "there is no Dockerfile here"),
        (["--from", "a b"], "--from: expected an image reference"),
        (["--from", "redis:7", "--kind", "python"], "--from converts an image as it is"),
        (["--from", "redis:7", "--to", "A B"], "--to: expected an image reference"),
        (["--from", "redis:7", "--name", "My Shop"], "write --name my-shop"),
    ],
)
def test_a_wrong_command_line(run: Run, project: Path, words: list[str], message: str) -> None:
    done = run("init", *words)
    assert done.code == 2
    assert message in done.err
    assert not list(project.iterdir())


def test_nothing_outside_of_the_directory_is_looked_at(run: Run, python: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/more.py").write_text("import os; os.environ['OUTSIDE']\n")
    (python / "linked").symlink_to(tmp_path / "outside")
    (python / "link.py").symlink_to(tmp_path / "outside/more.py")
    (python / "$HOME.py").write_text("import os; os.environ['ODD']\n")
    assert run("init", python).code == 0
    text = (python / "service.yaml").read_text()
    assert "OUTSIDE" not in text
    assert "linked" not in text
    assert "link.py" not in text
    assert "ODD" not in text


@pytest.mark.parametrize("name", ['it\'s: a "test" #1.py', "- x.py", "ünï.py", "yes.py", "{a}.py"])
def test_odd_names_are_quoted(run: Run, project: Path, name: str) -> None:
    (project / name).write_text("print(1)\n")
    assert run("init").code == 0
    build = read(project)[0].build
    assert build.copied == (name,)


@pytest.mark.parametrize(
    ("files", "command", "ambiguous"),
    [
        ({"a.py": "", "main.py": ""}, "python3 main.py", False),
        ({"a.py": 'if __name__ == "__main__":\n', "b.py": ""}, "python3 a.py", False),
        ({"a.py": "", "b.py": ""}, "python3 a.py", True),
        ({"pkg/__main__.py": "", "pkg/__init__.py": ""}, "python3 -m pkg", False),
        ({"only.py": ""}, "python3 only.py", False),
    ],
)
def test_which_file_is_the_program(
    run: Run, project: Path, files: dict[str, str], command: str, ambiguous: bool
) -> None:
    for name, text in files.items():
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text(text)
    done = run("init")
    assert read(project)[0].build.command == command
    assert ("several files may be the program" in done.err) == ambiguous


@pytest.mark.parametrize(
    ("name", "default", "secret"),
    [
        # the last word of a name counts
        ("API_TOKEN", None, True),
        ("apiToken", None, True),
        ("JWT_SECRET_2", None, True),
        ("DB_PASSWORD", "hunter2", True),
        ("AWS_SECRET_ACCESS_KEY", None, True),
        ("TLS_KEY", None, True),
        ("API_KEY", "", True),
        ("KEY", None, True),
        ("PIN", None, True),
        ("DB_PWD", None, True),
        ("TOKEN_URL", None, False),
        ("PASSWORD_FILE", None, False),
        ("SECRET_NAME", None, False),
        ("ACCESS_KEY_ID", None, False),
        ("MAX_TOKENS", None, False),
        ("PUBLIC_KEY", None, False),
        ("SORT_KEY", None, False),
        ("MONKEY", None, False),
        ("KEYBOARD", None, False),
        # a default that is none wins
        ("AUTH_TOKEN", "https://idp/token", False),
        ("AUTH_TOKEN", "https://user:pw@idp/token", True),
        ("TLS_KEY", "/etc/tls/key.pem", False),
        ("TLS_KEY", "certs/key.pem", False),
        ("TLS_KEY", "key.pem", False),
        ("TOKEN", "~/.token", False),
        ("API_TOKEN", "3600", False),
        ("API_TOKEN", "30s", False),
        ("USE_TOKEN", "true", False),
        ("USE_PASSWORD", "Off", False),
        ("SESSION_SECRET", "change me", True),
    ],
)
def test_which_variables_are_secrets(name: str, default: str | None, secret: bool) -> None:
    assert Variable(name, default).is_secret is secret
