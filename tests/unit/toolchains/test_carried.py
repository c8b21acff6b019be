"""Every field of a native image's configuration is carried over, put elsewhere, or named in a line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fakes.roots import MemoryRoot

from sconectl.image.settings.carried import Carried, carried
from sconectl.runtime.health import health_command
from sconectl.toolchains.sim.commands import ASK_HEALTH

ROOT = MemoryRoot({"/app": None, "/link": "/secret/inner", "/secret/inner": None})
ASK = ["CMD", *ASK_HEALTH]


def made(
    config: dict[str, Any], pwd: str = "/", sealed: tuple[str, ...] = (), volumes: tuple[str, ...] = ()
) -> Carried:
    return carried(config, ROOT, pwd=pwd, sealed=sealed, ask_health=ASK_HEALTH, volumes=volumes)


def test_what_stays_as_it_is() -> None:
    config = {
        "ExposedPorts": {"80/tcp": {}},
        "StopSignal": "SIGRTMIN+3",
        "User": "app:29",
        "Volumes": {"/data": {}},
        "Shell": ["/bin/bash", "-c"],
        "ArgsEscaped": True,
    }
    assert made(config) == Carried(config, {})


def test_what_engines_say_about_their_own_container_is_no_loss() -> None:
    config = {
        "Hostname": "c0ffee", "Domainname": "x", "Image": "sha256:1", "Tty": True, "OpenStdin": True,
        "AttachStdin": False, "StdinOnce": True, "OnBuild": None,
        "Labels": {"a": "b"}, "Entrypoint": ["x"], "Cmd": ["y"], "Volumes": None,
    }  # fmt: skip
    assert made(config) == Carried({}, {})


def test_one_line_for_each_thing_that_is_not_carried_over() -> None:
    config = {"Env": ["A=1", "PATH=/x", "B=2", "A=3"], "OnBuild": ["RUN x", "RUN y"], "StopTimeout": 3, "Zone": "z"}
    found = made(config)
    assert [line.split(":")[1].split()[0] for line in found.left_out] == ["Env", "OnBuild", "StopTimeout", "Zone"]
    assert all(line.startswith("not carried over: ") for line in found.left_out)
    assert "(A, B)" in found.left_out[0]
    assert found.configuration == {"Env": ["PATH=/x"]}


@pytest.mark.parametrize(
    ("pwd", "sealed", "expected"),
    [
        ("/", (), None),
        ("/app", (), "/app"),
        ("/new/one", (), "/new/one"),
        ("/app", ("/app",), None),
        ("/app/x", ("/app",), None),
        ("/link", ("/secret",), None),
        ("/link", ("/app",), "/link"),
    ],
)
def test_the_working_directory(pwd: str, sealed: tuple[str, ...], expected: str | None) -> None:
    found = made({}, pwd, sealed)
    assert found.configuration.get("WorkingDir") == expected
    assert len(found.left_out) == (1 if expected is None and pwd != "/" else 0)


def test_no_engine_mounts_something_over_an_encrypted_volume() -> None:
    declared: dict[str, Any] = {"Volumes": {"/V1": {}, "/V1/logs": {}, "/V12": {}, "/link": {}}}
    assert sorted(made(declared).configuration["Volumes"]) == ["/V1", "/V1/logs", "/V12", "/link"]
    found = made(declared, volumes=("/V1", "/secret"))
    assert sorted(found.configuration["Volumes"]) == ["/V12"]
    [line] = found.left_out
    assert line.startswith("not carried over: Volumes (/V1, /V1/logs, /link): the storage of encrypted volumes is")
    assert "Volumes" not in made({"Volumes": {"/V1": {}}}, volumes=("/V1",)).configuration


def test_a_working_directory_on_a_volume_is_for_the_program_only() -> None:
    found = made({}, "/V1/data", volumes=("/V1",))
    assert "WorkingDir" not in found.configuration and len(found.left_out) == 1


@pytest.mark.parametrize(
    ("test", "shell", "words"),
    [
        (["CMD", "redis-cli", "ping pong"], None, ["redis-cli", "ping pong"]),
        (["CMD-SHELL", "curl -f 'x' || exit 1"], None, ["/bin/sh", "-c", "curl -f 'x' || exit 1"]),
        (["CMD-SHELL", "x {{y}}"], ["/bin/bash", "-ec"], ["/bin/bash", "-ec", "x {{y}}"]),
    ],
)
def test_the_launcher_runs_the_health_command(test: list[str], shell: list[str] | None, words: list[str]) -> None:
    times = {"Interval": 10**9, "Timeout": 2 * 10**9, "StartPeriod": 3, "Retries": 4, "StartInterval": 5}
    found = made({"Healthcheck": {"Test": test, **times}, "Shell": shell})
    assert found.configuration["Healthcheck"] == {"Test": ASK, **times}
    assert json.loads(found.parameters["health"]) == words
    assert health_command(found.parameters) == tuple(words)
    assert found.left_out == ()


@pytest.mark.parametrize("check", [{"Test": ["NONE"]}, {"Interval": 10**9}])
def test_no_health_command_stays_none(check: dict[str, Any]) -> None:
    assert made({"Healthcheck": check}) == Carried({"Healthcheck": check}, {})


@pytest.mark.parametrize("test", [["HTTP", "/"], ["CMD-SHELL"], ["CMD"]])
def test_a_health_command_of_another_form_is_said_not_to_be_there(test: list[str]) -> None:
    found = made({"Healthcheck": {"Test": test}})
    assert found.configuration == {} and found.parameters == {}
    assert [line.split(":")[1].split()[0] for line in found.left_out] == ["Healthcheck"]
