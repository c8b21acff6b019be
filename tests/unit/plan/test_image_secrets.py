"""`image_secrets` files: names stand anywhere, values change nothing but values."""

from __future__ import annotations

from pathlib import Path

import pytest

from sconectl.errors import InvalidInput
from sconectl.manifest.model.secrets import ExportTarget, Secret
from sconectl.plan.secrets.image_secrets import read_image_secrets
from sconectl.text.findings import Finding

NAMES = {
    "namespace": "acme/shop",
    "yaml": "x\n  - name: injected\n    kind: ascii",
    "flow": "}, {name: injected}",
    "quote": "\" ' # &a *a !b",
    "empty": "",
    "again": "{{namespace}}",
}


def read(text: str) -> tuple[Secret, ...]:
    return read_image_secrets(text.encode(), "secrets.yaml", NAMES.get)


def faults(text: str | bytes) -> tuple[Finding, ...]:
    with pytest.raises(InvalidInput) as caught:
        read_image_secrets(text if isinstance(text, bytes) else text.encode(), "secrets.yaml", NAMES.get)
    return caught.value.findings


def test_an_unquoted_name_below_an_indented_list() -> None:
    (secret,) = read(
        "  - name: password\n    kind: ascii\n    size: 10\n    export:\n      - namespace: {{namespace}}\n"
    )
    assert secret == Secret(name="password", kind="ascii", size=10, export=(ExportTarget(namespace="acme/shop"),))


@pytest.mark.parametrize("name", ["yaml", "flow", "quote", "again", "namespace"])
@pytest.mark.parametrize("template", ["{{%s}}", '"{{%s}}"', "'{{%s}}'", "|-\n    {{%s}}"])
def test_a_value_stays_a_value(name: str, template: str) -> None:
    (secret,) = read(f"- name: s\n  kind: ascii\n  value: {template % name}\n")
    assert secret.value == NAMES[name]


@pytest.mark.parametrize("value", ["{{empty}}", "user:{{empty}}@host", "'{{ gone | default(value=\"\") }}'"])
def test_a_name_that_stands_for_nothing_is_no_secret(value: str) -> None:
    (fault,) = faults(f"- name: s\n  kind: ascii\n  value: {value}\n")
    assert (fault.code, fault.path) == ("SC2006", "[0].value")
    assert "is empty, so that the secret would be empty or lack a part" in fault.message


@pytest.mark.parametrize("value", ["$PAYMENT_API_KEY", "${KEY:-x}", "a$B"])
def test_variables_are_not_filled_in_here(value: str) -> None:
    (fault,) = faults(f"- name: s\n  kind: ascii\n  value: {value}\n")
    assert (fault.code, fault.path, fault.position.line) == ("SC1003", "[0].value", 3)
    assert value not in str(fault)
    (secret,) = read(f"- name: s\n  kind: ascii\n  value: {value.replace('$', '$$')}\n")
    assert secret.value == value


def test_several_names_in_one_value_and_in_a_name() -> None:
    (secret,) = read("- {name: 'x-{{empty}}y', kind: ascii, value: '<{{namespace}}|{{namespace}}>'}")
    assert (secret.name, secret.value) == ("x-y", "<acme/shop|acme/shop>")


def test_text_that_looks_like_a_mark_is_text() -> None:
    marks = "'sconectl-mark-7- sconectl-mark-0-'"
    (secret,) = read(f"- {{name: s, kind: ascii, value: {marks}, common_name: '{{{{namespace}}}}'}}")
    assert secret.value == "sconectl-mark-7- sconectl-mark-0-"
    assert secret.common_name == "acme/shop"


def test_block_scalars_keep_their_indentation() -> None:
    (secret,) = read("- name: s\n  kind: ascii\n  value: |+2\n      two in\n\n")
    assert secret.value == "  two in\n\n"


def test_names_in_comments_need_no_value() -> None:
    assert len(read("# {{gone}}\n- name: s # {{gone}}\n  kind: ascii\n")) == 1


def test_all_missing_names_are_found_at_their_place() -> None:
    found = faults("- name: s\n  value: {{gone}}\n- name: t\n  value: 'x {{lost}}'\n")
    assert [(f.code, f.path, f.position.line, f.message) for f in found] == [
        ("SC2006", "[0].value", 2, "{{gone}} has no value"),
        ("SC2006", "[1].value", 4, "{{lost}} has no value"),
    ]
    assert all(f.hint for f in found)


def test_a_name_cannot_be_a_field() -> None:
    (finding,) = faults("- name: s\n  {{flow}}: x\n")
    assert (finding.code, finding.position.line) == ("SC1001", 2)
    assert "plain text" in finding.message


@pytest.mark.parametrize(
    ("text", "code", "path"),
    [
        ("", "SC1002", ""),
        ("name: s", "SC1002", ""),
        ("- name: s\n  kind: ascii\n  valeu: hunter2", "SC1002", "[0].valeu"),
        ("- kind: ascii\n  value: hunter2", "SC1002", "[0].name"),
        ("- name: s\n  kind: ascii\n  size: hunter2", "SC1002", "[0].size"),
        ("- name: [\n", "SC1001", ""),
        (b"\xff", "SC1001", ""),
    ],
)
def test_faults_have_a_place_and_no_value(text: str | bytes, code: str, path: str) -> None:
    (finding,) = faults(text)
    assert (finding.code, finding.path) == (code, path)
    assert finding.position.file == "secrets.yaml"
    assert "hunter2" not in str(finding)


def test_upstream_example() -> None:
    file = Path(__file__).parents[4] / "shared/corpus/hello/secrets_example.yaml"
    if not file.is_file():
        pytest.skip("upstream's files are not beside this checkout")
    secrets = read_image_secrets(file.read_bytes(), file.name, NAMES.get)
    assert len(secrets) == 3
    assert all(secret.export == (ExportTarget(namespace="acme/shop"),) for secret in secrets)
