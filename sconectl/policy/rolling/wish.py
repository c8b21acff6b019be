"""What the user asks for about the versions of services. Knows no session, so that options are read in no time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Wish:
    """What the user asked for: a `rolling` update, a release by its number, or to `finish` what is open."""

    rolling: bool = False
    release: int | None = None
    finish: bool = False

    def begins(self, newest: int) -> bool:
        """Say whether a new version is to come behind the `newest`, so that pods of that get what they got."""
        return self.rolling or (self.release is not None and self.release > newest)
