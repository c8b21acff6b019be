"""The history of one file in Git, read with the program git.

In: the file's path. Out: its content in commits. Nothing is written, fetched or shown: git gets no shell, no pager, no
hook and no network, and the environment of the user. Raises `PlanImpossible` where there is no repository.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sconectl.errors import PlanImpossible, UsageError
from sconectl.ports import Commit

_GIT = (
    "git",
    "--no-pager",
    "--no-optional-locks",
    "--no-replace-objects",  # those are this machine's, and not what was committed
    "--literal-pathspecs",
    *("-c", "protocol.allow=never"),  # an object that a partial clone lacks is not fetched
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "core.fsmonitor=false"),
    *("-c", "log.showSignature=false"),
    *("-c", "i18n.logOutputEncoding=UTF-8"),
)
_ENVIRONMENT = {"GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}
_LOG = ("--no-patch", "--no-color", "--format=%H%x00%s%x00%an%x00%as%x00")
_FIELDS = 4
_REMEDY = "run it in the working tree of the repository in which the lock is committed"


class GitHistory:
    """Implements `ports.FileHistory`."""

    def __init__(self, path: Path) -> None:
        if "\n" in path.name:
            raise UsageError(f"{path.name!r}: the name of a file with a line break cannot be looked up in Git")
        self._folder, self._name = path.parent, path.name

    def start(self, revision: str) -> Commit:
        """Return the commit that a user named. Raises `UsageError` unless it came before HEAD, or is it."""
        found = self._commit(revision)
        if not found:
            raise UsageError(f"{revision} names no commit here", hint="give a commit, a tag or a branch")
        if self._run("merge-base", "--is-ancestor", found, "HEAD").returncode:
            raise UsageError(f"the commit {revision} is not in the history of HEAD", hint="give one that came before")
        return next(_commits(self._answer("log", *_LOG, "--max-count=1", found, "--")))

    def at(self, revision: str) -> bytes | None:
        """Return the file in a commit, or None if it is not there, or there is no commit yet."""
        found = self._commit(revision)
        with self._objects() as read:
            return read(found) if found else None

    def changes(self, since: str = "") -> Iterator[tuple[Commit, bytes]]:
        """Yield the file from each commit that changed it; two programs do it, however many commits there are."""
        if not self._commit("HEAD"):
            return
        order = ("--full-history", "--topo-order", "--reverse")
        revisions = ("HEAD", f"^{since}") if since else ("HEAD",)
        listed = self._answer("log", *_LOG, *order, *revisions, "--", self._name)
        with self._objects() as read:
            for commit in _commits(listed):
                content = read(commit.id)
                if content is not None:
                    yield commit, content

    def is_cut(self) -> bool:
        """Say whether this is a shallow clone."""
        return self._answer("rev-parse", "--is-shallow-repository").strip() == b"true"

    def _commit(self, revision: str) -> str:
        """Return the id of a commit, or nothing if there is none."""
        if self._answer("rev-parse", "--is-inside-work-tree").strip() != b"true":
            raise PlanImpossible(f"{self._folder} is in no working tree of Git", hint=_REMEDY)
        done = self._run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        return "" if done.returncode else done.stdout.decode().strip()

    @contextmanager
    def _objects(self) -> Iterator[Callable[[str], bytes | None]]:
        """Return a function that reads the file as it is in a commit; one program does it for all commits."""
        with self._started("cat-file", "--batch") as process:
            assert process.stdin and process.stdout  # noqa: S101 - narrows the types
            requests, answers = process.stdin, process.stdout

            def read(revision: str) -> bytes | None:
                with suppress(BrokenPipeError):  # then there is no answer either
                    requests.write(f"{revision}:./".encode() + os.fsencode(self._name) + b"\n")
                    requests.flush()
                head = answers.readline().rstrip(b"\n")
                if head.endswith(b" missing"):
                    return None
                _, kind, size = head.rsplit(b" ", 2) if head.count(b" ") else (b"", b"", b"0")
                content = answers.read(int(size))
                if not kind or len(content) != int(size) or answers.read(1) != b"\n":
                    raise PlanImpossible(
                        f"git cannot read {self._name} in the commit {revision}",
                        hint="this clone may lack it: clone the repository again, as a whole",
                    )
                return content if kind == b"blob" else None

            yield read

    def _answer(self, *words: str) -> bytes:
        """Return what git prints."""
        done = self._run(*words)
        if done.returncode:
            lines = done.stderr.decode("utf-8", "replace").splitlines() or ["it gave no reason"]
            raise PlanImpossible(
                f"git cannot read the history of {self._folder / self._name}: {lines[0]}", hint=_REMEDY
            )
        return done.stdout

    def _run(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        with self._started(*words) as process:
            out, err = process.communicate()
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    @contextmanager
    def _started(self, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        """Start git in the folder of the file, and end it."""
        if not self._folder.is_dir():
            raise PlanImpossible(f"there is no directory {self._folder}", hint=_REMEDY)
        try:
            process = subprocess.Popen(  # noqa: S603  # the user's git, without a shell
                (*_GIT, *words),
                cwd=self._folder,
                env={**os.environ, **_ENVIRONMENT},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except OSError as error:
            raise PlanImpossible(f"the program git cannot be run: {error.strerror}", hint="install git") from error
        with process:
            yield process


def _commits(listed: bytes) -> Iterator[Commit]:
    """Yield the commits that git lists."""
    fields = [text.lstrip("\n") for text in listed.decode("utf-8", "replace").split("\0")]
    for first in range(0, len(fields) - _FIELDS, _FIELDS):
        yield Commit(*fields[first : first + _FIELDS])
