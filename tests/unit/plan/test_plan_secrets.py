"""Secrets over the whole mesh: who defines, who imports, and that exports go to exactly those."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.builders import TOOLCHAINS, compiled, facts, mesh_text, read_mesh, session

from sconectl.errors import PlanImpossible
from sconectl.manifest.model.secrets import Secret
from sconectl.plan.mesh.mesh import MeshInput, MeshPlan, plan_mesh
from sconectl.plan.secrets.wiring import ServiceSecrets, wire
from sconectl.usecases.apply_mesh import check_sessions


def with_secrets(name: str, defines: list[dict[str, Any]] | None = None, imports: tuple[str, ...] = ()) -> Any:
    return facts(name, secrets={"global": defines or [], "import": list(imports)})


KEY = {"name": "key", "kind": "private-key"}
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


@pytest.mark.parametrize(
    ("fields", "migrate"),
    [({}, True), ({"migrate": True}, True), ({"migrate": False}, False), ({"value": "given"}, None)],
)
def test_private_keys_are_kept_unless_the_manifest_says_otherwise(fields: dict[str, Any], migrate: bool | None) -> None:
    written = secret(session(compiled(with_secrets("db", [KEY | fields])), "db"), "key")
    assert written.get("migrate") is migrate


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


# --- one image, several services ------------------------------------------------------------------------------------


def services(*names: tuple[str, Any]) -> MeshPlan:
    """Compile a mesh of these services, each with the image that is given for it."""
    document = mesh_text([name for name, _ in names])
    for name, image in names:
        document = document.replace(f"registry.example.org/{name}:1", image.image)
    mesh, manifest = read_mesh(document)
    return plan_mesh(MeshInput(mesh, manifest.document, dict(names), {}, "", "0", toolchains=TOOLCHAINS))


def test_services_of_one_image_have_secrets_of_their_own() -> None:
    image = with_secrets("db", [PASSWORD, *CERTIFICATE.values()])
    plan = services(("first", image), ("second", image), ("web", with_secrets("web")))
    check_sessions(plan)
    first, second = (session(plan, name) for name in ("first", "second"))
    assert first["secrets"] == second["secrets"]
    assert [secret["name"] for secret in first["secrets"]] == ["password", *CERTIFICATE]
    assert (first["name"], second["name"]) == ("shop/first", "shop/second")


def test_an_import_from_one_of_several_is_ambiguous() -> None:
    image = with_secrets("db", [PASSWORD])
    with pytest.raises(PlanImpossible) as caught:
        services(("first", image), ("web", with_secrets("web", imports=("password",))), ("second", image))
    (fault,) = caught.value.findings
    assert (fault.code, fault.path) == ("SC2004", "services[1]")
    assert "each of first, second has one of its own, because they run the same image" in fault.message
    assert "define password in the manifest of the image of web, and import it in that of first" in fault.hint
    image = with_secrets("db", imports=("password",))  # the remedy
    plan = services(("first", image), ("web", with_secrets("web", [PASSWORD])), ("second", image))
    assert secret(session(plan, "web"), "password")["export"] == [{"session": "shop/first"}, {"session": "shop/second"}]


def test_two_images_with_one_name_are_still_refused() -> None:
    first, second = with_secrets("first", [PASSWORD]), with_secrets("second", [PASSWORD])
    with pytest.raises(PlanImpossible) as caught:
        services(("first", first), ("again", first), ("second", second))
    (fault,) = caught.value.findings
    assert fault.path == "services[2]" and "is also defined by service first" in fault.message


@pytest.mark.parametrize("replaced", ["db", "other"])
def test_each_service_uses_its_secret_as_what_it_is_there(replaced: str) -> None:
    image = facts(
        "db",
        secrets={"global": [{**PASSWORD, "kind": "binary"}]},
        environment={"local": [{"name": "P", "value": "$$SCONE::password:hex$$"}]},
    )
    with pytest.raises(PlanImpossible) as caught:
        compiled(
            image,
            image.model_copy(update={"name": "other"}),
            replaced={replaced: [Secret(name="password", kind="ascii")]},
        )
    (fault,) = caught.value.findings
    assert f"service {replaced} is used wrongly" in fault.message


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
