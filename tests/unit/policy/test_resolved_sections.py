"""References in sections of a session, replaced by the values of secrets."""

from __future__ import annotations

from typing import Any

import pytest

from sconectl.policy.reading import Attestation, Rule, Session, Signer, parse_session
from sconectl.policy.resolved_sections import (
    FragmentError,
    Resolve,
    one_time_password_of,
    platforms_of,
    principals_of,
    security_of,
    variants_of,
)
from sconectl.text.secret_placeholders import Placeholder

H, G, P = "0a" * 32, "0b" * 32, "INTEL_QE_ID:" + "0c" * 16
OTP = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
KEY_HASH = "4hxbfBB9G1hyrLotptsrDejMXHWSUfknwG9x6q2VU8gLejZMU3"
SIGNED = {"signer": {"mrsigner": G, "isvprodid": "3", "isvsvn_min": "2"}}
SPKI = "MCowBQYDK2VwAyEAVqEDFnJozBIhmsg2oFxHllme3fJxb22Hlmqu9pKTLkc="
PUB = f"-----BEGIN PUBLIC KEY-----\n{SPKI}\n-----END PUBLIC KEY-----\n"
NAMES = ["one", "two", "three", "text", "hidden"]
SECRETS = "".join(f"  - {{name: {name}, import: {{session: b, secret: {name}}}}}\n" for name in NAMES)


def session(body: str) -> Session:
    return parse_session(f'name: a\nversion: "0.3.12"\n{body}\nsecrets:\n{SECRETS}')


def having(**values: Any) -> Resolve:
    def resolve(placeholder: Placeholder) -> Any:
        if placeholder.name not in values:
            raise FragmentError(f"the secret {placeholder.name} is not shared with this session")
        return values[placeholder.name]

    return resolve


def nothing(placeholder: Placeholder) -> Any:
    pytest.fail(f"nothing was to be looked up, and {placeholder.name} was")


# --- attestation ------------------------------------------------------------------------------------------------------


def service(body: str) -> Session:
    return session(f"services: [{{name: s, {body}}}]")


def test_without_references_nothing_is_looked_up() -> None:
    given = service(f'attestation: {{mrenclave: {H}}}, platforms: ["{P}"], one_time_password_shared_secret: {OTP}')
    entry = given.services[0]
    assert variants_of(given, entry, nothing) == entry.attestation
    assert platforms_of(entry, nothing) == (P,)
    assert security_of(given, nothing) == given.security
    assert one_time_password_of(security_of(given, nothing), entry, nothing) == OTP
    assert principals_of(given, "read", nothing) == (("CREATOR",), ())


def test_a_fragment_stands_for_a_variant() -> None:
    given = service(f"attestation: [{{mrenclave: {H}}}, $$SCONE::one$$]")
    first, second = variants_of(given, given.services[0], having(one=SIGNED))
    assert first.mrenclave == (H,)
    assert second.mrenclave is None
    assert second.signer is not None and not isinstance(second.signer, str)
    assert (second.signer.mrsigner, second.signer.isvprodid, second.signer.isvsvn_min) == (G, 3, 2)


def test_lists_are_spliced() -> None:
    given = service(f"attestation: [$$SCONE::one$$, {{mrenclave: [$$SCONE::two$$, {H}], signer: $$SCONE::three$$}}]")
    values = having(one=[{"mrenclave": [G]}, SIGNED], two=[G, H], three=SIGNED["signer"])
    found = variants_of(given, given.services[0], values)
    assert [variant.mrenclave for variant in found] == [(G,), None, (G, H, H)]
    assert [variant.signer is None for variant in found] == [True, False, False]


def test_a_fragment_stands_for_the_whole_section() -> None:
    given = service("attestation: $$SCONE::one$$")
    assert [v.mrenclave for v in variants_of(given, given.services[0], having(one={"mrenclave": H}))] == [(H,)]
    assert [v.mrenclave for v in variants_of(given, given.services[0], having(one=({"mrenclave": H},)))] == [(H,)]


def test_a_single_measurement_may_be_text() -> None:
    given = service("attestation: {mrenclave: $$SCONE::text$$}")
    assert variants_of(given, given.services[0], having(text=H.upper()))[0].mrenclave == (H,)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("0a", "64 hex digits"),
        ([], "empty"),
        ({"a": "b"}, "expected text"),
        ("$$SCONE::two$$", "holds a reference itself"),
        ([["$$SCONE::two$$"]], "holds a reference itself"),
    ],
)
def test_measurements_that_are_none(value: Any, words: str) -> None:
    given = service("attestation: {mrenclave: [$$SCONE::one$$]}")
    with pytest.raises(FragmentError, match="the attestation of service s") as caught:
        variants_of(given, given.services[0], having(one=value))
    assert words in str(caught.value)


def test_no_variant_at_all() -> None:
    given = service("attestation: [$$SCONE::one$$]")
    with pytest.raises(FragmentError, match="empty"):
        variants_of(given, given.services[0], having(one=[]))


def test_a_secret_that_is_not_to_be_had() -> None:
    given = service("attestation: [$$SCONE::one$$]")
    with pytest.raises(FragmentError, match="the secret one is not shared"):
        variants_of(given, given.services[0], having())

    def broken(_: Placeholder) -> Any:
        raise LookupError("with details that hold hunter2")

    with pytest.raises(FragmentError, match="the secret one cannot be used") as caught:
        variants_of(given, given.services[0], broken)
    assert "hunter2" not in str(caught.value)


def test_values_do_not_show_in_errors() -> None:
    given = service("attestation: {mrenclave: [$$SCONE::one$$]}, one_time_password_shared_secret: $$SCONE::two$$")
    with pytest.raises(FragmentError) as caught:
        variants_of(given, given.services[0], having(one="hunter2"))
    assert "hunter2" not in str(caught.value)
    with pytest.raises(FragmentError) as caught:
        one_time_password_of(security_of(given, nothing), given.services[0], having(two="hunter2"))
    assert "hunter2" not in str(caught.value)


def test_platforms() -> None:
    given = service(f'attestation: {{mrenclave: {H}}}, platforms: [$$SCONE::one$$, "{P}"]').services[0]
    assert platforms_of(given, having(one=[P, P.lower().replace("intel_qe_id", "INTEL_QE_ID")])) == (P, P, P)
    assert platforms_of(given, having(one=P)) == (P, P)
    with pytest.raises(FragmentError, match="INTEL_QE_ID"):
        platforms_of(given, having(one="x"))


def test_an_empty_list_of_platforms_does_not_mean_any() -> None:
    given = service(f"attestation: {{mrenclave: {H}}}, platforms: [$$SCONE::one$$]").services[0]
    with pytest.raises(FragmentError, match="empty"):
        platforms_of(given, having(one=[]))


# --- security ---------------------------------------------------------------------------------------------------------


def attestation(given: Session, resolve: Resolve) -> Attestation:
    found = security_of(given, resolve).attestation
    assert isinstance(found, Attestation)
    return found


def test_security_as_a_whole_and_in_parts() -> None:
    tolerant = {"mode": "hardware", "tolerate": ["debug-mode"], "min_rsa_signing_key_size": "4096"}
    whole = session("security: $$SCONE::one$$")
    assert attestation(whole, having(one={"attestation": tolerant})).tolerate == ("debug-mode",)
    assert attestation(whole, having(one={"attestation": tolerant})).min_rsa_signing_key_size == 4096
    half = session("security: {attestation: $$SCONE::one$$, singleton_enclaves: true}")
    assert security_of(half, having(one=tolerant)).singleton_enclaves
    assert attestation(half, having(one=tolerant)).tolerate == ("debug-mode",)
    parts = session("security: {attestation: {mode: $$SCONE::one$$, tolerate: [$$SCONE::two$$, hyperthreading]}}")
    found = attestation(parts, having(one="hardware", two=["debug-mode", "outdated-tcb"]))
    assert (found.mode, found.tolerate) == ("hardware", ("debug-mode", "outdated-tcb", "hyperthreading"))


@pytest.mark.parametrize(
    "value", [{"mode": "maa"}, {"mode": "hardware", "must_be_sgx_local": "true"}, {"unknown": "x"}, "text", ["x"], ""]
)
def test_the_rules_hold_for_what_is_put_in(value: Any) -> None:
    with pytest.raises(FragmentError, match="security"):
        security_of(session("security: {attestation: $$SCONE::one$$}"), having(one=value))


def test_an_access_token_is_never_a_reference() -> None:
    given = session("security: {service_access_token: $$SCONE::one$$, attestation: $$SCONE::two$$}")
    found = security_of(given, having(two={"mode": "none"}))
    assert found.service_access_token == "$$SCONE::one$$"


def test_one_time_passwords() -> None:
    given = session(
        "security: {attestation: {mode: none, one_time_password_shared_secret: $$SCONE::one$$}}\n"
        "services: [{name: s}, {name: t, one_time_password_shared_secret: $$SCONE::two:base32nopad$$}]"
    )
    other = OTP[::-1].replace("=", "")
    resolve = having(one=OTP, two=other)
    security = security_of(given, resolve)
    assert one_time_password_of(security, given.services[0], resolve) == OTP
    assert one_time_password_of(security, given.services[1], resolve) == other
    assert one_time_password_of(security_of(session(""), nothing), given.services[0], nothing) is None
    with pytest.raises(FragmentError, match="one-time password secret of service t"):
        one_time_password_of(security, given.services[1], having(two="ABC"))


# --- access policy ----------------------------------------------------------------------------------------------------


def test_principals_behind_references() -> None:
    given = session("access_policy: {read: [CREATOR, $$SCONE::one$$, $$SCONE::hidden$$], update: $$SCONE::two$$}")
    resolve = having(one=KEY_HASH, two=["CREATOR", {"signer": PUB}])
    read, reasons = principals_of(given, "read", resolve)
    assert read == ("CREATOR", KEY_HASH)
    assert reasons == ("the secret hidden is not shared with this session",)
    assert principals_of(given, "update", resolve) == (("CREATOR", Signer(signer=PUB)), ())
    assert principals_of(given, "create_sessions", resolve)[0] == ("CREATOR", Signer(signer=PUB))


def test_an_ill_typed_reference_grants_nothing() -> None:
    given = session("access_policy: {read: [$$SCONE::one$$]}")
    for value in ("hunter2", {"signer": PUB}, {"require-all": ["CREATOR"]}, [], [{"a": "b"}], "$$SCONE::two$$"):
        found, reasons = principals_of(given, "read", having(one=value))
        assert found == ()
        assert len(reasons) == 1 and "hunter2" not in reasons[0]


def test_the_whole_policy_behind_a_reference() -> None:
    given = session("access_policy: $$SCONE::one$$")
    resolve = having(one={"read": ["ANY"], "update": [KEY_HASH]})
    assert principals_of(given, "read", resolve) == (("ANY",), ())
    assert principals_of(given, "list_sessions", resolve) == (("ANY",), ())
    assert principals_of(given, "create_sessions", resolve) == ((KEY_HASH,), ())
    for resolve in (having(), having(one="x"), having(one={"reed": ["ANY"]})):
        found, reasons = principals_of(given, "read", resolve)
        assert found == () and len(reasons) == 1


def test_any_beside_others_is_ignored() -> None:
    given = session("access_policy: {read: [CREATOR, $$SCONE::one$$]}")
    assert principals_of(given, "read", having(one="ANY"))[0] == ("CREATOR",)
    alone = session("access_policy: {read: $$SCONE::one$$}")
    assert principals_of(alone, "read", having(one="ANY"))[0] == ("ANY",)


def rule(body: str, resolve: Resolve) -> Rule:
    found = principals_of(session(f"access_policy: {{update: {{{body}}}}}"), "update", resolve)[0][0]
    assert isinstance(found, Rule)
    return found


def test_a_missing_reference_never_makes_a_rule_easier() -> None:
    found = rule("require-all: [CREATOR, $$SCONE::hidden$$]", having())
    assert (found.of, found.needed) == (("CREATOR",), 2)
    found = rule("require-at-least-2: [CREATOR, $$SCONE::hidden$$]", having())
    assert (found.of, found.needed) == (("CREATOR",), 2)


def test_references_in_rules() -> None:
    found = rule("require-all: [CREATOR, $$SCONE::one$$]", having(one=[KEY_HASH, {"signer": PUB}]))
    assert (found.of, found.needed) == (("CREATOR", KEY_HASH, Signer(signer=PUB)), 3)
    nested = rule("require-at-least-1: [{require-all: [$$SCONE::one$$, CREATOR]}]", having(one=KEY_HASH))
    assert nested.of == (Rule.model_construct(at_least=2, of=(KEY_HASH, "CREATOR")),)
    assert nested.needed == 1
