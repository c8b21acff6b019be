"""How programs attest: freshness, tokens, one-time passwords, channels, and what the audit log says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sconectl.cas.attest.channels import CHANNEL_SECONDS, NONCE_SECONDS
from sconectl.cas.attest.one_time_password import MAX_WRONG, STEP, code_at
from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.keys.cas_keys import CasKeys
from sconectl.cas.secrets.session_secrets import Value
from sconectl.cas.sessions.sharing import Sharing
from sconectl.policy.reading import Import
from sconectl.policy.serialized.canonical import session_hash

from .enclave_world import CHANNEL, MEASUREMENT, OTHER, PLATFORM, World, causes_of, make_keys, service

OTP = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
OTP_BYTES = b"Hello!\xde\xad\xbe\xef" * 2
TAG, NEW = "3d" * 16, "4e" * 16


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> CasKeys:
    return make_keys(tmp_path_factory.mktemp("keys") / "cas")


@pytest.fixture
def world(keys: CasKeys, tmp_path: Path) -> World:
    return World(keys, tmp_path)


# Who is asked for.


def test_unknown_sessions_and_services_are_told_apart(world: World) -> None:
    world.put(service())
    assert world.refused("ghost/app", 404) == ("Session not found: there is no session ghost",)
    assert world.refused("acme/ghost", 404) == ("Service not found: session acme has no service ghost",)
    assert world.refused("acme/app/app", 404) == ("Session not found: there is no session acme/app",)
    assert world.entries == []


@pytest.mark.parametrize(
    "config_id",
    [
        "",
        "acme",
        "/app",
        "acme/",
        "acme/app/",
        "acme app/x",
        "acme/ap p",
        "ac\udc80me/app",
        "acme/app\n",
        "acme/äpp",
        "a" * 3000 + "/app",
    ],
)
def test_malformed_configuration_ids(world: World, config_id: str) -> None:
    world.put(service())
    with pytest.raises(CasRefusal, match="The configuration id is malformed") as caught:
        world.attest(config_id)
    assert caught.value.status == 400


@pytest.mark.parametrize("name", ["acme/deep/er", "/", "a.b~c_d-e"])
def test_names_of_sessions(world: World, name: str) -> None:
    world.put(service(), name)
    assert world.attest(f"{name}/app")["session"] == name


# Freshness.


def test_singleton_enclaves_need_a_fresh_number(world: World) -> None:
    world.put("security: {singleton_enclaves: true}\n" + service())
    nonce = world.enclaves.nonce()["nonce"]
    assert world.attest(nonce=nonce)
    assert world.refused(nonce=nonce) == (
        "The enclave is not fresh",
        "The session demands singleton enclaves: the report must hold a number of this CAS, "
        "at most 120 seconds old and used for the first time",
    )
    assert world.refused()[0] == "The enclave is not fresh"
    assert world.refused(nonce="00" * 32)[0] == "The enclave is not fresh"
    late = world.enclaves.nonce()["nonce"]
    world.wait(NONCE_SECONDS + 1)
    assert world.refused(nonce=late)[0] == "The enclave is not fresh"
    lost = world.enclaves.nonce()["nonce"]
    world.restart()
    assert world.refused(nonce=lost)[0] == "The enclave is not fresh"


def test_a_number_is_used_up_by_a_refusal_too(world: World) -> None:
    world.put("security: {singleton_enclaves: true}\n" + service())
    nonce = world.enclaves.nonce()["nonce"]
    assert world.refused(nonce=nonce, measurement=OTHER)[0] == "The program enclave is not trustworthy"
    assert world.refused(nonce=nonce)[0] == "The enclave is not fresh"


def test_a_number_cannot_be_put_into_a_quote_later(world: World) -> None:
    world.put("security: {singleton_enclaves: true}\n" + service())
    quote = world.quote()
    quote["report"]["nonce"] = world.enclaves.nonce()["nonce"]
    with pytest.raises(CasRefusal, match="The quote is not genuine"):
        world.enclaves.attest("acme/app", quote, CHANNEL)


def test_numbers_are_not_demanded_otherwise(world: World) -> None:
    world.put(service())
    assert world.attest() and world.attest(nonce="00" * 32)


# The service access token.


TOKEN = "security: {service_access_token: dN4vTq8sXw2LrPz6}\n"


def test_the_service_access_token(world: World) -> None:
    world.put(TOKEN + service())
    assert world.attest(token="dN4vTq8sXw2LrPz6")
    assert world.refused() == (
        "The service access token is missing",
        "Set SCONE_SERVICE_ACCESS_TOKEN for the container",
    )
    for wrong in ("", "dN4vTq8sXw2LrPz", "dN4vTq8sXw2LrPz66", "DN4vTq8sXw2LrPz6", "\udc80", "é"):
        assert world.refused(token=wrong) == ("The service access token is wrong",)
    assert not any("dN4v" in str(entry) for entry in world.entries)


def test_a_token_that_the_session_does_not_know(world: World) -> None:
    """Who gives one expects that the session has one (LANG §17: mutual)."""
    world.put(service())
    assert world.refused(token="x") == ("The session has no service access token, but one was given",)
    assert world.refused(token="") == ("The session has no service access token, but one was given",)


def test_an_untrustworthy_enclave_learns_nothing_about_the_token(world: World) -> None:
    world.put(TOKEN + service())
    assert world.refused(token="wrong", measurement=OTHER)[0] == "The program enclave is not trustworthy"


# One-time passwords.


def code(world: World, offset: int = 0, secret: bytes = OTP_BYTES) -> str:
    return code_at(secret, int(world.time.timestamp() // STEP) + offset)


def with_otp(text: str, more: str = "") -> str:
    return f"security: {{attestation: {{{more}one_time_password_shared_secret: {text}}}}}\n"


MISSING = "The one-time password is missing"
USED = "The one-time password was already used in this time step"
VALID = "The one-time password is not valid"


@pytest.mark.parametrize("mode", ["", "mode: none, "])
def test_one_time_passwords(world: World, mode: str) -> None:
    world.put(with_otp(OTP, mode) + service())
    assert world.refused() == (
        MISSING,
        "The session demands one for this service: append @ and its six digits to the configuration id",
    )
    good = code(world)
    assert world.attest(f"acme/app@{good}")["service"] == "app"
    assert world.refused(f"acme/app@{good}") == (USED, "Wait 30 seconds for the next one")
    world.restart()
    assert world.refused(f"acme/app@{good}")[0] == USED
    world.wait(STEP)
    assert world.attest(f"acme/app@{code(world)}")
    assert world.refused("acme/app@")[0] == VALID
    assert good not in str(world.entries)


def test_a_refused_enclave_does_not_use_up_the_code(world: World) -> None:
    world.put(with_otp(OTP) + service())
    world.refused(f"acme/app@{code(world)}", measurement=OTHER)
    assert world.attest(f"acme/app@{code(world)}")


def test_what_cannot_be_delivered_does_not_use_up_the_code(world: World) -> None:
    broken = service(more='    environment: {A: "$$SCONE::x$$"}\n')
    secrets = "secrets: [{name: x, kind: ascii, import: {session: owner, secret: x}}]\n"
    world.put(with_otp(OTP) + broken + secrets)
    assert "owner" in world.refused(f"acme/app@{code(world)}")[1]
    world.put("secrets: [{name: x, kind: ascii, value: y, export: {session: acme}}]\n", "owner")
    assert world.attest(f"acme/app@{code(world)}")["environment"] == {"A": "y"}


def test_the_secret_of_a_service_overrides_that_of_the_session(world: World) -> None:
    own = "    one_time_password_shared_secret: KRUGKIDROVUWG2ZAMJZG653OEBTG66BA\n"
    world.put(with_otp(OTP) + service(more=own))
    assert world.refused(f"acme/app@{code(world)}")[0] == VALID
    assert world.attest(f"acme/app@{code(world, secret=b'The quick brown fox ')}")


def test_a_code_is_good_for_one_of_the_services_that_share_a_secret(world: World) -> None:
    second = f"  - {{name: two, attestation: {{mrenclave: {MEASUREMENT}}}}}\n"
    world.put(with_otp(OTP) + service(more=second))
    assert world.attest(f"acme/two@{code(world)}")
    assert world.refused(f"acme/app@{code(world)}")[0] == USED


def test_a_new_secret_starts_anew(world: World) -> None:
    """Else a clock that was once far ahead would lock a service for good."""
    world.put(with_otp(OTP) + service())
    world.wait(10**8)
    world.attest(f"acme/app@{code(world)}")
    world.wait(-(10**8))
    assert world.refused(f"acme/app@{code(world)}")[0] == USED
    world.put(with_otp("KRUGKIDROVUWG2ZAMJZG653OEBTG66BA") + service())
    assert world.attest(f"acme/app@{code(world, secret=b'The quick brown fox ')}")


def test_the_shared_secret_may_be_a_generated_one(world: World) -> None:
    world.put(with_otp("$$SCONE::otp:base32nopad$$") + service() + "secrets: [{name: otp, kind: binary, size: 20}]\n")
    with world.store.reading() as transaction:
        secret = transaction.stored("acme")["otp"].content
    assert world.attest(f"acme/app@{code(world, secret=secret)}")
    assert world.refused()[0] == MISSING


def test_a_shared_secret_that_cannot_be_had(world: World) -> None:
    world.put("secrets: [{name: otp, kind: ascii, value: short, export: {session: acme}}]", "owner")
    secrets = "secrets: [{name: otp, import: {session: owner, secret: otp}}]\n"
    world.put(service(more="    one_time_password_shared_secret: $$SCONE::otp$$\n") + secrets)
    assert world.refused("acme/app@000000")[0] == "The policy refers to a secret that cannot be used here"
    [reason] = world.details
    assert "the one-time password secret of service app" in reason and "short" not in reason


def test_guessing_is_slowed_down(world: World) -> None:
    world.put(with_otp(OTP) + service())
    for _ in range(MAX_WRONG):
        world.refused("acme/app@wrong")
    assert world.refused(f"acme/app@{code(world)}")[0] == "Too many wrong one-time passwords"
    world.wait(301)
    assert world.attest(f"acme/app@{code(world)}")


def test_a_code_that_nobody_asked_for_is_refused(world: World) -> None:
    world.put(service())
    assert world.refused("acme/app@123456") == (
        "The session does not ask for a one-time password",
        "Remove @ and what follows",
    )


# Secrets of another CAS.


def test_waiting_for_another_cas_uses_nothing_up(world: World, tmp_path: Path) -> None:
    """The value is fetched outside of the transaction, and then everything is done again."""
    fetched: list[str] = []

    def remote(wanted: Import, importer: tuple[str, str], until: float) -> Value:
        assert importer[0] == "acme"
        fetched.append(wanted.secret)
        return Value("ascii", b"from afar")

    world.sharing = Sharing(lambda: world.time, remote)
    world.restart()
    imported = f"{{cas_url: far.example, cas_key: {world.keys.cas_key_hash}, session: theirs, secret: y}}"
    head = f"security: {{singleton_enclaves: true, attestation: {{one_time_password_shared_secret: {OTP}}}}}\n"
    secrets = f"secrets: [{{name: x, import: {imported}}}]\n"
    world.put(head + service(more='    environment: {A: "$$SCONE::x$$"}\n') + secrets)
    nonce = world.enclaves.nonce()["nonce"]
    assert world.attest(f"acme/app@{code(world)}", nonce=nonce)["environment"] == {"A": "from afar"}
    assert fetched == ["y"] and [entry["event"] for entry in world.entries] == ["service_attested"]


# Channels.


def test_only_attested_channels_are_served(world: World) -> None:
    world.put(service(more=f"    fspf_path: /f\n    fspf_key: {'11' * 32}\n    fspf_tag: {TAG}\n"))
    world.refused(measurement=OTHER)
    for call in (lambda: world.move("fspf", TAG, NEW), lambda: world.fill("/x", b"")):
        with pytest.raises(CasRefusal, match="This connection is not attested") as caught:
            call()
        assert caught.value.status == 403
    world.attest(channel=b"another")
    with pytest.raises(CasRefusal, match="This connection is not attested"):
        world.move("fspf", TAG, NEW)
    world.attest()
    assert world.move("fspf", TAG, NEW) == NEW
    world.wait(CHANNEL_SECONDS + 1)
    with pytest.raises(CasRefusal, match="This connection is not attested"):
        world.move("fspf", NEW, TAG)


def test_an_update_ends_what_was_attested_before(world: World) -> None:
    files = "images: [{name: i, injection_files: [/x]}]\n"
    world.put(service(more="    image_name: i\n") + files)
    world.attest()
    assert world.fill("/x", b"y") == b"y"
    world.put(service(f"{{mrenclave: {OTHER}}}", more="    image_name: i\n") + files)
    with pytest.raises(CasRefusal) as caught:
        world.fill("/x", b"y")
    assert caught.value.status == 403
    assert caught.value.causes == ("Session acme was updated in between", "Attest again")
    world.attest(measurement=OTHER)
    assert world.fill("/x", b"y") == b"y"


def test_file_systems_that_a_service_does_not_have(world: World) -> None:
    world.put(service())
    world.attest()
    for subject in ("fspf", "volume", "", "\udc80"):
        with pytest.raises(CasRefusal) as caught:
            world.move(subject, None, NEW)
        assert caught.value.status == 404
        assert causes_of(caught) == "Service app has no file system of this name"


# The audit log.


def test_the_audit_log_tells_who_was_attested(world: World) -> None:
    session = world.put(service())
    world.attest()
    expected: dict[str, Any] = {
        "event": "service_attested",
        "session": "acme",
        "service": "app",
        "measurement": MEASUREMENT,
        "platform": PLATFORM,
        "mode": "simulation",
    }
    assert world.entries == [expected]
    with world.store.writing() as transaction:
        transaction.set_meta("salted:acme", "yes")
    world.attest()
    assert world.entries[1] == expected | {"hash": session_hash(session)}


def test_the_audit_log_tells_who_was_refused(world: World) -> None:
    world.put(service())
    world.refused(measurement=OTHER)
    assert world.entries == [
        {
            "event": "attestation_refused",
            "session": "acme",
            "service": "app",
            "measurement": OTHER,
            "platform": PLATFORM,
            "reason": "The program enclave is not trustworthy",
            "address": "here",
        }
    ]


def test_a_refusal_leaves_nothing_else_behind(world: World) -> None:
    world.put(with_otp(OTP) + service(more='    environment: {A: "$$SCONE::x$$"}\n')
              + "secrets: [{name: x, kind: ascii, import: {session: owner, secret: x}}]\n")  # fmt: skip
    before = world.sealed("meta")
    world.refused(f"acme/app@{code(world)}")
    assert [entry["event"] for entry in world.entries] == ["attestation_refused"]
    assert world.sealed("meta") == before


def test_the_audit_log_tells_of_tags(world: World) -> None:
    """The freshness anchor follows the log: without an entry, an old tag could be put back unnoticed."""
    world.put(service(more=f"    fspf_path: /f\n    fspf_key: {'11' * 32}\n    fspf_tag: {TAG}\n"))
    world.attest()
    world.move("fspf", TAG, NEW)
    assert world.entries[1:] == [{"event": "tag_updated", "session": "acme", "service": "app", "file_system": "fspf"}]
    with pytest.raises(CasRefusal):
        world.move("fspf", "00" * 16, TAG)
    assert len(world.entries) == 2
