"""What the command line promises: exit codes, messages without tracebacks, help that fits a terminal."""

from __future__ import annotations

import errno
import io
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from fakes.builders import facts, mesh_text, record, service_text
from fakes.engine import FakeEngine

import sconectl
from sconectl import errors
from sconectl.cli import main
from sconectl.cli.command_table import app
from sconectl.cli.runs import applied
from sconectl.cli.wiring import Wiring
from sconectl.text.findings import Finding, Position

from .conftest import Run

SERVICE = service_text(copy=["main.py"])
BASE = ("--base-image", "python=base:1")


@pytest.fixture
def service(project: Path) -> Path:
    (project / "main.py").write_text("print(1)")
    file = project / "service.yaml"
    file.write_text(SERVICE)
    return file


@pytest.fixture
def mesh(project: Path) -> Path:
    """A mesh that compiles offline, from facts.json."""
    (project / "facts.json").write_text(record(facts()).to_text())
    file = project / "mesh.yaml"
    file.write_text(mesh_text().replace("cas.example.org", "local"))
    return file


OFFLINE = ("--facts", "facts.json")


# --- both commands --------------------------------------------------------------------------------------------------


def test_service_and_mesh_and_again(run: Run, service: Path, mesh: Path, engine: FakeEngine) -> None:
    done = run("apply", "-f", service, *BASE)
    assert done.code == 0, done.err
    assert "image registry.example.org/web:1: built, pushed" in done.out
    assert "session image~registry.example.org~web~~1: created (CAS local)" in done.out
    assert "target: 1 files written" in done.out
    assert "toolchain sim" in done.err
    done = run("apply", "-f", mesh, "--release", "blue")
    assert done.code == 0, done.err
    assert "session shop/web: created (CAS local)" in done.out
    assert "helm install blue target/helm" in done.err
    for words in (("apply", "-f", service, *BASE), ("apply", "-f", mesh, "--release", "blue")):
        again = run(*words)
        assert again.code == 0
        assert "target: unchanged" in again.out
        assert not re.search("built|pushed|created|updated", again.out)


def test_a_mesh_compiles_offline(run: Run, mesh: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.down = True
    done = run("apply", "-f", mesh, *OFFLINE, "--dry-run", "-t", "out")
    assert done.code == 0, done.err
    assert engine.calls == []
    assert "nothing was uploaded" in done.err
    assert Path("out/helm/Chart.yaml").is_file()
    assert not Path("target").exists()


def test_a_manifest_from_stdin(run: Run, mesh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(mesh.read_bytes())))
    assert run("apply", "-f", "-", *OFFLINE, "-d").code == 0
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"kind: x")))
    done = run("apply", "-f", "-")
    assert done.code == 3
    assert "<stdin>:1:7: error SC1002" in done.err


def test_options_of_upstreams_scripts(run: Run, mesh: Path) -> None:
    mesh.write_text(mesh.read_text().replace("registry.example.org/web:1", "registry.example.org/web:$VERSION"))
    words = ("apply", "-f", mesh, *OFFLINE, "-d", "--release", "blue", "--release-version", "1")
    missing = run(*words)
    assert missing.code == 3 and "VERSION" in missing.err
    assert run(*words, "--set-version", "1").code == 0
    assert run(*words, "--set-version", "9", "--set", "VERSION=1").code == 0
    assert run("plan", *words[1:5], "--set-version", "1").code == 0
    assert run("validate", *words[1:5], "--set-version", "1").code == 0
    done = run(*words, "--set-version", "1", "--signing-url", "https://s.example.org", "--signing-k8scontext", "here")
    assert done.code == 0
    assert done.err.count("has no effect: no signing service is asked") == 2
    done = run(*words, "--set-version", "1", "--signing-online")
    assert done.code == 4 and "--signing-online" in done.err and "SignedManifest" in done.err


def test_quiet_and_verbose(run: Run, service: Path) -> None:
    quiet = run("apply", "-f", service, *BASE, "-q", "-n")
    assert "building" not in quiet.err
    (service.parent / "main.py").write_text("print(2)")
    assert "building the native image" in run("apply", "-f", service, *BASE, "-v", "-n").err


# --- exit codes -----------------------------------------------------------------------------------------------------

FINDING = Finding("error", "SC9999", Position("f.yaml", 3, 7), "a.b[0]", "expected more", "give more")
EVERY_ERROR: list[tuple[errors.SconectlError, int]] = [
    (errors.UsageError("said", hint="do"), 2),
    (errors.InvalidInput([FINDING]), 3),
    (errors.PlanImpossible("said", hint="do", findings=[FINDING]), 4),
    (errors.BuildFailed("said", hint="do", output="line one\nline two"), 5),
    (errors.EngineUnreachable("said", hint="do"), 5),
    (errors.CasError("said", hint="do"), 6),
    (errors.LocalFault("said", hint="do"), 6),
    (errors.CasUnreachable("said", hint="do"), 6),
    (errors.CasNotTrusted("said", hint="do"), 6),
    (errors.CasRefused("said", status=409, causes=["outer", "inner"], hint="do"), 6),
    (errors.Refused("said", hint="do"), 7),
]


@pytest.mark.parametrize(("error", "code"), EVERY_ERROR, ids=lambda value: type(value).__name__)
def test_every_error_has_its_exit_code_and_shows_all_it_knows(
    run: Run, service: Path, monkeypatch: pytest.MonkeyPatch, error: errors.SconectlError, code: int
) -> None:
    def fail(*_args: object) -> None:
        raise error

    monkeypatch.setattr(applied, "apply_all", fail)
    done = run("apply", "-f", service)
    assert done.code == code == error.exit_code
    assert done.out == ""
    assert f"error: {error.message}" in done.err
    for text in (error.hint, *getattr(error, "causes", ()), *getattr(error, "output", "").splitlines()):
        assert text in done.err
    if error.findings:
        assert "f.yaml:3:7: error SC9999: a.b[0]: expected more\n    hint: give more" in done.err


def test_every_class_of_the_tree_is_tried() -> None:
    def family(cls: type[errors.SconectlError]) -> set[type[errors.SconectlError]]:
        return {cls, *(member for child in cls.__subclasses__() for member in family(child))}

    ours = {cls for cls in family(errors.SconectlError) if cls.__module__ == "sconectl.errors"}
    assert {type(error) for error, _ in EVERY_ERROR} == ours - {errors.SconectlError}


def test_an_interruption(run: Run, service: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(applied, "apply_all", interrupt)
    done = run("apply", "-f", service)
    assert done.code == 130


def test_a_full_disk(run: Run, service: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/layer.tar")

    monkeypatch.setattr(applied, "apply_all", full)
    done = run("apply", "-f", service)
    assert done.code == 5
    assert "/tmp/layer.tar: No space left on device" in done.err and "Traceback" not in done.err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--nonsense",), 2, "--nonsense"),
        (("apply", "--nonsense", "-f", "service.yaml"), 2, "--nonsense"),
        (("nonsense",), 2, "nonsense"),
        (("apply",), 2, "--filename"),
        (("apply", "-f", "gone.yaml"), 2, "gone.yaml: No such file"),
        (("apply", "-f", "*.gone"), 2, "no file matches"),
        (("apply", "-f", "service.yaml", "--mode", "fast"), 2, "production"),
        (("apply", "-f", "service.yaml", "--toolchain", "tee"), 2, "not a toolchain"),
        (("apply", "-f", "service.yaml", "--toolchain", "scone"), 4, "not available"),
        (("apply", "-f", "service.yaml", "--set", "A"), 2, "NAME=VALUE"),
        (("apply", "-f", "service.yaml", "--set", "=x"), 2, "NAME=VALUE"),
        (("apply", "-f", "service.yaml", "--base-image", "x"), 2, "NAME=VALUE"),
        (("apply", "-f", "service.yaml", "--env-file", "gone"), 2, "gone: No such file"),
        (("apply", "-f", "service.yaml", "--cas", "http://x/y"), 2, "no address of a CAS"),
        (("apply", "-f", "service.yaml", *BASE, "-t", "main.py"), 5, "cannot be written"),
        (("apply", "-f", "service.yaml", "--base-image", "python=gone:1"), 5, "gone:1 could not be pulled"),
        (("apply", "-f", "mesh.yaml", "--facts", "gone"), 2, "gone: No such file"),
        (("apply", "-f", "mesh.yaml", "--facts", "mesh.yaml"), 2, "does not hold the facts"),
        (("apply", "-f", "mesh.yaml"), 4, "SC2008"),
        (("apply", "-f", "mesh.yaml", *OFFLINE, "--policy-namespace", "not one!"), 2, "not a CAS namespace"),
    ],
)
def test_what_can_go_wrong(
    run: Run, service: Path, mesh: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    done = run(*words)
    assert done.code == code, done.err
    assert message in re.sub(r"\x1b\[[0-9;]*m", "", done.err)
    assert done.out == ""


def test_an_invalid_manifest_shows_every_fault_and_writes_nothing(run: Run, project: Path) -> None:
    file = project / "service.yaml"
    file.write_text(service_text(kind="pyton", to="$REPO", pdw="/x"))
    done = run("apply", "-f", file)
    assert done.code == 3
    assert done.err.count(": error SC") == 3
    assert "error: 3 errors found" in done.err
    assert not Path("target").exists()


def with_tolerance(mesh: Path, flags: str) -> None:
    lines = mesh.read_text().splitlines(keepends=True)
    place = next(number for number, line in enumerate(lines) if "cas_url:" in line)
    indent = " " * (lines[place].index("cas_url:"))
    lines.insert(place + 1, f'{indent}tolerance: "{flags}"\n')
    mesh.write_text("".join(lines))


def test_tolerance_of_a_mesh_is_checked_without_a_cas(run: Run, mesh: Path) -> None:
    with_tolerance(mesh, "-CGS --only_for_testing-debg")
    done = run("apply", "-f", "mesh.yaml", *OFFLINE, "--dry-run")
    assert done.code == 3
    assert "SC1007" in done.err and "cas[0].tolerance" in done.err and "mesh.yaml:" in done.err
    assert "--only_for_testing-debug" in done.err


@pytest.mark.parametrize("flags", ["-c 2wkBET2rRgE8pahuaczxKbmv7ciehqsne57F9gtzf1PVdr2VP3", f"--mrenclave {'ab' * 32}"])
def test_what_tolerance_demands_must_be_shown(run: Run, mesh: Path, flags: str) -> None:
    with_tolerance(mesh, flags)
    done = run("apply", "-f", "mesh.yaml", *OFFLINE)
    assert done.code == 6
    assert "not trustworthy" in done.err


def test_upstreams_flags_are_tolerated(run: Run, mesh: Path) -> None:
    with_tolerance(mesh, "-GCS --only_for_testing-debug --only_for_testing-ignore-signer --only_for_testing-trust-any")
    assert run("apply", "-f", "mesh.yaml", *OFFLINE).code == 0


def test_a_stale_cas_is_named(run: Run, mesh: Path, tmp_path: Path) -> None:
    assert run("apply", "-f", mesh, *OFFLINE, "--cas-config", tmp_path / "somebody").code == 0
    done = run("apply", "-f", mesh, *OFFLINE, "--cas-config", tmp_path / "me", "-t", "other")
    assert done.code == 6
    assert "hint:" in done.err
    assert not Path("other").exists()


@pytest.mark.parametrize("words", [(), ("--toolchain", "sim")])
def test_hardware_can_be_required(
    run: Run, service: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("SCONECTL_REQUIRE", "hardware")
    done = run("apply", "-f", service, *BASE, *words)
    assert done.code == 7
    assert engine.calls == []
    assert not Path("target").exists()


@pytest.mark.parametrize("demand", ["Hardware", "hw", "1"])
def test_an_unknown_demand_is_not_ignored(
    run: Run, service: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, demand: str
) -> None:
    monkeypatch.setenv("SCONECTL_REQUIRE", demand)
    done = run("apply", "-f", service, *BASE)
    assert done.code == 2
    assert engine.calls == []


# --- variables ------------------------------------------------------------------------------------------------------


@pytest.fixture
def template(project: Path) -> Path:
    (project / "facts.json").write_text(record(facts()).to_text())
    file = project / "mesh.yaml.template"
    file.write_text(mesh_text().replace("namespace: shop", "namespace: $NS").replace("cas.example.org", "local"))
    return file


def namespace(run: Run, *words: str | Path) -> str:
    done = run("apply", *OFFLINE, "-d", *words)
    assert done.code == 0, done.err
    text = Path("target/policies/namespace.yaml").read_text()
    return text.splitlines()[1].removeprefix("name: ")


def test_sources_of_variables_in_their_order(
    run: Run, template: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "one.env").write_text("# comment\n\nexport NS = 'from-file'\nOTHER=a=b\n")
    (project / "two.env").write_text("NS=from-second\n")
    assert run("apply", *OFFLINE, "-d", "-f", template).code == 3
    monkeypatch.setenv("NS", "from-environment")
    assert namespace(run, "-f", template) == "from-environment"
    assert namespace(run, "-f", template, "--env-file", "one.env", "--env-file", "two.env") == "from-second"
    assert namespace(run, "-f", template, "--env-file", "one.env", "--set", "NS=from-set") == "from-set"


def test_the_environment_counts_in_templates_only(
    run: Run, template: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = project / "mesh.yaml"
    plain.write_text(template.read_text())
    monkeypatch.setenv("NS", "from-environment")
    done = run("apply", *OFFLINE, "-d", "-f", plain)
    assert done.code == 3
    assert "mesh.yaml:7:14: error SC1003: policy.namespace: $NS has no value" in done.err
    assert namespace(run, "-f", plain, "--set", "NS=from-set") == "from-set"


@pytest.mark.parametrize("line", ["no sign", "=value", "1A=x", "A B=hunter2"])
def test_lines_of_an_env_file_that_are_none(run: Run, template: Path, project: Path, line: str) -> None:
    (project / "x.env").write_text(f"A=1\n{line}\n")
    done = run("apply", "-f", template, "--env-file", "x.env")
    assert done.code == 3
    assert "x.env:2:1: error SC1014: expected NAME=VALUE" in done.err
    assert "hunter2" not in done.err


def test_warnings_are_shown_and_do_not_stop(run: Run, project: Path, mesh: Path) -> None:
    mesh.write_text(mesh_text(env={"global": {"DB_PASSWORD": "hunter2"}}).replace("cas.example.org", "local"))
    done = run("apply", "-f", mesh, *OFFLINE, "-d")
    assert done.code == 0
    assert "warning SC4005: env[0].env[0].value" in done.err


# --- image_secrets --------------------------------------------------------------------------------------------------


def test_image_secrets_know_every_name_that_the_service_knows(run: Run, project: Path) -> None:
    image = facts(environment={"global": [{"name": "OWN", "value": "own default"}, {"name": "SHARED"}]})
    other = facts("other", environment={"global": [{"name": "SHARED", "value": "of other"}]})
    folder = project / "facts"
    folder.mkdir()
    for given in (image, other):
        (folder / f"{given.name}.json").write_text(record(given).to_text())
    text = mesh_text(["web", "other"]).replace("cas.example.org", "local")
    (project / "mesh.yaml").write_text(text.replace('web:1"', 'web:1"\n    image_secrets: s.yaml', 1))
    (project / "s.yaml").write_text("- {name: s, kind: ascii, value: '{{OWN}}, {{SHARED}}, {{session}}'}\n")
    done = run("apply", "-f", "mesh.yaml", "--facts", "facts", "-d")
    assert done.code == 0, done.err
    assert "own default, of other, shop/web" in Path("target/policies/web.yaml").read_text()
    (project / "s.yaml").unlink()
    gone = run("apply", "-f", "mesh.yaml", "--facts", "facts", "-d")
    assert gone.code == 4
    assert re.search(r"mesh\.yaml:\d+:\d+: error SC1005: services\[0\]\.image_secrets: No such file", gone.err)


# --- sconectl.toml --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base_images = [", "cannot be read"),
        ("\udcff", "cannot be read"),
        ("[nonsense]\na = 'b'", "unknown table [nonsense]"),
        ("cas = 'x'", "unknown table [cas]"),
        ("[cas]\nurl = 'x'", "unknown key cas.url"),
        ("[cas]\nimage = 5", "cas.image is text"),
        ("[base_images]\npython = ['x']", "base_images.python is text"),
        ("[cas_addresses]\ncas = {image = 'x'}", "cas_addresses.cas is text"),
        ("[cas_addresses]\n'cas.scone system' = 'x'", "'cas.scone system' is no address"),
        ("[cas_addresses]\n'cas.x' = 'http://x'", "'http://x' is no address"),
        ("[cas_addresses]\n'cas.x' = 'a'\n'https://cas.x:8081' = 'b'", "https://cas.x:8081 is there already"),
    ],
)
def test_faults_of_the_configuration(run: Run, service: Path, text: str, message: str) -> None:
    Path("sconectl.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    done = run("apply", "-f", service)
    assert done.code == 2
    assert message in done.err
    assert "sconectl.toml" in done.err


def test_the_configuration_is_found_above_and_options_win(
    run: Run, service: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("sconectl.toml").write_text("[base_images]\npython = 'base:1'\n[build]\nca_bundle = 'ca.pem'\n")
    deeper = service.parent / "deeper"
    deeper.mkdir()
    monkeypatch.chdir(deeper)
    done = run("apply", "-f", service, "-n")
    assert done.code == 2
    assert str(service.parent / "ca.pem") in done.err
    (service.parent / "ca.pem").write_text("a certificate")
    assert run("apply", "-f", service, "-n").code == 0
    assert run("apply", "-f", service, "-n", "--base-image", "python=gone:1").code == 5


# --- help -----------------------------------------------------------------------------------------------------------


def commands(command: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    found: list[tuple[tuple[str, ...], Any]] = [(path, command)]
    if hasattr(command, "list_commands"):
        context = typer.Context(command)
        for name in command.list_commands(context):
            found += commands(command.get_command(context, name), (*path, name))
    return found


ALL = commands(typer.main.get_command(app))


def test_the_commands_are_found() -> None:
    assert {"apply", "sconify-image", "cas serve"} <= {" ".join(path) for path, _ in ALL}


WITHOUT_OPTIONS = {
    ("cas",),
    ("explain",),
    ("session",),
    ("identity",),
    ("self",),
    ("cert",),
    ("cert", "show-key-hash"),
    ("signer",),
    ("volume",),
    ("curated",),
    ("curated", "list"),
    ("curated", "show"),
} | {
    ("fspf",),
    ("fspf", "create"),
    ("fspf", "encrypt"),
}


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) or "sconectl" for path, _ in ALL])
def test_help_fits_a_terminal_and_explains_every_option(
    run: Run, monkeypatch: pytest.MonkeyPatch, path: tuple[str, ...], command: Any
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    done = run(*path, "--help")
    assert done.code == 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", done.out)
    assert [line for line in plain.splitlines() if len(line) > 80] == []
    assert [line for line in plain.splitlines() if line.endswith("...") and "Usage:" not in line] == []  # cut short
    assert command.help
    options = 0
    for parameter in command.params:
        if parameter.param_type_name == "option" and not parameter.hidden and parameter.name != "help":
            options += 1
            assert parameter.help, parameter.name
            assert max(parameter.opts, key=len) in plain
    assert options or path in WITHOUT_OPTIONS
    assert plain.count("Usage:") == 1


def test_help_of_the_program_of_its_own(run: Run) -> None:
    done = run("--help", entry=main.convert_image)
    assert done.code == 0
    assert "--from" in re.sub(r"\x1b\[[0-9;]*m", "", done.out)


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_version(run: Run, option: str) -> None:
    done = run(option)
    assert (done.code, done.out, done.err) == (0, f"sconectl {sconectl.__version__}\n", "")


# --- sconify-image --------------------------------------------------------------------------------------------------


def test_sconify_image_prints_the_session_and_nothing_else(
    run: Run, project: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fakes.engine import image
    from fakes.roots import elf_file

    engine.images["native:1"] = image({"/bin/app": elf_file()}, Cmd=["/bin/app"])
    Path("sconectl.toml").write_text("[launcher]\nbase_image = 'base:1'\n")
    words: tuple[Any, ...] = (
        "sconify-image",
        "--from",
        "native:1",
        "--to",
        "conf:1",
        "--namespace",
        "ns",
        "--name",
        "app",
    )
    refused = run(*words)
    assert refused.code == 6
    assert "--create-namespace" in refused.err
    done = run(*words, "--create-namespace")
    assert (done.code, done.out) == (0, "ns/app\n")
    assert json.loads(engine.images["conf:1"].info.labels["io.sconectl.image"])["name"] == "app"
    assert engine.remote == {}
    assert run(*words, "--env", "A").code == 2
    assert run(*words, "--secrets", "gone").code == 2
    assert run(*words, "--dir", "relative").code == 2
    assert run("sconify-image", "--from", "gone:1", "--to", "conf:1", "--create-namespace").code == 5


def test_one_connection_per_cas(project: Path) -> None:
    wiring = Wiring()
    assert wiring.store("local", None) is wiring.store("local", None)
    assert wiring.workspace is wiring.workspace
    assert wiring.keys is wiring.keys


def test_facts_without_end_are_refused(run: Run, mesh: Path) -> None:
    done = run("apply", "-d", "-f", mesh, "--facts", "/dev/zero")
    assert done.code == 2
    assert "/dev/zero: larger than" in done.err
