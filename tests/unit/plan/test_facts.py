"""What an image says about its signer and its stable version, and what follows for sessions."""

from __future__ import annotations

import json

import pytest
from fakes.builders import MEASUREMENT, compiled, facts, service_plan, service_text, session
from pydantic import ValidationError

from sconectl.errors import InvalidInput
from sconectl.plan.facts.image_facts import ImageFacts, Signer, is_of_another_version
from sconectl.plan.facts.image_label import ImageLabel

SIGNER = Signer(mrsigner="5a" * 32, isvprodid=1, isvsvn=2)
WEB = facts("web", dirs=["/app"]).model_copy(update={"signer": SIGNER, "stable": ("cd" * 32,)})


def test_the_label_names_signer_stable_version_and_state_of_encrypted_files() -> None:
    label = json.loads(ImageLabel.of(WEB, simulated=True).text())
    assert label["format"] == 2
    assert label["signer"] == {"mrsigner": "5a" * 32, "isvprodid": 1, "isvsvn": 2}
    assert label["stable"] == ["cd" * 32]
    assert label["fspf"] == {"path": "/scone/image/fs.fspf", "tag": "0e" * 16}
    plain = json.loads(ImageLabel.of(facts("web"), simulated=True).text())
    assert (plain["signer"], plain["stable"], plain["fspf"]) == (None, [], None)


def test_signer_and_stable_version_survive_their_text() -> None:
    assert ImageFacts.read(WEB.to_json()) == WEB
    assert WEB.digest() != facts("web", dirs=["/app"]).digest()


@pytest.mark.parametrize("change", [{"stable": ["x"]}, {"signer": {"mrsigner": "x"}}, {"measurement": "AB" * 32}])
def test_other_values_are_no_facts(change: dict[str, object]) -> None:
    document = json.loads(WEB.to_json()) | change
    with pytest.raises(ValidationError):
        ImageFacts.read(json.dumps(document))


@pytest.mark.parametrize(
    ("value", "other"),
    [({"format": 1}, True), ({"format": 3}, True), ({"format": 2}, False), ({}, False), ([], False), (None, False)],
)
def test_other_versions(value: object, other: bool) -> None:
    assert is_of_another_version(value) is other


def test_a_session_accepts_the_stable_image_too() -> None:
    accepted = session(compiled(WEB), "web")["services"][0]["attestation"]
    assert accepted == [{"mrenclave": [MEASUREMENT, "cd" * 32]}]


def test_a_stable_image_that_is_the_same_is_named_once() -> None:
    same = WEB.model_copy(update={"stable": (MEASUREMENT,)})
    assert session(compiled(same), "web")["services"][0]["attestation"] == [{"mrenclave": [MEASUREMENT]}]


def test_an_image_is_signed_if_the_manifest_says_so() -> None:
    assert not service_plan(service_text()).signed
    assert service_plan(service_text(signature={})).signed
    given = service_plan(service_text(signature={"key": "keys/mine.pem"}))
    assert (given.signed, given.signing_key) == (True, "keys/mine.pem")
    refused = service_plan(service_text(signature={"sign": False, "key": "keys/mine.pem"}))
    assert (refused.signed, refused.signing_key) == (False, "")


def test_the_stable_image_has_a_name_of_its_own() -> None:
    assert service_plan(service_text(stable="web:0")).stable == "web:0"
    assert service_plan(service_text(stable="web")).stable == "web:latest"
    with pytest.raises(InvalidInput) as caught:
        service_plan(service_text(stable="registry.example.org/web:1"))
    [finding] = caught.value.findings
    assert finding.path == "build.stable"
