"""Watches the directories of a volume and tells what changed in them.

In: the directories, as they are found, and the kernel's queue of changes (inotify). Out: hints. If the queue overflows
or cannot be had, the hint is to look at everything: slow, and right.

The kernel names a changed file by its directory and name; hints name it by its inode, which is looked up when the
queue is read. Until then the file may have been renamed, so changes follow names through the renames in the queue. A
name that was replaced or deleted leads to its old file no more. That file is gone, unless it has another name; files
that may have several are known (`linked`) and taken for changed then.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct

from sconectl.protect.inodes import inode_at
from sconectl.protect.volume.hints import Hints
from sconectl.runtime import log
from sconectl.runtime.system_calls import kernel

_MODIFY, _ATTRIBUTES, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x02, 0x04, 0x40, 0x80, 0x100, 0x200
_OVERFLOW, _IGNORED, _IS_DIRECTORY = 0x4000, 0x8000, 0x40000000
_ONLY_DIRECTORY, _DO_NOT_FOLLOW = 0x01000000, 0x02000000
_MASK = _MODIFY | _ATTRIBUTES | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _ONLY_DIRECTORY | _DO_NOT_FOLLOW
_EVENT = struct.Struct("=iIII")
_READ, _LONGEST = 1 << 12, 16 + 256
_GONE = 1 << 40
"""Not the kernel's: the file of this name was moved away."""
_ATTEMPTS = 50
Name = tuple[int, bytes]
"""Inode of the directory, and name in it."""


class Watcher:
    """The watch of one volume."""

    def __init__(self, root: str) -> None:
        """Begin with no directory; the volume's own has to be added, too."""
        self.linked: set[int] = set()
        """Inodes of files that have several names, or may get them; whoever finds or makes such a file adds it."""
        self._root = os.fsencode(root)
        self._inodes: dict[int, int] = {}
        """Inode of the directory, by number of its watch."""
        self._places: dict[int, Name] = {}
        """Where a directory is, by its inode."""
        self._directories: dict[Name, int] = {}
        """The same the other way round."""
        self._top = 0
        self._touched: dict[Name, int] = {}
        """What happened to files by these names, whose inodes are not known yet."""
        self._moving: dict[int, tuple[int, int | None]] = {}
        """What was moved away, by the cookie of the move: what had happened to the file, or inode of the directory."""
        self._blind = ""
        try:
            self._queue = kernel.inotify()
        except OSError as error:
            self._queue = -1
            self._go_blind(error)

    def fileno(self) -> int:
        """Return a file descriptor that is readable when there is something to tell; -1 if there is none."""
        return self._queue

    def add(self, path: str) -> None:
        """Watch a directory, also one that is watched and has moved.

        To be called before its entries are read. If it was not watched, all files in it may have changed, also those
        that were elsewhere in the volume before.
        """
        place = os.fsencode(path)
        status = os.lstat(place)
        inode = status.st_ino
        if place == self._root:
            self._top = inode
        else:
            self._put(inode, (os.lstat(os.path.dirname(place)).st_ino, os.path.basename(place)))  # noqa: PTH119, PTH120
        if self._blind:
            return
        try:
            watch = kernel.add_watch(self._queue, path, _MASK)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            self._go_blind(error)
        else:
            self._inodes[watch] = inode

    def drain(self, hints: Hints) -> None:
        """Add everything that changed until now."""
        if self._blind:
            hints.everything = True
            return
        waiting = set(self._moving)
        for _ in range(_ATTEMPTS):
            self._read(hints)
            if self._touched:
                self._look_up(hints)
            if not self._touched:
                break
        else:
            self._touched.clear()
            hints.everything = True
        if any(before for before, _ in self._moving.values()):
            self._follow_links(hints)
        for cookie in waiting & self._moving.keys():  # moved away some time ago, and appeared nowhere
            del self._moving[cookie]

    def close(self) -> None:
        """Watch no more."""
        if self._queue >= 0:
            os.close(self._queue)
            self._queue = -1

    def _read(self, hints: Hints) -> None:
        """Read the queue until it is empty."""
        length = _READ
        while length > _READ - _LONGEST:
            try:
                data = os.read(self._queue, _READ)
            except BlockingIOError:
                return
            at, length = 0, len(data)
            while at < length:
                watch, mask, cookie, size = _EVENT.unpack_from(data, at)
                at += _EVENT.size
                if mask & _OVERFLOW:
                    hints.everything = True
                elif mask & _IGNORED:
                    self._inodes.pop(watch, None)
                elif (inode := self._inodes.get(watch)) is not None:
                    self._happened((inode, data[at : at + size].rstrip(b"\0")), mask, cookie, hints)
                at += size

    def _happened(self, name: Name, mask: int, cookie: int, hints: Hints) -> None:
        if mask & (_MODIFY | _ATTRIBUTES):
            if name[1]:
                self._touch(name, mask)
            else:
                hints.attributes.add(name[0])
        elif mask & (_CREATE | _DELETE | _MOVED_FROM | _MOVED_TO):
            hints.names.add(name)
            before = self._touched.pop(name, 0) & ~_GONE
            if mask & _MOVED_FROM:
                self._moving[cookie] = (before, self._drop(name) if mask & _IS_DIRECTORY else None)
                if before:  # two names that are exchanged look like two moves: the file may still be found here
                    self._touched[name] = before | _GONE
            elif before:
                self._follow_links(hints)
            if mask & _MOVED_TO:
                self._moved(name, before, mask, self._moving.pop(cookie, None))
            elif mask & _DELETE and mask & _IS_DIRECTORY:
                self._drop(name)

    def _touch(self, name: Name, mask: int) -> None:
        self._touched[name] = (self._touched.get(name, 0) | mask) & ~_GONE

    def _moved(self, name: Name, before: int, mask: int, origin: tuple[int, int | None] | None) -> None:
        """Let what happened to a file follow it to its new name; whatever comes from elsewhere may be changed."""
        if not mask & _IS_DIRECTORY:
            happened = before | (origin[0] if origin else _MODIFY | _ATTRIBUTES)
            if happened:
                self._touch(name, happened)
        elif origin and origin[1] is not None:
            self._put(origin[1], name)
        elif (path := self._path(name[0])) is not None:
            with contextlib.suppress(OSError):  # gone again, as the queue will say
                self._put(os.lstat(path + b"/" + name[1]).st_ino, name)

    def _follow_links(self, hints: Hints) -> None:
        """Take all files with several names for changed: something happened to one by a name that is gone."""
        hints.modified |= self.linked
        hints.attributes |= self.linked

    def _look_up(self, hints: Hints) -> None:
        """Find the files behind the names to which something happened; leave those that have just been moved."""
        paths: dict[int, bytes | None] = {}
        missing: dict[Name, int] = {}
        for name, mask in self._touched.items():
            directory = name[0]
            if directory not in paths:
                paths[directory] = self._path(directory)
            path = paths[directory]
            if path is None:
                if self._moving:  # into a directory that is not known yet
                    missing[name] = mask
                continue
            try:
                inode = inode_at(path + b"/" + name[1])
            except OSError:  # the queue says where it is, or will say so at once
                if not mask & _GONE:
                    missing[name] = mask
                continue
            if mask & _MODIFY:
                hints.modified.add(inode)
            if mask & _ATTRIBUTES:
                hints.attributes.add(inode)
        self._touched = missing

    def _path(self, directory: int) -> bytes | None:
        """Return where the directory with this inode is; None if it is not known to be anywhere."""
        parts: list[bytes] = []
        while directory != self._top:
            place = self._places.get(directory)
            if place is None or len(parts) > len(self._places):
                return None
            directory = place[0]
            parts.append(place[1])
        return b"/".join([self._root, *reversed(parts)])

    def _put(self, inode: int, place: Name) -> None:
        old = self._places.get(inode)
        if old is not None and self._directories.get(old) == inode:
            del self._directories[old]
        self._places[inode] = place
        self._directories[place] = inode

    def _drop(self, place: Name) -> int | None:
        """Forget what directory is there; return its inode."""
        inode = self._directories.pop(place, None)
        if inode is not None and self._places.get(inode) == place:
            del self._places[inode]
        return inode

    def _go_blind(self, error: OSError) -> None:
        self._blind = error.strerror or "no watch"
        log.write(
            "WARNING",
            f"changes of {os.fsdecode(self._root)} cannot be watched ({self._blind}); all files are compared at every "
            "sync, which is slow; raise fs.inotify.max_user_watches and max_user_instances of the node",
        )
        with contextlib.suppress(OSError):
            self.close()
