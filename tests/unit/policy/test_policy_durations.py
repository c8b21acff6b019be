"""Durations in policies."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sconectl.policy.forms.durations import duration


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("59d", timedelta(days=59)),
        ("90 days", timedelta(days=90)),
        ("1 year", timedelta(seconds=31_557_600)),
        ("1y", timedelta(seconds=31_557_600)),
        ("2 months", timedelta(seconds=2 * 2_630_016)),
        ("3M", timedelta(seconds=3 * 2_630_016)),
        ("3m", timedelta(minutes=3)),
        ("24h", timedelta(days=1)),
        ("2 weeks 1day", timedelta(days=15)),
        ("1h 30m 5s", timedelta(hours=1, minutes=30, seconds=5)),
        ("1h30min", timedelta(hours=1, minutes=30)),
        (" 1 hour ", timedelta(hours=1)),
    ],
)
def test_durations(text: str, length: timedelta) -> None:
    assert duration(text) == length


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "0s",
        "90",
        "days",
        "1.5h",
        "-1d",
        "1 blink",
        "1d,2h",
        "10001 years",
        "9" * 40 + "s",
        "1 D",
        "٣d",
    ],
)
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        duration(text)
