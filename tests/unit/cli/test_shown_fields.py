"""Messages show the values of fields that are marked for it where they are declared, and of no others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from sconectl.cli.output.shown_fields import ENTRY, Place, pieces_of, places
from sconectl.cli.output.source_lines import SourceText
from sconectl.manifest.model.genservice import GenService
from sconectl.manifest.model.mesh import Mesh
from sconectl.manifest.reading.variables import OWN_VALUES
from sconectl.policy.model.session import Session
from sconectl.text.findings import Position
from sconectl.text.marks import Shown
from sconectl.text.yaml_text import dump

HIDDEN = """
    build.command build.run build.signature.key environment.local.[].value environment.global.[].value
    injection_files.[].content
    helm_extra_values services.[].helm_extra_values env.[].env.[].value cas.[].cas_encryption_key repo.config_id
    repo.key_file
    access_policy.create_sessions.[].at_least access_policy.create_sessions.[].of.[].signer
    access_policy.create_sessions.[].signer access_policy.list_sessions.[].at_least
    access_policy.list_sessions.[].of.[].signer access_policy.list_sessions.[].signer access_policy.read.[].at_least
    access_policy.read.[].of.[].signer access_policy.read.[].signer access_policy.update.[].at_least
    access_policy.update.[].of.[].signer access_policy.update.[].signer
    creator.signer images.[].injection_files.[].content salt secret_config.store secret_config.token
    security.attestation.certificates security.attestation.one_time_password_shared_secret
    security.attestation.trusted_scone_qe_pubkeys security.service_access_token services.[].command
    services.[].environment services.[].fspf_key services.[].one_time_password_shared_secret volumes.[].fspf_key
    secrets.[].import_akv.decryption_key secrets.[].import_akv.token
""".split()
"""What is not shown, on purpose: secrets and what may hold one, texts of programs, keys, what only the CAS writes."""
OF_SECRETS = "application_secret client_id payload private_key tenant_id value".split()
SECRET = "hunter2-7Zq"


def fields(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[tuple[str, bool, bool]]:
    """Yield the fields of a model and its parts: name, whether it may be shown, whether it may hold a secret."""
    seen.add(model)
    for name, info in model.model_fields.items():
        pieces = list(pieces_of(info))
        parts = [piece for piece in pieces if isinstance(piece, type) and issubclass(piece, BaseModel)]
        yield f"{model.__name__}.{name}", any(isinstance(piece, Shown) for piece in pieces), not info.repr
        for part in parts:
            if part not in seen:
                yield from fields(part, seen)


def document(place: Place, value: str) -> object:
    made: object = value
    for step in reversed(place):
        made = [made] if step == ENTRY else {step: made}
    return made


def excerpts(place: Place, value: str) -> str:
    text = dump(document(place, value))
    source = SourceText("f", text)
    found = [source.excerpt(Position("f", number, 1)) for number in range(1, text.count("\n") + 1)]
    return "\n".join(excerpt.text for excerpt in found if excerpt)


def test_every_field_is_marked_or_hidden_on_purpose() -> None:
    found = places()
    leaves = {
        ".".join(place)
        for place in found.hidden
        if place[-1] != ENTRY and not any(part[: len(place)] == place for part in found.parts)
    }
    hidden = {
        *HIDDEN,
        *(f"{list_}.{name}" for list_ in ("[]", "secrets.[]", "secrets.global.[]") for name in OF_SECRETS),
    }
    assert leaves == hidden


@pytest.mark.parametrize("model", [GenService, Mesh, Session])
def test_no_field_that_may_hold_a_secret_is_marked(model: type[BaseModel]) -> None:
    found = list(fields(model, set()))
    assert any(secret for _, _, secret in found)
    assert not [name for name, shown, secret in found if shown and (secret or name.rpartition(".")[2] in OWN_VALUES)]


@pytest.mark.parametrize("place", sorted(places().hidden), ids=".".join)
def test_the_value_of_a_field_without_a_mark_is_not_shown(place: Place) -> None:
    assert SECRET not in excerpts(place, SECRET)
    assert SECRET not in excerpts((*place, ENTRY), SECRET)


@pytest.mark.parametrize("place", sorted(places().shown), ids=".".join)
def test_the_value_of_a_field_with_a_mark_is_shown(place: Place) -> None:
    assert "plain" in excerpts(place, "plain")


@pytest.mark.parametrize(
    "place", [("passwort",), ("build", "passwort"), ("secrets", "passwort"), ("build", "name", "x")]
)
def test_a_field_that_nobody_knows_is_not_shown(place: Place) -> None:
    assert SECRET not in excerpts(place, SECRET)


@pytest.mark.parametrize("place", sorted(places().open), ids=".".join)
def test_a_key_of_the_user_is_shown_and_its_value_is_not(place: Place) -> None:
    shown = excerpts((*place, "section", "replicas"), SECRET)
    assert "replicas" in shown
    assert SECRET not in shown
