"""What the author's variables say is what the service gets, or nothing is uploaded and written (exit code 3)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes.builders import mesh_text, service_text
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sconectl.cas.connect import connect
from sconectl.policy.reading import Session, parse_session
from sconectl.policy.serialized.canonical import to_json

from .conftest import Run

BASE = ("--base-image", "python=base:1")
LIVE = "live-key-Zx9"
SECRET = {"name": "payment-api-key", "kind": "ascii", "value": "$PAYMENT_API_KEY"}


def session_of(project: Path) -> Session:
    """Return the session of the service as the CAS has it."""
    store = connect("local", config_dir=project.parent / "home" / ".cas", data_dir=project.parent / "data/sconectl/cas")
    stored = store.read("shop/web")
    assert stored is not None
    return parse_session(stored.text, file="shop/web")


def write(project: Path, secret: dict[str, Any] = SECRET, name: str = "web.yaml", **fields: Any) -> tuple[str, ...]:
    """Write the manifests of one service, and return the words of `apply` without its variables."""
    (project / "main.py").write_text("print(1)")
    (project / name).write_text(service_text("web", copy=["main.py"], secrets={"global": [secret]}, **fields))
    (project / "mesh.yaml").write_text(mesh_text(["web"]).replace("cas.example.org", "local"))
    return ("apply", "-f", name, "-f", "mesh.yaml", *BASE)


@pytest.fixture
def applied(project: Path, run: Run) -> Path:
    """A project whose secret was given once, and is in the CAS."""
    (project / "secrets.env").write_text(f"PAYMENT_API_KEY='{LIVE}'\n")
    done = run(*write(project), "--env-file", "secrets.env")
    assert done.code == 0, done.err
    assert session_of(project).secrets[0].value == LIVE
    return project


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


WAYS: dict[str, tuple[tuple[str, ...], str]] = {
    "not given": ((), "$PAYMENT_API_KEY"),
    "in braces": ((), "${PAYMENT_API_KEY}"),
    "needed": ((), "${PAYMENT_API_KEY:?}"),
    "a form of shells": (("--set", f"PAYMENT_API_KEY={LIVE}"), "${PAYMENT_API_KEY%x}"),
    "never closed": (("--set", f"PAYMENT_API_KEY={LIVE}"), "${PAYMENT_API_KEY"),
    "an empty default": ((), "${PAYMENT_API_KEY:-}"),
    "another name": (("--set", f"PAYMENT_API_KEY={LIVE}"), "$PAYMENT_APIKEY"),
    "a part": (("--set", "USER=x"), "$USER:$PAYMENT_API_KEY"),
    "an empty part": (("--set", "PAYMENT_API_KEY="), "user:$PAYMENT_API_KEY@host"),
    "an empty option": (("--set", "PAYMENT_API_KEY="), "$PAYMENT_API_KEY"),
    "an option over a file": (("--env-file", "secrets.env", "--set", "PAYMENT_API_KEY="), "$PAYMENT_API_KEY"),
    "another file": (("--env-file", "other.env"), "$PAYMENT_API_KEY"),
    "a later file that is empty": (("--env-file", "secrets.env", "--env-file", "empty.env"), "$PAYMENT_API_KEY"),
    "a later file with a name alone": (("--env-file", "secrets.env", "--env-file", "alone.env"), "$PAYMENT_API_KEY"),
    "a file that lost it": (("--env-file", "lost.env"), "$PAYMENT_API_KEY"),
    "a file with a comment": (("--env-file", "comment.env"), "$PAYMENT_API_KEY"),
    "a name of the mesh": ((), "{{PAYMENT_API_KEY}}"),
    "an empty name of the mesh": ((), '{{PAYMENT_API_KEY | default(value="")}}'),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("file", ["web.yaml", "web.yaml.template"])
def test_no_way_loses_the_value_of_a_secret(run: Run, applied: Path, way: str, file: str) -> None:
    words, value = WAYS[way]
    for name, text in {
        "other.env": "PAYMENT_KEY=x\n", "empty.env": "PAYMENT_API_KEY=\n", "alone.env": "PAYMENT_API_KEY\n",
        "lost.env": "PAYMENT_API_KEY=$GONE\n", "comment.env": "PAYMENT_API_KEY= # the live key\n",
    }.items():  # fmt: skip
        (applied / name).write_text(text)
    before = files(applied / "target")
    for place in ({**SECRET, "value": value}, {"name": "payment-api-key", "kind": "config-fragment", "value": [value]}):
        done = run(*write(applied, place, file), *words)
        assert done.code in (3, 4), done.err  # 4: a name of the mesh, which images may give
        assert "error SC" in done.err
        assert LIVE not in done.err
        assert session_of(applied).secrets[0].value == LIVE
        assert files(applied / "target") == before


@pytest.mark.parametrize("file", ["web.yaml", "web.yaml.template"])
def test_a_value_that_is_written_and_missing_is_not_drawn(run: Run, applied: Path, file: str) -> None:
    """`value:` is what is left when a value gets lost; who wants one that the CAS draws leaves the field out."""
    done = run(*write(applied, {**SECRET, "value": None}, file))
    assert (done.code, "secrets.global[0].value: a value is missing" in done.err) == (3, True), done.err
    assert session_of(applied).secrets[0].value == LIVE


@pytest.mark.parametrize("escape", [r"\0", r"\000", r"\0400"])
def test_no_escape_becomes_another_character(run: Run, applied: Path, escape: str) -> None:
    (applied / "nul.env").write_text(f'PAYMENT_API_KEY="pass{escape}word"\n')
    done = run(*write(applied), "--env-file", "nul.env")
    assert (done.code, "nul.env:1:22" in done.err, "SC1014" in done.err) == (3, True, True), done.err
    assert session_of(applied).secrets[0].value == LIVE


@pytest.mark.parametrize("section", ["global", "web"])
def test_text_of_a_variable_of_the_mesh_is_no_template(run: Run, applied: Path, section: str) -> None:
    text = "{{release}} {% raw %}{{namespace}}{% endraw %} {# no #}"
    fields: dict[str, Any] = {
        "environment": {"global": [{"name": "KEY"}], "local": [{"name": "COPY", "value": "<{{KEY}}>"}]},
        "injection_files": [{"path": "/run/key", "content": "{{KEY}}"}],
    }
    words = write(applied, {"name": "payment-api-key", "kind": "ascii", "value": "{{KEY}}"}, **fields)
    mesh = mesh_text(["web"], env={section: {"KEY": "$VALUE"}}).replace("cas.example.org", "local")
    (applied / "mesh.yaml").write_text(mesh)
    done = run(*words, "--set", f"VALUE={text}", "--release", "r1")
    assert done.code == 0, done.err
    session = session_of(applied)
    assert session.secrets[0].value == text
    assert {name: session.services[0].environment[name] for name in ("KEY", "COPY")} == {
        "KEY": text,
        "COPY": f"<{text}>",
    }
    assert [file.content for image in session.images for file in image.injection_files] == [text]


def test_a_file_that_is_not_there_changes_nothing(run: Run, applied: Path) -> None:
    before = files(applied / "target")
    done = run(*write(applied), "--env-file", "gone.env")
    assert (done.code, files(applied / "target")) == (2, before)


PLACES: dict[str, dict[str, Any]] = {
    "local": {"environment": {"local": [{"name": "KEY", "value": "$PAYMENT_API_KEY"}]}},
    "global": {"environment": {"global": [{"name": "KEY", "value": "$PAYMENT_API_KEY"}]}},
    "file": {"injection_files": [{"path": "/run/key", "content": "key=$PAYMENT_API_KEY\n"}]},
    "command": {"command": "python3 main.py --key $PAYMENT_API_KEY"},
}


@pytest.mark.parametrize("place", PLACES)
def test_values_elsewhere_are_not_lost_either(run: Run, applied: Path, place: str) -> None:
    secret = {"name": "payment-api-key", "kind": "ascii", "value": LIVE}
    done = run(*write(applied, secret, **PLACES[place]))
    assert (done.code, "SC1003" in done.err) == (3, True)
    done = run(*write(applied, secret, **PLACES[place]), "--set", "PAYMENT_API_KEY=x$HOME")
    assert done.code == 0, done.err
    assert "x$HOME" in to_json(session_of(applied))


def test_values_of_the_mesh_are_not_lost_either(run: Run, applied: Path) -> None:
    words = write(applied, {"name": "payment-api-key", "kind": "ascii", "value": "{{KEY}}"})
    mesh = mesh_text(["web"], env={"global": {"KEY": "$PAYMENT_API_KEY"}}).replace("cas.example.org", "local")
    (applied / "mesh.yaml").write_text(mesh)
    assert run(*words).code == 3
    assert run(*words, "--set", "PAYMENT_API_KEY=").code == 4
    assert session_of(applied).secrets[0].value == LIVE
    assert run(*words, "--set", "PAYMENT_API_KEY={{release}} $x").code == 0
    assert session_of(applied).secrets[0].value == "{{release}} $x"


def test_a_literal_dollar_is_written_twice(run: Run, applied: Path) -> None:
    done = run(*write(applied, {**SECRET, "value": "$$PAYMENT_API_KEY"}))
    assert done.code == 0, done.err
    assert session_of(applied).secrets[0].value == "$PAYMENT_API_KEY"


PIECES = [
    *(
        "$",
        "$$",
        "${",
        "}",
        "{{",
        "}}",
        "{%",
        "%}",
        "{#",
        "#}",
        " ",
        "'",
        '"',
        "\\",
        "#",
        "A",
        "HOME",
        "$HOME",
        "${HOME}",
    ),
    *("{{namespace}}", "{% raw %}", "{% endraw %}", "$$SCONE::x$$", "|", "\n", "é", "-", ":", "@", "~", "\t"),
]
VALUES = st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join)


@settings(
    max_examples=12, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(value=VALUES, how=st.sampled_from(["set", "single", "double", "environment"]))
def test_what_the_variable_says_is_in_the_session_and_can_be_read_back(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch, value: str, how: str
) -> None:
    words = [*write(project, {**SECRET, "value": "<$PAYMENT_API_KEY>"}, "web.yaml.template")]
    if how == "set":
        words += ["--set", f"PAYMENT_API_KEY={value}"]
    elif how == "environment":
        monkeypatch.setenv("PAYMENT_API_KEY", value)
    else:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
        single = value.replace("'", "\\'") if "\\" not in value else None
        text = f"'{single}'" if how == "single" and single is not None else f'"{escaped}"'
        (project / "x.env").write_text(f"PAYMENT_API_KEY={text}\n")
        words += ["--env-file", "x.env"]
    done = run(*words)
    assert done.code == 0, done.err
    assert session_of(project).secrets[0].value == f"<{value}>"
    verified = run("session", "verify", "target/policies/web.yaml")
    if "SCONE::" not in value:
        assert verified.code == 0, (value, verified.err)
    (project / "read.yaml").write_text(run("session", "read", "shop/web").out)
    if "SCONE::" not in value:
        assert run("session", "verify", "read.yaml").code == 0


@pytest.mark.parametrize("mode", ["SignedManifest", "EncryptedManifest", "EncryptedOnly"])
def test_modes_that_upload_nothing(run: Run, project: Path, mode: str) -> None:
    words = write(project)
    text = (project / "mesh.yaml").read_text().replace("cas_url: local", f"cas_url: local\n    mode: {mode}")
    (project / "mesh.yaml").write_text(text)
    done = run(*words)
    assert (done.code, (project / "target").exists()) == (3, False)
