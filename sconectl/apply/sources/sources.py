"""Finds the files that `copy` names, without ever leaving the manifest's directory or reading a content.

In: a plan and the manifest's directory. Out: `Sources`. Raises `PlanImpossible` with a finding for each entry that
cannot be used.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sconectl.apply.sources.path_patterns import IgnoreRules, compile_pattern, fixed_folder, ignore_rule, is_pattern
from sconectl.apply.sources.source_tree import MAX_DEPTH, Found, Row, Selection, resolve, row_of, walk
from sconectl.errors import PlanImpossible
from sconectl.image.build.native_build import CopiedFile
from sconectl.image.build.source_files import SourceFiles, Stamp, show_name
from sconectl.text.findings import Finding, Position
from sconectl.text.yaml_tree import Document
from sconectl.text.yaml_tree import Path as FieldPath

IGNORE_FILE = ".dockerignore"
_SHOWN = 10
_MAX_IGNORE_FILE = 1 << 20
_HINTS = {
    "is an absolute link, which leads elsewhere in the image": "make it relative, or replace it by its content",
    "is a link that leads in a circle": "remove it",
    "leads out of the manifest's directory": "copy what it names into the directory",
    "may not be read": "check its permissions",
}


Entry = tuple[int, str, str, Stamp | None]
"""Mode in the image, text of a link, path of the content, and its stamp; each is empty where it does not apply."""


@dataclass(frozen=True)
class Listing:
    """The files of one entry of `copy`: rows, with paths below `source` on this machine and `place` in the image."""

    source: str
    place: str
    rows: Sequence[Row]
    links: dict[str, str]

    def places(self, ending: str) -> Iterator[str]:
        """Yield the places of files and links with this ending."""
        for path, mode, *_ in self.rows:
            place = posixpath.join(self.place, path) if path else self.place
            if place.endswith(ending) and not stat.S_ISDIR(mode):
                yield place

    def entries(self) -> Iterator[tuple[str, Entry]]:
        """Yield everything with its place."""
        above, source = self.place.rstrip("/"), self.source
        for path, mode, size, modified, changed, inode in self.rows:
            place = f"{above}/{path}" if path else self.place
            if mode & 0o170000 == stat.S_IFREG:
                # Readable for everybody, so that the umask of a checkout makes no difference.
                bits = 0o755 if mode & stat.S_IXUSR else 0o644
                yield place, (bits, "", f"{source}/{path}" if path else source, (size, modified, changed, inode))
            elif mode & 0o170000 == stat.S_IFDIR:
                yield place, (0o755, "", "", None)
            else:
                yield place, (0o777, self.links[path], "", None)


@dataclass(frozen=True)
class CopiedTree(Sequence[CopiedFile]):
    """All copied files by place. They are put together when somebody wants one: an unchanged tree needs none."""

    listings: tuple[Listing, ...]

    @cached_property
    def entries(self) -> Mapping[str, Entry]:
        """Mode, link, source and stamp of everything, by place."""
        found: dict[str, Entry] = {}
        for listing in self.listings:
            found.update(listing.entries())
        if len(self.listings) == 1:
            return found  # in order already
        # What an earlier entry has below a directory is gone if a later one has a link in that place.
        links = {path for path, entry in found.items() if entry[1]}
        if links:
            folders = {posixpath.dirname(path) for path in found}
            gone = {folder for folder in folders if not links.isdisjoint(_above(folder))}
            found = {path: entry for path, entry in found.items() if posixpath.dirname(path) not in gone}
        return {path: found[path] for path in sorted(found)}

    @cached_property
    def _files(self) -> tuple[CopiedFile, ...]:
        return tuple(
            CopiedFile(path, mode, Path(source) if source else None, link, stamp)
            for path, (mode, link, source, stamp) in self.entries.items()
        )

    def __getitem__(self, index: Any) -> Any:
        return self._files[index]

    def __len__(self) -> int:
        return len(self._files)


def find_copied(
    plan_entries: Sequence[str], pwd: str, directory: Path, document: Document, private: Collection[Path] = ()
) -> CopiedTree:
    """Return the files that the entries of `copy` name, in their order.

    `private` are files and directories that are copied only if an entry names them or something in them.
    """
    search = _Search(directory, document, private)
    listings = [search.entry(number, name, pwd) for number, name in enumerate(plan_entries)]
    if search.findings:
        raise PlanImpossible("files that the manifest names cannot be used", findings=search.findings)
    return CopiedTree(tuple(listing for listing in listings if listing))


class _Search:
    """Looks for entries in one directory and collects their faults."""

    def __init__(self, directory: Path, document: Document, private: Collection[Path]) -> None:
        self.root = str(directory.resolve())
        self.document = document
        self.findings: list[Finding] = []
        self.private = frozenset(_relative(self.root, path) for path in private)
        self.rules = self._ignore_rules()

    def entry(self, number: int, name: str, pwd: str) -> Listing | None:
        """Return the files of one entry; None if a finding says why there are none."""
        field: FieldPath = ("build", "copy", number)
        try:
            inner = resolve(self.root, name)
            full = f"{self.root}/{inner}" if inner else self.root
            status = os.lstat(full)
        except FileNotFoundError:
            if is_pattern(name):
                return self._matching(field, name, pwd)
            return self._fault(field, "there is no such file", f"{self._hint()}{hint_of_place(name, self.root)}")
        except NotADirectoryError:
            return self._fault(field, "there is no such file", "a part of the path before the last is a file")
        except ValueError as error:
            return self._fault(field, f"the path {error}", _HINTS.get(str(error), ""))
        except OSError as error:
            return self._fault(field, f"it cannot be read: {error.strerror}", "check its permissions")
        if stat.S_ISDIR(status.st_mode):
            return self._directory(field, name, inner, pwd)
        if not stat.S_ISREG(status.st_mode):
            return self._fault(field, "this is not a file, directory or link", "")
        if not os.access(full, os.R_OK):
            return self._fault(field, "it may not be read", "check its permissions")
        return Listing(full, posixpath.normpath(posixpath.join(pwd, name)), [("", *row_of("", status)[1:])], {})

    def _directory(self, field: FieldPath, name: str, inner: str, pwd: str) -> Listing | None:
        if self.rules.ignore(inner) and self.rules.prunable:
            return self._fault(field, f"{IGNORE_FILE} leaves it out", f"remove it from one of {IGNORE_FILE} and `copy`")
        inside = frozenset(path for path in self.private if path != inner and not f"{inner}/".startswith(f"{path}/"))
        try:
            found = walk(self.root, inner, Selection(self.rules, inside))
        except OSError as error:
            return self._fault(field, f"it cannot be read: {error.strerror}", "check its permissions")
        self._check(field, found)
        if name == (inner or "."):
            return Listing(self.root, pwd, found.rows, found.links)
        below = len(inner) + bool(inner)  # what a link led to has the place of the link
        rows = [(row[0][below:], *row[1:]) for row in found.rows]
        links = {path[below:]: target for path, target in found.links.items()}
        return Listing(f"{self.root}/{inner}".rstrip("/"), posixpath.normpath(posixpath.join(pwd, name)), rows, links)

    def _matching(self, field: FieldPath, pattern: str, pwd: str) -> Listing | None:
        try:
            exact = compile_pattern(pattern)
            wanted = re.compile(exact.pattern.removesuffix(r"\Z") + r"(?:/.*)?\Z", re.DOTALL)
            folder = resolve(self.root, fixed_folder(pattern))
        except ValueError as error:
            return self._fault(field, f"the pattern cannot be used: {error}", "")
        depth = MAX_DEPTH if "**" in pattern else pattern.count("/") + 1
        try:
            found = walk(self.root, folder, Selection(self.rules, self.private, wanted, depth))
        except OSError:
            found = Found()
        if not found.rows and not found.problems:
            hint = f"{self._hint()}; {IGNORE_FILE} applies{hint_of_place(pattern, self.root)}"
            return self._fault(field, "no file matches the pattern", hint)
        self._check(field, found)
        return Listing(self.root, pwd, found.rows, found.links)

    def _hint(self) -> str:
        return f"paths are relative to the manifest's directory, {self.root}"

    def _check(self, field: FieldPath, found: Found) -> None:
        """Collect files that cannot go into an image, a few of each entry by name."""
        problems = dict(found.problems)
        for path, target in found.links.items():
            try:
                if target.startswith("/"):
                    raise ValueError("is an absolute link, which leads elsewhere in the image")
                resolve(self.root, f"{posixpath.dirname(path)}/{target}")
            except ValueError as error:
                problems[path] = str(error)
        for path in sorted(problems)[:_SHOWN]:
            self._fault(field, f"{show_name(path) or '.'} {problems[path]}", _HINTS.get(problems[path], ""))
        if len(problems) > _SHOWN:
            self._fault(field, f"and {len(problems) - _SHOWN} more files cannot be used", "")

    def _fault(self, field: FieldPath, message: str, hint: str) -> Listing | None:
        """Collect a finding; there is no listing then."""
        self.findings.append(self.document.finding("error", "SC1005", field, message, hint))
        return None

    def _ignore_rules(self) -> IgnoreRules:
        try:
            file = f"{self.root}/{resolve(self.root, IGNORE_FILE)}"
            if not os.path.lexists(file):
                return IgnoreRules()
            with SourceFiles() as files, os.fdopen(files.open(file, None), "rb") as content:
                text = os.fsdecode(content.read(_MAX_IGNORE_FILE).removeprefix(b"\xef\xbb\xbf"))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise PlanImpossible(f"{IGNORE_FILE} cannot be used: {reason}") from error
        rules = []
        for number, line in enumerate(text.splitlines(), 1):
            try:
                rule = ignore_rule(line)
            except ValueError as error:
                position = Position(f"{self.root}/{IGNORE_FILE}", number, 1)
                self.findings.append(Finding("error", "SC1005", position, "", f"the pattern cannot be used: {error}"))
            else:
                rules += [rule] if rule else []
        return IgnoreRules(tuple(rules))


def _above(folder: str) -> Iterator[str]:
    """Yield a directory and all above it, but for the root."""
    while folder not in ("/", ""):
        yield folder
        folder = posixpath.dirname(folder)


def _relative(root: str, path: Path) -> str:
    """Return a path relative to the directory; outside of it, something that is nowhere in it."""
    return os.path.relpath(path.resolve(), root)


def hint_of_place(name: str, root: str) -> str:
    """Return the end of a hint: that a path is where other programs would look, in the current directory."""
    here = os.path.realpath(os.curdir)
    if here == os.path.realpath(root) or not (any(Path().glob(name)) if is_pattern(name) else os.path.lexists(name)):
        return ""
    return f"; there is {show_name(name)} in the current directory, {here}: put the manifest there"
