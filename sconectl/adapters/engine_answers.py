"""Reads ids and digests, the results of a container engine's work, from the records of its answers.

In: the records of a pull, a push or a load, in their order. Out: what they say. Nothing here is asked for by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sconectl.ports import Progress

_DIGEST = re.compile(r"Digest: (sha256:[0-9a-f]{64})\s*")
_LOADED = re.compile(r"Loaded image(?: ID)?: (?:sha256:)?([0-9a-f]{64})\s*")


@dataclass
class Answer:
    """The facts in the records of one answer; those that the engine did not tell are empty.

    `digest` (`sha256:…`) is that of the manifest that was pulled or pushed, `loaded` the id of an image that was loaded
    without a name, `failure` what went wrong.
    """

    failure: str = ""
    digest: str = ""
    loaded: str = ""

    def take(self, record: Mapping[str, Any]) -> None:
        """Read one record."""
        self.failure = self.failure or str(record.get("error", ""))
        if isinstance(aux := record.get("aux"), Mapping):
            self.digest = str(aux.get("Digest", self.digest))
        if found := _DIGEST.fullmatch(str(record.get("status", ""))):
            self.digest = found[1]
        if found := _LOADED.fullmatch(str(record.get("stream", ""))):
            self.loaded = f"sha256:{found[1]}"


def follow(records: Iterable[Mapping[str, Any]], progress: Progress) -> Answer:
    """Read an answer to its end, and report its progress."""
    answer = Answer()
    for record in records:
        answer.take(record)
        if text := str(record.get("status", "")):
            progress(f"{record.get('id', '')} {text}".strip())
    return answer
