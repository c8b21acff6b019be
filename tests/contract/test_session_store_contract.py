"""Whatever holds sessions: the fake, the embedded CAS in-process, and the same over TLS."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable

import pytest

from sconectl.errors import CasError, CasRefused
from sconectl.key_hash import is_key_hash
from sconectl.policy.reading import parse_session
from sconectl.ports import ListedSession, SessionStore, VolumeState

from .conftest import Stores

OWNER = "access_policy: {read: [CREATOR], update: [CREATOR], create_sessions: [CREATOR]}\n"
_numbers = itertools.count()


@pytest.fixture
def name() -> str:
    return f"ns-{next(_numbers)}-{uuid.uuid4().hex[:8]}"


def text(name: str, *, value: str = "1", predecessor: str = "") -> str:
    before = f"predecessor: {predecessor}\n" if predecessor else ""
    return f"name: {name}\nversion: 0.3.10\n{before}{OWNER}secrets: [{{name: s, kind: ascii, value: '{value}'}}]\n"


def held(store: SessionStore, name: str) -> tuple[str | None, str]:
    found = store.read(name)
    assert found is not None
    secret = parse_session(found.text).secret("s")
    assert secret is not None
    return secret.value, found.hash


def test_it_has_an_address(stores: Stores) -> None:
    assert stores("me").address


def test_what_is_not_there_is_none(stores: Stores, name: str) -> None:
    assert stores("me").read(name) is None
    assert stores("me").read(f"{name}/child") is None


def test_what_was_put_is_read_back(stores: Stores, name: str) -> None:
    store = stores("me")
    hash_ = store.put(text(name))
    assert held(store, name) == ("1", hash_)
    assert len(hash_) == 64
    assert held(stores("me"), name) == ("1", hash_)


def test_anybody_may_know_the_hash_of_a_salted_session(stores: Stores, name: str) -> None:
    mine, other = stores("me"), stores("other")
    assert other.hash_of(name) is None
    first = mine.put(text(name))
    assert mine.hash_of(name) == first
    with pytest.raises(CasRefused):
        other.hash_of(name)
    salted = text(name, predecessor=first).replace("0.3.10", '"0.3.12"') + f"salt: {'ab' * 16}\n"
    second = mine.put(salted)
    assert other.hash_of(name) == mine.hash_of(name) == second


@pytest.mark.parametrize("value", ["é 日本", "a: b # c", "line\\nbreak", "{{x}} $X", "!#what!$#"])
def test_values_survive(stores: Stores, name: str, value: str) -> None:
    store = stores("me")
    store.put(text(name, value=value))
    assert held(store, name)[0] == value


def test_an_update_names_the_active_version(stores: Stores, name: str) -> None:
    store = stores("me")
    first = store.put(text(name))
    second = store.put(text(name, value="2", predecessor=first))
    assert second != first
    assert held(store, name) == ("2", second)
    for predecessor, status in ((first, 409), ("", 409), ("0" * 64, 404)):
        with pytest.raises(CasRefused) as caught:
            store.put(text(name, value="3", predecessor=predecessor))
        assert caught.value.status == status
        assert caught.value.hint
        assert caught.value.exit_code == 6
    assert held(store, name) == ("2", second)


def test_refusals_leave_everything_as_it_was(stores: Stores, name: str) -> None:
    mine, theirs = stores("me"), stores("somebody")
    hash_ = mine.put(text(name))
    refused = [
        (theirs, text(name, value="2", predecessor=hash_), 403),
        (theirs, text(f"{name}/child"), 403),
        (mine, text(f"{name}/a/b"), 404),
        (mine, text(f"{name}-other", predecessor="0" * 64), 404),
    ]
    for store, session, status in refused:
        with pytest.raises(CasRefused) as caught:
            store.put(session)
        assert caught.value.status == status
        assert caught.value.causes
    with pytest.raises(CasRefused) as caught:
        theirs.read(name)
    assert caught.value.status == 403
    assert held(mine, name) == ("1", hash_)
    assert mine.read(f"{name}/child") is None
    assert mine.read(f"{name}-other") is None


def test_invalid_sessions_are_refused(stores: Stores, name: str) -> None:
    from sconectl.errors import InvalidInput

    with pytest.raises((CasError, InvalidInput)):
        stores("me").put(f"name: {name}\nversion: 0.3.10\nunknown: x\n")
    assert stores("me").read(name) is None


def test_children_belong_to_who_owns_the_namespace(stores: Stores, name: str) -> None:
    store = stores("me")
    store.put(text(name))
    assert held(store, name)[0] == "1"
    store.put(text(f"{name}/child", value="c"))
    assert held(store, f"{name}/child")[0] == "c"


def test_older_versions_are_read_by_their_hash(stores: Stores, name: str) -> None:
    store = stores("me")
    first = store.put(text(name))
    second = store.put(text(name, value="2", predecessor=first))
    for hash_, value in ((first, "1"), (second, "2")):
        found = store.read(name, hash_)
        assert found is not None and found.hash == hash_
        assert f"value: '{value}'" in found.text or f'value: "{value}"' in found.text, found.text
    assert store.read(name, "0" * 64) is None
    assert store.read(f"{name}/child", first) is None
    with pytest.raises(CasRefused) as caught:
        stores("somebody").read(name, first)
    assert caught.value.status == 403


def test_sessions_are_listed_with_the_hashes_that_everybody_may_know(stores: Stores, name: str) -> None:
    store = stores("me")
    store.put(text(name))
    assert store.list_sessions(name) == ()
    store.put(text(f"{name}/plain"))
    salted = store.put(text(f"{name}/a-salted") + f"salt: {'ab' * 16}\n")
    store.put(text(f"{name}/plain/grandchild"))
    assert store.list_sessions(name) == (
        ListedSession(f"{name}/a-salted", salted),
        ListedSession(f"{name}/plain", None),
    )
    assert name in {listed.name for listed in store.list_sessions()}  # whoever may create there may list
    for who, namespace, status in (("somebody", name, 403), ("me", f"{name}/nothing", 404)):
        with pytest.raises(CasRefused) as caught:
            stores(who).list_sessions(namespace)
        assert caught.value.status == status


def test_the_owner_of_a_volume_moves_its_tag(stores: Stores, name: str) -> None:
    store, other = stores("me"), stores("somebody")
    first, second = "11" * 16, "22" * 16
    imported = "{name: theirs, import: {session: x, volume: v}}"
    store.put(text(name) + f"volumes: [{{name: v}}, {imported}, {{name: w}}]\n")
    assert store.volumes(name) == (VolumeState("v", None), VolumeState("w", None))
    store.accept(name, "v", None, first)
    changed, untouched = store.volumes(name)
    assert (changed.tag, changed.in_use, untouched) == (first, None, VolumeState("w", None))
    assert changed.accepted is not None and is_key_hash(changed.accepted[0])
    store.accept(name, "v", first, None)
    assert store.volumes(name)[0].tag is None
    refused: list[tuple[int, Callable[[], object]]] = [
        (409, lambda: store.accept(name, "v", first, second)),
        (404, lambda: store.accept(name, "nothing", None, second)),
        (404, lambda: store.accept(f"{name}/nothing", "v", None, second)),
        (403, lambda: store.accept(name, "theirs", None, second)),
        (403, lambda: other.accept(name, "v", None, second)),
        (400, lambda: store.accept(name, "v", None, "x")),
        (403, lambda: other.volumes(name)),
        (404, lambda: store.volumes(f"{name}/nothing")),
    ]
    for status, work in refused:
        with pytest.raises(CasRefused) as caught:
            work()
        assert caught.value.status == status
    assert store.volumes(name)[0].tag is None
