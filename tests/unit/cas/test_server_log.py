"""The log of a server is bounded in lines and in bytes, and says what it left out."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sconectl.cas.bounds.limits import DEFAULT
from sconectl.cas.http.server_log import BoundedHandler


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    found = logging.Logger("test")
    yield found
    for handler in found.handlers:
        handler.close()


def test_too_many_lines_are_counted(logger: logging.Logger, tmp_path: Path) -> None:
    limits = replace(DEFAULT, log_lines=5, log_lines_per_minute=60_000)
    with (tmp_path / "log").open("w") as stream:
        handler = BoundedHandler(stream, limits)
        logger.addHandler(handler)
        handler._bucket._ticks = lambda: seconds
        seconds = handler._bucket._at
        for number in range(1000):
            logger.info("line %d", number)
        seconds += 1
        logger.info("later")
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[:5] == [f"line {number}" for number in range(5)]
    assert lines[5:] == ["995 lines were left out here: there were too many", "later"]


def test_a_file_keeps_its_newer_half(logger: logging.Logger, tmp_path: Path) -> None:
    limits = replace(DEFAULT, log_bytes=4000, log_lines=100_000)
    path = tmp_path / "log"
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND), "w") as stream:
        logger.addHandler(BoundedHandler(stream, limits))
        for number in range(2000):
            logger.info("line %04d", number)
            assert path.stat().st_size <= 4000
    lines = path.read_text().splitlines()
    assert "dropped" in lines[0]
    first = int(lines[1].split()[1])
    assert lines[1:] == [f"line {number:04}" for number in range(first, 2000)]


def test_a_stream_that_is_not_ours_is_left_alone(logger: logging.Logger, tmp_path: Path) -> None:
    limits = replace(DEFAULT, log_bytes=100, log_lines=100_000)
    with (tmp_path / "log").open("a") as stream:  # not for reading
        logger.addHandler(BoundedHandler(stream, limits))
        for number in range(100):
            logger.info("line %04d", number)
    assert len((tmp_path / "log").read_text().splitlines()) == 100
