"""What a client of a database knows about its rows, which are numbered 1, 2, 3 …"""

from __future__ import annotations

import random
import string
from collections.abc import Sequence
from dataclasses import dataclass

CANARY = "no-one-but-the-database-reads-this"


@dataclass
class Ledger:
    """The rows of one writer: how many are there for sure, and whether one more may be."""

    name: str
    acknowledged: int = 0
    under_way: bool = False

    def check(self, found: Sequence[int]) -> None:
        """Compare with what the database has, in its order, and take that for true from now on."""
        sure = list(range(1, self.acknowledged + 1))
        allowed = [sure, [*sure, self.acknowledged + 1]] if self.under_way else [sure]
        assert list(found) in allowed, (
            f"writer {self.name} had {self.acknowledged} rows acknowledged, "
            f"{'and one under way' if self.under_way else 'and none under way'}; there are {_shown(found)}"
        )
        self.acknowledged, self.under_way = len(found), False


def text(writer: str, number: int) -> str:
    """Return the text of a row, which is longer or shorter than a page now and then."""
    draw = random.Random(f"{writer} {number}")
    filler = "".join(draw.choices(string.ascii_letters, k=draw.choice((10, 300, 3000))))
    return f"{CANARY}-{writer}-{number}-{filler}"


def _shown(found: Sequence[int]) -> str:
    wrong = [row for place, row in enumerate(found, 1) if row != place]
    return f"{len(found)} rows" + (f", out of place: {wrong[:20]}" if wrong else "")
