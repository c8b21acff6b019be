"""What the supervisor needs of an opened volume, of the watch of its directories, and of the tags at the CAS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sconectl.protect.volume.hints import Hints


class Volume(Protocol):
    """One opened volume: its files in memory, and the storage where they are kept."""

    @property
    def name(self) -> str:
        """Return its name in the policy."""

    @property
    def root(self) -> str:
        """Return the directory in memory that holds its files."""

    @property
    def state(self) -> bytes:
        """Return the newest committed state, 16 bytes."""

    def commit(
        self, hints: Hints, target: int | None = None, *, data_only: bool = False, final: bool = False
    ) -> bytes | None:
        """Make durable what has changed, and clear `hints`; return the new state, or None if nothing had changed.

        `target` is the inode of the file or directory that is to be durable; None: all of them. `data_only`: times may
        follow later. The `final` commit may take a little longer to leave the storage in order. Raises `OSError`: then
        nothing is promised, and the hints stay.
        """

    def has_file(self, inode: int) -> bool:
        """Tell whether this is the inode of a regular file that is committed and has a name; False if in doubt."""

    def close_files(self) -> None:
        """Close files that were left open: some may be deleted, and take their memory until then."""

    def confirm(self, state: bytes) -> None:
        """Take note that the CAS has this state, so that no older one will ever be asked for."""

    def close(self) -> None:
        """Let go of the storage."""


class Watch(Protocol):
    """Tells what changed in the directories of a volume."""

    @property
    def linked(self) -> set[int]:
        """Return the inodes of files that may have several names, to add to them."""

    def fileno(self) -> int:
        """Return a file descriptor that is readable when there is something to tell; -1 if there is none."""

    def drain(self, hints: Hints) -> None:
        """Add everything that changed until now."""


@dataclass(frozen=True)
class Progress:
    """How far the tags of a volume have come."""

    confirmed: bytes | None
    """The newest state that the CAS is known to have."""
    failure: str = ""
    """Why the state sent last will not be confirmed, unless it is sent again; empty while there is hope."""
    lost: str = ""
    """Why this launcher must not write to the storage any more: somebody else has the volume."""


class Tags(Protocol):
    """Brings the states of one volume to the CAS, and keeps the lease, in a thread of its own.

    A state that waits is replaced by the next one: whoever confirms a state confirms those before it.
    """

    def start(self) -> None:
        """Start the thread, unless it runs: once the program was forked, and before anything else is done."""

    def send(self, state: bytes) -> None:
        """Begin to bring this state to the CAS, with new patience; never waits, never raises."""

    def fileno(self) -> int:
        """Return a file descriptor that is readable when there is news."""

    def progress(self) -> Progress:
        """Return how far it is, and make the file descriptor unreadable until there is news again."""

    def finish(self, seconds: float) -> Progress:
        """Wait, at most so long, until the state sent last is confirmed or given up; then release the lease."""


@dataclass(frozen=True)
class Mount:
    """A volume that a program uses, with all that keeps it durable."""

    volume: Volume
    watch: Watch
    tags: Tags | None
    """None: its states are told to nobody (no protection against rollback)."""
    bound: float | None = None
    """None: a sync waits for the CAS (strict). Else the seconds that the CAS may be behind before it does."""
