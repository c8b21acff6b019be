"""What holds for the changes between any two sessions: nothing is missed, and what weakens one way is not praised."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sconectl.errors import InvalidInput
from sconectl.policy.diff.diff import GROUPS, Change, as_text, differences
from sconectl.policy.diff.diff_access import covers
from sconectl.policy.reading import Rule, Session, parse_session
from sconectl.policy.serialized.canonical import same_content
from sconectl.text.yaml_text import dump

H, G, T = "0a" * 32, "0b" * 32, "0c" * 16
KEYS = ["4hxbfBB9G1hyrLotptsrDejMXHWSUfknwG9x6q2VU8gLejZMU3", "2wkBET2rRgE8pahuaczxKbmv7ciehqsne57F9gtzf1PVdr2VP3"]
OTP = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


def some(*values: Any, least: int = 0) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), unique_by=repr, min_size=least, max_size=3)


def part(needed: Mapping[str, Any] | None = None, **optional: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Return mappings with the needed fields and any of the others; a field is a strategy or a list of values."""
    fields = {key: value if isinstance(value, st.SearchStrategy) else st.sampled_from(value) for key, value in
              {**(needed or {}), **optional}.items()}  # fmt: skip
    return st.fixed_dictionaries(
        {key: fields[key] for key in needed or {}}, optional={key: fields[key] for key in optional}
    )


PRINCIPALS = some("CREATOR", *KEYS, "$$SCONE::r$$", least=1)
RULES = st.builds(lambda least, of: [{f"require-at-least-{min(least, len(of))}": of}], st.integers(1, 3), PRINCIPALS)
CHANGERS = PRINCIPALS | RULES | st.sampled_from([["ANY"], ["NONE"]])
READERS = PRINCIPALS | st.sampled_from([["ANY"], ["NONE"]])
SIGNERS = part({"mrsigner": [H, G], "isvprodid": [1, 2]}, isvsvn_min=[1, 5], isvsvn_max=[6, 9])
VARIANTS = part({"mrenclave": some(H, G, "0c" * 32, least=1)}, signer=SIGNERS) | part({"signer": SIGNERS})
TEXTS = ["plain", "$$SCONE::p$$", "$$SCONE::q:hex$$"]
SERVICE = part(
    {"name": ["s", "t"], "attestation": st.lists(VARIANTS, min_size=1, max_size=2)},
    command=[["a"], ["a", "b"], ["a", "@@1"], ["a", "$$SCONE::p$$"]],
    environment=part(A=TEXTS, LD_PRELOAD=["", "/a.so", "/b.so"], SCONE_NETWORK_SHIELD=["protected", "unprotected"]),
    pwd=["/", "/a"],
    image_name=["i", "j"],
    platforms=some("INTEL_QE_ID:" + "0c" * 16, "INTEL_QE_ID:" + "0d" * 16),
    one_time_password_shared_secret=[OTP, OTP[::-1]],
)
FILES = part({"path": ["/f", "/g"]}, content=TEXTS, permission=["0o400", "0o444", "0o600", "0o740"])
MOUNTS = part({"name": ["v", "w"], "path": ["/v"]}, update_policy=["ephemeral", "no_rollback_protection"])
IMAGE = part(injection_files=st.lists(FILES, max_size=2, unique_by=lambda file: file["path"]),
             volumes=st.lists(MOUNTS, max_size=1), provide_secrets=some("p", "q"))  # fmt: skip
TARGETS = (
    part({"session": ["b", "c/d"]}, session_hash=[H, G])
    | part({"namespace": ["c", "c/d"]})
    | part({"session": ["b"], "cas_url": ["cas.test"], "cas_key": KEYS})
)
EXPORTS = st.lists(TARGETS, max_size=3)
IMPORT = part({"session": ["b", "c"], "secret": ["p", "q"]}, session_hash=[H, G])
ASCII = part({"name": ["p"], "kind": ["ascii"]}, export=EXPORTS, export_public=["true", "false"], size=[9, 30]) | part(
    {"name": ["p"], "kind": ["ascii"]}, export=EXPORTS, value=["one", "two"]
)
BINARY = part({"name": ["q"], "kind": ["binary"]}, export=EXPORTS, size=[16, 32]) | part(
    {"name": ["q"], "kind": ["binary"], "import": IMPORT}
)
CERTIFICATE = part(
    {"name": ["x"], "kind": ["x509"], "private_key": ["k"]},
    san=some("dns:a.test", "dns:b.a.test", "dns:*.a.test"),
    endpoint=["server", "client"],
    valid_for=["1 day", "1 year"],
    common_name=["a", "b"],
)
PRIVATE = part({"name": ["k"], "kind": ["private-key"]}, key_type=["P-256", "P-384", "RSA-2048"], migrate=["true"])
RULE = part({"name": ["r"], "kind": ["config-fragment"], "value": [{"mode": "none"}, {"mode": "hardware"}]})
VOLUME = part(files=["authenticated-only"], export=st.lists(
    part({"to": part({"session": ["b", "c"]}, session_hash=[H])}, update_policy=["ephemeral", "no_rollback_protection"],
         volume_alias=["w"]), max_size=2))  # fmt: skip
ATTESTATION = part(
    mode=["hardware", "simulation", "none", "$$SCONE::r$$"],
    tolerate=some("hyperthreading", "debug-mode", "outdated-tcb"),
    one_time_password_shared_secret=[OTP, OTP[::-1]],
)
SESSIONS = part(
    {
        "name": ["a", "b"],
        "version": ["0.3.12"],
        "services": st.lists(SERVICE, max_size=2, unique_by=lambda service: service["name"]),
        "images": st.tuples(IMAGE, IMAGE).map(lambda two: [{"name": "i", **two[0]}, {"name": "j", **two[1]}]),
        "secrets": st.tuples(ASCII, BINARY, PRIVATE, CERTIFICATE, RULE).map(list),
        "volumes": st.tuples(VOLUME, VOLUME).map(lambda two: [{"name": "v", **two[0]}, {"name": "w", **two[1]}]),
    },
    salt=[T, "0d" * 16],
    access_policy=part(read=READERS, update=CHANGERS, create_sessions=CHANGERS, list_sessions=READERS)
    | st.just("$$SCONE::r$$"),
    security=part(attestation=ATTESTATION | st.just("$$SCONE::r$$"), singleton_enclaves=["true", "false"]),
)

ONE_WAY = frozenset({"SC5010", "SC5031", "SC5033", "SC5066"})
"""What may weaken both ways, or is neutral on the way back: nobody can say which of two is the stricter one."""


def session(document: Mapping[str, Any]) -> Session:
    try:
        return parse_session(dump(document))
    except InvalidInput:
        assume(False)  # a broken rule; most documents break none
        raise


def one_field(tree: Any, other: Any, draw: Any) -> Any:
    """Return `tree` with one field, somewhere, as `other` has it."""
    if isinstance(tree, dict) and isinstance(other, dict):
        differing = [key for key in sorted({*tree, *other}) if tree.get(key) != other.get(key)]
        if not differing:
            return tree
        key = draw(st.sampled_from(differing))
        if key in tree and key in other:
            return {**tree, key: one_field(tree[key], other[key], draw)}
        changed = {**tree, key: other.get(key)} if key in other else tree
        return changed if key in other else {name: value for name, value in tree.items() if name != key}
    if isinstance(tree, list) and isinstance(other, list) and len(tree) == len(other):
        places = [number for number, pair in enumerate(zip(tree, other, strict=True)) if pair[0] != pair[1]]
        place = draw(st.sampled_from(places))
        return [*tree[:place], one_field(tree[place], other[place], draw), *tree[place + 1 :]]
    return copy.deepcopy(other)


def told(old: Session, new: Session) -> list[Change]:
    return [change for change in differences(old, new) if change.group != "values"]


def opposed(changes: list[Change]) -> set[tuple[str, str]]:
    return {(change.group, change.subject) for change in changes if change.severity == "strengthens"}


@settings(max_examples=100)
@given(SESSIONS, SESSIONS)
def test_what_weakens_strengthens_on_the_way_back(before: Any, after: Any) -> None:
    old, new = session(before), session(after)
    forth, back = told(old, new), told(new, old)
    # What a secret decided is not known; afterwards it is compared with the default.
    delegated = {change.group for change in back if change.code == "SC5010"}
    assert differences(old, old) == []
    for change in forth:
        assert (change.severity == "weakens") == bool(change.code)
        assert change.group in GROUPS
        if change.code and change.code not in ONE_WAY and change.group not in delegated:
            assert (change.group, change.subject) in opposed(back), change
    assert as_text(differences(old, new)) == as_text(differences(old, new))


@settings(max_examples=150)
@given(SESSIONS, SESSIONS, st.data())
def test_no_change_of_a_single_field_is_missed(before: Any, after: Any, data: st.DataObject) -> None:
    old, new = session(before), session(one_field(before, after, data.draw))
    assert bool(told(old, new)) == (not same_content(old, new)), dump(before)


LEAVES = ("a", "b", "c")
TREES = st.recursive(
    st.sampled_from(LEAVES),
    lambda child: st.builds(
        lambda least, of: Rule.model_construct(at_least=None if least > len(of) else least, of=tuple(of)),
        st.integers(1, 4),
        st.lists(child, min_size=1, max_size=3),
    ),
    max_leaves=6,
)


def fulfilled(principal: Any, present: set[str]) -> bool:
    if isinstance(principal, Rule):
        return sum(fulfilled(child, present) for child in principal.of) >= principal.needed
    return principal in present


@settings(max_examples=300)
@given(TREES, TREES)
def test_a_rule_that_covers_another_is_never_the_stricter_one(wide: Any, narrow: Any) -> None:
    if covers(wide, narrow):
        for chosen in range(1 << len(LEAVES)):
            present = {leaf for bit, leaf in enumerate(LEAVES) if chosen >> bit & 1}
            assert fulfilled(wide, present) or not fulfilled(narrow, present)
