"""The fate that is foretold for each secret is what the embedded CAS then does, for drawn pairs of sessions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sconectl.cas.secrets.secret_value import Stored
from sconectl.cas.sessions.access import Principal
from sconectl.cas.sessions.embedded import EmbeddedCas
from sconectl.policy.diff.fates import VOLUME_KEY, SecretFate, fates
from sconectl.policy.reading import parse_session

Secrets = Mapping[str, str]
SOURCE = """name: ns/source
version: "0.3.12"
secrets: [{name: one, kind: ascii, export: [{session: ns/s}]}, {name: two, kind: ascii, export: [{session: ns/s}]}]
"""

OWN = st.sampled_from(
    [
        "kind: ascii",
        "kind: ascii, size: 12",
        "kind: ascii, value: given",
        "kind: ascii, value: other",
        "kind: binary",
        "kind: binary, value: 0a0b",
        "kind: config-fragment, value: {a: [b]}",
        "kind: pgp-key",
        "import: {session: ns/source, secret: one}",
        "import: {session: ns/source, secret: two}",
    ]
)
KEY = st.sampled_from(
    [
        "kind: private-key, key_type: P-384",
        "kind: private-key, key_type: P-384, migrate: true",
        "kind: private-key, migrate: true",
        "kind: private-key, key_type: Ed25519, migrate: true",
    ]
)
MADE = st.sampled_from(
    [
        "kind: public-key, private_key: k",
        "kind: public-key, private_key: l",
        "kind: x509-ca, private_key: k",
        "kind: x509, private_key: l, endpoint: server, common_name: a",
        "kind: x509, private_key: l, endpoint: client, common_name: b",
        "kind: jwt, alg: ES384, validity: {for: 1h}, signer: signer",
        "kind: jwt, alg: ES384, validity: {for: 2h}, signer: signer",
        "kind: ascii",
    ]
)
SIGNER = st.sampled_from([f"kind: private-key, key_type: P-384{migrate}" for migrate in ("", ", migrate: true")])


def sessions() -> st.SearchStrategy[Secrets]:
    """Draw secrets by name: plain ones, two keys, and what is made from them."""
    keys = {"k": KEY, "l": KEY, "signer": SIGNER}
    return st.fixed_dictionaries(keys, optional={"a": OWN, "b": OWN, "made": MADE, "mail": MADE})


def text(secrets: Secrets, volumes: tuple[str, ...] = (), predecessor: str = "") -> str:
    entries = "".join(f"  - {{name: {name}, {body}}}\n" for name, body in secrets.items())
    head = f"predecessor: {predecessor}\n" if predecessor else ""
    below = "volumes:\n" + "".join(f"  - {{name: {name}}}\n" for name in volumes) if volumes else ""
    return f'name: ns/s\nversion: "0.3.12"\n{head}secrets:\n{entries}{below}'


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Callable[[], EmbeddedCas]]:
    folder = tmp_path_factory.mktemp("cases")
    numbers = iter(range(1 << 30))
    return folder, lambda: EmbeddedCas(folder / str(next(numbers)))


def updated(
    cas: EmbeddedCas, owner: Principal, old: str, new: Callable[[str], str]
) -> tuple[dict[str, Stored], dict[str, Stored]]:
    """Return the rows of the session before and after the update."""
    for body in ('name: ns\nversion: "0.3.12"\n', SOURCE):
        cas.put(body, owner)
    first = cas.put(old, owner).hash
    with cas._store.reading() as transaction:
        before = transaction.stored("ns/s")
    cas.put(new(first), owner)
    with cas._store.reading() as transaction:
        return before, transaction.stored("ns/s")


def agrees(fate: SecretFate, before: Stored | None, after: Stored | None) -> bool:
    """Say whether the rows of a secret that the CAS holds itself are what was foretold."""
    match fate.fate:
        case "new":
            return before is None
        case "kept":
            return before is not None and after is not None and before.content == after.content
        case "drawn anew" | "issued anew":
            return after is not None and (before is None or before.content != after.content)
        case "replaced":
            return (before and before.content) != (after and after.content) or before is None
        case "lost" | "removed":
            return after is None
        case "imported" | "made at use":
            return after is None
    raise AssertionError(fate.fate)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(old=sessions(), new=sessions())
def test_what_is_foretold_happens(
    old: Secrets, new: Secrets, world: tuple[Path, Callable[[], EmbeddedCas]], alice: Principal
) -> None:
    cas = world[1]()
    try:
        before, after = updated(cas, alice, text(old), lambda first: text(new, predecessor=first))
    finally:
        cas.close()
    told = {fate.name: fate for fate in fates(parse_session(text(old)), parse_session(text(new)))}
    assert told.keys() == old.keys() | new.keys()
    wrong = [fate for name, fate in told.items() if not agrees(fate, before.get(name), after.get(name))]
    assert wrong == []
    # What only the CAS had and was in use does not disappear without being called a loss.
    for name, row in before.items():
        gone = name not in after or after[name].content != row.content
        used = any(f"private_key: {name}" in body or f"signer: {name}" in body for body in old.values())
        if gone and used and row.kind == "private-key":
            assert told[name].loss, name


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (("data",), ("data",), {"data": "kept"}),
        (("data",), (), {"data": "lost"}),
        (("data", "more"), ("more",), {"data": "lost", "more": "kept"}),
    ],
)
def test_keys_of_volumes(
    old: tuple[str, ...],
    new: tuple[str, ...],
    told: dict[str, str],
    world: tuple[Path, Callable[[], EmbeddedCas]],
    alice: Principal,
) -> None:
    secrets = {"a": "kind: ascii"}
    cas = world[1]()
    try:
        before, after = updated(cas, alice, text(secrets, old), lambda first: text(secrets, new, first))
    finally:
        cas.close()
    found = fates(parse_session(text(secrets, old)), parse_session(text(secrets, new)))
    assert {fate.name: fate.fate for fate in found if fate.kind == VOLUME_KEY} == told
    assert all(fate.loss == (fate.fate == "lost") for fate in found)
    for name in old:
        row = f"volume:{name}"
        assert (before[row] == after.get(row)) == (told[name] == "kept")


USED = "services: [{name: s, command: run $$SCONE::x$$, attestation: [{mrenclave: [" + "ab" * 32 + "]}]}]"


@pytest.mark.parametrize(
    ("old", "new", "loss"),
    [
        ("{name: x, kind: ascii}", "{name: x, kind: ascii, size: 30}", True),
        ("{name: x, kind: ascii}", "", True),
        ("{name: x, kind: ascii, value: live-key}", "{name: x, kind: ascii}", True),
        ("{name: x, kind: ascii, value: old}", "{name: x, kind: ascii, value: new}", False),
        ("{name: x, kind: ascii}", "{name: x, kind: ascii, value: new}", False),
        ("{name: x, kind: ascii}", "{name: x, import: {session: ns/t, secret: x}}", True),
        ("{name: x, import: {session: ns/t, secret: x}}", "", False),
        ("{name: x, kind: private-key}", "{name: x, kind: private-key}", True),
    ],
)
@pytest.mark.parametrize("used", [True, False])
def test_a_loss_is_a_value_that_was_in_use(old: str, new: str, loss: bool, used: bool) -> None:
    def session(secret: str) -> str:
        services = USED if used and secret else ""
        return f'name: s\nversion: "0.3.12"\nsecrets: [{secret}]\n{services}\n'

    changed = "access_policy: {read: [ANY]}\n"
    (fate,) = fates(parse_session(session(old)), parse_session(session(new) + changed))
    assert fate.loss == (loss and used)
    assert ("service s" in fate.loses) == (used and not new)
