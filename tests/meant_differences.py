"""What `sconectl session diff` may say of two sessions: a list of changes, each with the reason for it.

In: changes as `SUBJECT: MESSAGE`, and reasons by patterns, in which … stands for anything. Out: changes without a
reason, and reasons without a change.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

Reasons = Mapping[str, str]
_SAME_VALUE = ("kept: ", "issued anew: each update issues it, for the same private key", "imported: still from ")


def changes(said: str) -> list[str]:
    """Return the changes in JSON of `session diff`, without values of secrets that stay what they are."""
    return [
        f"{change['subject']}: {change['message']}"
        for change in json.loads(said)["changes"]
        if change["group"] != "values" or not change["message"].startswith(_SAME_VALUE)
    ]


def unexplained(found: Sequence[str], reasons: Reasons) -> list[str]:
    """Return the changes that no pattern matches."""
    patterns = [_expression(pattern) for pattern in reasons]
    return [line for line in found if not any(pattern.fullmatch(line) for pattern in patterns)]


def stale(found: Sequence[str], reasons: Reasons) -> list[str]:
    """Return the patterns that match no change."""
    return [pattern for pattern in reasons if not any(_expression(pattern).fullmatch(line) for line in found)]


def _expression(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in pattern.split("…")))
