"""Runs a function as a user without privileges, in a forked child; and a tree that such a user can reach."""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NOBODY = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def become_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def as_nobody(function: Callable[[], Any], become: Callable[[], None] = become_nobody) -> Any:
    """Return what `function` returns in a child, after `become` there; its exceptions are raised here."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of newer Pythons, when other tests left threads
        child = os.fork()
    if child == 0:
        try:
            become()
            result: Any = (True, function())
        except BaseException as error:
            result = (False, repr(error))
        os.write(writer, pickle.dumps(result))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        good, value = pickle.loads(file.read())
    os.waitpid(child, 0)
    assert good, value
    return value


@contextmanager
def reachable_folder() -> Iterator[Path]:
    """Make a folder that everybody can enter; pytest's own cannot be entered by others."""
    folder = Path(tempfile.mkdtemp(prefix="sconectl-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
