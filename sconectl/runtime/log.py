"""The launcher's log: lines on stderr that an operator understands, filtered by SCONE_LOG."""

from __future__ import annotations

import sys

LEVELS = ("FATAL", "ERROR", "WARNING", "INFO", "DEBUG", "TRACE")
_threshold = LEVELS.index("WARNING")


class LaunchRefused(Exception):
    """The program must not be started; the message and `causes` (outermost first) say why."""

    def __init__(self, message: str, *, causes: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.causes = causes


def configure(level: str) -> None:
    """Set what is shown. `level` is a name (any case) or a number from 0 (fatal only) up, as in SCONE_LOG."""
    global _threshold
    name = level.strip().upper()
    if name in LEVELS:
        _threshold = LEVELS.index(name)
    elif name.isdigit():
        _threshold = min(int(name), len(LEVELS) - 1)


def write(level: str, text: str) -> None:
    """Print `text` if `level` (a name of `LEVELS`) is shown."""
    if LEVELS.index(level) <= _threshold:
        for line in text.splitlines() or [""]:
            print(f"[SCONE|{level}] {line}", file=sys.stderr, flush=True)


def always(text: str) -> None:
    """Print a line that no log level hides."""
    print(f"[SCONE|NOTE] {text}", file=sys.stderr, flush=True)


def refused(error: LaunchRefused) -> None:
    """Print why the program is not started."""
    write("FATAL", f"The program is not started: {error.message}")
    if error.causes:
        print("Caused by:", file=sys.stderr)
        for cause in error.causes:
            print(f"    {cause}", file=sys.stderr)
    sys.stderr.flush()
