"""Secrets over the whole mesh: who defines, who imports, and that exports go to exactly those."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.builders import compiled, facts, session

from sconectl.errors import PlanImpossible
from sconectl.manifest.model.secrets import Secret
from sconectl.plan.secrets.wiring import ServiceSecrets, wire


def with_secrets(name: str, defines: list[dict[str, Any]] | None = None, imports: tuple[str, ...] = ()) -> Any:
    return facts(name, secrets={"global": defines or [], "import": list(imports)})


PASSWORD = {"name": "password", "kind": "ascii", "size": "12"}


def secret(document: Any, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(entry for entry in document["secrets"] if entry["name"] == name)
    return found


def test_a_secret_is_defined_once_and_exported_to_exactly_its_importers() -> None:
    plan = compiled(
        with_secrets("db", [PASSWORD, {"name": "own", "kind": "ascii"}]),
        with_secrets("web", imports=("password",)),
        with_secrets("cron", imports=("password",)),
        with_secrets("other"),
    )
    assert secret(session(plan, "db"), "password") == {
        "name": "password",
        "kind": "ascii",
        "size": 12,
        "export": [{"session": "shop/cron"}, {"session": "shop/web"}],
    }
    assert secret(session(plan, "db"), "own") == {"name": "own", "kind": "ascii"}
    for importer in ("web", "cron"):
        assert session(plan, importer)["secrets"] == [
            {"name": "password", "import": {"session": "shop/db", "secret": "password"}}
        ]
    assert "secrets" not in session(plan, "other")


def test_nothing_is_exported_to_a_namespace_or_made_public_unless_asked() -> None:
    plan = compiled(with_secrets("db", [PASSWORD]), with_secrets("web", imports=("password",)))
    text = repr([entry.document for entry in plan.sessions])
    assert "export_public" not in text
    assert "'namespace'" not in text
    asked = [{**PASSWORD, "export": [{"namespace": "shop"}], "export_public": "true"}]
    defined = secret(session(compiled(with_secrets("db", asked)), "db"), "password")
    assert defined["export"] == [{"namespace": "shop"}]
    assert defined["export_public"] is True


def test_an_own_secret_may_be_named_as_imported() -> None:
    plan = compiled(with_secrets("db", [PASSWORD], imports=("password",)))
    assert session(plan, "db")["secrets"] == [{"name": "password", "kind": "ascii", "size": 12}]


def test_importing_twice_is_importing_once() -> None:
    plan = compiled(with_secrets("db", [PASSWORD]), with_secrets("web", imports=("password", "password")))
    assert len(session(plan, "web")["secrets"]) == 1


def test_an_unknown_import_and_a_duplicate_definition_are_reported_together() -> None:
    with pytest.raises(PlanImpossible) as caught:
        compiled(
            with_secrets("db", [{**PASSWORD, "value": "hunter2", "size": None}]),
            with_secrets("web", [PASSWORD], imports=("pasword",)),
            with_secrets("cron", imports=("zzz",)),
        )
    found = caught.value.findings
    assert [(f.code, f.path) for f in found] == [("SC2004", f"services[{n}]") for n in (1, 1, 2)]
    by_message = {f.message: f.hint for f in found}
    assert (
        by_message["secret pasword of service web is imported, but no service defines it"] == "did you mean password?"
    )
    assert "or remove the import" in by_message["secret zzz of service cron is imported, but no service defines it"]
    assert any("is also defined by service db; names are unique" in message for message in by_message)
    assert not any("hunter2" in str(f) for f in found)


def test_image_secrets_replace_those_of_the_image_by_name_and_are_not_bound_again() -> None:
    image = with_secrets("web", [PASSWORD, {"name": "kept", "kind": "ascii", "value": "{{X}}"}])
    replaced = [Secret(name="password", kind="ascii", value="{{X}}"), Secret(name="new", kind="ascii")]
    document = session(compiled(image, env={"global": {"X": "1"}}, replaced={"web": replaced}), "web")
    assert document["secrets"] == [
        {"name": "password", "kind": "ascii", "value": "{{X}}"},
        {"name": "kept", "kind": "ascii", "value": "1"},
        {"name": "new", "kind": "ascii"},
    ]


def test_a_replaced_secret_needs_no_value_for_the_names_in_the_old_one() -> None:
    image = with_secrets("web", [{"name": "s", "kind": "ascii", "value": "{{GONE}}"}])
    document = session(compiled(image, replaced={"web": [Secret(name="s", kind="ascii", value="x")]}), "web")
    assert document["secrets"][0]["value"] == "x"


# --- certificates ---------------------------------------------------------------------------------------------------

CERTIFICATE = {
    "key": {"name": "key", "kind": "private-key"},
    "cert": {"name": "cert", "kind": "x509", "private_key": "key"},
}


@pytest.mark.parametrize(
    ("text", "exported"),
    [
        ("$$SCONE::cert$$", False),
        ("$$SCONE::cert:crt$$", False),
        ("$$SCONE::cert.crt$$", False),
        ("$$SCONE::cert.chain$$", False),
        ("$$SCONE::cert.key$$", True),
        ("$$SCONE::cert:privatekey$$", True),
        ("x $$SCONE::cert:privatekey:pkcs8$$ y", True),
        ("$$SCONE::cert:pkcs12-with-private-key$$", True),
        ("$$SCONE::cert.key|escape(json)$$", True),
        ("$$SCONE::cert.key$$$$SCONE::cert:crt$$", True),
        ("$$SCONE::other.key$$", False),
        ("$$SCONE::certx.key$$", False),
        ("$$SCONE::cert.keyx$$", False),
    ],
)
def test_a_certificate_brings_its_key_only_to_who_uses_it(text: str, exported: bool) -> None:
    sections, faults = wire(
        {
            "ca": ServiceSecrets("shop/ca", CERTIFICATE, ()),
            "web": ServiceSecrets("shop/web", {}, ("cert",), (text,)),
            "log": ServiceSecrets("shop/log", {}, ("cert",), ("$$SCONE::cert:crt$$",)),
        }
    )
    assert faults == []
    key, cert = sections["ca"]
    assert cert["export"] == [{"session": "shop/log"}, {"session": "shop/web"}]
    assert key.get("export") == ([{"session": "shop/web"}] if exported else None)


def test_names_with_special_characters_are_taken_literally() -> None:
    defined = {"c.rt": {"name": "c.rt", "private_key": "k"}, "k": {"name": "k"}}
    sections, _ = wire(
        {
            "ca": ServiceSecrets("ca", defined, ()),
            "web": ServiceSecrets("web", {}, ("c.rt",), ("$$SCONE::cXrt.key$$",)),
        }
    )
    assert "export" not in sections["ca"][1]
