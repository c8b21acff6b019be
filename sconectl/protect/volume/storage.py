"""The storage of a volume: the directory that is mounted, which somebody else may change at any time.

In: paths below the mount. Out: open files. Nothing is ever followed: a link in the place of a directory or file is an
error, so that what is written stays below the mount. Raises `OSError`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import stat
from collections import OrderedDict
from functools import cache

from sconectl.protect.volume.index import FILE as INDEX

JOURNAL = "volume.journal."
LOCK = "volume.lock"
NEXT = b"volume.next"
UNPLACED, MOVED = b"unplaced-", b"moved-"
"""Files in `NEXT`, followed by a state: its checkpoint is not in place yet; what it moves is out of the way already."""
_RESERVED = b"volume."
_OPEN_FOLDERS = 64
_BEGIN = 2  # SYNC_FILE_RANGE_WRITE
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_MODE, _FOLDER_MODE = 0o660, 0o770
"""What is stored is ciphertext: a later start may have another user, but the same group (fsGroup of a pod)."""
IGNORED = frozenset({"lost+found", LOCK})
"""Entries of an empty storage that do not make it a used one."""


class Busy(OSError):
    """Another process has the storage."""


def place_of(path: bytes) -> bytes:
    """Return where the storage keeps the file or directory `path`: names that are ours get a second dot."""
    return _RESERVED + b"." + path[len(_RESERVED) :] if path.startswith(_RESERVED) else path


class Storage:
    """One mounted directory."""

    def __init__(self, root: str) -> None:
        """Open the directory. Raises `OSError` if it is none."""
        self.root = root
        self._root = os.open(root, _FOLDER)
        self._folders: OrderedDict[bytes, int] = OrderedDict()
        self._lock: int | None = None

    def close(self) -> None:
        """Close everything; the lock is free then."""
        self.forget_folders()
        for handle in (self._root, self._lock):
            if handle is not None:
                os.close(handle)
        self._lock = None

    def lock(self) -> None:
        """Keep other processes of this machine away. Raises `Busy` if one has the storage, and `OSError`."""
        self._lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE_MODE, dir_fd=self._root)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Busy(errno.EBUSY, "another process has this storage", self.root) from error
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):  # some network storage has no locks
                raise

    def is_empty(self) -> bool:
        """Say whether nothing is there that anybody may want to keep."""
        return not (set(os.listdir(self._root)) - IGNORED)  # noqa: PTH208 - of an open directory

    def names(self) -> list[str]:
        """Return the names in the directory itself."""
        return os.listdir(self._root)  # noqa: PTH208 - of an open directory

    def journals(self) -> list[int]:
        """Return the numbers of the journals, in order."""
        found = (name.removeprefix(JOURNAL) for name in os.listdir(self._root) if name.startswith(JOURNAL))  # noqa: PTH208 - of an open directory
        return sorted(int(number) for number in found if number.isdecimal() and str(int(number)) == number)

    def open_journal(self, number: int, *, new: bool = False) -> int:
        """Open a journal for reading; a `new` one, which must not be there, for writing."""
        kind = os.O_RDWR | os.O_CREAT | os.O_EXCL if new else os.O_RDONLY | os.O_NONBLOCK
        flags = kind | os.O_NOFOLLOW | os.O_CLOEXEC
        return self._regular(os.open(f"{JOURNAL}{number}", flags, _FILE_MODE, dir_fd=self._root))

    def remove_journal(self, number: int) -> None:
        """Remove a journal."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{JOURNAL}{number}", dir_fd=self._root)

    def read_index(self) -> bytes | None:
        """Return the content of the index, or None if there is none."""
        try:
            handle = self._regular(os.open(INDEX, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._root))
        except FileNotFoundError:
            return None
        with os.fdopen(handle, "rb") as file:
            return file.read()

    def replace_index(self, data: bytes) -> None:
        """Put a new index in the place of the one that is there, durably."""
        temporary = f"{os.fsdecode(NEXT)}/index"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        self.make_folder(NEXT)
        with os.fdopen(os.open(temporary, flags, _FILE_MODE, dir_fd=self._root), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, INDEX, src_dir_fd=self._root, dst_dir_fd=self._root)
        self.sync_root()

    def sync_root(self) -> None:
        """Make the names in the directory itself durable."""
        os.fsync(self._root)

    def sync_folder(self, place: bytes) -> None:
        """Make the names in a directory durable."""
        os.fsync(self._folder(place))

    def sync_everything(self) -> None:
        """Make all that was written to the storage durable."""
        if _syncfs(self._root) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), self.root)

    def open(self, place: bytes) -> int:
        """Open a file for reading; only regular files can be opened."""
        folder, name = self._split(place)
        return self._regular(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder))

    def create(self, place: bytes) -> int:
        """Make a new file and open it for writing; what is there is removed."""
        folder, name = self._split(place)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(name, flags, _FILE_MODE, dir_fd=folder)
        except FileExistsError:
            self._clear(folder, name)
            return os.open(name, flags, _FILE_MODE, dir_fd=folder)

    def move(self, source: bytes, place: bytes) -> None:
        """Move a file; what is at `place` is replaced."""
        from_folder, old = self._split(source)
        from_folder = os.dup(from_folder)  # opening the other directory may close it
        try:
            to_folder, new = self._split(place)
            try:
                os.rename(old, new, src_dir_fd=from_folder, dst_dir_fd=to_folder)
            except IsADirectoryError:
                self._clear(to_folder, new)
                self._drop_folder(place)
                os.rename(old, new, src_dir_fd=from_folder, dst_dir_fd=to_folder)
        finally:
            os.close(from_folder)

    def remove(self, place: bytes) -> None:
        """Remove a file or an empty directory if it is there; a directory that is not empty stays."""
        try:
            folder, name = self._split(place)
            try:
                os.unlink(name, dir_fd=folder)
            except IsADirectoryError:
                os.rmdir(name, dir_fd=folder)
                self._drop_folder(place)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.ENOTDIR, errno.ELOOP):
                raise

    def make_folder(self, place: bytes) -> None:
        """Make a directory if it is not there; anything else in its place is removed."""
        folder, name = self._split(place)
        try:
            os.mkdir(name, _FOLDER_MODE, dir_fd=folder)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=folder)
                os.mkdir(name, _FOLDER_MODE, dir_fd=folder)

    def mark(self, kind: bytes, state: bytes) -> None:
        """Note something about the checkpoint with this state, durably."""
        os.close(self.create(NEXT + b"/" + kind + state.hex().encode()))
        self.sync_folder(NEXT)

    def unmark(self, kind: bytes, state: bytes) -> None:
        """Take a note back, durably."""
        self.remove(NEXT + b"/" + kind + state.hex().encode())
        self.sync_folder(NEXT)

    def is_marked(self, kind: bytes, state: bytes) -> bool:
        """Say whether that was noted."""
        return kind + state.hex().encode() in self.list_folder(NEXT)

    def list_folder(self, place: bytes) -> list[bytes]:
        """Return the names in a directory; none if it is not there."""
        try:
            return [os.fsencode(name) for name in os.listdir(self._folder(place))]  # noqa: PTH208 - of an open directory
        except FileNotFoundError:
            return []

    def is_folder(self, place: bytes) -> bool:
        """Say whether a directory is at `place`."""
        try:
            folder, name = self._split(place)
            return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
        except OSError:
            return False

    def forget_folders(self) -> None:
        """Close the directories that are kept open."""
        while self._folders:
            os.close(self._folders.popitem()[1])

    def _drop_folder(self, place: bytes) -> None:
        for path in [path for path in self._folders if path == place or path.startswith(place + b"/")]:
            os.close(self._folders.pop(path))

    def _clear(self, folder: int, name: bytes) -> None:
        """Remove what is in the way of a file. Links are not followed."""
        with contextlib.suppress(FileNotFoundError):
            try:
                os.unlink(name, dir_fd=folder)
            except IsADirectoryError:
                shutil.rmtree(os.fsdecode(name), dir_fd=folder)

    def _split(self, place: bytes) -> tuple[int, bytes]:
        above, _, name = place.rpartition(b"/")
        return self._folder(above), name

    def _folder(self, place: bytes) -> int:
        if not place:
            return self._root
        known = self._folders.get(place)
        if known is not None:
            self._folders.move_to_end(place)
            return known
        above, _, name = place.rpartition(b"/")
        found = os.open(name, _FOLDER, dir_fd=self._folder(above))
        self._folders[place] = found
        if len(self._folders) > _OPEN_FOLDERS:
            os.close(self._folders.popitem(last=False)[1])
        return found

    def _regular(self, handle: int) -> int:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise OSError(errno.EINVAL, "is no regular file", self.root)
        return handle


def begin_to_write(handle: int, offset: int, length: int) -> None:
    """Let the kernel begin to write a part of a file to the disk, so that there is less to wait for at its sync."""
    _library().sync_file_range(handle, offset, length, _BEGIN)  # only a hint: whether it works does not matter


def _syncfs(handle: int) -> int:
    return int(_library().syncfs(handle))


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(None, use_errno=True)
    library.syncfs.argtypes = [ctypes.c_int]
    library.sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return library
