"""The entry points, and the one boundary where errors become messages and exit codes.

Nothing is imported here before it is needed: the version is printed before typer is loaded.
"""

from __future__ import annotations

import sys

import sconectl

TYPE_CHECKING = False  # typing itself takes longer to load than Python to start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn


def run() -> NoReturn:
    """Be the program `sconectl`."""
    _be(run_sconectl)


def run_sconify_image() -> NoReturn:
    """Be the program `sconify_image`."""
    _be(convert_image)


def run_sconectl() -> None:
    """Run the command line. Raises nothing but `SystemExit` with the exit code."""
    _bounded(_sconectl)


def convert_image() -> None:
    """Run the command line of `sconify_image`, one command as a program. Raises nothing but `SystemExit`."""
    _bounded(_sconify_image)


def _sconectl() -> None:
    if sys.argv[1:] in (["--version"], ["-V"]):
        print(f"sconectl {sconectl.__version__}", flush=True)
        return
    from sconectl.cli.command_table import app

    app()


def _sconify_image() -> None:
    from sconectl.cli.command_table import single

    if len(sys.argv) == 1:
        sys.argv.append("--help")
    single("sconify-image", "sconify_image")()


def _be(program: Callable[[], None]) -> NoReturn:
    """Run a program and end the process, mostly without taking all its objects apart: that takes as long as many runs.

    Functions of `atexit` are called. With other threads, or output that cannot be written, or an error
    that is none of ours, Python ends the process as always.
    """
    import atexit
    import gc
    import os

    # A compiler makes many objects and hardly any cycles; with the default of 700, half the time goes to looking.
    gc.set_threshold(100_000)
    # Whether a manifest is valid is no matter of which packages are installed; and looking for plugins takes time.
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
    code = None
    try:
        program()
    except SystemExit as end:
        code = end.code
    if code == 1 and _nobody_reads():
        _end_quietly()
    threads = sys.modules.get("threading")
    if isinstance(code, str) or (threads is not None and threads.active_count() > 1):
        sys.exit(code)
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        _end_quietly()
    except OSError:
        sys.exit(code)
    os._exit(code or 0)


def _nobody_reads() -> bool:
    """Say whether whoever read our output has gone, like `head` when it has enough."""
    import select

    poll = select.poll()
    for number in (1, 2):
        poll.register(number, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _end_quietly() -> NoReturn:
    """End as a program does that is stopped because nobody reads its output."""
    import os

    os._exit(128 + 13)  # SIGPIPE


def _bounded(program: Callable[[], None]) -> None:
    try:
        program()
    except KeyboardInterrupt:
        from sconectl.cli.output.console import note

        note("interrupted; run the command again to finish")
        sys.exit(130)
    except Exception as error:
        sys.exit(_report(error))


def _report(error: Exception) -> int:
    """Show an error and return its exit code. Raises it again if it is none that a user can cause."""
    from sconectl.cli.output.console import show_error
    from sconectl.errors import BuildFailed, SconectlError

    if isinstance(error, OSError):  # a full disk, missing rights: nothing that a traceback would explain better
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        error = BuildFailed(what, hint="check free space and rights, then run the command again to finish")
    if not isinstance(error, SconectlError):
        raise error
    show_error(error)
    return error.exit_code


if __name__ == "__main__":
    run()
