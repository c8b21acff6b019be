"""The launcher's log: lines on stderr that an operator understands, filtered by SCONE_LOG."""

from __future__ import annotations

import contextlib
import os
import traceback

EXIT_REFUSED = 125
"""The exit status of a launcher that does not start the program, or may not let it run on."""
LEVELS = ("FATAL", "ERROR", "WARNING", "INFO", "DEBUG", "TRACE")
_threshold = LEVELS.index("WARNING")
_SHOWN_CAUSES = 30
_MAX_LINE = 2000


class LaunchRefused(Exception):
    """The program must not be started; the message and `causes` (outermost first) say why."""

    def __init__(self, message: str, *, causes: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.causes = causes


def configure(level: str) -> None:
    """Set which lines are shown. `level` is a name (any case) or a number from 0 (fatal only) up, as in SCONE_LOG."""
    global _threshold
    name = level.strip().upper()
    if name in LEVELS:
        _threshold = LEVELS.index(name)
    elif name.isdecimal():
        _threshold = min(int(name[:9]), len(LEVELS) - 1)


def write(level: str, text: str) -> None:
    """Print `text` if `level` (a name of `LEVELS`) is shown."""
    if LEVELS.index(level) <= _threshold:
        _print(f"[SCONE|{level}] {text}")


def always(text: str) -> None:
    """Print a line that no log level hides."""
    _print(f"[SCONE|NOTE] {text}")


def refused(error: LaunchRefused) -> None:
    """Print why the program is not started."""
    write("FATAL", f"The program is not started: {error.message}")
    if error.causes:
        _print("Caused by:")
    for cause in error.causes[:_SHOWN_CAUSES]:
        _print(f"    {cause}")
    if len(error.causes) > _SHOWN_CAUSES:
        _print(f"    … and {len(error.causes) - _SHOWN_CAUSES} more")


def place_of(error: Exception) -> str:
    """Return kind and place of an error, without its message, which might hold a secret value."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {place.filename}:{place.lineno}"


def _print(text: str) -> None:
    """Print one line. File names and foreign messages cannot begin another one, nor steer a terminal."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:_MAX_LINE])
    if len(text) > _MAX_LINE:
        shown += "…"
    with contextlib.suppress(OSError):  # nobody reads; what was decided is not changed by that
        os.write(2, f"{shown}\n".encode("utf-8", "backslashreplace"))
