"""The mark in the chart is the same exactly if the CAS hands out the same, where what it draws is drawn by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sconectl.plan.mesh.configuration_mark import Configurations

from .configuration_oracle import BASE, FIELDS, IGNORED, RECEIVED, Oracle, mark, mesh, oracle_in


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    with oracle_in(tmp_path_factory.mktemp("oracle")) as found:
        yield found


CHANGES = [(name, value) for name, values in FIELDS.items() for value in values[1:]]


@pytest.mark.parametrize(("name", "value"), CHANGES, ids=[f"{name}: {value}" for name, value in CHANGES])
def test_one_changed_field(oracle: Oracle, name: str, value: Any) -> None:
    base = BASE | ({"host": ["REGION"]} if name == "ignored by the host" else {})
    base |= {"file of the image": True} if name == "provided" else {}
    before, after = mesh(base), mesh(base | {name: value})
    changed = mark(before) != mark(after)
    assert changed == (oracle.handed_out(before) != oracle.handed_out(after))
    if name in RECEIVED or name in IGNORED:
        assert changed == (name in RECEIVED)


CHOICES = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in FIELDS.items()})


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choice=CHOICES, data=st.data())
def test_random_pairs(oracle: Oracle, choice: dict[str, Any], data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=3, unique=True))
    other = choice | {name: data.draw(st.sampled_from(FIELDS[name])) for name in names}
    first, second = mesh(choice), mesh(other)
    assert (mark(first) == mark(second)) == (oracle.handed_out(first) == oracle.handed_out(second)), names


def test_the_way_a_session_is_spelled_and_ordered_makes_no_difference() -> None:
    exporter, importer = mesh(BASE)
    before = mark([exporter, importer])
    for secret in importer["secrets"]:
        if "import" in secret:
            secret["import"] = f"/session=shop/db,secret={secret['name']}"
    importer["volumes"][0]["import"]["session"] = "../db"
    importer["services"][0]["command"] = "app x"
    importer["secrets"].reverse()
    assert mark([importer, exporter]) == before


def test_a_mark_is_of_one_image_and_says_nothing() -> None:
    sessions = mesh(BASE)
    marks = {mark(sessions, salt) for salt in ("a", "b")}
    assert len(marks) == 2 and all(len(text) == 32 and int(text, 16) for text in marks)
    assert mark(sessions, "") == ""  # without a salt, guesses could be tried
    assert Configurations(sessions).mark("shop/web", "nobody", "a") == ""


def test_tokens_count_with_what_they_say_and_who_signs_them() -> None:
    def signed(**changes: Any) -> str:
        token = {"kind": "jwt", "signer": "signer", "alg": "ES384", "validity": {"for": "1h"}}
        token |= {"name": "size", "payload": {"who": "$$SCONE::raw:hex$$"}, **changes}
        sessions = mesh(BASE | {"variable": "$$SCONE::size$$"})
        sessions[1]["secrets"][0] = token
        sessions[1]["secrets"] += [
            {"name": name, "kind": "private-key", "key_type": "P-384"} for name in ("signer", "other")
        ]
        return mark(sessions)

    changes: list[dict[str, Any]] = [{}, {"signer": "other"}, {"validity": {"for": "2h"}}, {"payload": {"who": "me"}}]
    assert len({signed(**change) for change in changes}) == len(changes)
    assert signed() == signed(export=[{"session": "x"}])


def test_circles_and_long_chains_end() -> None:
    links = [{"name": f"ca{n}", "kind": "x509-ca", "private_key": "k", "issuer": f"ca{n + 1}"} for n in range(5000)]
    sessions = mesh(BASE | {"variable": "$$SCONE::ca0$$"})
    sessions[1]["secrets"] += [*links, {"name": "ca5000", "kind": "x509-ca", "private_key": "k", "issuer": "ca0"}]
    first = Configurations(sessions).mark("shop/web", "app", "salt")
    links[-1]["common_name"] = "x"
    assert Configurations(sessions).mark("shop/web", "app", "salt") not in ("", first)
