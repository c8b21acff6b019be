"""Durations as `valid_for` and the validity of tokens write them: `90 days`, `1h 30m`, `59d`.

In: a sequence of whole numbers with units (LANG §7.2; the units are those of the humantime notation). Out: a
`timedelta`; raises `ValueError` for anything else, for nothing at all, and for more than ten thousand years.
"""

from __future__ import annotations

import re
from datetime import timedelta

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_MONTH, _YEAR = 2_630_016, 31_557_600  # 30.44 and 365.25 days

_SECONDS: dict[str, int] = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), _MINUTE),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), _HOUR),
    **dict.fromkeys(("d", "day", "days"), _DAY),
    **dict.fromkeys(("w", "wk", "wks", "week", "weeks"), 7 * _DAY),
    **dict.fromkeys(("M", "month", "months"), _MONTH),
    **dict.fromkeys(("y", "yr", "yrs", "year", "years"), _YEAR),
}
_LONGEST = 10_000 * _YEAR
_STEP = re.compile(r"([0-9]{1,12})[ \t]*([A-Za-z]{1,8})[ \t]*")


def duration(text: str) -> timedelta:
    """Return the duration that `text` names."""
    at, seconds = 0, 0
    text = text.strip()
    while at < len(text):
        step = _STEP.match(text, at)
        if step is None or step[2] not in _SECONDS:
            raise ValueError("not a duration")
        seconds += int(step[1]) * _SECONDS[step[2]]
        at = step.end()
    if not 0 < seconds <= _LONGEST:
        raise ValueError("a duration is longer than nothing and at most ten thousand years")
    return timedelta(seconds=seconds)
