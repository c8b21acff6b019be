"""Whose a temporary container is, and whether that process has ended."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from sconectl.adapters.leftovers import is_gone, mark, mark_in, temporary_name


def changed(part: int, value: str) -> str:
    parts = mark().split("/")
    parts[part] = value
    return "/".join(parts)


def test_this_process_is_alive() -> None:
    assert mark() == mark()
    assert not is_gone(mark(), local=True)


def test_a_process_that_ended() -> None:
    script = "from sconectl.adapters.leftovers import mark; print(mark(), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=-1, stdout=-1, text=True) as child:
        assert child.stdout is not None
        other = child.stdout.readline().strip()
        assert other != mark()
        assert not is_gone(other, local=True)
        child.kill()
    assert is_gone(other, local=True) and is_gone(other, local=False)


def test_a_number_that_another_process_got() -> None:
    assert is_gone(changed(4, "1"), local=True)


@pytest.mark.parametrize("local", [True, False])
def test_what_cannot_be_seen_counts_as_alive(local: bool) -> None:
    assert not is_gone(changed(0, "another-machine"), local=local)
    assert not is_gone(changed(2, "1"), local=local)  # a process of a container has its own numbers
    for text in ("", "x", "a/b/c/d/e", changed(3, "../1"), changed(3, "-1"), mark() + "/x"):
        assert not is_gone(text, local=local)


def test_before_the_last_boot() -> None:
    old = changed(1, "00000000-0000-0000-0000-000000000000")
    assert is_gone(old, local=True)
    assert not is_gone(old, local=False)  # perhaps another machine of this name


def test_a_temporary_name_tells_whose_it_is() -> None:
    first, second = temporary_name(), temporary_name()
    assert first != second and mark_in(first) == mark_in(second) == mark()
    assert re.fullmatch(r"[a-z-]+/[a-z2-7]+:[0-9a-f]+", first) and len(first) < 255
    assert [mark_in(name) for name in ("python:3", "sconectl-from/x:1", "me/6162:1", "sconectl-from")] == [""] * 4
