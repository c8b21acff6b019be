"""Findings of one cause, told once: only what they say of their cause counts."""

from __future__ import annotations

from sconectl.text.findings import Cause, Finding, Name, Position
from sconectl.text.one_cause import one_cause

A, B, C = (Name("secret", "web:1", name) for name in "abc")


def finding(line: int, cause: Cause | None, severity: str = "warning") -> Finding:
    return Finding("error" if severity == "error" else "warning", "SC1006", Position("m", line, 1), "", "x", "", cause)


def lines(*found: Finding) -> list[tuple[int, str]]:
    return [(each.position.line, each.severity) for each in one_cause(found)]


def test_findings_without_a_cause_all_stay() -> None:
    assert lines(finding(2, None), finding(1, None, "error")) == [(2, "warning"), (1, "error")]


def test_what_follows_makes_it_an_error_where_it_was_written() -> None:
    assert lines(finding(1, Cause(A, written=True)), finding(2, Cause(A), "error")) == [(1, "error")]
    assert lines(finding(1, Cause(A, written=True)), finding(2, Cause(B), "error")) == [(1, "warning"), (2, "error")]


def test_every_place_where_it_was_written_is_told() -> None:
    found = [finding(1, Cause(A, written=True)), finding(3, Cause(A, written=True)), finding(2, Cause(A), "error")]
    assert lines(*found) == [(1, "error"), (3, "error")]


def test_remarks_on_what_is_not_there_or_was_meant_are_dropped() -> None:
    slip = finding(1, Cause(A, meant=(B,)), "error")
    assert lines(slip, *(finding(2, Cause(name, lacks=False)) for name in (A, B, C))) == [(1, "error"), (2, "warning")]


def test_of_findings_that_explain_each_other_the_first_stays() -> None:
    circle = [(A, B), (B, C), (C, A)]
    found = [finding(line, Cause(name, meant=(meant,)), "error") for line, (name, meant) in enumerate(circle)]
    assert len(one_cause(found)) == 1
    assert lines(*found[:2])[0] == (0, "error")


def test_the_owner_of_a_name_counts() -> None:
    other = A._replace(owner="db:1")
    assert len(one_cause([finding(1, Cause(B, meant=(other,))), finding(2, Cause(A))])) == 2
    assert len(one_cause([finding(1, Cause(B, meant=(A._replace(owner=""),))), finding(2, Cause(A))])) == 1
