"""docs/conformance.md says what the tests say, and no statement is without a test or a reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from conformance import PAGE, TESTS, page

ONE = '[9]\ntitle = "an application"\n[9.a]\ntext = "It works."\n'
MARKED = 'import pytest\n@pytest.mark.shows("9.a")\ndef test_a() -> None: ...\n'


def test_the_page_is_that_of_the_tests() -> None:
    written = page((TESTS / "statements.toml").read_text(encoding="utf-8"), TESTS)
    assert PAGE.read_text(encoding="utf-8") == written, "run scripts/write_conformance.py"


def test_a_statement_is_shown(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(MARKED)
    assert "| 9.a | It works. | [test_a](../tests/test_it.py) |\n" in page(ONE, tmp_path)


ATTACK = """[attacks]
title = "Attacks"
applications = { "9" = "one", "8" = "another" }
[attacks.exec]
text = "A shell."
not_here = { "8" = "no shell" }
"""


def test_an_attack_is_tried_on_each_application(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(MARKED.replace("9.a", "attack.exec.9"))
    written = page(ATTACK, tmp_path)
    assert "| attack | one | another |\n| --- | --- | --- |\n" in written
    assert "| A shell. | [test_a](../tests/test_it.py) | (no shell) |\n" in written


@pytest.mark.parametrize(
    ("statements", "tests", "fault"),
    [
        (ONE, "", "9.a needs either a test or a reason"),
        (ONE + 'not_here = "no hardware"\n', MARKED, "9.a needs either a test or a reason"),
        (ONE, MARKED.replace("9.a", "9.b"), "9.b is no statement"),
        (ATTACK, "", "attack.exec.9 needs either a test or a reason"),
        (ATTACK, MARKED.replace("9.a", "attack.exec.8"), "attack.exec.8 needs either a test or a reason"),
        (ATTACK, MARKED.replace("9.a", "attack.wire.9"), "attack.wire.9 is no statement"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, statements: str, tests: str, fault: str) -> None:
    (tmp_path / "test_it.py").write_text(tests)
    with pytest.raises(ValueError, match=fault):
        page(statements, tmp_path)
