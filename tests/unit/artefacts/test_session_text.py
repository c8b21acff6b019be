"""Session documents as text: exact values, a predecessor only at upload, and facts with their key."""

from __future__ import annotations

from fakes.builders import compiled, facts

from sconectl.artefacts.session import image_session, policy_files, session_text
from sconectl.plan.facts.image_facts import ImageFacts
from sconectl.policy.reading import parse_session

OWNER = {"read": ["CREATOR"], "update": ["CREATOR"]}
NASTY = "a: b\n- c\n# d\n\"e\" 'f' {g} \\ é\n  indented\n\n"


def test_values_that_look_like_yaml_stay_values() -> None:
    image = facts(
        environment={"local": [{"name": "A", "value": NASTY}, {"name": "B", "value": "0760"}]},
        secrets={"global": [{"name": "s", "kind": "ascii", "value": "x\nexport_public: true"}]},
        injection_files=[{"path": "/f", "content": NASTY}],
    )
    session = parse_session(session_text(compiled(image).sessions[1].document))
    assert session.services[0].environment["A"] == NASTY
    assert session.services[0].environment["B"] == "0760"
    assert session.images[0].injection_files[0].content == NASTY
    assert session.secrets[0].value == "x\nexport_public: true"
    assert session.secrets[0].export_public is False


def test_the_predecessor_is_in_the_upload_only() -> None:
    plan = compiled(facts())
    assert set(policy_files(plan)) == {"namespace.yaml", "web.yaml"}
    assert b"\npredecessor:" not in b"".join(policy_files(plan).values())
    text = session_text(plan.sessions[1].document, predecessor="ab" * 32)
    assert parse_session(text).predecessor == "ab" * 32
    assert text.splitlines()[2].startswith("predecessor: ")


def test_policy_files_are_the_upload_but_for_comment_and_predecessor() -> None:
    plan = compiled(facts())
    for session in plan.sessions:
        file = policy_files(plan)[f"{session.file}.yaml"].decode()
        assert file.startswith("# Written by sconectl")
        assert parse_session(file) == parse_session(session_text(session.document))


def test_an_image_session_gives_the_facts_back() -> None:
    image = facts(dirs=["/app"])
    exports = [{"session": "shop/web"}]
    session = parse_session(session_text(image_session(image, b"\1" * 32, exports, OWNER)))
    held = session.secret("facts")
    key = session.secret("fspf-key")
    assert held is not None
    assert held.value is not None
    assert ImageFacts.read(held.value) == image
    assert not held.export
    assert key is not None
    assert key.value == "01" * 32
    assert [export.session for export in key.export] == ["shop/web"]


def test_without_encrypted_files_there_is_no_key() -> None:
    assert [secret["name"] for secret in image_session(facts(), None, [], OWNER)["secrets"]] == ["facts"]
