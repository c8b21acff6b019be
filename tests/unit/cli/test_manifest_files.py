"""What -f can name: files, directories, patterns, stdin, several manifests in one file; and all of them or nothing."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from fakes.builders import mesh_text, service_text
from fakes.engine import FakeEngine

from sconectl.cli.options.apply_options import ApplyOptions
from sconectl.cli.options.manifest_files import files_beside, read_all

from .conftest import Run

BASE = ("--base-image", "python=base:1")
WEB = service_text("web", copy=["main.py"])
DB = service_text("db", copy=["main.py"])
MESH = mesh_text(["web", "db"]).replace("cas.example.org", "local")


@pytest.fixture
def folder(project: Path) -> Path:
    """A directory with two services and a mesh; in the order of their names the mesh would come first."""
    (project / "app").mkdir()
    for name, text in {"a-mesh.yaml": MESH, "db.yml": DB, "web.yaml": WEB, "main.py": "print(1)"}.items():
        (project / "app" / name).write_text(text)
    return project / "app"


def given(monkeypatch: pytest.MonkeyPatch, text: str | bytes) -> None:
    raw = text.encode() if isinstance(text, str) else text
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(raw)))


def made(out: str) -> list[str]:
    """Return what was made, in order."""
    return [line.split()[1].rstrip(":") for line in out.splitlines() if line.startswith(("image ", "session shop"))]


EVERYTHING = ["registry.example.org/db:1", "registry.example.org/web:1", "shop", "shop/db", "shop/web"]


@pytest.mark.parametrize("named", ["app", "app/*.y*ml", "app/**/*.y*ml", "{}/app/*.y*ml"])
def test_a_directory_or_pattern_is_applied_services_first(run: Run, folder: Path, project: Path, named: str) -> None:
    done = run("apply", "-f", named.format(project), *BASE)
    assert done.code == 0, done.err
    assert sorted(made(done.out), key=EVERYTHING.index) == EVERYTHING
    assert [name.startswith("registry") for name in made(done.out)] == [True, True, False, False, False]
    assert Path("target/helm/Chart.yaml").is_file()


def test_files_that_are_given_are_taken_in_this_order_and_once(run: Run, folder: Path) -> None:
    words = [
        word for name in ("a-mesh.yaml", "web.yaml", "db.yml", "../app/web.yaml") for word in ("-f", folder / name)
    ]
    done = run("apply", *words, *BASE)
    assert done.code == 0, done.err
    assert made(done.out)[:2] == ["registry.example.org/web:1", "registry.example.org/db:1"]
    assert done.out.count("registry.example.org/web:1: built") == 1


def test_several_manifests_in_one_file(run: Run, folder: Path) -> None:
    (folder / "all.yaml").write_text(f"# everything\n---\n{MESH}---\n{WEB}---\n---\n{DB}...\n")
    done = run("apply", "-f", "app/all.yaml", *BASE)
    assert done.code == 0, done.err
    assert made(done.out)[:2] == ["registry.example.org/web:1", "registry.example.org/db:1"]


def test_stdin_and_a_file(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, f"{MESH}---\n{DB}")
    Path("main.py").write_text("print(2)")
    done = run("apply", "-f", "-", "-f", "app/web.yaml", "-f", "-", *BASE)
    assert done.code == 0, done.err
    assert made(done.out)[:2] == ["registry.example.org/db:1", "registry.example.org/web:1"]


@pytest.mark.parametrize(
    ("file", "text", "code", "message"),
    [
        ("z.yaml", WEB.replace("kind: python", "kind: pyton"), 3, "app/z.yaml:5:9: error SC1002: build.kind"),
        ("z.yaml", "kind: mesh\n\tx: 1\n", 3, "app/z.yaml:2:1: error SC1001: not valid YAML: a tab"),
        ("z.yaml", service_text("web", to="registry.example.org/new:1"), 4, "app/z.yaml:4:9: error SC1050: build.name"),
        ("z.yaml", service_text("x", to="registry.example.org/web:1"), 4, "app/web.yaml:6:7 already"),
        ("z.yaml", MESH, 4, "error SC1050: kind: the chart in target/helm is made from app/a-mesh.yaml:2:7 already"),
        ("z.yaml", service_text("x", copy=["gone.py"]), 4, "gone.py"),
        ("a-mesh.yaml", mesh_text(["web", "db"], env={"web": {"NEW": "1"}, "gone": {"A": "2"}}), 4, "gone"),
    ],
    ids=["model", "syntax", "name", "image", "mesh", "file", "wiring"],
)
def test_a_fault_in_one_manifest_leaves_all_undone(
    run: Run, folder: Path, engine: FakeEngine, file: str, text: str, code: int, message: str
) -> None:
    (folder / file).write_text(text)
    done = run("apply", "-f", "app", *BASE)
    assert (done.code, done.out) == (code, "")
    assert message in done.err
    assert engine.calls == []
    assert not Path("target").exists()


def test_faults_of_all_files_are_shown_at_once(run: Run, folder: Path) -> None:
    (folder / "x.yaml").write_text("kind: [\n")
    (folder / "y.yaml").write_text("kind: mash\n---\nkind: genservise\n")
    done = run("apply", "-f", "app", *BASE)
    assert done.code == 3
    assert [line.split(" ")[0] for line in done.err.splitlines() if ": error SC" in line] == [
        "app/x.yaml:2:1:",
        "app/y.yaml:1:7:",
        "app/y.yaml:3:7:",
    ]


def test_what_a_directory_holds_besides_manifests(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "values.yaml").write_text("replicas: {{replicas}}\n  kind: x\n")
    (folder / "pod.yaml").write_text("apiVersion: v1\nkind: Pod\n")
    (folder / ".hidden.yaml").write_text("kind: [\n")
    (folder / "notes.txt").write_text("kind: [\n")
    (folder / "db.yml.template").write_text("kind: [\n")
    (folder / "sub.yaml").mkdir()
    (folder / "extra.yaml.template").write_text(service_text("$NAME", copy=["main.py"]))
    os.mkfifo(folder / "pipe.yaml")
    monkeypatch.setenv("NAME", "extra")
    done = run("validate", "-f", "app", "--output", "json")
    assert done.code == 0, done.err
    assert not any(finding["severity"] == "error" for finding in json.loads(done.out)["findings"])
    assert [line for line in done.err.splitlines() if "left out" in line] == [
        "note: db.yml.template: left out, because db.yml is there",
        "note: app/pod.yaml:1:1: no manifest (its apiVersion is not scone/…), left out",
        "note: app/values.yaml: no manifest (no line begins with `kind:`), left out",
    ]


def test_what_is_named_is_a_manifest_or_a_fault(run: Run, folder: Path) -> None:
    (folder / "pod.yaml").write_text("apiVersion: v1\nkind: Pod\n")
    assert "app/pod.yaml:2:7: error SC1002: kind" in run("validate", "-f", "app/pod.yaml").err
    assert "app/pod.yaml:2:7: error SC1002: kind" in run("validate", "-f", "app/p*.yaml").err


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("gone.yaml", "gone.yaml: No such file or directory"),
        ("*.yaml", "*.yaml: no file matches"),
        ("empty", "empty: no manifest in this directory"),
        ("other", "other: no manifest there"),
    ],
)
def test_nothing_to_apply(run: Run, project: Path, named: str, message: str) -> None:
    (project / "empty").mkdir()
    (project / "other").mkdir()
    (project / "other" / "values.yaml").write_text("a: b\n")
    done = run("apply", "-f", named)
    assert done.code == 2
    assert message in done.err


def test_a_file_whose_name_looks_like_a_pattern(run: Run, folder: Path) -> None:
    (folder / "[web].yaml").write_text(WEB)
    (folder / "w.yaml").write_text("kind: [\n")
    assert run("validate", "-f", "app/[web].yaml").code == 0


def test_the_size_is_limited_wherever_a_manifest_comes_from(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = WEB + "# " + "x" * (1 << 20)
    (folder / "large.yaml").write_text(large)
    for named in ("app/large.yaml", "/dev/zero", "-"):
        given(monkeypatch, large)
        done = run("validate", "-f", named)
        assert done.code == 3
        assert "1:1: error SC1001: larger than 1048576 bytes" in done.err
        assert "--max-size" in done.err
    assert run("validate", "-f", "app/large.yaml", "--max-size", "2000000").code == 0
    assert "larger than 10 bytes" in run("validate", "-f", "app/web.yaml", "--max-size", "10").err
    assert "larger than 10 bytes" in run("plan", "-f", "app/web.yaml", "--max-size", "10").err
    assert run("validate", "-f", "app/web.yaml", "--max-size", "0").code == 2


@pytest.mark.parametrize(
    ("raw", "place", "message"),
    [
        (WEB.encode("utf-16"), "1:1", "not UTF-8"),
        (WEB.encode() + b"# caf\xe9\n", "12:1", "not UTF-8"),
        (WEB.encode() + b"a: \0\n", "12:4", "NUL"),
        (b"kind:\tgenservice\n\tbuild: x\n", "2:1", "a tab where spaces are expected"),
        (WEB.encode() + b"build: {}\n", "12:1", "given twice"),
        (b"", "1:1", "a manifest is a mapping"),
        (b"a0: &a0 [x, x]\n" + b"".join(b"a%d: &a%d [*a%d, *a%d]\n" % (n, n, n - 1, n - 1) for n in range(1, 40)),
         "17:6", "after expanding aliases"),
    ],
    ids=["utf-16", "latin-1", "nul", "tab", "twice", "empty", "laughs"],
)  # fmt: skip
def test_what_is_no_manifest_is_said_in_one_line(run: Run, project: Path, raw: bytes, place: str, message: str) -> None:
    (project / "f.yaml").write_bytes(raw)
    done = run("validate", "-f", "f.yaml")
    assert done.code == 3
    (line,) = [line for line in done.err.splitlines() if "SC1" in line]
    assert line.startswith(f"f.yaml:{place}: error SC100")
    assert message in line


@pytest.mark.parametrize("change", [lambda text: "\ufeff" + text, lambda text: text.replace("\n", "\r\n")])
def test_a_byte_order_mark_and_windows_line_ends_are_taken(run: Run, project: Path, change: object) -> None:
    assert callable(change)
    (project / "f.yaml").write_bytes(change(WEB).encode())
    assert run("validate", "-f", "f.yaml").code == 0
    (project / "f.yaml").write_bytes(change(WEB.replace("kind: python", "kind: pyton")).encode())
    assert "f.yaml:5:9: error SC1002" in run("validate", "-f", "f.yaml").err


def test_a_directory_is_planned_as_one_run(run: Run, folder: Path) -> None:
    done = run("plan", "-f", "app", *BASE, "--output", "json")
    assert done.code == 0, done.err
    assert [plan["kind"] for plan in json.loads(done.out)["plans"]] == ["python", "python", "mesh"]
    assert not Path("target").exists()
    text = run("plan", "-f", "app", *BASE)
    assert text.code == 0, text.err
    assert text.out.index("registry.example.org/db:1") < text.out.index("mesh in namespace shop")
    assert run("plan", "-f", "app/web.yaml", *BASE, "--output", "json").out.startswith("{")


def test_paths_are_relative_to_the_file_that_names_them(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(monkeypatch, WEB)
    done = run("apply", "-f", "-", *BASE)
    assert done.code == 4
    assert "<stdin>:" in done.err
    assert "main.py" in done.err


def test_a_pattern_waits_for_no_pipe(run: Run, folder: Path) -> None:
    os.mkfifo(folder / "pipe.yaml")
    done = run("validate", "-f", "app/*.y*ml")
    assert done.code == 0, done.err


def test_a_file_of_variables_without_end_is_refused(run: Run, folder: Path) -> None:
    done = run("validate", "-f", folder / "web.yaml", "--env-file", "/dev/zero")
    assert done.code == 2
    assert "/dev/zero: larger than 1048576 bytes" in done.err


def test_a_mesh_with_nothing_beside_it_may_be_called_as_it_likes(folder: Path) -> None:
    """`up` looks for service manifests beside the mesh; that there is none is no fault."""
    (folder / "lonely").mkdir()
    mesh = folder / "lonely" / "mesh.conf"
    mesh.write_text(MESH)
    options = ApplyOptions(files=[mesh])
    assert files_beside(options, read_all(options)[0]) == []
