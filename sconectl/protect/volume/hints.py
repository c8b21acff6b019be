"""What may have changed on a volume since its last commit.

In: what the watch of the directories saw, and the system calls of the program. Out: where the next commit has to look.
Hints err on one side only: they may name what has not changed, and never leave out what has.
"""

from __future__ import annotations

from dataclasses import dataclass, field

MOST_RANGES = 4096
"""Of one file; more of them become a single one that holds them all."""


@dataclass
class Hints:
    """Collected between two commits of one volume, and cleared by the commit that has written all of it down."""

    names: set[tuple[int, bytes]] = field(default_factory=set)
    """(inode of the directory, name): this entry may be new, gone, or another file."""
    written: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    """By inode: the ranges (offset, length) of its known writes."""
    modified: set[int] = field(default_factory=set)
    """Inodes of files that may have changed anywhere, not only where `written` says."""
    explained: set[int] = field(default_factory=set)
    """Inodes of files that can have changed only where `written` says, and by growing at their ends."""
    attributes: set[int] = field(default_factory=set)
    """Inodes whose mode, owner or times may have changed."""
    times: set[int] = field(default_factory=set)
    """Inodes whose times may have changed, with a content that is committed already."""
    mapped: set[int] = field(default_factory=set)
    """Inodes of files that a program may change at any time, because it has mapped them shared and writable."""
    everything: bool = False
    """Changes have been missed: nothing but comparing all of the volume will do."""

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing can have changed."""
        found = self.names or self.written or self.modified or self.attributes or self.times or self.mapped
        return not (self.everything or found)

    def add_write(self, inode: int, offset: int, length: int) -> None:
        """Note that a write to this range of the file is done, or about to be done."""
        ranges = self.written.setdefault(inode, [])
        if ranges:
            last, size = ranges[-1]
            if last <= offset <= last + size:  # most writes go on where the last one ended, or write it once more
                ranges[-1] = (last, max(size, offset + length - last))
                return
            if len(ranges) >= MOST_RANGES:
                first = min(start for start, _ in ranges)
                ranges[:] = [(first, max(start + size for start, size in ranges) - first)]
        ranges.append((offset, length))

    def clear(self) -> None:
        """Forget what a commit has written down. Mappings stay: they change files without further notice."""
        self.names.clear()
        self.written.clear()
        self.modified.clear()
        self.explained.clear()
        self.attributes.clear()
        self.times.clear()
        self.everything = False
