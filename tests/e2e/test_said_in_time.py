"""Slips in manifests that got through without a word, tried with the installed command: each is said at its place."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from .black_box import SCONECTL

SERVICE = """\
apiVersion: scone/5.8
kind: genservice
build: {name: web, kind: python, to: "registry.example.org/web:1", command: python3 app.py, pwd: /app, copy: [app.py]}
environment:
  local:
  - {name: GREETING, value: VALUE}
secrets:
  global:
  - {name: token, kind: ascii, size: 20}
  - {name: key, kind: private-key, migrate: true}
  - {name: cert, kind: x509, private_key: key, endpoint: server, dns: [HOST]}
"""
Say = Callable[..., tuple[int, str]]


@pytest.fixture
def say(tmp_path: Path) -> Say:
    """Return a function that runs the installed command in a folder of its own: exit code, and all that it printed."""
    (tmp_path / "app.py").write_text("print(1)\n")

    def run(*words: str, **env: str) -> tuple[int, str]:
        own = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")}
        command = [str(SCONECTL), *words]
        done = subprocess.run(
            command, cwd=tmp_path, env=os.environ | own | env, capture_output=True, text=True, timeout=60, check=False
        )
        assert "Traceback" not in done.stdout + done.stderr
        return done.returncode, done.stdout + done.stderr

    return run


def service(folder: Path, value: str = "hello", host: str = "web.shop") -> None:
    (folder / "web.yaml").write_text(SERVICE.replace("VALUE", value).replace("HOST", host))


def written(folder: Path) -> str:
    """Return the service manifest that init wrote, without its comments."""
    lines = (folder / "service.yaml").read_text().splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("#"))


@pytest.mark.parametrize(
    "files", [["HOST_NAME=a b\n", "HOST_NAME=web.shop\n"], ['HOST_NAME="web.shop" # of the mesh\n']]
)
def test_the_last_file_of_variables_wins_and_quotes_are_none_of_the_value(
    tmp_path: Path, say: Say, files: list[str]
) -> None:
    service(tmp_path, host="$HOST_NAME")
    words = ["validate", "-f", "web.yaml"]
    for number, text in enumerate(files):
        (tmp_path / f"{number}.env").write_text(text)
        words += ["--env-file", f"{number}.env"]
    code, said = say(*words)
    assert (code, "1 manifest valid" in said) == (0, True), said


@pytest.mark.parametrize("host", ["127.0.0.1", "'::1'", "web..shop", "'*.10'"])
def test_a_name_that_no_client_matches_is_refused(tmp_path: Path, say: Say, host: str) -> None:
    service(tmp_path, host=host)
    code, said = say("validate", "-f", "web.yaml")
    assert code == 3, said
    assert "secrets.global[2].dns[0]" in said
    assert "ip:" in said or host not in ("127.0.0.1", "'::1'")


@pytest.mark.parametrize(
    "value",
    [
        "$$SCONE:token$$",
        "$SCONE::token$$",
        "$$scone::token$$",
        "{{token}",
        "{token}}",
    ],
)
def test_a_near_miss_of_a_placeholder_is_refused(tmp_path: Path, say: Say, value: str) -> None:
    service(tmp_path, f'"{value}"')
    code, said = say("validate", "-f", "web.yaml", SCONE="x", token="y")
    assert code == 3, said
    assert "web.yaml:6:" in said


def test_a_reference_is_shown_and_a_value_is_not(tmp_path: Path, say: Say) -> None:
    service(tmp_path, '"$$SCONE::tokne$$"')
    assert 'value: "$$SCONE::tokne$$"' in say("validate", "-f", "web.yaml")[1]
    service(tmp_path, '"hunter2 $$SCONE::tokne$$"')
    assert "hunter2" not in say("validate", "-f", "web.yaml")[1]


def test_a_file_of_the_current_directory_is_found_in_the_message(tmp_path: Path, say: Say) -> None:
    (tmp_path / "v1").mkdir()
    service(tmp_path)
    (tmp_path / "web.yaml").rename(tmp_path / "v1" / "web.yaml")
    code, said = say("apply", "-f", "v1/web.yaml", "--dry-run", "--base-image", "python=base:1")
    assert code == 4, said
    assert "current directory" in said


@pytest.mark.parametrize(
    "default",
    ["https://idp.example.org/token", "/run/secrets/token", "8080", "true"],
    ids=["url", "path", "number", "flag"],
)
def test_a_default_of_a_program_is_no_secret_to_draw(tmp_path: Path, say: Say, default: str) -> None:
    (tmp_path / "app.py").write_text(f'import os\nprint(os.getenv("SERVICE_TOKEN", "{default}"))\n')
    code, said = say("init", "--name", "web", "--to", "registry.example.org/web:1", ".")
    assert code == 0, said
    assert "kind: ascii" not in written(tmp_path)


def test_a_name_that_ends_in_another_word_is_no_secret_to_draw(tmp_path: Path, say: Say) -> None:
    (tmp_path / "app.py").write_text('import os\nprint(os.environ["TOKEN_URL"])\n')
    code, said = say("init", "--name", "web", "--to", "registry.example.org/web:1", ".")
    assert code == 0, said
    assert "kind: ascii" not in written(tmp_path)


def test_a_session_that_holds_a_dollar_can_be_checked_again(tmp_path: Path, say: Say) -> None:
    (tmp_path / "session.yaml").write_text(
        "name: shop\nversion: '0.3.11'\nservices:\n- {name: web, command: 'echo $$HOME', mrenclaves: ["
        + "ab" * 32
        + "]}\n"
        "security: {attestation: {mode: simulation}}\n"
    )
    code, said = say("session", "check", "session.yaml")
    assert "SC1003" not in said, said
    assert code == 0, said


def test_a_dead_proxy_is_named(tmp_path: Path, say: Say) -> None:
    code, said = say("cas", "attest", "cas.example.org:8081", "-G", "-C", "-S", HTTPS_PROXY="http://127.0.0.1:9")
    assert code == 6, said
    assert "127.0.0.1:9" in said
    assert "proxy" in said
