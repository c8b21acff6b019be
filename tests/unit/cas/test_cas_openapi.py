"""The OpenAPI document: complete, and what a tester of interfaces finds when it takes it at its word."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sconectl.cas.http.endpoints import Endpoints
from sconectl.cas.http.openapi import document
from sconectl.cas.http.routes import ROWS, SCHEMAS

from .fake_cas import running

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance"
)


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if "$ref" in value else set()
        return own.union(*(references(item) for item in value.values()))
    return set().union(*(references(item) for item in value)) if isinstance(value, list) else set()


def test_each_row_has_a_handler_and_each_handler_a_row() -> None:
    public = {name for name in vars(Endpoints) if not name.startswith("_")} - {"close"}
    assert {row.handler for row in ROWS} == public


def test_the_document_is_whole() -> None:
    made = document(ROWS)
    operations = {(method.upper(), path) for path, methods in made["paths"].items() for method in methods}
    assert operations == {(row.method, row.path) for row in ROWS}
    ids = [operation["operationId"] for methods in made["paths"].values() for operation in methods.values()]
    assert len(set(ids)) == len(ids) == len(ROWS)
    assert references(made) <= {f"#/components/schemas/{name}" for name in SCHEMAS}
    assert references(made) >= {f"#/components/schemas/{name}" for name in SCHEMAS}
    for path, methods in made["paths"].items():
        for operation in methods.values():
            named = {item["name"] for item in operation["parameters"] if item["in"] == "path"}
            assert named == set(re.findall(r"\{(\w+)\}", path))
            assert {"400", "405", "408", "500", "503"} <= set(operation["responses"])
            assert ("413" in operation["responses"]) == ("requestBody" in operation)
            for answer in operation["responses"].values():
                assert answer["headers"]["X-Sconectl-Simulation"]["required"]
                assert len(answer["content"]) == 1
    assert "simulation" in made["info"]["title"]


@pytest.mark.sockets
def test_a_tester_of_interfaces_finds_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        server.context("tester")
        done = subprocess.run(
            [
                sys.executable, "-m", "schemathesis.cli", "run", f"https://{server.address}/openapi.json",
                f"--tls-verify={server.chain}", f"--request-cert={server.identities / 'tester' / 'identity.pem'}",
                "--checks", CHECKS, "--max-examples", "10", "--seed", "1", "--no-color",
            ],
            capture_output=True, text=True, timeout=300, cwd=tmp_path,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    tested = re.search(r"Tested: (\d+)", done.stdout)
    assert tested is not None
    assert int(tested[1]) >= len(ROWS) - 1  # it does not count the document itself
