"""`sconectl curated`, and meshes that name curated services: what is planned for them without a manifest."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.builders import facts, mesh_text, record
from fakes.engine import FakeEngine, image

import sconectl
from sconectl.apply import records
from sconectl.regular_files import first_bytes

from .conftest import Run

OWN = """# A store of ours.
apiVersion: scone/5.8
kind: genservice
build: {name: own-scone, kind: sconify_image, from: own:1, to: $CURATED_IMAGE, command: "own --port {{own_port}}"}
environment: {global: [{name: own_port, value: 7}, {name: own_host}]}
"""


@pytest.fixture
def own(project: Path) -> Path:
    folder = project / "services/own"
    folder.mkdir(parents=True)
    (folder / "service.yaml").write_text(OWN)
    (project / "sconectl.toml").write_text('curated = ["./services"]\n[base_images]\npython = "base:1"\n')
    return folder


IMAGE = "registry.example.org/own:1"


def mesh(**values: str) -> Path:
    file = Path("mesh.yaml")
    file.write_text(mesh_text(["own"], env={"global": values}).replace("cas.example.org", "local"))
    assert IMAGE in file.read_text()
    return file


def test_list(run: Run, own: Path) -> None:
    done = run("curated", "list")
    assert [line.split()[0] for line in done.out.splitlines()] == ["mariadb", "memcached", "nginx", "own", "redis"]
    assert "own              A store of ours.\n" in done.out


def test_show(run: Run, own: Path) -> None:
    done = run("curated", "show", "own")
    assert (done.code, done.err) == (0, "")
    assert "own_host                       the mesh has to give one\n" in done.out
    assert "own_port                       7\n" in done.out and str(own) in done.out
    shown = run("curated", "show", "nginx").out
    assert "imports    {{NGINX_BACKEND_CLIENT_CERT}}\n" in shown and "NGINX_SERVER_CA_CERT (x509-ca)" in shown


def test_a_name_that_is_none(run: Run, own: Path) -> None:
    done = run("curated", "show", "rediss")
    assert done.code == 2 and "did you mean redis?" in done.err


@pytest.mark.parametrize("value", ['"./services"', "[1]", '[""]'])
def test_the_line_of_the_configuration(run: Run, project: Path, value: str) -> None:
    (project / "sconectl.toml").write_text(f"curated = {value}\n")
    done = run("curated", "list")
    assert done.code == 2 and "curated is a list of directories" in done.err


def test_a_directory_without_services(run: Run, project: Path) -> None:
    (project / "sconectl.toml").write_text('curated = ["./nothing"]\n')
    done = run("curated", "list")
    assert done.code == 2 and "nothing: No such file" in done.err and "Traceback" not in done.err


def test_a_dry_run_plans_from_the_manifest_and_builds_nothing(run: Run, own: Path, engine: FakeEngine) -> None:
    file = mesh(own_host="here")
    done = run("apply", "-f", file, "-d", "--release", "demo")
    assert done.code == 0, done.err
    assert f"{IMAGE}: the curated service own, from " in done.err
    assert engine.count("build") == engine.count("push") == engine.count("load") == 0
    policy = Path("target/policies/own.yaml").read_text()
    assert "own_host: here" in policy and "'7'" in policy.replace('"', "'")


def test_a_value_that_is_missing_is_said_at_the_mesh(run: Run, own: Path) -> None:
    done = run("apply", "-f", mesh(), "-d", "--release", "demo")
    assert done.code == 4 and "mesh.yaml:" in done.err and "own_host, which has no value" in done.err


def test_an_image_that_exists_is_taken_as_it_is(run: Run, own: Path, engine: FakeEngine) -> None:
    engine.remote[IMAGE] = image({"/bin/own": b"of somebody else"})
    done = run("apply", "-f", mesh(own_host="here"), "-d", "--release", "demo")
    assert "the curated service" not in done.err
    assert done.code == 4 and "SC2008" in done.err


def test_its_variables_are_shown(run: Run, own: Path) -> None:
    done = run("apply", "-p", "-f", mesh())
    assert done.code == 0 and "own_host" in done.out and "own_port" in done.out, done.err


def test_build_says_what_is_missing(run: Run, own: Path) -> None:
    done = run("curated", "build", "own", "--to", "Not A Reference")
    assert done.code == 2 and "--to: expected an image reference" in done.err
    done = run("curated", "build", "own")  # without an image own:1
    assert done.code == 5 and "own:1" in done.err
    assert f"sconectl-curated/own:{sconectl.__version__}" not in done.out


def test_plan_shows_the_mesh_and_builds_nothing(run: Run, own: Path, engine: FakeEngine) -> None:
    done = run("plan", "-f", mesh(own_host="here"), "-d", "--release", "demo")
    assert done.code == 0 and "curated service own" in done.err, done.err
    assert "own" in done.out and not Path("target").exists()
    assert engine.count("build") == engine.count("load") == 0


def test_validate_knows_what_a_curated_service_needs(run: Run, own: Path) -> None:
    assert run("validate", "-f", mesh(own_host="here")).code == 0
    done = run("validate", "-f", mesh())
    assert done.code == 3 and "own_host, which has no value" in done.err
    assert "nothing is known of the image" not in done.err


@pytest.mark.parametrize("command", ["apply", "plan", "validate"])
def test_a_fault_of_a_curated_manifest_is_shown_in_its_file(run: Run, own: Path, command: str) -> None:
    (own / "service.yaml").write_text(OWN.replace("kind: sconify_image", "kind: sconify"))
    done = run(command, "-f", mesh(own_host="here"))
    assert done.code == 3 and f"{own}/service.yaml:4:" in done.err and "Traceback" not in done.err, done.err


def test_given_facts_are_read_once(run: Run, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("facts").mkdir()
    Path("facts/own.json").write_text(record(facts("own")).to_text())
    read: list[str] = []

    def counted(path: Path, size: int) -> bytes:
        read.append(path.name)
        return first_bytes(path, size)

    monkeypatch.setattr(records, "first_bytes", counted)
    for command in ("plan", "apply"):
        done = run(command, "-f", mesh(), "-d", "--release", "demo", "--facts", "facts")
        assert done.code == 0 and "the curated service" not in done.err, done.err
        assert read == ["own.json"]
        read.clear()
