"""A key beside another one in access policies, and in its place: nobody else gains or loses anything."""

from __future__ import annotations

import pytest

from sconectl.cas.keys import certificates
from sconectl.key_hash import hash_of_certificate, normal_certificate
from sconectl.policy.key_change import may_update, names_key, needs_others, with_key_beside, with_key_replaced
from sconectl.policy.reading import AccessPolicy, Session, parse_session
from sconectl.policy.serialized.canonical import read_back, same_content


def certificate() -> str:
    return normal_certificate(certificates.certificate_pem(certificates.issue_client(certificates.new_key(), "client")))


OLD_PEM, NEW_PEM, OTHER_PEM = certificate(), certificate(), certificate()
OLD, NEW, OTHER = (hash_of_certificate(pem.encode()) for pem in (OLD_PEM, NEW_PEM, OTHER_PEM))


def session(creator: str = OLD_PEM, **policy: list[object]) -> Session:
    found = parse_session('name: a\nversion: "0.3.12"\n')
    given = AccessPolicy.model_validate(policy) if policy else AccessPolicy()
    return found.model_copy(update={"creator": creator or None, "access_policy": given})


def policy_of(found: Session) -> dict[str, tuple[object, ...]]:
    assert isinstance(found.access_policy, AccessPolicy)
    again = parse_session(read_back(found)).access_policy
    assert again == found.access_policy, "it is in normal form"
    return {name: found.access_policy.allowed(name) for name in AccessPolicy.model_fields}


def test_beside_the_creator_and_back_in_its_place() -> None:
    before = session()
    both = with_key_beside(before, OLD, NEW)
    assert set(policy_of(both).values()) == {("CREATOR", NEW)}
    assert both.creator == OLD_PEM
    assert with_key_beside(both, OLD, NEW) == both
    after = with_key_replaced(both, OLD, NEW_PEM)
    assert same_content(after, before) and after.creator == NEW_PEM
    assert with_key_replaced(after, OLD, NEW_PEM) == after
    assert not names_key(after, OLD)


@pytest.mark.parametrize("old", [OLD, OLD_PEM], ids=["key hash", "certificate"])
def test_only_where_the_old_key_is(old: str) -> None:
    before = session(OTHER_PEM, read=["CREATOR", old, OTHER], update=["CREATOR"], create_sessions=[old])
    both = with_key_beside(before, OLD, NEW)
    assert policy_of(both) == {
        "read": ("CREATOR", old, OTHER, NEW),
        "update": ("CREATOR",),
        "create_sessions": (old, NEW),
        "list_sessions": ("CREATOR", old, OTHER, NEW),
    }
    after = policy_of(with_key_replaced(both, OLD, NEW_PEM))
    assert (after["read"], after["create_sessions"]) == (("CREATOR", NEW, OTHER), (NEW,))
    assert with_key_replaced(both, OLD, NEW_PEM).creator == OTHER_PEM


def test_an_owner_that_is_named_beside_the_creator() -> None:
    before = session(read=["CREATOR", OLD, OTHER], update=["CREATOR", OLD])
    after = with_key_replaced(with_key_beside(before, OLD, NEW), OLD, NEW_PEM)
    assert policy_of(after)["read"] == ("CREATOR", NEW, OTHER) and policy_of(after)["update"] == ("CREATOR", NEW)


def test_lists_that_become_the_same_are_written_once() -> None:
    before = session(OTHER_PEM, read=[OLD, NEW], update=[OLD, NEW], create_sessions=[OLD], list_sessions=[NEW])
    both = with_key_beside(before, OLD, NEW)
    assert isinstance(both.access_policy, AccessPolicy) and both.access_policy.create_sessions is None
    after = with_key_replaced(both, OLD, NEW_PEM)
    assert set(policy_of(after).values()) == {(NEW,)}


def test_what_a_key_may_and_where_others_are_needed() -> None:
    assert may_update(session(), OLD) and not may_update(session(), NEW)
    assert may_update(session(read=["CREATOR"], update=["ANY"]), NEW)
    assert not names_key(session(read=["ANY"], update=["ANY"]), OLD)
    ruled = session(OTHER_PEM, read=["CREATOR"], update=["CREATOR", {"require-all": [OTHER, OLD]}])
    assert names_key(ruled, OLD) and needs_others(ruled, OLD) and not may_update(ruled, OLD)
    assert with_key_beside(ruled, OLD, NEW) == ruled == with_key_replaced(ruled, OLD, NEW_PEM)
    secret = session().model_copy(update={"access_policy": "$$SCONE::who$$"})
    assert names_key(secret, OLD) and needs_others(secret, OLD) and not names_key(secret, OTHER)
    assert with_key_beside(secret, OLD, NEW) == secret
