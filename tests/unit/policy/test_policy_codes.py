"""What is explained about the codes of the policy language is true: every rule has a code, every example behaves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import sconectl.policy
from sconectl.codes.policy import CODES
from sconectl.policy.forms.violation import code_of
from sconectl.policy.reading import examine

HEAD = 'name: my-namespace/app\nversion: "0.3.12"\n'
MEASUREMENT = "7bb0ba3175f3e2dc40e97eae44eb5be2e646324a76c85b58d1c8acf32f1da78c"
CAS_KEY = "2wkBET2rRgE8pahuaczxKbmv7ciehqsne57F9gtzf1PVdr2VP3"
EXAMPLES = sorted(code for code, explained in CODES.items() if explained.wrong)


def rules() -> set[str]:
    """Return every rule that the sources of the policy language name in a finding."""
    folder = Path(sconectl.policy.__file__).parent
    text = "\n".join(path.read_text("utf-8") for path in sorted(folder.rglob("*.py")))
    return set(re.findall(r'"([DNVHSAKPXWGCE][0-9]{1,2})"', text))


def test_every_rule_is_explained_and_nothing_else() -> None:
    assert {code_of(rule) for rule in rules()} == set(CODES)


def codes(example: str) -> set[str]:
    keys = re.findall(r"^(\w+):", example, re.MULTILINE)
    head = "".join(line + "\n" for line in HEAD.splitlines() if line.split(":")[0] not in keys)
    text = re.sub(r"(mrenclave: )H\b", rf"\g<1>{MEASUREMENT}", example)
    text = re.sub(r"(cas_key: )C\b", rf"\g<1>{CAS_KEY}", text)
    return {finding.code for finding in examine(head + text, file="session.yaml").findings}


@pytest.mark.parametrize("code", EXAMPLES)
def test_the_wrong_example_is_wrong(code: str) -> None:
    assert code in codes(CODES[code].wrong)


@pytest.mark.parametrize("code", sorted(code for code, explained in CODES.items() if explained.right))
def test_the_right_example_is_right(code: str) -> None:
    assert codes(CODES[code].right) == set()
