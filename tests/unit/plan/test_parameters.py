"""Enclave parameters: which SCONE_ variables count, in which ranges, and what makes another measurement."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.builders import facts, service_plan, service_text

from sconectl.manifest.model.fields import NamedValue
from sconectl.manifest.model.genservice import GenService
from sconectl.manifest.reading.reader import read_manifest
from sconectl.plan.mesh.availability import remarks
from sconectl.plan.values.parameters import enclave_parameters, unusual_sizes
from sconectl.protect.measure import measurement

DEFAULTS = {
    "mode": "production",
    "heap": str(64 << 20),
    "min_heap": str(20 << 20),
    "stack": str(2 << 20),
    "allow_dlopen": "0",
    "fork": "0",
    "isvprodid": "0",
    "isvsvn": "0",
    "mprotect": "0",
    "syslibs": "0",
    "tcs": "8",
}


def local(**values: str) -> list[NamedValue]:
    return [NamedValue(name=f"SCONE_{name}", value=value) for name, value in values.items()]


def found(**values: str) -> dict[str, str]:
    parameters, problems = enclave_parameters(local(**values), mode="production")
    assert problems == {}
    return parameters


def measured(**values: str) -> str:
    return measurement(launcher="aa" * 32, root="bb" * 32, parameters=found(**values))


def test_defaults() -> None:
    assert found() == DEFAULTS
    assert enclave_parameters([], mode="debug")[0] == DEFAULTS | {"mode": "debug"}


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HEAP", "65M"),
        ("MIN_HEAP", "21M"),
        ("STACK", "4M"),
        ("ALLOW_DLOPEN", "1"),
        ("FORK", "1"),
        ("MPROTECT", "1"),
        ("SYSLIBS", "1"),
        ("TCS", "9"),
        ("EXTENSIONS_PATH", "/lib/libbinary-fs.so:/lib/b.so"),
    ],
)
def test_what_is_measured(variable: str, value: str) -> None:
    assert measured(**{variable: value}) != measured()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HEAP", "67108864"),
        ("HEAP", "65536k"),
        ("TCS", "008"),
        ("EXTENSIONS_PATH", ""),
        ("ISVPRODID", "7"),
        ("ISVSVN", "7"),
        ("LOG", "7"),
        ("QUEUES", "1"),
        ("VERSION", "1"),
    ],
)
def test_what_makes_no_difference(variable: str, value: str) -> None:
    assert measured(**{variable: value}) == measured()


def test_command_environment_and_mode_are_not_measured() -> None:
    one = facts(environment={"local": [{"name": "A", "value": "1"}]}).parameters
    other = facts(command="python3 other.py", environment={"local": [{"name": "A", "value": "2"}]}).parameters
    assert one == other
    debug = dict(one) | {"mode": "debug"}
    assert len({measurement(launcher="", root="", parameters=p) for p in (one, other, debug)}) == 1


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("HEAP", "hunter2", "a size like 64M"),
        ("HEAP", "", "a size like 64M"),
        ("HEAP", "-1", "a size like 64M"),
        ("HEAP", "1.5G", "a size like 64M"),
        ("HEAP", "64MB", "a size like 64M"),
        ("HEAP", "9" * 5000, "a size like 64M"),
        ("STACK", "٣", "a size like 64M"),
        ("FORK", "2", "from 0 to 1"),
        ("FORK", "yes", "from 0 to 1"),
        ("ALLOW_DLOPEN", "3", "from 0 to 2"),
        ("ISVSVN", "65536", "from 0 to 65535"),
        ("ISVPRODID", "9" * 5000, "from 0 to 65535"),
        ("ISVPRODID", "٣", "from 0 to 65535"),
        ("TCS", "0", "from 1 to 65535"),
        ("EXTENSIONS_PATH", "lib.so", "absolute paths"),
        ("EXTENSIONS_PATH", "/a.so::/b.so", "absolute paths"),
    ],
)
def test_values_that_cannot_be_meant(variable: str, value: str, expected: str) -> None:
    _, problems = enclave_parameters(local(**{variable: value}), mode="production")
    assert list(problems) == [f"SCONE_{variable}"]
    assert expected in problems[f"SCONE_{variable}"]
    assert not value or value not in problems[f"SCONE_{variable}"].replace("from 0 to 2", "")


@pytest.mark.parametrize(
    ("variable", "value", "unusual"),
    [
        ("HEAP", "8M", False),
        ("HEAP", "8388607", True),
        ("HEAP", "60G", False),
        ("HEAP", "61G", True),
        ("MIN_HEAP", "4M", True),
        ("STACK", "32K", False),
        ("STACK", "32767", True),
        ("STACK", "8M", False),
        ("STACK", "9M", True),
        ("STACK", "not a size", False),
    ],
)
def test_unusual_sizes(variable: str, value: str, unusual: bool) -> None:
    assert (f"SCONE_{variable}" in unusual_sizes(local(**{variable: value}))) is unusual


def test_remarks_have_positions() -> None:
    text = service_text(
        environment={"local": [{"name": "A", "value": "1"}, {"name": "SCONE_STACK", "value": "16M"}]},
        signature={"sign": False, "key": "key.pem"},
    )
    manifest = read_manifest(text, "service.yaml", {})
    assert isinstance(manifest.model, GenService)
    unused, unusual = remarks(manifest.model, manifest.document)
    assert (unused.severity, unused.code, unused.path) == ("warning", "SC2010", "build.signature.key")
    assert (unusual.severity, unusual.code, unusual.path) == ("warning", "SC1010", "environment.local[1].value")
    assert "32K to 8M" in unusual.message


def test_a_signed_image_has_no_remark() -> None:
    manifest = read_manifest(service_text(signature={"key": "key.pem"}, stable="web:0"), "service.yaml", {})
    assert remarks(manifest.model, manifest.document) == []


@pytest.mark.parametrize(
    ("valid_for", "warned"),
    [("1 day", True), ("29 days 23 h", True), ("30 days", False), ("1 year", False), (None, False)],
)
def test_a_certificate_that_ends_while_it_is_used(valid_for: str | None, warned: bool) -> None:
    certificate = {"name": "web_crt", "kind": "x509", "private_key": "web_key"}
    own = [{"name": "web_key", "kind": "private-key"}, certificate | ({"valid_for": valid_for} if valid_for else {})]
    manifest = read_manifest(service_text(secrets={"global": own}), "service.yaml", {})
    found = remarks(manifest.model, manifest.document)
    assert [(each.code, each.path) for each in found] == [("SC2033", "secrets.global[1].valid_for")] * warned


@pytest.mark.parametrize("reload", [{}, {"signal": "SIGHUP"}, {"command": "reload it"}])
def test_a_program_that_reads_its_files_again_keeps_only_what_is_no_file(reload: dict[str, str]) -> None:
    certificate = {"name": "web_crt", "kind": "x509", "private_key": "web_key", "valid_for": "1 day"}
    own = [{"name": "web_key", "kind": "private-key"}, certificate]
    plain = service_text(secrets={"global": own}, reload=reload)
    manifest = read_manifest(plain, "service.yaml", {})
    assert remarks(manifest.model, manifest.document) == []
    given = {"local": [{"name": "A", "value": "a"}, {"name": "B", "value": "x $$SCONE::web_crt:crt$$"}]}
    text = service_text(
        secrets={"global": own}, reload=reload, environment=given, command="web --crt $$SCONE::web_crt:crt$$"
    )
    manifest = read_manifest(text, "service.yaml", {})
    found = [(each.code, each.path) for each in remarks(manifest.model, manifest.document)]
    assert found == [("SC2033", "build.command"), ("SC2033", "environment.local[1].value")]


@pytest.mark.parametrize(
    ("reload", "parameter"),
    [
        (None, None),
        ({}, "{}"),
        ({"signal": "SIGUSR2"}, '{"signal":"SIGUSR2"}'),
        ({"command": "reload 'all of it'"}, '{"command":["reload","all of it"]}'),
    ],
)
def test_an_image_says_how_its_program_reads_files_again(reload: dict[str, str] | None, parameter: str | None) -> None:
    """One that looks by itself says so, too: else a mesh would warn of it."""
    given: dict[str, Any] = {} if reload is None else {"reload": reload}
    plan = service_plan(service_text(**given))
    assert plan.parameters.get("reload") == parameter
