"""Secrets in manifests: which fields go with which kind, what may be filled in later, and what is said about faults."""

from __future__ import annotations

from typing import Any

import pytest

from sconectl.errors import InvalidInput
from sconectl.manifest.model.genservice import GenService
from sconectl.manifest.model.secrets import ExportTarget, Secret
from sconectl.text.findings import Finding

from .forms import SERVICE, read, with_field

CANARY = "hunter2-Zx9"


def secret(fields: dict[str, Any]) -> Secret:
    model = read(with_field(SERVICE, ("secrets", "global"), [{"name": "s", **fields}])).model
    assert isinstance(model, GenService)
    return model.secrets.global_[0]


def faults(fields: dict[str, Any]) -> list[Finding]:
    with pytest.raises(InvalidInput) as caught:
        secret(fields)
    assert CANARY not in "".join(map(str, caught.value.findings))
    return list(caught.value.findings)


_X509 = {"kind": "x509", "private_key": "k"}
_TOKEN = {"kind": "aad-token", "tenant_id": "t", "client_id": "c"}
_PEM = {"private_key": CANARY, "certificate_thumbprint": "ab" * 20}


@pytest.mark.parametrize(
    ("fields", "paths"),
    [
        ({"kind": "x509"}, ["private_key"]),
        ({"kind": "x509-ca"}, ["private_key"]),
        ({"kind": "public-key"}, ["private_key"]),
        ({"kind": "x509-ca", "private_key": "k", "endpoint": "server", "dns": "a"}, ["endpoint", "dns"]),
        ({"kind": "ascii", "san": "dns:a"}, ["san"]),
        ({**_X509, "endpoint": "client", "dns": ["a"]}, ["dns"]),
        ({**_X509, "private_key": f"-----BEGIN {CANARY}"}, ["private_key"]),
        ({**_TOKEN}, [""]),
        ({**_TOKEN, "application_secret": CANARY, **_PEM}, [""]),
        ({**_TOKEN, "private_key": CANARY}, [""]),
        ({"kind": "aad-token", "application_secret": CANARY}, ["client_id", "tenant_id"]),
        ({**_TOKEN, "application_secret": "x", "value": CANARY}, ["value"]),
        ({"kind": "config-fragment"}, ["value"]),
        ({"kind": "pgp-key", "value": CANARY}, ["value"]),
        ({"kind": "jwt"}, ["alg", "signer", "validity"]),
    ],
)
def test_fields_that_do_not_go_together(fields: dict[str, Any], paths: list[str]) -> None:
    found = faults(fields)
    assert {f.code for f in found} == {"SC1013"}
    assert [f.path for f in found] == [f"secrets.global[0]{'.' if path else ''}{path}" for path in paths]
    assert all(f.hint for f in found)


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "x509", "value": "-----BEGIN CERTIFICATE"},
        {**_X509, "endpoint": "client", "san": "ip:192.0.2.1"},
        {**_X509, "endpoint": "server", "dns": "*.example.org"},
        {**_TOKEN, "application_secret": CANARY},
        {**_TOKEN, **_PEM},
        {"kind": "ascii", "value": ""},
        {"kind": "binary", "value": ""},
    ],
)
def test_fields_that_go_together(fields: dict[str, Any]) -> None:
    given = secret(fields)
    for field, value in fields.items():
        held = getattr(given, field)
        assert held == ((value,) if isinstance(held, tuple) else value)


@pytest.mark.parametrize(
    ("fields", "field", "message", "hint"),
    [
        ({}, "kind", "missing", "add kind"),
        ({"kind": "X.509"}, "kind", "'x509'", "did you mean x509?"),
        ({"kind": "private_key"}, "kind", "'private-key'", "did you mean private-key?"),
        ({"kind": "private-key", "key_type": "p256"}, "key_type", "'P-256'", "did you mean P-256?"),
        ({"kind": "private-key", "key_type": "ED25519"}, "key_type", "'Ed25519'", "did you mean Ed25519?"),
        ({"kind": "private-key", "migrate": "yes"}, "migrate", "true or false", "write true"),
        ({"kind": "ascii", "export_public": "off"}, "export_public", "true or false", "write false"),
        ({"kind": "ascii", "export_public": CANARY}, "export_public", "true or false", ""),
        ({"kind": "ascii", "size": "0"}, "size", "from 1 to 65536", ""),
        ({"kind": "ascii", "size": "65537"}, "size", "from 1 to 65536", ""),
        ({"kind": "ascii", "size": "1" * 40}, "size", "from 1 to 65536", ""),
        ({"kind": "ascii", "size": "٣"}, "size", "from 1 to 65536", ""),
        ({"kind": "ascii", "value": {"a": CANARY}}, "value", "expected text", ""),
        ({"kind": "binary", "value": f"{CANARY}"}, "value", "hex digits", "use kind ascii for text"),
        ({"kind": "binary", "value": "abc"}, "value", "hex digits", "use kind ascii for text"),
        ({**_X509, "endpoint": "Server"}, "endpoint", "'server' or 'client'", "did you mean server?"),
        ({**_X509, "valid_for": "forever"}, "valid_for", "a duration", ""),
        ({**_X509, "valid_for": "90"}, "valid_for", "a duration", ""),
        ({**_X509, "san": "api"}, "san", "dns:NAME or ip:ADDRESS", 'write "dns:api"'),
        ({**_X509, "common_name": "x" * 65}, "common_name", "at most 64", ""),
        ({**_X509, "issuer": "a b"}, "issuer", "the name of a secret", ""),
        ({**_TOKEN, "certificate_thumbprint": CANARY}, "certificate_thumbprint", "40 hex digits", ""),
        ({"kind": "ascii", "export": {"sesion": "a"}}, "export.sesion", "unknown", "did you mean session?"),
        ({"kind": "ascii", "export": [["a"]]}, "export[0]", "a mapping", "write one `field: value` in each line"),
        ({"kind": "ascii", "export": {}}, "export", "either a session or a namespace", "write `session: NAME`"),
        ({"kind": "jwt", "alg": "HS256"}, "alg", "expected 'ES384'", ""),
    ],
)
def test_values_that_do_not_fit(fields: dict[str, Any], field: str, message: str, hint: str) -> None:
    found = [f for f in faults(fields) if f.path.startswith(f"secrets.global[0].{field}")]
    assert found, field
    assert (found[0].code, message in found[0].message) == ("SC1002", True), found[0]
    if hint or field != "alg":
        assert found[0].hint == hint


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        *(("ascii", field) for field in ("size", "export_public", "migrate")),
        *(("private-key", field) for field in ("key_type", "migrate")),
        *(("x509", field) for field in ("private_key", "issuer", "common_name", "endpoint", "valid_for")),
        ("binary", "value"),
    ],
)
def test_what_the_mesh_fills_in_is_not_checked_yet(kind: str, field: str) -> None:
    fields = {"kind": kind, **({"private_key": "k"} if kind == "x509" else {}), field: "{{late}}"}
    assert getattr(secret(fields), field) == "{{late}}"


def test_faults_of_a_field_do_not_hide_those_between_fields() -> None:
    found = faults({"kind": "x509-ca", "size": "many", "endpoint": "servr", "dns": ["a b"], "unknown": "x"})
    assert [(f.code, f.path.removeprefix("secrets.global[0].")) for f in found] == [
        ("SC1013", "private_key"),
        ("SC1002", "size"),
        ("SC1013", "endpoint"),
        ("SC1002", "endpoint"),
        ("SC1013", "dns"),
        ("SC1002", "dns[0]"),
        ("SC1002", "unknown"),
    ]


@pytest.mark.parametrize("kind", [["x509"], {"x509": "a"}, None, ""])
def test_a_kind_that_is_no_text(kind: Any) -> None:
    assert [f.path for f in faults({"kind": kind, "dns": "a"})] == ["secrets.global[0].kind"]


def test_numbers_may_be_numbers_or_text() -> None:
    for written in (10, "10"):
        assert Secret.model_validate({"name": "s", "kind": "ascii", "size": written}).size == 10


def test_exports() -> None:
    given = secret({"kind": "ascii", "export": ["a/b", {"session": "../c"}, {"namespace": "{{namespace}}"}]})
    assert given.export == ("a/b", ExportTarget(session="../c"), ExportTarget(namespace="{{namespace}}"))
    assert secret({"kind": "ascii", "export": "a"}).export == ("a",)


def test_no_repr_shows_a_value() -> None:
    for fields in ({"kind": "ascii", "value": CANARY}, {**_TOKEN, "application_secret": CANARY}, {**_TOKEN, **_PEM}):
        assert CANARY not in repr(secret(fields))


def test_a_variable_without_a_value_is_the_only_fault() -> None:
    for fields in ({"kind": "x509", "private_key": "$KEY"}, {"kind": "$KIND", "dns": "a"}, {**_X509, "dns": "$DNS"}):
        assert {f.code for f in faults(fields)} == {"SC1003"}
    twice = [{"name": "$NAME", "kind": "ascii"}, {"name": "$NAME", "kind": "ascii"}]
    with pytest.raises(InvalidInput) as caught:
        read(with_field(SERVICE, ("secrets", "global"), twice))
    assert [f.code for f in caught.value.findings] == ["SC1003", "SC1003"]
