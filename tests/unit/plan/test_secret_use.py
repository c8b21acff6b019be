"""Placeholders in the values of a service and of a mesh: what is refused, what is remarked, and where."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.builders import compiled, facts, service_text

from sconectl.errors import PlanImpossible
from sconectl.manifest.model.genservice import GenService
from sconectl.manifest.model.secrets import Secret
from sconectl.manifest.reading.reader import read_manifest
from sconectl.plan.secrets.secret_use import check_placeholders

SECRETS: dict[str, Any] = {
    "global": [
        {"name": "password", "kind": "ascii"},
        {"name": "seed", "kind": "binary"},
        {"name": "ca_key", "kind": "private-key"},
        {"name": "ca", "kind": "x509-ca", "private_key": "ca_key"},
    ],
    "import": ["db_cert"],
}


def said(
    value: str = "", *, content: str = "", command: str = "python3 x.py", secrets: Any = SECRETS, default: str = ""
) -> list[tuple[str, str, str, str, str]]:
    """Return severity, code, path, message and hint of what is said about a service with this value."""
    text = service_text(
        command=command,
        environment={
            "local": [{"name": "A", "value": value}],
            "global": [{"name": "database_host", "value": default}, {"name": "port1"}, {"name": "user_name"}],
        },
        injection_files=[{"path": "/x", "content": content}],
        secrets=secrets,
    )
    manifest = read_manifest(text, "service.yaml", {})
    assert isinstance(manifest.model, GenService)
    found = check_placeholders(manifest.model, manifest.document)
    lines = text.splitlines()
    for finding in found:
        assert lines[finding.position.line - 1].strip()
    return [(f.severity, f.code, f.path, f.message, f.hint) for f in found]


@pytest.mark.parametrize(
    "value",
    [
        *("", "text", "$$SCONE::password$$", "a$$SCONE::password$$b$$SCONE::seed:hex$$"),
        "$$SCONE::password|escape(json)$$",
        *("$$SCONE::ca:chain$$", "$$SCONE::ca.crt$$", "$$SCONE::ca.key$$", "$$SCONE::ca_key:pem$$"),
        *("$$SCONE::db_cert:privatekey$$", "$$SCONE::db_cert.chain$$"),
        *("$$SCONE::{{which}}:crt$$", "$$SCONE::{{ which }}$$", "$$SCONE::ca:{{form}}$$"),
        *("{{database_host}}:{{port1}}", "{{namespace}}"),
        *("{{cas.cas.cas_url}} {{cas_cas_cas_url}}", "{{cas.image.cas_url}}"),
        *("{{imagePullSecrets}}", '{{ other | default(value="x") }}', "{% raw %}{{a b}}{% endraw %}"),
        *("{{database_port}}", "{{port2}}", "{{group_name}}", "{{user}}"),
    ],
)
def test_what_is_right(value: str) -> None:
    assert said(value) == []
    assert said(content=value) == []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("$$SCONE::password", "malformed"),
        ("$$SCONE::pass word$$", "malformed"),
        ("$$SCONE::password:crt$$", "kind ascii has no such format"),
        ("$$SCONE::seed.crt$$", "kind binary has no old format .crt"),
        ("$$SCONE::seed$$", "raw bytes cannot stand here"),
        ("$$SCONE::ca:crt:der$$", "raw bytes cannot stand here"),
    ],
)
def test_what_is_wrong_with_a_secret(value: str, message: str) -> None:
    [(severity, code, path, found, _)] = said(value)
    assert (severity, code, path) == ("error", "SC1006", "environment.local[0].value")
    assert message in found


def test_files_take_raw_bytes() -> None:
    assert said(content="$$SCONE::seed$$") == []
    [(severity, code, path, _, _)] = said(content="$$SCONE::seed:pem$$")
    assert (severity, code, path) == ("error", "SC1006", "injection_files[0].content")


@pytest.mark.parametrize(
    ("value", "name", "hint"),
    [
        ("$$SCONE::pasword$$", "pasword", "did you mean password?"),
        ("$$SCONE::pasword.crt$$", "pasword", "did you mean password?"),
        ("$$SCONE::db_crt.key$$", "db_crt", "did you mean db_cert?"),
        ("$$SCONE::zzz$$", "zzz", "define the secret in this manifest, import it, or let the mesh give it"),
    ],
)
def test_unknown_secrets_are_a_warning_with_a_remedy(value: str, name: str, hint: str) -> None:
    [(severity, code, _, message, found)] = said(value)
    assert (severity, code) == ("warning", "SC1006")
    assert message == f"the secret {name} is neither defined nor imported here"
    assert found.startswith(hint)


def test_every_place_is_looked_at() -> None:
    unknown = "$$SCONE::x$$"
    found = said(unknown, content=unknown, command=f"a {unknown}", default=unknown)
    assert {path for _, _, path, _, _ in found} == {
        "environment.local[0].value",
        "environment.global[0].value",
        "injection_files[0].content",
        "build.command",
    }


@pytest.mark.parametrize("value", ["{{ a | upper }}", "{% if a %}", "{{1}}", "{# a #}", "{% raw %}"])
def test_other_templates_are_an_error_with_a_remedy(value: str) -> None:
    [(severity, code, path, _, hint)] = said(value)
    assert (severity, code, path) == ("error", "SC1045", "environment.local[0].value")
    assert "{{NAME}}" in hint
    assert "{% raw %}" in hint


def test_templates_in_secrets_are_looked_at() -> None:
    secrets = {"global": [{"name": "c", "kind": "ascii", "value": "{{ a b }}", "common_name": "{{databse_host}}"}]}
    found = said(secrets=secrets)
    assert sorted((code, path) for _, code, path, _, _ in found) == [
        ("SC1045", "secrets.global[0].value"),
        ("SC1046", "secrets.global[0].common_name"),
    ]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("databse_host", "database_host"),
        ("DATABASE_HOST", "database_host"),
        ("database_hosts", "database_host"),
        ("namespce", "namespace"),
    ],
)
def test_misspelt_names_are_a_warning(name: str, meant: str) -> None:
    [(severity, code, _, message, hint)] = said(f"{{{{{name}}}}}")
    assert (severity, code) == ("warning", "SC1046")
    assert name in message
    assert f"did you mean {meant}?" in hint


def test_no_value_is_in_a_message() -> None:
    for value in ("hunter2 $$SCONE::password:crt$$", "hunter2 {{ a | x }}", "hunter2 {{databse_host}} $$SCONE::zz$$"):
        assert "hunter2" not in repr(said(value))


# --- in a mesh ------------------------------------------------------------------------------------------------------


def of_mesh(*images: Any, **options: Any) -> list[tuple[str, str, str, str]]:
    with pytest.raises(PlanImpossible) as caught:
        compiled(*images, **options)
    return [(f.code, f.path, f.message, f.hint) for f in caught.value.findings]


def test_secrets_of_the_mesh_have_to_be_imported_and_of_the_right_kind() -> None:
    db = facts("db", secrets={"global": [{"name": "password", "kind": "ascii"}]})
    user: dict[str, Any] = {"environment": {"global": [{"name": "A"}]}}
    [(code, path, message, hint)] = of_mesh(facts("web", **user), db, env={"web": {"A": "$$SCONE::password$$"}})
    assert (code, path) == ("SC2004", "services[0]")
    assert message == "secret password of service web is used, but not imported"
    assert "import" in hint
    importer = facts("web", **user, secrets={"import": ["password"]})
    assert compiled(importer, db, env={"web": {"A": "$$SCONE::password$$"}})
    [(_, _, message, _)] = of_mesh(importer, db, env={"web": {"A": "$$SCONE::password:hex$$"}})
    assert "is used wrongly: a secret of kind ascii has no such format" in message
    [(_, _, message, hint)] = of_mesh(importer, db, env={"web": {"A": "$$SCONE::pasword$$"}})
    assert "neither defined nor imported" in message
    assert hint == "did you mean password?"


def test_a_placeholder_that_the_mesh_breaks_is_found() -> None:
    image = facts("web", environment={"local": [{"name": "A", "value": "$$SCONE::{{which}}$$"}]})
    [(code, path, message, _)] = of_mesh(image, env={"global": {"which": "hunter 2"}})
    assert (code, path) == ("SC2004", "services[0]")
    assert "malformed" in message
    assert "hunter" not in message


def test_secrets_of_a_kind_that_nobody_knows_have_any_format() -> None:
    web = facts("web", environment={"local": [{"name": "A", "value": "$$SCONE::s:new$$"}]}, secrets={"import": ["s"]})
    db = facts("db")
    strange = db.secrets.model_copy(update={"global_": (Secret.model_construct(name="s", kind="quantum"),)})
    assert compiled(web, db.model_copy(update={"secrets": strange}))


TOKEN = {"name": "token", "kind": "jwt", "signer": "key", "alg": "ES384", "validity": {"for": "1h"}}


def test_claims_of_a_token_are_checked_where_they_are_a_placeholder_as_a_whole() -> None:
    claims = {
        "good": "$$SCONE::password$$",
        "later": "$$SCONE::{{which}}$$",
        "text": "of $$SCONE::$$",
        "unknown": "$$SCONE::passwort$$",
        "bytes": "$$SCONE::seed$$",
        "filter": "{{port1 | lower}}",
        "misspelt": "{{database_hosts}}",
    }
    found = said(secrets={"global": [*SECRETS["global"], {**TOKEN, "payload": claims}]})
    assert [(severity, code, path.rpartition(".")[2]) for severity, code, path, *_ in found] == [
        ("warning", "SC1006", "unknown"),
        ("error", "SC1006", "bytes"),
        ("error", "SC1045", "filter"),
        ("warning", "SC1046", "misspelt"),
    ]


def test_a_claim_that_names_a_secret_of_nobody_is_a_fault_of_the_mesh() -> None:
    key = {"name": "key", "kind": "private-key", "key_type": "P-384"}
    with pytest.raises(PlanImpossible) as caught:
        compiled(facts("web", secrets={"global": [key, {**TOKEN, "payload": {"aud": "$$SCONE::nobody$$"}}]}))
    assert [finding.message for finding in caught.value.findings] == [
        "secret nobody of service web is used, but neither defined nor imported"
    ]
