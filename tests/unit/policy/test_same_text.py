"""Whether the text that a CAS gives back is found to say the same as a session, with every kind of difference."""

from __future__ import annotations

import pytest

from sconectl.policy.reading import Session, parse_session
from sconectl.policy.same_text import unchanged
from sconectl.policy.serialized.canonical import read_back, same_content

H, SALT = "ab" * 32, "cd" * 16
BODY = f"""name: shop/web
version: "0.3.12"
access_policy: {{read: [ANY]}}
services:
  - name: web
    image_name: web
    command: [run, "access_policy:"]
    environment: {{A: "1", B: "line\\naccess_policy: x\\n"}}
    attestation: [{{mrenclave: ["{H}"]}}]
images: [{{name: web, injection_files: [{{path: /x, content: "a"}}]}}]
secrets: [{{name: s, kind: ascii, size: 9}}]
"""


def session(body: str = BODY) -> Session:
    return parse_session(body)


@pytest.mark.parametrize(
    "head", [{}, {"predecessor": H}, {"predecessor": H, "salt": SALT}, {"salt": SALT}], ids=lambda head: "+".join(head)
)
def test_the_same_is_found_with_its_head(head: dict[str, str]) -> None:
    stored = session().model_copy(update=head)
    wanted = session().model_copy(update={"salt": head.get("salt")})
    found = unchanged(wanted, read_back(stored))
    assert found == parse_session(read_back(stored))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("read: [ANY]", "read: [NONE]"),
        ("size: 9", "size: 10"),
        ('A: "1"', 'A: "2"'),
        ('content: "a"', 'content: "b"'),
        ('"0.3.12"', '"0.3.11"'),
        ("[run", "[go"),
    ],
)
def test_a_difference_is_no_match(old: str, new: str) -> None:
    other = session(BODY.replace(old, new, 1))
    assert not same_content(session(), other)
    assert unchanged(session(), read_back(other)) is None
    assert unchanged(other, read_back(other)) == other


def test_another_spelling_is_read_as_a_whole() -> None:
    assert unchanged(session(), BODY) is None
    assert unchanged(session(), "nothing") is None
    assert unchanged(session(), "[\naccess_policy:") is None
    salted = read_back(session().model_copy(update={"salt": SALT}))
    assert unchanged(session(), salted) is None
