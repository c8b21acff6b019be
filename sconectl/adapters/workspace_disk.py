"""The target directory on disk: written as a whole, atomically file by file, and only where something changed."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from sconectl.errors import BuildFailed
from sconectl.regular_files import first_bytes

MAX_BYTES = 256 << 20  # of a file that is read back
_REMEDY = "check space and rights"
_PRIVATE = ("images", "policies")
_OURS = frozenset({*_PRIVATE, "charts", "helm", "manifests"})


class DiskWorkspace:
    """Implements `ports.Workspace` below one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, path: str) -> bytes | None:
        """Return the content of a file, or None if it does not exist. Raises `BuildFailed` if it may not be read."""
        try:
            return first_bytes(self.root / path, MAX_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise BuildFailed(f"{self.root / path} cannot be read: {error.strerror}", hint=_REMEDY) from error

    def files(self, folder: str) -> tuple[str, ...]:
        """Return the paths of all files below `folder`, sorted."""
        base = self.root / folder
        if not base.is_dir():
            if os.path.lexists(base):
                raise BuildFailed(f"{base} is in the way: expected a directory there", hint="move it away")
            return ()
        found = []
        for place, _, names in os.walk(base):
            parent = os.path.relpath(place, self.root)
            found += [f"{parent}/{name}" for name in names]
        return tuple(sorted(found))

    def write(self, files: Mapping[str, bytes], *, replaces: tuple[str, ...] = (), private: bool = False) -> int:
        """Write `files`, and remove every other file below the folders in `replaces`.

        All new content is on disk under temporary names before the first file is replaced. `private` files get
        mode 0600, and Git is told before to leave them alone. Returns the number of files that changed. Raises
        `BuildFailed` if the disk does not take them.
        """
        mode = 0o600 if private else 0o644
        changed = {path: content for path, content in files.items() if self._differs(path, content, mode)}
        stale = [path for folder in replaces for path in self.files(folder) if path not in files]
        try:
            if private and files:
                self._keep_from_git()
            if not changed and not stale:
                return 0
            self._replace(changed, stale, mode)
        except OSError as error:
            where = error.filename2 or error.filename or self.root
            raise BuildFailed(f"{where} cannot be written: {error.strerror}", hint=_REMEDY) from error
        return len(changed) + len(stale)

    def _keep_from_git(self) -> None:
        """Write a .gitignore unless there is one. Where other things lie, too, it names only what is private."""
        self.root.mkdir(parents=True, exist_ok=True)
        alone = _OURS.issuperset(path.name for path in self.root.iterdir())
        try:
            handle = os.open(self.root / ".gitignore", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            return
        with os.fdopen(handle, "w") as file:
            file.write("*\n" if alone else "".join(f"/{name}/\n" for name in _PRIVATE))

    # Below, paths are text: a chart may have a hundred thousand files, and a `Path` takes longer than the system.

    def _differs(self, path: str, content: bytes, mode: int) -> bool:
        try:
            descriptor = os.open(f"{self.root}/{path}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                status = os.fstat(descriptor)
                if stat.S_ISDIR(status.st_mode):
                    raise BuildFailed(f"{self.root / path} is in the way: expected a file there", hint="move it away")
                if not stat.S_ISREG(status.st_mode):
                    return True
                return file.read() != content or status.st_mode & 0o777 & ~mode != 0
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError as error:
            raise BuildFailed(f"{self.root / path} cannot be read: {error.strerror}", hint=_REMEDY) from error

    def _replace(self, changed: Mapping[str, bytes], stale: list[str], mode: int) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        staging = tempfile.mkdtemp(prefix=".sconectl-", dir=self.root)
        try:
            for number, content in enumerate(changed.values()):
                handle = os.open(f"{staging}/{number}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(handle)
            root, made = str(self.root), set()
            for number, path in enumerate(changed):
                folder = f"{root}/{path}".rpartition("/")[0]
                if folder not in made:
                    os.makedirs(folder, exist_ok=True)  # noqa: PTH103
                    made.add(folder)
                os.replace(f"{staging}/{number}", f"{root}/{path}")  # noqa: PTH105
            for path in stale:
                (self.root / path).unlink()
                self._remove_empty(self.root / path)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _remove_empty(self, path: Path) -> None:
        for parent in path.parents:
            if parent == self.root or any(parent.iterdir()):
                return
            parent.rmdir()
