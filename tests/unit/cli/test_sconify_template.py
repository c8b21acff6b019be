"""Session templates of `sconify-image`: filled in, checked before anything is built, and uploaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes.engine import FakeEngine

from sconectl.text.yaml_tree import parse

from .converting import Convert, facts, policy, policy_after

SECRETS = """
secrets:
  - name: api_ca_key
    kind: private-key
  - name: api_ca_cert
    kind: x509-ca
    export_public: true
    private_key: api_ca_key
"""
INJECTED = """
   injection_files:
     - path: "/tls/ca.crt"
       content: $$SCONE::api_ca_cert.crt$$
"""
TEMPLATE = """\
name: $NAMESPACE/$SESSION
version: "0.3"

access_policy:
  read:
   - CREATOR
  update:
   - CREATOR

services:
   - name: service
     image_name: service_image
     mrenclaves: [$MRENCLAVE]
     command: $CMD
     environment:
        SCONE_MODE: hw
$ENVVARS
     fspf_path: /fspf/fs.fspf
     fspf_key: ${SCONE_FSPF_KEY}
     fspf_tag: $SCONE_FSPF_TAG

images:
   - name: service_image
$INJECTED_FILES

$SECRETS

security:
  attestation:
    tolerate: [debug-mode, hyperthreading, outdated-tcb]
    ignore_advisories: "*"
"""


INDENTED = TEMPLATE.replace("$INJECTED_FILES", "     ${INJECTED_FILES}")


@pytest.mark.parametrize(("template", "injected"), [
    (TEMPLATE, INJECTED.replace("\n", "\n  ")), (INDENTED, INJECTED), (INDENTED, INJECTED.replace("\n   ", "\n")),
])  # fmt: skip
def test_a_session_template(convert: Convert, monkeypatch: pytest.MonkeyPatch, template: str, injected: str) -> None:
    Path("session-template.yml").write_text(template)
    monkeypatch.setenv("SECRETS", SECRETS)
    monkeypatch.setenv("INJECTED_FILES", injected)
    done = convert("--template=session-template.yml", "--session=session.yml", "--dir=/app", '--env=EXTRA=a "b"')
    assert (done.code, done.out) == (0, "ns/app\n"), done.err
    session = policy()
    assert session["version"] != "0.3"  # the reference to the key needs a later one
    [service] = session["services"]
    assert service["mrenclaves"] == [facts()["measurement"]]
    assert service["command"] == "app --serve"
    assert service["environment"] == {
        "HOME": "/",
        "\\@\\@HOSTNAME": "",
        "EXTRA": 'a "b"', "LANG": "C.UTF-8", "PATH": "/usr/bin", "SCONE_MODE": "hw",
    }  # fmt: skip
    assert service["pwd"] == "/app"
    assert service["fspf_tag"] == facts()["fspf"]["tag"]
    assert service["fspf_path"] == facts()["fspf"]["path"]
    assert service["fspf_key"].startswith("$$SCONE::")
    assert session["images"][0]["injection_files"] == [{"path": "/tls/ca.crt", "content": "$$SCONE::api_ca_cert.crt$$"}]
    assert [secret["name"] for secret in session["secrets"]][:2] == ["api_ca_key", "api_ca_cert"]
    assert "import" in session["secrets"][2]
    assert (
        session["security"]["attestation"]["mode"] == "simulation"
    )  # the template names no mode, which means hardware
    assert [file["path"] for file in facts()["injection_files"]] == ["/tls/ca.crt"]
    written = Path("session.yml")
    assert written.stat().st_mode & 0o777 == 0o600
    assert parse(written.read_text(), "session.yml").value == session


def test_the_chart_changes_with_what_a_template_gives(convert: Convert) -> None:
    def mark(text: str) -> str:
        Path("t.yml").write_text(text)
        done = convert("--template=t.yml", "--k8s-helm-workload-type=deployment", "--service-name=service")
        assert done.code == 0, done.err
        values: Any = parse(Path("target/helm/service/values.yaml").read_text(), "values.yaml").value
        assert values["scone"]["measurement"] == facts()["measurement"]
        return str(values["scone"]["configuration"])

    first, other = TEMPLATE, TEMPLATE.replace("SCONE_MODE: hw", "SCONE_MODE: auto")
    assert len(mark(first)) == 32
    assert mark(other) != mark(first) == mark(first)
    assert mark(first.replace("hyperthreading, ", "")) == mark(first)  # who may attest makes no difference


def test_a_template_without_encrypted_directories(convert: Convert) -> None:
    Path("t.yml").write_text(TEMPLATE)
    assert not {"fspf_path", "fspf_key", "fspf_tag"} & set(policy_after(convert, "--template=t.yml")["services"][0])


@pytest.mark.parametrize(("old", "new", "said"), [
    ("name: $NAMESPACE/$SESSION", "name: other", "expected the name ns/app"),
    ("CREATOR", "NOBODY ELSE", "t.yml"),
    ("services:", "servces:", "servces"),
    ("  attestation:", "  attestation:\n    mode: hardware", "write mode: simulation"),
    ("$SECRETS", "secrets: [", "t.yml"),
    ("$INJECTED_FILES", "     injection_files: [{path: /x}]", "give its text as `content`"),
])  # fmt: skip
def test_faults_of_a_template_are_found_before_the_build(
    convert: Convert, engine: FakeEngine, old: str, new: str, said: str
) -> None:
    Path("t.yml").write_text(TEMPLATE.replace(old, new))
    done = convert("--template=t.yml")
    assert done.code in (3, 4) and done.out == "" and said in done.err, done.err
    assert engine.count("build") == engine.count("load") == 0
