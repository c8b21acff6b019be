"""Names of secrets in secrets, imports and injected files of one service manifest."""

from __future__ import annotations

import pytest

from sconectl.manifest.model.genservice import GenService
from sconectl.manifest.reading.reader import read_manifest
from sconectl.plan.secrets.secret_references import check_references

HEAD = """\
apiVersion: scone/5.8
kind: genservice
build: {name: web, kind: python, to: example/web:1, command: web}
environment: {}
"""
SECRETS = """\
secrets:
  global:
    - {name: key, kind: private-key}
    - {name: ca, kind: x509-ca, private_key: key}
    - {name: cert, kind: x509, private_key: %s, issuer: %s}
  import: [%s]
"""


def found(text: str) -> list[tuple[str, str, str, str]]:
    manifest = read_manifest(HEAD + text, "f.yaml", {})
    assert isinstance(manifest.model, GenService)
    findings = check_references(manifest.model, manifest.document)
    return [(f.severity, f.code, f.path, f.hint) for f in findings]


@pytest.mark.parametrize(
    ("key", "issuer", "imported", "expected"),
    [
        ("key", "ca", "other", []),
        ("other", "other", "other", []),
        ("'{{key}}'", "ca", "other", []),
        ("kye", "ca", "other", [("warning", "SC1006", "secrets.global[2].private_key", "did you mean key?")]),
        ("key", "caa", "other", [("warning", "SC1006", "secrets.global[2].issuer", "did you mean ca?")]),
        ("ca", "ca", "other", [("error", "SC1013", "secrets.global[2].private_key", "")]),
        ("key", "key", "other", [("error", "SC1013", "secrets.global[2].issuer", "")]),
        ("key", "ca", "cert", [("warning", "SC1013", "secrets.import[0]", "remove it from import")]),
    ],
)
def test_names_of_secrets(key: str, issuer: str, imported: str, expected: list[tuple[str, str, str, str]]) -> None:
    assert found(SECRETS % (key, issuer, imported)) == expected


def test_a_file_is_injected_once() -> None:
    files = "injection_files:\n  - {path: /a, content: x}\n  - {path: /b, content: x}\n  - {path: //a, content: y}\n"
    assert found(files) == [("error", "SC1013", "injection_files[2].path", "remove one of them")]
