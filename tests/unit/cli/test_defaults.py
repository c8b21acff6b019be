"""`sconectl apply -p`: the tables, what is said to be missing, and the mesh file; nothing is built or uploaded."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from fakes.builders import facts, mesh_text, record, service_text
from fakes.engine import FakeEngine

from .conftest import Run

SERVICE = service_text(
    environment={
        "local": [{"name": "PASSWORD", "value": "own\nvalue"}, {"name": "HOST", "value": "{{db_host}}"}],
        "global": [{"name": "USER"}, {"name": "TIMEOUT", "value": "5"}, {"name": "LONG", "value": "x" * 60}],
    },
)
ENV = {"global": {"USER": "me", "UZER": "you"}, "web": {"TIMEOUT": "7"}}


@pytest.fixture
def service(project: Path) -> Path:
    file = Path("service.yaml")
    file.write_text(SERVICE)
    return file


@pytest.fixture
def mesh(project: Path) -> Path:
    """A mesh of two services, of whose images all is known from facts/."""
    (project / "facts").mkdir()
    web = facts(
        "web",
        environment={
            "local": [{"name": "PASSWORD", "value": "hunter2"}, {"name": "HOST", "value": "{{db_host}}"}],
            "global": [{"name": "USER"}, {"name": "TIMEOUT", "value": "5"}],
        },
    )
    db = facts("db", environment={"global": [{"name": "SIZE", "value": "1G"}, {"name": "USER"}]})
    for image in (web, db):
        (project / f"facts/{image.name}.json").write_text(record(image).to_text())
    file = Path("mesh.yaml")
    file.write_text(mesh_text(["web", "db"], env=ENV).replace("cas.example.org", "local"))
    return file


def rows(text: str) -> list[list[str]]:
    return [line.split(maxsplit=3) for line in text.splitlines() if line.startswith("  ")]


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_a_service(run: Run, service: Path, project: Path, engine: FakeEngine) -> None:
    before = files(project)
    done = run("apply", "-p", "-f", service)
    assert done.code == 0, done.err
    assert done.out.splitlines()[0] == "service web (registry.example.org/web:1)"
    assert rows(done.out) == [
        ["VARIABLE", "DEFAULT", "VALUE", "SET BY"],
        ["USER", "-", "MISSING"],
        ["TIMEOUT", "5", "5", f"default (service.yaml:{line_of(SERVICE, 'TIMEOUT')})"],
        ["LONG", "x" * 15 + "…", "x" * 23 + "…", f"default (service.yaml:{line_of(SERVICE, 'LONG')})"],
        ["db_host", "-", "MISSING"],
        ["PASSWORD", "-", "own\\nvalue", f"local (service.yaml:{line_of(SERVICE, 'PASSWORD')})"],
        ["HOST", "-", "{{db_host}}", f"local (service.yaml:{line_of(SERVICE, 'HOST')})"],
    ]
    assert "a mesh has to give values to: USER, db_host" in done.err
    assert files(project) == before
    assert engine.calls == []


def line_of(text: str, name: str) -> int:
    """Return the line with the value of a variable."""
    return text.splitlines().index(next(line for line in text.splitlines() if line.endswith(f"name: {name}"))) + 2


def test_a_mesh(run: Run, mesh: Path, project: Path, engine: FakeEngine) -> None:
    before = files(project)
    done = run("apply", "--print-defaults", "-f", mesh, "--facts", "facts")
    assert done.code == 0, done.err
    text = mesh.read_text()
    assert [line for line in done.out.splitlines() if line.startswith("service")] == [
        "service web (registry.example.org/web:1)",
        "service db (registry.example.org/db:1)",
    ]
    head = ["VARIABLE", "DEFAULT", "VALUE", "SET BY"]
    assert rows(done.out) == [
        head,
        ["USER", "-", "me", f"global (mesh.yaml:{line_of(text, 'USER')})"],
        ["TIMEOUT", "5", "7", f"web (mesh.yaml:{line_of(text, 'TIMEOUT')})"],
        ["db_host", "-", "MISSING"],
        ["PASSWORD", "-", "fixed", "its image"],
        ["HOST", "-", "fixed", "its image"],
        head,
        ["SIZE", "1G", "1G", "default"],
        ["USER", "-", "me", f"global (mesh.yaml:{line_of(text, 'USER')})"],
    ]
    assert "note: db_host has no value; needed by web" in done.err
    assert "no service asks for UZER (did you mean USER?)" in done.err
    assert "hunter2" not in done.out + done.err
    assert files(project) == before
    assert engine.calls == []


def test_names_of_services_and_owners_are_said_once_and_right(run: Run, mesh: Path, project: Path) -> None:
    """A service is named once for each variable, and a default that one service lends to others is its own."""
    uses = [{"name": name, "value": "{{SIZE}} {{gone}} {{gone}}"} for name in ("A", "B")]
    web = facts("web", environment={"local": uses, "global": [{"name": "gone"}]})
    (project / "facts/web.json").write_text(record(web).to_text())
    done = run("apply", "-p", "-f", mesh, "--facts", "facts", "--file", "mesh-2.yaml")
    assert done.code == 0, done.err
    assert "note: gone has no value; needed by web\n" in done.err
    written = (project / "mesh-2.yaml").read_text()
    assert "default of db" in written and "default of web" not in written


def test_the_mesh_with_all_its_variables(run: Run, mesh: Path, project: Path) -> None:
    done = run("apply", "-p", "-f", mesh, "--facts", "facts", "--file", "mesh-2.yaml")
    assert done.code == 0, done.err
    assert "mesh-2.yaml: written" in done.out
    new = project / "mesh-2.yaml"
    assert stat.S_IMODE(new.stat().st_mode) & 0o111 == 0
    again = run("apply", "-p", "-f", mesh, "--facts", "facts", "--file", "mesh-2.yaml")
    assert "mesh-2.yaml: unchanged" in again.out
    missing = run("apply", "-d", "-f", new, "--facts", "facts")
    assert missing.code == 4
    assert "db_host" in missing.err
    patch = "- service: global\n  env:\n  - {name: db_host, value: db.example.org}\n"
    (project / "mesh-3.yaml").write_text(new.read_text() + patch)
    assert run("apply", "-d", "-t", "new", "-f", "mesh-3.yaml", "--facts", "facts").code == 0
    mesh.write_text(
        mesh_text(["web", "db"], env={**ENV, "helm": {"db_host": "db.example.org"}}).replace("cas.example.org", "local")
    )
    assert run("apply", "-d", "-t", "old", "-f", mesh, "--facts", "facts").code == 0
    for name in ("web", "db", "namespace"):
        assert (project / f"new/policies/{name}.yaml").read_bytes() == (
            project / f"old/policies/{name}.yaml"
        ).read_bytes()


def test_services_of_the_same_run_need_not_be_built(run: Run, service: Path, project: Path) -> None:
    mesh = Path("mesh.yaml")
    mesh.write_text(mesh_text(["web"], env={"global": {"db_host": "h"}}))
    done = run("apply", "-p", "-f", mesh, "-f", service)
    assert done.code == 0, done.err
    assert "a mesh has to give" not in done.err
    first, second = done.out.split("\n\n")
    assert first.startswith("service web")
    assert ["db_host", "-", "h", "global (mesh.yaml:12)"] in rows(second)
    assert ["PASSWORD", "-", "fixed", "its image"] in rows(second)


def test_an_image_without_variables(run: Run, project: Path) -> None:
    (project / "s.yaml").write_text(service_text())
    assert run("apply", "-p", "-f", "s.yaml").out == "service web (registry.example.org/web:1)\n  no variables\n"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("-f", "mesh.yaml", "--file", "out.yaml"), 2, "--file belongs to -p"),
        (("-p", "-f", "service.yaml", "--file", "out.yaml"), 2, "--file writes one mesh"),
        (("-p", "-f", "mesh.yaml", "--file", "mesh.yaml"), 7, "--file names a file that is read here"),
        (
            ("-p", "-f", "mesh.yaml", "-f", "service.yaml", "--file", "service.yaml"),
            7,
            "--file names a file that is read here",
        ),
        (("-p", "-f", "mesh.yaml", "--env-file", "vars", "--file", "vars"), 7, "--file names a file that is read here"),
        (("-p", "-f", "mesh.yaml", "--file", "nowhere/x/../../mesh.yaml"), 7, "--file names a file that is read here"),
        (("-p", "-f", "mesh.yaml"), 4, "was not found"),
        (("-f", "mesh.yaml", "-o", "chart"), 2, "chart is not a form of output"),
        (("-f", "mesh.yaml", "--max-size", "0"), 2, "--max-size"),
        (("-f", "mesh.yaml", "--max-size", "10"), 3, "--max-size"),
    ],
)
def test_what_is_refused(
    run: Run, mesh: Path, service: Path, project: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    (project / "nowhere/x").mkdir(parents=True)
    (project / "vars").write_text("A=b\n")
    before = mesh.read_bytes()
    done = run("apply", *words)
    assert (done.code, done.out) == (code, "")
    assert message in done.err
    assert mesh.read_bytes() == before
    assert not (project / "out.yaml").exists()


def test_a_service_with_doubtful_names_is_shown_with_what_there_is_to_say(run: Run, service: Path) -> None:
    service.write_text(SERVICE.replace("{{db_host}}", "{{TIMEOUTS}} $$SCONE::pw$$"))
    done = run("apply", "-p", "-f", service)
    assert done.code == 0
    assert "did you mean TIMEOUT?" in done.err
    assert "SC1006" in done.err


def test_variables_that_the_mesh_declares_for_a_service(run: Run, mesh: Path) -> None:
    Path("vars.yaml").write_text("- name: USER\n- {name: EXTRA, value: 1}\n")
    mesh.write_text(mesh.read_text().replace('web:1"', 'web:1"\n    env: vars.yaml'))
    done = run("apply", "-p", "-f", mesh, "--facts", "facts")
    assert done.code == 0, done.err
    names = [row[0] for row in rows(done.out.split("\n\n")[0])]
    assert names == ["VARIABLE", "USER", "EXTRA", "db_host", "PASSWORD", "HOST"]


def test_a_mesh_that_names_files_belongs_beside_them(run: Run, mesh: Path, project: Path) -> None:
    Path("vars.yaml").write_text("- {name: EXTRA, value: 1}\n")
    (project / "out").mkdir()
    mesh.write_text(mesh.read_text().replace('web:1"', 'web:1"\n    env: vars.yaml'))
    words = ("apply", "-p", "-f", mesh, "--facts", "facts", "--file")
    assert "names files that are beside mesh.yaml" in run(*words, "out/mesh.yaml").err
    assert "beside" not in run(*words, "mesh-2.yaml").err


def test_the_release_comes_from_its_option(run: Run, project: Path) -> None:
    image = facts(environment={"local": [{"name": "HOST", "value": "{{service_name}}"}]})
    Path("web.json").write_text(record(image).to_text())
    Path("mesh.yaml").write_text(mesh_text())
    words = ("apply", "-p", "-f", "mesh.yaml", "--facts", "web.json")
    assert "note: service_name has no value; needed by web; give the release with --release" in run(*words).err
    assert "no value" not in run(*words, "--release", "blue").err


def test_only_the_first_of_many_useless_values_are_named(run: Run, mesh: Path) -> None:
    mesh.write_text(mesh_text(["web", "db"], env={"global": {f"V{n}": "1" for n in range(30)}}))
    done = run("apply", "-p", "-f", mesh, "--facts", "facts")
    assert done.err.count("no service asks for V") == 10
    assert "and 20 more that no service asks for" in done.err
