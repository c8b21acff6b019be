"""What the stopped calls of a program mean for its volumes.

In: calls, one by one. Out: each is answered: at once, with its effects noted in the hints of the volumes, or, for a
sync, when the keepers of the volumes say so. A call runs after it was answered, maybe after the next commit, so what
it writes is noted again after each commit until the call is known to be over.

Where the launcher cannot see what a thread does (it has another user), a sync commits all volumes, and what may be
changed through a mapping is compared at every commit.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from sconectl.runtime import log
from sconectl.runtime.system_calls import task
from sconectl.runtime.system_calls.descriptors import Descriptors, mount_of
from sconectl.runtime.system_calls.filter import NOTIFIED, SYNC_FLAGS, TRUNCATE_FLAG
from sconectl.runtime.system_calls.listener import Call, Listener
from sconectl.runtime.volumes.explained import Flight, Writes
from sconectl.runtime.volumes.keeper import Keeper, Sync
from sconectl.runtime.volumes.mappings import Mappings

_LONGEST_WRITE = 0x7FFFF000
_LARGEST_OFFSET, _LARGEST_ADDRESS = 1 << 63, 1 << 47
_NOWHERE = (0, 0)
_ACCESS = 3
_SYNCHRONOUS = 4
"""MS_SYNC."""
_FOLLOW, _ITSELF = 0x400, 0x1000
"""AT_SYMLINK_FOLLOW, AT_EMPTY_PATH."""
_GONE = (FileNotFoundError, ProcessLookupError)


class Calls:
    """Answers the calls of a program that has these volumes."""

    def __init__(
        self, listener: Listener, keepers: Sequence[Keeper], numbers: dict[str, int], silent: int | None = None
    ) -> None:
        """Take calls from `listener`; `numbers` are those of this machine. The child process `silent` never writes."""
        self._listener, self._keepers = listener, keepers
        self._on = {keeper.device: [k for k in keepers if k.device == keeper.device] for keeper in keepers}
        mounts = {keeper.device: mount_of(keeper.mount.volume.root) for keeper in keepers}
        self._on_mount = {mounts[device]: keepers for device, keepers in self._on.items() if mounts[device] >= 0}
        self._descriptors = Descriptors()
        self._flights: dict[int, Flight] = {}
        self._writes, self._mappings = Writes(silent), Mappings()
        for keeper in keepers:
            keeper.explain_with(self._writes, self._flights)
        self.asked: list[Keeper] = []
        """Those that a sync waits for."""
        self._caller, self._syncs = 0, 0
        """The thread that has made the last calls, and how many syncs were among them."""
        self._told: set[str] = set()
        handlers: dict[str, Callable[[Call], int | None]] = {
            "pwrite64": self._write,
            "fsync": self._sync_file,
            **dict.fromkeys(("fdatasync", "sync_file_range"), partial(self._sync_file, data_only=True)),
            "sync": lambda call: self._ask(call, self._keepers),
            "syncfs": self._sync_device,
            "msync": self._sync_mapping,
            **dict.fromkeys(("pwritev", "pwritev2"), self._write_vectors),
            **dict.fromkeys(("fallocate", "ftruncate"), lambda call: self._change(call, call.a0)),
            **dict.fromkeys(("truncate", "creat"), self._cut),
            "splice": lambda call: self._change(call, call.a2),
            "mmap": self._map,
            "open": lambda call: self._open(call, call.a0, call.a1),
            "openat": lambda call: self._open(call, call.a1, call.a2, call.a0),
            "link": lambda call: self._link(call, partial(task.path_at, call.tid, call.a0), follow=False),
            "linkat": self._link_at,
        }
        self._handlers = {numbers[name]: handlers[name] for name in NOTIFIED if name in numbers}

    @property
    def is_of_one_thread(self) -> bool:
        """Tell whether the same thread has made all calls since the sync before the last one: its syncs come alone."""
        return self._syncs > 1

    def take(self, call: Call) -> None:
        """Answer one call, or let it wait for its keepers."""
        if call.tid != self._caller:
            self._caller, self._syncs = call.tid, 0
        over = self._flights.pop(call.tid, None)
        answer = self._handlers[call.number](call)
        if over:
            began = self._flights.get(call.tid)
            # A signal may have come before it ran; then it is here again, and its thread has counted nothing.
            if not (began and began.number == over.number and began.before == over.before >= 0):
                self._writes.ended(over)
        if answer == 0:
            if not self._listener.proceed(call.id):
                self._flights.pop(call.tid, None)
        elif answer is not None:
            self._listener.fail(call.id, answer)

    def before_commit(self) -> None:
        """Forget the calls that are over: whatever they changed is there to be committed."""
        over = [tid for tid, flight in self._flights.items() if self._writes.is_over(tid, flight)]
        for tid in over:
            self._writes.ended(self._flights.pop(tid))

    def forget_mappings(self, now: float) -> None:
        """Compare files that are mapped no more once again, and then no longer at every commit."""
        for device, keepers in self._on.items():
            gone = self._mappings.gone(now, device, set().union(*(keeper.hints.mapped for keeper in keepers)))
            for keeper in keepers:
                keeper.hints.modified |= gone & keeper.hints.mapped
                keeper.hints.mapped -= gone
            for inode in gone:
                self._writes.note(Flight(0, inode))

    def after_commit(self) -> None:
        """Note again what calls may change that are not over."""
        for flight in self._flights.values():
            self._note(flight, self._keepers)

    def _begin(self, call: Call, flight: Flight, keepers: Iterable[Keeper]) -> int:
        """Let a call run that changes a file."""
        self._note(flight, keepers)
        self._flights[call.tid] = flight
        return 0

    def _note(self, flight: Flight, keepers: Iterable[Keeper]) -> None:
        self._writes.note(flight)
        if flight.inode is None:
            return
        for keeper in keepers:
            if flight.range:
                keeper.hints.add_write(flight.inode, *flight.range)
            else:
                keeper.hints.modified.add(flight.inode)

    def _write(self, call: Call) -> int:
        return self._written(call, (call.a3, min(call.a2, _LONGEST_WRITE)))

    def _write_vectors(self, call: Call) -> int:
        return self._written(call, None)

    def _written(self, call: Call, range_: tuple[int, int] | None) -> int:
        """Note a write at an offset, and whether the kernel is going to count it."""
        is_valid = call.a3 + call.a2 < _LARGEST_OFFSET and call.a1 + call.a2 < _LARGEST_ADDRESS
        if (known := self._known(call)) is not None:
            keepers, inode, is_sure = known
        else:
            try:
                status = task.file_of(call.tid, call.a0)
                is_sure = stat.S_ISREG(status.st_mode) and task.is_writable(call.tid, call.a0)
            except _GONE:
                return 0
            except OSError:  # the watch of the directory will tell
                return self._begin(call, Flight(call.number, None, None, None), ())
            keepers, inode = self._on.get(status.st_dev, []), status.st_ino
        before = self._writes.counted_by(call.tid)
        counts = 1 if is_sure and is_valid and before >= 0 else None
        if not keepers:
            return self._begin(call, Flight(call.number, None, _NOWHERE, counts, before), ())
        return self._begin(call, Flight(call.number, inode, range_, counts, before), keepers)

    def _known(self, call: Call) -> tuple[list[Keeper], int, bool] | None:
        """Return where the file is that a call is about, its inode, and whether it is open for writing.

        None if it is no file that is committed already.
        """
        found = self._descriptors.describe(call.tid, call.a0)
        if found is not None and (keepers := self._on_mount.get(found.mount)):
            for keeper in keepers:
                if keeper.mount.volume.has_file(found.inode):
                    return keepers, found.inode, found.is_writable
        return None

    def _change(self, call: Call, descriptor: int) -> int:
        """Note a call that changes a file in another way."""
        try:
            status = task.file_of(call.tid, descriptor)
        except _GONE:
            return 0
        except OSError:
            return self._cut(call)
        keepers = self._on.get(status.st_dev)
        return self._begin(call, Flight(call.number, status.st_ino), keepers) if keepers else 0

    def _cut(self, call: Call) -> int:
        """Note a call that changes a file by its path, which is not looked up: the watch of the directory will tell."""
        return self._begin(call, Flight(call.number, None), ())

    def _sync_file(self, call: Call, *, data_only: bool = False) -> int | None:
        if (known := self._known(call)) is not None:
            keepers, inode, _ = known
        else:
            try:
                status = task.file_of(call.tid, call.a0)
            except _GONE:
                return 0
            except OSError:
                return self._ask(call, self._keepers)
            keepers, inode = self._on.get(status.st_dev, []), status.st_ino
        if len(keepers) > 1:
            keepers = self._owner(call, keepers)
        return self._ask(call, keepers, inode, data_only=data_only)

    def _owner(self, call: Call, keepers: list[Keeper]) -> list[Keeper]:
        """Return the volume that a file with several candidates is in; all of them if that is not clear."""
        try:
            name = task.name_of(call.tid, call.a0)
        except OSError:
            return keepers
        found = [k for k in keepers if name == k.mount.volume.root or name.startswith(f"{k.mount.volume.root}/")]
        return found or keepers

    def _sync_device(self, call: Call) -> int | None:
        try:
            return self._ask(call, self._on.get(task.file_of(call.tid, call.a0).st_dev, []))
        except _GONE:
            return 0
        except OSError:
            return self._ask(call, self._keepers)

    def _sync_mapping(self, call: Call) -> int | None:
        if not call.a2 & _SYNCHRONOUS:
            return 0
        return self._ask(call, [k for k in self._keepers if k.hints.mapped or k.everything])

    def _ask(
        self, call: Call, keepers: Sequence[Keeper], target: int | None = None, *, data_only: bool = False
    ) -> int | None:
        if not keepers:
            return 0
        self._syncs += 1
        sync = Sync(partial(self._answer, call.id), len(keepers))
        for keeper in keepers:
            keeper.ask(sync, target, data_only=data_only)
            if keeper not in self.asked:
                self.asked.append(keeper)
        return None

    def _answer(self, call: int, error: int) -> None:
        if error:
            self._listener.fail(call, error)
        else:
            self._listener.proceed(call)

    def _map(self, call: Call) -> int:
        try:
            status = task.file_of(call.tid, call.a4)
            keepers = self._on.get(status.st_dev, [])
            if keepers and task.is_writable(call.tid, call.a4):
                for keeper in keepers:
                    keeper.hints.mapped.add(status.st_ino)
                self._mappings.begin(call.tid, call.number, status.st_ino)
        except _GONE:
            return 0
        except OSError:
            self._once(
                "WARNING",
                "the program has changed its user, and its mapped files cannot be told: all files of the volumes are "
                "compared at every sync, which is slow; start the container as the user that the program changes to",
            )
            for keeper in self._keepers:
                keeper.everything = True
        return 0

    def _open(self, call: Call, address: int, flags: int, *directory: int) -> int:
        """Refuse to open a file of a volume whose writes would each have to be durable."""
        if not flags & SYNC_FLAGS or flags & _ACCESS == os.O_RDONLY:
            return self._cut(call) if flags & TRUNCATE_FLAG else 0
        try:
            path = task.path_at(call.tid, address, *directory)
            found = self._device(call.tid, path) in self._on
        except OSError:
            path, found = "a file", True
        if not found:
            return self._cut(call) if flags & TRUNCATE_FLAG else 0
        shown = path.partition("/root/")[2] or path
        self._once("ERROR", f"{shown}: O_SYNC and O_DSYNC are not supported on volumes; fsync and fdatasync are")
        return errno.EINVAL

    def _device(self, tid: int, path: str) -> int:
        """Return the device of the file at `path`, or of the directory where it would be."""
        try:
            return task.status_at(tid, path, follow=True).st_dev
        except FileNotFoundError:
            try:
                return task.status_at(tid, os.path.dirname(path) or "/", follow=True).st_dev  # noqa: PTH120
            except FileNotFoundError:
                return -1  # the call will fail

    def _link_at(self, call: Call) -> int:
        if call.a4 & _ITSELF:
            return self._link(call, lambda: f"/proc/{call.tid}/fd/{call.a0 & 0xFFFFFFFF}", follow=True)
        find = partial(task.path_at, call.tid, call.a1, call.a0)
        return self._link(call, find, follow=bool(call.a4 & _FOLLOW))

    def _link(self, call: Call, find: Callable[[], str], *, follow: bool) -> int:
        """Note that a file gets another name; changes by any of its names are changes of the file."""
        try:
            status = task.status_at(call.tid, find(), follow=follow)
        except _GONE:
            return 0
        except OSError:
            for keeper in self._keepers:
                keeper.hints.everything = True
            return 0
        if stat.S_ISREG(status.st_mode):
            for keeper in self._on.get(status.st_dev, ()):
                keeper.mount.watch.linked.add(status.st_ino)
        return 0

    def _once(self, level: str, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            log.write(level, text)


def share(keepers: Iterable[Keeper]) -> None:
    """Tell volumes on one device about each other's changed files: a file may have a name in both."""
    modified: dict[int, set[int]] = {}
    for keeper in keepers:
        keeper.mount.watch.drain(keeper.hints)
        modified.setdefault(keeper.device, set()).update(keeper.hints.modified)
    for keeper in keepers:
        keeper.hints.modified |= modified[keeper.device]
