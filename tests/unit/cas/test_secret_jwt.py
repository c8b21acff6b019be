"""Tokens, as another library sees them."""

from __future__ import annotations

from datetime import timedelta

import jwt as pyjwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.secrets import generate, jwt
from sconectl.cas.secrets.session_secrets import Value, value_in

from .secret_sessions import NOW, Imports, nothing_imported, rows, session

KEY = generate.private_key("P-384")
PUBLIC = generate.public_key_pem(KEY)


@given(
    st.dictionaries(
        st.text(max_size=10).filter(lambda key: key not in {"iat", "nbf", "exp", "sub", "iss", "aud", "jti"}),
        st.text(max_size=20),
    )
)
def test_another_library_verifies_the_token(claims: dict[str, str]) -> None:
    token = jwt.signed(claims, KEY, NOW, timedelta(hours=24))
    read = pyjwt.decode(token, PUBLIC, algorithms=["ES384"])
    issued = int(NOW.timestamp())
    assert read == {**claims, "iat": issued, "nbf": issued, "exp": issued + 86400}
    assert pyjwt.get_unverified_header(token) == {"alg": "ES384", "typ": "JWT"}


def test_a_token_ends() -> None:
    token = jwt.signed({}, KEY, NOW - timedelta(hours=2), timedelta(hours=1))
    with pytest.raises(pyjwt.ExpiredSignatureError):
        pyjwt.decode(token, PUBLIC, algorithms=["ES384"])


@pytest.mark.parametrize("key_type", ["P-256", "Ed25519"])
def test_another_key_is_refused(key_type: str) -> None:
    with pytest.raises(ValueError):
        jwt.signed({}, generate.private_key(key_type), NOW, timedelta(hours=1))


TOKEN = "name: t, kind: jwt, signer: k, alg: ES384, validity: {for: 1h}"
SIGNER = "name: k, kind: private-key, key_type: P-384"


def claims_of(token: Value) -> dict[str, object]:
    claims: dict[str, object] = pyjwt.decode(token.content, options={"verify_signature": False})
    return claims


def test_claims_that_are_placeholders_are_filled_and_embedded_ones_stay() -> None:
    current = session(
        SIGNER,
        "name: who, kind: ascii, value: 'alice $$SCONE::seed:hex$$'",
        "name: seed, kind: binary, value: 00ff",
        TOKEN
        + """, payload: {a: $$SCONE::who$$, b: "x $$SCONE::who$$", c: "$$SCONE::seed:base64$$",
        d: $$SCONE::self::software_identity$$, e: "is $$SCONE::self::software_identity$$"}""",
    )
    stored = rows(current)
    assert "t" not in stored
    token = value_in(current, stored, "t", nothing_imported, NOW, software_identity="ab" * 32)
    public = generate.public_key_pem(generate.load_private_key(stored["k"].content))
    assert pyjwt.decode(token.content, public, algorithms=["ES384"])["exp"] == int(NOW.timestamp()) + 3600
    claims = claims_of(token)
    assert claims["a"] == "alice $$SCONE::seed:hex$$"  # one pass: the value is not read again
    assert claims["b"] == "x $$SCONE::who$$"
    assert claims["c"] == "AP8="
    assert claims["d"] == "ab" * 32
    assert claims["e"] == "is $$SCONE::self::software_identity$$"


def test_each_use_signs_a_new_token_for_its_time() -> None:
    current = session(SIGNER, TOKEN)
    stored = rows(current)
    later = NOW + timedelta(hours=5)
    token = value_in(current, stored, "t", nothing_imported, later)
    assert claims_of(token)["iat"] == int(later.timestamp())


@pytest.mark.parametrize(
    ("claim", "why"),
    [
        ("$$SCONE::self::software_identity$$", "attested"),
        ("$$SCONE::t$$", "contain itself"),
        ("$$SCONE::raw$$", "raw bytes"),
        ("$$SCONE::raw:pem$$", "no such format"),
        ("$$SCONE::nul$$", "NUL"),
        ("$$SCONE::fragment$$", "config-fragment"),
        ("$$SCONE::foreign$$", "not granted"),
    ],
)
def test_what_cannot_be_claimed_is_refused(claim: str, why: str) -> None:
    names = ("raw", "nul", "fragment", "foreign")
    imports = (f"name: {name}, import: {{session: other, secret: x}}" for name in names)
    current = session(SIGNER, f'{TOKEN}, payload: {{a: "{claim}"}}', *imports)
    found = Imports(raw=Value("binary", b"\xff"), nul=Value("ascii", b"a\0"), fragment=Value("config-fragment", b"[]"))
    with pytest.raises(CasRefusal, match=why) as caught:
        value_in(current, rows(current), "t", found, NOW)
    assert caught.value.status == 403


def test_an_imported_signer_signs_if_it_is_a_p384_key() -> None:
    current = session("name: k, import: {session: other, secret: k}", TOKEN)
    good = Imports(k=Value("private-key", generate.private_key_pem(KEY)))
    token = value_in(current, {}, "t", good, NOW)
    assert pyjwt.decode(token.content, PUBLIC, algorithms=["ES384"])
    for bad in (Value("ascii", b"x"), Value("private-key", generate.private_key_pem(generate.private_key("P-256")))):
        with pytest.raises(CasRefusal) as caught:
            value_in(current, {}, "t", Imports(k=bad), NOW)
        assert caught.value.status == 403
