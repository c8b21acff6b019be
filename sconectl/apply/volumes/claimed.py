"""What the storage of a volume says about itself to somebody without its key.

In: the storage. Out: the states that it claims to hold. Nothing vouches for them: whoever has the storage can write
there what he likes, so they are good for comparing with what the CAS says, and for looking around.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from sconectl.errors import Refused
from sconectl.protect.chunks import SealBroken
from sconectl.protect.volume.index import ENCRYPTED, FILE, read_head
from sconectl.protect.volume.journal import unverified_states
from sconectl.protect.volume.storage import Storage


@dataclass(frozen=True)
class Claimed:
    """What a storage claims: its states (16 bytes each, the newest last), how files are stored, how many journals."""

    states: tuple[bytes, ...]
    encrypted: bool
    journals: int

    @property
    def newest(self) -> bytes:
        """The newest state."""
        return self.states[-1]


def claimed(storage: Storage) -> Claimed:
    """Return what `storage` claims; raises `Refused` if there is no volume on it, and `OSError`."""
    data = storage.read_index()
    if data is None:
        raise Refused(f"{storage.root}: there is no volume here, no {FILE}", hint="name the directory of its storage")
    try:
        head = read_head(data)
    except SealBroken as error:
        raise Refused(f"{storage.root}: {error}") from error
    states, journals = [head.state], 0
    for number in storage.journals():
        if number < head.journal:
            continue  # it is older than the index
        handle = storage.open_journal(number)
        try:
            _, found = unverified_states(handle)
        except SealBroken:
            continue  # it was being made
        finally:
            os.close(handle)
        journals += 1
        if found[0] not in states:
            break
        states[states.index(found[0]) :] = found  # it may begin in the midst of the one before
    return Claimed(tuple(states), head.contents == ENCRYPTED, journals)
