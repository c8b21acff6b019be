"""How findings look: on a terminal like a compiler's, elsewhere so that programs can read them, too."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from sconectl.cli.output.console import show_findings
from sconectl.cli.output.render import IN_FULL, ON_SCREEN, lines_of_findings, remember
from sconectl.text.findings import Finding, Position

TEXT = "apiVersion: scone/5.8\nkind: genservice\nbuild:\n  dirss: [/app]\n"
FINDING = Finding(
    "error", "SC1002", Position("render.yaml", 4, 3), "build.dirss", "unknown field", "did you mean dirs?"
)
FIRST_LINE = re.compile(r"^(?P<file>[^:]+):(\d+):(\d+): (error|warning|deprecation) SC\d{4}: ")


@pytest.fixture(autouse=True)
def _text() -> None:
    remember("render.yaml", TEXT)


def plain(findings: list[Finding]) -> list[str]:
    return list(lines_of_findings(findings, terminal=False, colour=False))


def on_terminal(findings: list[Finding], *, colour: bool = False) -> list[str]:
    return list(lines_of_findings(findings, terminal=True, colour=colour))


def many(number: int) -> list[Finding]:
    return [replace(FINDING, path=f"build.field{index}") for index in range(number)]


def test_plain_output_begins_with_a_line_that_programs_can_read() -> None:
    assert plain([FINDING]) == [
        "render.yaml:4:3: error SC1002: build.dirss: unknown field",
        "     4 |   dirss: [***",
        "       |   ^^^^^",
        "    hint: did you mean dirs?",
    ]


def test_a_terminal_shows_what_a_compiler_would() -> None:
    assert on_terminal([FINDING]) == [
        "error SC1002: unknown field",
        "  --> render.yaml:4:3 (build.dirss)",
        " 4 |   dirss: [***",
        "   |   ^^^^^",
        "  = hint: did you mean dirs?",
        "",
    ]


def test_a_file_that_nobody_read_has_no_source_line() -> None:
    elsewhere = replace(FINDING, position=Position("elsewhere.yaml", 4, 3), hint="")
    assert plain([elsewhere]) == ["elsewhere.yaml:4:3: error SC1002: build.dirss: unknown field"]


def test_a_finding_without_a_path_says_nothing_in_its_place() -> None:
    assert plain([replace(FINDING, path="")])[0] == "render.yaml:4:3: error SC1002: unknown field"
    assert on_terminal([replace(FINDING, path="")])[1] == "  --> render.yaml:4:3"


def test_of_many_findings_the_first_are_shown_in_full_and_all_in_a_line() -> None:
    lines = plain(many(IN_FULL + 30))
    assert len([line for line in lines if FIRST_LINE.match(line)]) == IN_FULL + 30
    assert len([line for line in lines if "hint:" in line]) == IN_FULL
    assert lines[-1].startswith(f"{IN_FULL + 30} findings, the first {IN_FULL} in full")


def test_a_terminal_shows_at_most_one_screen_and_says_how_many_there_are() -> None:
    lines = on_terminal(many(10_000))
    assert len(lines) == IN_FULL * 6 + (ON_SCREEN - IN_FULL) + 1
    assert lines[-1].startswith(f"... and {10_000 - ON_SCREEN} more")


def test_a_few_findings_are_not_counted() -> None:
    assert not [line for line in plain(many(IN_FULL)) if "findings" in line]


def test_colour_is_asked_for() -> None:
    coloured = "\n".join(on_terminal([FINDING], colour=True))
    assert "\x1b[1;31m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == "\n".join(on_terminal([FINDING]))


def test_what_a_terminal_would_obey_is_escaped() -> None:
    evil = Finding("error", "SC1002", Position("a\x1b[2J.yaml", 1, 1), "k\x1b]0;x", "m\r", "h\x07")
    for terminal in (True, False):
        text = "\n".join(lines_of_findings([evil], terminal=terminal, colour=False))
        assert text.replace("\n", "").isprintable()


@pytest.mark.parametrize(("name", "value", "coloured"), [("TERM", "xterm", True), ("NO_COLOR", "", False)])
def test_no_color_and_the_terminal_decide(
    name: str, value: str, coloured: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    show_findings([FINDING])
    err = capsys.readouterr().err
    assert "-->" in err
    assert ("\x1b[" in err) is coloured


def test_without_findings_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    show_findings([])
    assert capsys.readouterr().err == ""
