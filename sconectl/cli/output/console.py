"""Output for the user: results on stdout, everything else on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sconectl.cli.output.printable import shown
from sconectl.errors import BuildFailed, CasRefused, SconectlError
from sconectl.text.findings import Finding

if TYPE_CHECKING:
    from rich.status import Status

_MAX_OUTPUT_LINES = 40


@dataclass
class Console:
    """Prints steps and details; a spinner on a terminal, plain lines otherwise. `verbosity` -1 is quiet."""

    verbosity: int = 0
    status: Status | None = None
    _step: str = ""

    def step(self, text: str) -> None:
        """Show the step that begins now."""
        self._step = text
        if self.status is not None:
            self.status.update(text)
        elif self.verbosity >= 0:
            note(f"  {text}")

    def detail(self, text: str) -> None:
        """Show output of a tool while it works: beside the step on a terminal, as lines with -v."""
        line = text.splitlines()[-1][:200] if text else ""
        if self.verbosity > 0:
            note(f"    {line}")
        elif self.status is not None and self._step:
            self.status.update(f"{self._step}  [dim]{_plain(line)[:60]}[/dim]")

    @contextmanager
    def working(self) -> Iterator[None]:
        """Show progress while the body runs."""
        if self.verbosity != 0 or not sys.stderr.isatty():
            yield
            return
        from rich.console import Console as RichConsole

        with RichConsole(stderr=True, no_color="NO_COLOR" in os.environ).status("") as self.status:
            yield
        self.status = None


def _plain(text: str) -> str:
    return text.replace("[", "(").replace("]", ")")


def note(text: str) -> None:
    """Print a line to stderr."""
    print(text, file=sys.stderr, flush=True)


def result(text: str) -> None:
    """Print a line to stdout."""
    print(text, flush=True)


def show_findings(findings: Iterable[Finding]) -> None:
    """Print findings to stderr, each with the line of the source if that is known (`render.remember`)."""
    given = tuple(findings)
    if given:
        from sconectl.cli.output.render import lines_of_findings  # late: most runs find nothing

        terminal = sys.stderr.isatty()
        colour = terminal and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        note("\n".join(lines_of_findings(given, terminal=terminal, colour=colour)))


def show_error(error: SconectlError) -> None:
    """Print an error with everything that helps to mend it."""
    show_findings(error.findings)
    note(f"error: {shown(error.message)}")
    if isinstance(error, CasRefused):
        told = error.causes[:1] and error.message.endswith(error.causes[0])
        for cause in error.causes[1 if told else 0 :]:
            note(f"  caused by: {shown(cause)}")
    if isinstance(error, BuildFailed) and error.output:
        lines = error.output.rstrip().splitlines()
        note("  output of the step:")
        for line in lines[-_MAX_OUTPUT_LINES:]:
            note(f"  | {shown(line)}")
    if error.hint:
        note(f"  hint: {shown(error.hint)}")
