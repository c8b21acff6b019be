"""docs/conformance.md says what the tests say, and no statement is without a test or a reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from conformance import PAGE, TESTS, applications, page

ONE = '[9]\ntitle = "an application"\n[9.a]\ntext = "It works."\n'
MARKED = 'import pytest\n@pytest.mark.shows("9.a")\ndef test_a() -> None: ...\n'


def test_the_page_is_that_of_the_tests() -> None:
    written = page((TESTS / "statements.toml").read_text(encoding="utf-8"), TESTS)
    assert PAGE.read_text(encoding="utf-8") == written, "run scripts/write_conformance.py"


FACTS = TESTS.parents[1] / "shared" / "spec" / "examples.md"
"""What upstream's applications do, as boxes to be checked: where it is beside this checkout."""
SAID_AS = {
    "1": [
        *("000.native", "000.image", "000.native", "000.rest", "000.errors", "000.errors", "000.rest 000.errors"),
        *("000.rest 000.errors", "000.errors", "000.verified", "000.converted", "000.converted", "000.blocks"),
        *("000.blocks", "000.converted", "000.encrypted", "000.device", "000.compose 000.device", "000.log"),
        *("000.verified", "000.trace"),
    ],
    "2": [
        *("001.native", "001.native", "001.cluster", "001.cluster", "001.policy 001.chart", "001.policy 001.chart"),
        *("001.cluster 001.chart", "001.chart", "001.ciphertext", "001.old"),
        "001.program 001.engine 001.old 001.argument 001.new_volume",
    ],
    "3": [
        *("002.upstream 002.wiring", "002.overridden", "002.upstream", "002.undefined env.missing", "002.unset"),
        *("002.output", "002.output", "002.violation", "002.older", "002.dcap", "002.script", "002.shell 002.nowhere"),
        *("002.shell", "002.exported", "002.edited", "002.rebuilt 002.dcap", "002.retagged", "002.kept"),
        *("002.java 002.script 002.wiring", "002.update 002.script", "env.superset"),
    ],
    "4": [
        *("003.upstream 003.wiring", "003.upstream", "003.wiring", "003.wiring", "003.wiring 003.network_files"),
        *("003.wiring", "003.log 003.fake", "003.client_certificate 003.fake", "003.server", "003.rest 003.errors"),
        *("003.rest 003.errors 003.memory", "003.rest", "003.restart", "003.script"),
    ],
    "5": [
        *("004.upstream 004.wiring", "004.upstream", "004.wiring 004.upstream", "004.wiring", "004.wiring"),
        *("004.wiring 003.network_files", "004.wiring 004.direct", "004.chain", "004.strict", "004.direct 004.strict"),
        *("004.direct 004.wiring", "004.claims", "004.accounts", "004.accounts", "004.accounts", "004.documents"),
        *("004.documents", "004.documents", "004.passwords", "004.accounts", "004.limit", "004.documents"),
        *("004.client", "004.client", "004.script", "004.older 004.helm_test"),
    ],
}
"""By which statements of ours the boxes of each application are said, in their order."""


@pytest.mark.skipif(not FACTS.is_file(), reason="the facts about upstream's applications are not beside this checkout")
def test_everything_that_upstream_does_is_said() -> None:
    found: dict[str, int] = {}
    for line in FACTS.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            found[line[3]] = 0
        elif line.startswith("- [ ] "):
            found[[*found][-1]] += 1
    assert found == {number: len(boxes) for number, boxes in SAID_AS.items()}
    said = applications((TESTS / "statements.toml").read_text(encoding="utf-8"))
    names = {statement.name for statements in said.values() for statement in statements}
    assert {name for boxes in SAID_AS.values() for box in boxes for name in box.split()} <= names


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
