"""`plan`, `inspect` and `measure`: what they print, their exit codes, and that they leave everything as it is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fakes.builders import facts, mesh_text, record, service_text
from fakes.engine import FakeEngine, Image, image, of_layers, tar_of
from fakes.roots import elf_file

from sconectl.plan.facts.image_label import LABEL, ImageLabel

from .conftest import Run

BASE = ("--base-image", "python=base:1")
NAME = "registry.example.org/web:1"


def written(project: Path, **changes: Any) -> Path:
    (project / "main.py").write_text("print(1)")
    file = project / "service.yaml"
    file.write_text(service_text(copy=["main.py"], **changes))
    return file


def files_below(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


# --- plan -----------------------------------------------------------------------------------------------------------


def test_a_plan_shows_everything_and_does_nothing(run: Run, project: Path, engine: FakeEngine) -> None:
    file = written(project, run=["make"])
    before = files_below(project)
    done = run("plan", "-f", file, *BASE)
    assert done.code == 0, done.err
    assert "SIMULATION" in done.out
    assert engine.images["base:1"].info.id in done.out
    assert re.search(r"to do +copy +files below /app: 1", done.out)
    assert re.search(r"^/ +binary-fs +3 ", done.out, re.MULTILINE)
    assert "made by run (make): not known before the build" in done.out
    assert "/app/main.py" not in done.out
    assert all(len(line) <= 80 for line in done.out.splitlines())
    assert {call.split()[0] for call in engine.calls} <= {"inspect", "save"}
    assert files_below(project) == before
    assert not Path("target").exists()
    assert "/app/main.py" in run("plan", "-f", file, *BASE, "-v").out


def test_a_plan_as_json_has_every_path(run: Run, project: Path) -> None:
    file = written(project, host_paths=["/data"])
    done = run("plan", "-f", file, *BASE, "--output", "json", "-q")
    assert done.code == 0, done.err
    plan = json.loads(done.out)
    paths = {row["path"]: row["protection"] for row in plan["paths"]}
    assert paths["/usr/bin/python3"] == paths["/app/main.py"] == "binary-fs"
    assert {entry["path"]: entry["protection"] for entry in plan["classes"]}["/data"] == "host path"
    assert plan["simulation"] is True
    assert [(finding["code"], finding["path"]) for finding in plan["findings"]] == [("SC1008", "build.host_paths[0]")]


def test_after_apply_nothing_is_left_to_do(run: Run, project: Path, engine: FakeEngine) -> None:
    file = written(project)
    assert run("apply", "-f", file, *BASE).code == 0
    engine.calls.clear()
    done = run("plan", "-f", file, *BASE)
    assert done.code == 0, done.err
    assert "to do" not in done.out
    assert re.search(r"unchanged +push", done.out)
    (project / "main.py").write_text("print(2)")
    again = run("plan", "-f", file, *BASE)
    assert re.search(r"to do +copy", again.out)
    assert re.search(r"unchanged +launcher", again.out)
    assert {call.split()[0] for call in engine.calls} <= {"inspect", "save"}


def test_errors_among_the_findings_end_with_3(run: Run, project: Path) -> None:
    file = written(project, dirs=["/nowhere"])
    done = run("plan", "-f", file, *BASE)
    assert done.code == 3
    assert "/nowhere is not in the image" in done.err
    assert "PATH" in done.out, "the plan is shown all the same"
    done = run("plan", "-f", file, *BASE, "--output", "json")
    assert done.code == 3
    assert [finding["severity"] for finding in json.loads(done.out)["findings"]] == ["error"]


def test_errors_before_there_is_a_plan(run: Run, project: Path) -> None:
    file = written(project, dirs=["/data"], plains=["/data/x"])
    done = run("plan", "-f", file, *BASE, "--output", "json")
    assert done.code == 3
    [finding] = json.loads(done.out)["findings"]
    assert (finding["code"], finding["path"], finding["severity"]) == ("SC1004", "build.plains[0]", "error")
    assert run("plan", "-f", file, *BASE).out == ""


def test_an_image_to_convert(run: Run, project: Path, engine: FakeEngine) -> None:
    engine.images["native:1"] = image({"/srv/data": b"x"})
    file = project / "service.yaml"
    file.write_text(service_text(kind="sconify_image", from_="native:1", command="/srv/server"))
    done = run("plan", "-f", file)
    assert done.code == 3
    assert "build.command" in done.err
    assert re.search(r"^/ +binary-fs +1 ", done.out, re.MULTILINE)


def test_an_image_is_given_out_for_its_first_plan_only(run: Run, project: Path, engine: FakeEngine) -> None:
    engine.images["native:1"] = image({"/srv/run": b"#!/srv/sh hunter-script\n", "/srv/sh": elf_file(), "/opt/a": b""})
    file = project / "service.yaml"
    plan = service_text(kind="sconify_image", from_="native:1", command="/srv/run")
    file.write_text(plan)
    first = run("plan", "-f", file)
    assert (first.code, engine.count("save")) == (0, 1), first.err
    assert run("plan", "-f", file) == first
    assert run("apply", "-f", file, "-n", *BASE).code == 0
    engine.calls.clear()
    file.write_text(plan.replace("/srv/run", "/srv/run x"))
    assert (run("plan", "-f", file).code, engine.count("save")) == (0, 0)
    file.write_text(service_text(kind="sconify_image", from_="native:1", command="/srv/run", dirs=["/opt"]))
    assert (run("plan", "-f", file).code, engine.count("save")) == (0, 0)
    engine.images["native:1"] = image({"/srv/run": b"#!/srv/gone\n"})
    other = run("plan", "-f", file)
    assert (other.code, engine.count("save")) == (3, 1) and "/srv/gone" in other.err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--output", "xml"), 2, "--output xml is not known"),
        (("--mode", "fast"), 2, "--mode fast is not known"),
        (("--toolchain", "scone"), 4, "not available"),
        (("--set", "x"), 2, "--set takes NAME=VALUE"),
        (("--base-image", "python=gone:1"), 5, "there is no image gone:1"),
    ],
)
def test_what_cannot_be_planned(run: Run, project: Path, words: tuple[str, ...], code: int, message: str) -> None:
    done = run("plan", "-f", written(project), *words)
    assert done.code == code
    assert message in done.err
    assert done.out == ""


def test_a_mesh_is_planned_too(run: Run, project: Path) -> None:
    (project / "facts.json").write_text(record(facts()).to_text())
    file = project / "mesh.yaml"
    file.write_text(mesh_text().replace("cas.example.org", "local"))
    words = ("-f", file, "--facts", "facts.json", "--release", "blue")
    plan = json.loads(run("plan", *words, "--output", "json").out)
    pods: dict[str, Any] = {"workload": "deployment", "user": None, "ports": [], "callers": None}
    assert plan["services"] == [{"name": "web", "image": NAME, **pods}]
    assert {(entry["name"], entry["state"]) for entry in plan["sessions"]} == {
        ("shop", "create"),
        ("shop/web", "create"),
    }
    assert {entry["state"] for entry in plan["files"]} == {"create"}
    assert not Path("target").exists()
    assert run("apply", *words).code == 0
    before = files_below(project)
    again = json.loads(run("plan", *words, "--output", "json").out)
    assert {entry["state"] for entry in again["sessions"]} == {"unchanged"}
    assert again["files"] == []
    changed = run("plan", *words, "--policy-namespace", "other")
    assert changed.code == 0, changed.err
    assert "create     other/web (CAS local)" in changed.out
    assert "update     policies/web.yaml" in changed.out
    assert files_below(project) == before


def test_a_plan_says_where_services_listen_and_who_calls_them(run: Run, project: Path) -> None:
    db = facts("db", ports=[{"name": "mysql", "number": 3306}]).model_copy(update={"user": 0})
    web = facts(environment={"global": [{"name": "db_host"}]})
    folder = project / "facts"
    folder.mkdir()
    for each in (db, web):
        (folder / f"{each.name}.json").write_text(record(each).to_text())
    env = {"global": {"db_host": "blue-db", "db_port": "3307"}, "web": {"APP_SERVICE_PORT": "8080"}}
    file = project / "mesh.yaml"
    file.write_text(mesh_text(["db", "web"], env=env).replace("cas.example.org", "local"))
    words = ("-f", file, "--facts", folder, "--release", "blue")
    done = run("plan", *words)
    assert done.code == 0, done.err
    said = " ".join(done.out.split())
    assert "- port 3306 (mysql): build.ports of the image - called by web - runs as root" in said
    assert "- port 8080 (api): APP_SERVICE_PORT in its section of env" in said
    assert "SC2030" in done.err and "db offers 3306" in done.err
    written = run("plan", *words, "--output", "markdown").out
    assert r"- db: port 3306 \(mysql\): build.ports of the image; called by web; runs as root" in written
    plan = json.loads(run("plan", *words, "--output", "json").out)
    assert [each["code"] for each in plan["findings"]] == ["SC2030"]
    services = plan["services"]
    assert services[0]["ports"] == [{"name": "mysql", "number": 3306, "why": "build.ports of the image"}]
    assert services[0]["callers"] == ["web"]
    assert run("validate", *words).code == 0
    assert "SC2030" in run("validate", *words).err


def test_a_mesh_warns_of_an_image_that_does_not_read_its_certificates_again(run: Run, project: Path) -> None:
    own = [{"name": "key", "kind": "private-key"}, {"name": "ca", "kind": "x509-ca", "private_key": "key"}]
    folder = project / "facts"
    folder.mkdir()
    read = [{"path": "/ca", "content": "$$SCONE::ca:crt$$"}]
    db = facts("db", secrets={"global": [own[0], own[1] | {"valid_for": "1 day"}]}, reload={})
    words = ("-f", project / "mesh.yaml", "--facts", folder)
    (project / "mesh.yaml").write_text(mesh_text(["db", "web"]).replace("cas.example.org", "local"))
    told: dict[str, Any] = {"reload": {"signal": "SIGHUP"}}
    for reload, said in (({}, 1), (told, 0)):
        for each in (db, facts(secrets={"import": ["ca"]}, injection_files=read, **reload)):
            (folder / f"{each.name}.json").write_text(record(each).to_text())
        for command in ("plan", "validate"):
            done = run(command, *words)
            assert done.code == 0 and done.err.count("SC2033") == said, done.err
            assert done.err.count("the program of web keeps the ca of its start") == said


def test_every_file_that_a_mesh_lacks_is_named_at_once(run: Run, project: Path) -> None:
    (project / "facts.json").write_text(record(facts()).to_text())
    more = "extra_policies: [{name: no.yaml}]\nrepo: {destination: example.org/shop, key_file: no.key}\n"
    (project / "mesh.yaml").write_text(mesh_text() + more)
    done = run("plan", "-f", "mesh.yaml", "--facts", "facts.json", "--output", "json")
    found = {each["path"] for each in json.loads(done.out)["findings"]}
    assert found == {"extra_policies[0].name", "repo.key_file"}


# --- inspect and measure --------------------------------------------------------------------------------------------


def built(run: Run, project: Path) -> str:
    """Build an image and return its measurement as `apply` prints it."""
    done = run("apply", "-f", written(project), *BASE, "-n")
    assert done.code == 0, done.err
    [value] = re.findall("^measurement ([0-9a-f]{64})$", done.out, re.MULTILINE)
    return str(value)


def test_inspect_and_measure_agree_with_apply(run: Run, project: Path) -> None:
    value = built(run, project)
    shown = run("inspect", NAME)
    assert shown.code == 0, shown.err
    assert f"measurement       {value}" in shown.out
    assert "SIMULATION" in shown.out
    document = json.loads(run("inspect", NAME, "--layers", "--output", "json").out)
    assert document["measurement"] == value
    assert [layer["origin"] for layer in document["layers"]][:2] == ["base", "launcher"]
    assert document["layers"][-1]["origin"] == "enclave"
    measured = run("measure", NAME)
    assert (measured.code, measured.out) == (0, f"{value}\n"), measured.err


def test_measure_names_what_differs(run: Run, project: Path, engine: FakeEngine) -> None:
    value = built(run, project)
    made = engine.images[NAME]
    change = tar_of({"/app/main.py": (0o644, b"print('evil')"), "/app/\x1b[2J": (0o644, b"")})
    engine.images["tampered:1"] = of_layers([*made.layers, change], made.info.config)
    done = run("measure", "tampered:1")
    assert done.code == 7
    assert done.out == ""
    assert "changed: /app/main.py" in done.err
    assert r"added: /app/\x1b[2J" in done.err
    assert value in done.err
    document = json.loads(run("measure", "tampered:1", "--output", "json").out)
    assert document["agrees"] is False
    assert document["measurement"] != document["expected"] == value
    assert {"kind": "changed", "path": "/app/main.py"} in document["changes"]


def test_an_archive_needs_no_engine(run: Run, project: Path, engine: FakeEngine) -> None:
    value = built(run, project)
    with engine.save(NAME) as stream:
        (project / "web.tar").write_bytes(stream.read())
    engine.down = True
    done = run("measure", "web.tar")
    assert (done.code, done.out) == (0, f"{value}\n"), done.err
    assert run("measure", NAME).code == 5


def test_images_that_are_not_ours(run: Run, project: Path, engine: FakeEngine) -> None:
    for command in ("inspect", "measure"):
        done = run(command, "base:1")
        assert done.code == 4
        assert "no confidential image of sconectl" in done.err
        done = run(command, "gone:1")
        assert done.code == 5
        assert "gone:1" in done.err
        assert run(command, "x" * 5000).code == 5
        assert run(command, "base:1", "--output", "xml").code == 2
    Path("text.tar").write_text("text")
    assert run("measure", "text.tar").code == 2


def test_what_a_label_says_cannot_steer_the_terminal(run: Run, engine: FakeEngine, project: Path) -> None:
    hostile = {"name": "\x1b[2J\x9b31m", "secrets": ["a\nmeasurement fake"]}
    label = json.dumps({**json.loads(ImageLabel.of(facts(), simulated=True).text()), **hostile})
    engine.images["foreign:1"] = of_layers([], {"Labels": {LABEL: label}})
    done = run("inspect", "foreign:1")
    assert done.code == 0, done.err
    assert r"\x1b[2J\x9b31m" in done.out
    assert not re.search("^measurement fake", done.out, re.MULTILINE)
    assert done.out.replace("\n", "").isprintable()
    engine.images["foreign:2"] = of_layers([], {"Labels": {LABEL: "\x1b[2J{"}})
    done = run("inspect", "foreign:2")
    assert done.code == 4
    assert "\x1b" not in done.err


def test_inspect_asks_the_registry_if_the_engine_has_no_such_image(run: Run, engine: FakeEngine, project: Path) -> None:
    remote: Image = of_layers([tar_of({})], {"Labels": {LABEL: ImageLabel.of(facts(), simulated=True).text()}})
    engine.remote[NAME] = remote
    document = json.loads(run("inspect", NAME, "--output", "json").out)
    assert document["found_in"] == "registry"
    assert [layer["size"] for layer in document["layers"]] == [None]
    assert engine.count("pull") == 0
