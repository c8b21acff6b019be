"""The boundary of the `cas` commands: what their store or its disk refuses is a message and exit code 6.

In: a command. Out: the same command, which raises nothing but `SconectlError` for a full, locked, damaged or read-only
store, whoever meets it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

from sconectl.errors import CasError

_Command = TypeVar("_Command", bound=Callable[..., object])


def explaining(command: _Command) -> _Command:
    """Return `command` with the refusals of the store explained."""

    @functools.wraps(command)
    def explained(*arguments: object, **options: object) -> object:
        try:
            return command(*arguments, **options)
        except BrokenPipeError:
            raise  # whoever read our output has gone, which says nothing about the store
        except OSError as error:
            what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            raise CasError(what, hint="check free space, owner and rights") from error
        except Exception as error:
            raise _explained(error) or error from error

    return explained  # type: ignore[return-value]  # it takes and gives what the command does


def _explained(error: Exception) -> CasError | None:
    import sqlite3

    from sconectl.cas.bounds.refusal import CasRefusal
    from sconectl.cas.client.refusal_hints import refused

    if isinstance(error, CasRefusal):
        return refused("local", error.status, error.causes)
    if isinstance(error, sqlite3.Error):
        return CasError(f"the database of the CAS cannot be used: {error}", hint="check free space, owner and rights")
    return None
