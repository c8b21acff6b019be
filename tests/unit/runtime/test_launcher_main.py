"""The launcher as a whole: its settings, its log, and that every failure is a message and exit code 125."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path
from typing import Any, NoReturn

import pytest

from sconectl.protect.index import Difference, Index
from sconectl.runtime import launcher, link, log
from sconectl.runtime.attest import Attester
from sconectl.runtime.configuration import Configuration, VolumeKey
from sconectl.runtime.enclave import Enclave
from sconectl.runtime.files import Given
from sconectl.runtime.link import CasLink
from sconectl.runtime.log import LaunchRefused
from sconectl.runtime.settings import Settings, take_settings

from .configurations import configuration
from .forked import run


@pytest.fixture(autouse=True)
def default_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_threshold", log.LEVELS.index("WARNING"))


def settings(**changes: Any) -> Settings:
    values: dict[str, Any] = {"config_id": "acme/app", "cas_address": "cas.invalid", "las_address": "", "cas_key": ""}
    return Settings(**values | {"log_level": "", "timeout": "", "loader_variables": ()} | changes)


def no_volumes(_settings: Settings, _enclave: Enclave, config: Configuration, _cas: CasLink) -> NoReturn:
    raise LaunchRefused(f"no storage for {', '.join(volume.name for volume in config.volumes)}")


def no_renewal(_known: Attester, _enclave: Enclave, _config: Configuration, given: Given) -> NoReturn:
    raise LaunchRefused(f"nobody renews files in {given.renew_in} seconds")


EXTRAS = launcher.Extras(no_volumes, no_renewal)


def outcome(tmp_path: Path, given: Settings) -> str:
    code, text = run(lambda: launcher.main(given, EXTRAS), tmp_path / "out")
    assert code == 125, text
    assert "SIMULATION" in text.splitlines()[0]
    return text


def test_settings_are_taken_and_everything_is_dropped() -> None:
    environment = {
        "SCONE_CONFIG_ID": "a/b", "SCONE_CAS_ADDR": "c", "SCONE_LAS_ADDR": "l", "SCONE_CAS_KEY": "k", "SCONE_LOG": "7",
        "SCONE_ATTEST_TIMEOUT": "3", "PATH": "/evil", "LD_PRELOAD": "x.so", "LD_DEBUG": "", "LD_BIND_NOW": "1",
        "SCONE_VOLUME_TIMEOUT": "5",
        "GCONV_PATH": "/evil", "HOSTALIASES": "/evil", "SCONE_SERVICE_ACCESS_TOKEN": "token",
    }  # fmt: skip
    given = dict(environment)
    taken = take_settings(environment, ["-x", ""])
    assert environment == {}
    loader = ("GCONV_PATH", "LD_BIND_NOW", "LD_PRELOAD")
    assert taken == Settings("a/b", "c", "l", "k", "7", "3", loader, "token", ("-x", ""), given, "5")
    assert "token" not in repr(taken) and "/evil" not in repr(taken) and "-x" not in repr(taken)
    assert take_settings({}, []) == Settings("", "", "", "", "", "", ())


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"config_id": ""}, "SCONE_CONFIG_ID is missing"),
        ({"config_id": "acme"}, "SCONE_CONFIG_ID is malformed"),
        ({"config_id": "/acme/app"}, "SCONE_CONFIG_ID is malformed"),
        ({"loader_variables": ("LD_PRELOAD",)}, "the container sets LD_PRELOAD"),
        ({"timeout": "soon"}, "SCONE_ATTEST_TIMEOUT is not a number"),
        ({"timeout": "nan"}, "SCONE_ATTEST_TIMEOUT is not a number"),
        ({"timeout": "inf"}, "SCONE_ATTEST_TIMEOUT is not a number"),
        ({"timeout": "-1"}, "SCONE_ATTEST_TIMEOUT is not a number"),
        ({}, "the image does not describe a simulated enclave"),
    ],
)
def test_refusals(tmp_path: Path, given: dict[str, Any], reason: str) -> None:
    text = outcome(tmp_path, settings(**given))
    assert f"[SCONE|FATAL] The program is not started: {reason}" in text


def test_volumes_are_opened_before_the_program_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted = tuple(
        VolumeKey(name, f"/{name}", bytes(32), None, "encrypted", "rollback_protected") for name in ("db", "log")
    )
    monkeypatch.setattr(launcher, "measure", lambda: Enclave("aa", "aa", {}, Index((), (), {}), ()))
    monkeypatch.setattr(launcher, "fetch_configuration", lambda *_, **__: configuration(volumes=mounted))
    monkeypatch.setattr(launcher, "find_program", lambda *_: "/bin/true")
    text = outcome(tmp_path, settings())
    assert "[SCONE|FATAL] The program is not started: no storage for db, log\n" in text


def test_what_renews_files_is_there_before_volumes_bring_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted = (VolumeKey("db", "/db", bytes(32), None, "encrypted", "rollback_protected"),)
    monkeypatch.setattr(launcher, "measure", lambda: Enclave("aa", "aa", {}, Index((), (), {}), ()))
    config = configuration(volumes=mounted, renew_in=5)
    monkeypatch.setattr(launcher, "fetch_configuration", lambda *_, **__: config)
    monkeypatch.setattr(launcher, "find_program", lambda *_: "/bin/true")
    assert "The program is not started: nobody renews files in 5 seconds\n" in outcome(tmp_path, settings())


def test_settings_in_the_arguments_are_explained(tmp_path: Path) -> None:
    """As in a docker-compose.yml that exports them in a shell, which here is never run."""
    export = ("sh", "-c", "export SCONE_CONFIG_ID=acme/app && python3 /app/main.py")
    text = outcome(tmp_path, settings(config_id="", arguments=export))
    assert "SCONE_CONFIG_ID is missing" in text and "docker run -e SCONE_CONFIG_ID" in text and "environment:" in text
    (tmp_path / "out").unlink()
    assert "docker run -e" not in outcome(tmp_path, settings(config_id="", arguments=("serve",)))


def test_a_bug_is_named_by_place_and_never_by_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> NoReturn:
        raise ZeroDivisionError("TOPSECRET")

    monkeypatch.setattr(launcher, "_check", broken)
    text = outcome(tmp_path, settings())
    assert "FATAL" in text and "ZeroDivisionError at " in text and "test_launcher_main.py:" in text
    assert "TOPSECRET" not in text and "Traceback" not in text


def test_the_launcher_ends_when_it_is_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):

        def told(_: object, number: int = number) -> None:
            signal.raise_signal(number)
            time.sleep(5)

        monkeypatch.setattr(launcher, "_check", told)
        code, text = run(lambda: launcher.main(settings(), EXTRAS), tmp_path / str(number))
        assert code == 128 + number
        assert "Traceback" not in text


def test_memory_never_becomes_a_core_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tell(_: object) -> NoReturn:
        raise LaunchRefused(f"limits {resource.getrlimit(resource.RLIMIT_CORE)}")

    monkeypatch.setattr(launcher, "_check", tell)
    assert "limits (0, 0)" in outcome(tmp_path, settings())


def test_a_slow_answer_is_bounded() -> None:
    started = time.monotonic()
    old = signal.getsignal(signal.SIGALRM)
    try:
        with pytest.raises(LaunchRefused, match="did not finish"), link.at_most(0.05):
            time.sleep(5)
        with link.at_most(0.05):
            pass
        time.sleep(0.1)
    finally:
        signal.signal(signal.SIGALRM, old)
    assert time.monotonic() - started < 2


def test_changes_are_shown_but_not_all_of_them() -> None:
    changes = tuple(Difference("changed", f"/f{number}") for number in range(25))
    with pytest.raises(LaunchRefused) as caught:
        launcher._refuse_changes(Enclave("aa", "bb", {}, Index((), (), {}), changes))
    assert caught.value.causes[0] == "Unexpected enclave measurement (MRENCLAVE, aa) - Expected bb"
    assert caught.value.causes[1] == "changed: /f0" and caught.value.causes[-1] == "… and 5 more"
    launcher._refuse_changes(Enclave("aa", "aa", {}, Index((), (), {}), ()))


# The log.


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("", "FEW"), ("fatal", "F"), ("Error", "FE"), ("INFO", "FEWI"), ("trace", "FEWIDT"), ("0", "F"), ("3", "FEWI"),
        ("7", "FEWIDT"), ("9" * 5000, "FEWIDT"), ("²", "FEW"), ("٣", "FEWI"), ("-1", "FEW"), ("loud", "FEW"),
    ],
)  # fmt: skip
def test_levels(capfd: pytest.CaptureFixture[str], level: str, shown: str) -> None:
    log.configure(level)
    for name in log.LEVELS:
        log.write(name, "text")
    assert "".join(line[7] for line in capfd.readouterr().err.splitlines()) == shown


def test_foreign_text_cannot_forge_lines_nor_steer_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    evil = "x\n[SCONE|INFO] attested\x1b[2J\r\u2028\x85\udcff\u202e"
    log.refused(LaunchRefused(evil, causes=(evil, *["more"] * 100, "z" * 10_000)))
    text = capfd.readouterr().err
    assert all(character == "\n" or character.isprintable() for character in text)
    assert not any(line.startswith("[SCONE|INFO]") for line in text.splitlines())
    assert "72 more" in text.splitlines()[-1]
    log.write("FATAL", "ü" * 100_000)
    assert len(capfd.readouterr().err) < 2100


def test_a_log_that_nobody_reads_changes_nothing(tmp_path: Path) -> None:
    def speak() -> NoReturn:
        os.close(2)
        log.always("x")
        log.refused(LaunchRefused("y", causes=("z",)))
        os._exit(7)

    assert run(speak, tmp_path / "out") == (7, "")
