"""Older states of volumes that an owner has accepted, as long as no program has written since.

In: the CAS, and the sessions of a mesh beside what the CAS has. Out: sentences for the user. So whoever reviews a plan
learns that somebody has let programs start from an older state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sconectl.apply.sessions import Update
from sconectl.ports import SessionStore


def accepted_states(store: SessionStore, updates: Sequence[Update]) -> Iterator[str]:
    """Yield a note for each volume whose state was accepted. Raises `CasError`."""
    for update in updates:
        if update.seen is None or not any(volume.import_ is None for volume in update.seen.volumes):
            continue
        for volume in store.volumes(update.name):
            if volume.accepted is not None:
                who, when = volume.accepted
                what = f"volume {volume.name} of session {update.name} is in state {volume.tag or 'none'}"
                yield f"note: {what}, which {who} accepted at {when}; no program has written to it since"
