"""A chart has another version exactly if its content is another one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import helm_python as helm
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sconectl.artefacts.chart import chart_content, render_chart
from sconectl.artefacts.chart_version import is_version, next_version, written_version
from sconectl.plan.mesh.chart_plan import ChartPlan

from .test_chart import WEB, load, plan, render, write
from .test_chart_parts import own

DIGEST = "sconectl.io/content"


@pytest.mark.parametrize(
    ("previous", "same", "expected"),
    [
        (None, False, "0.1.0"),
        (None, True, "0.1.0"),
        ("0.1.0", True, "0.1.0"),
        ("0.1.0", False, "0.2.0"),
        ("1.9.4", False, "1.10.0"),
        ("1.9.4-rc.1+build.5", True, "1.9.4-rc.1+build.5"),
        ("1.9.4-rc.1+build.5", False, "1.10.0"),
        ("latest", True, "0.1.0"),
        ("1.2", False, "0.1.0"),
    ],
)
def test_the_next_version(previous: str | None, same: bool, expected: str) -> None:
    assert next_version(previous, same) == expected


@given(st.tuples(*[st.integers(0, 10**18 - 1)] * 3))
def test_a_change_raises_the_version(numbers: tuple[int, int, int]) -> None:
    major, minor, _ = numbers
    assert next_version(".".join(map(str, numbers)), False) == f"{major}.{minor + 1}.0"


VALID = ["0.0.0", "1.0.0", "1.4.0", "2.0.0-rc.1", "1.0.0-alpha-x.0+exp.sha.5114f85", "1.0.0+001", "1.0.0--"]
INVALID = [
    "", "1", "1.0", "v1.0.0", "01.0.0", "1.0.0-", "1.0.0+", "1.0.0-01", "1.0.0 ", "1.0.0\n", "1.0.0-é", "{{x}}",
    "1.0.0-a..b", "9" * 19 + ".0.0", "1.0.0-" + "a" * 128,
]  # fmt: skip


@pytest.mark.parametrize("text", VALID)
def test_versions_that_helm_takes(tmp_path: Any, text: str) -> None:
    assert is_version(text)
    root = write(tmp_path, replace(plan(WEB), chart_version=text))
    assert helm.lint(str(root), strict=True, with_subcharts=True)["messages"] == []
    labels = load(render(root)["shop/charts/web/templates/workload.yaml"])["metadata"]["labels"]
    assert labels["helm.sh/chart"].startswith("web-")
    heads = [load(root / path) for path in ("Chart.yaml", "charts/web/Chart.yaml")]
    assert [head["version"] for head in heads] == [text, text]
    assert heads[0]["dependencies"] == [{"name": "web", "version": text}]


@pytest.mark.parametrize("text", INVALID)
def test_versions_that_are_none(text: str) -> None:
    assert not is_version(text)


def digest(chart: ChartPlan) -> str:
    return chart_content(chart).digest


def test_the_digest_is_that_of_everything_but_versions() -> None:
    before = plan(WEB)
    assert digest(replace(before, version="9.9", chart_version="7.0.0")) == digest(before)
    changed = [
        replace(before, name="other"),
        replace(before, release="r"),
        replace(before, shared_values={"a": "b"}),
        *(
            replace(before, services=(replace(WEB, **change),))
            for change in (
                {"configuration": "ab" * 16},
                {"image": "other:1"},
                {"measurement": "0" * 64},
                {"extra_values": {"replicaCount": 2}},
                {"own_chart": own()},
                {"own_chart": replace(own(), head={**own().head, "version": "9.0.0"})},
            )
        ),
        replace(before, services=(WEB, replace(WEB, name="db"))),
    ]
    assert len({digest(before), *map(digest, changed)}) == 1 + len(changed)
    more = chart_content(before, {"policies/x.yaml": b"x"})
    assert more.digest not in (digest(before), chart_content(before, {"policies/x.yaml": b"y"}).digest)
    assert more.with_version("1.0.0")["policies/x.yaml"] == b"x"


def test_version_and_digest_are_read_back() -> None:
    files = render_chart(replace(plan(WEB), chart_version="1.4.0"))
    assert written_version(files["Chart.yaml"]) == ("1.4.0", digest(plan(WEB)))
    assert DIGEST not in load(files["charts/web/Chart.yaml"])["annotations"]


@pytest.mark.parametrize(
    "text", [None, b"", b"[]", b"\xff", b"version: [1]", b"version: 1.0.0\nannotations: x", b"a: {", b"&a {b: *a}"]
)
def test_a_chart_that_is_none(text: bytes | None) -> None:
    version, found = written_version(text)
    assert version in (None, "1.0.0") and found == ""
