"""The exception tree. Everything that sconectl raises for a reason a user can cause descends from one class.

SconectlError
├── UsageError            exit 2  the command line is wrong
├── InvalidInput          exit 3  a manifest or policy is invalid; carries findings
├── PlanImpossible        exit 4  valid input, but no plan: image not built, a value missing
├── BuildFailed           exit 5  container engine, build step or registry
│   └── EngineUnreachable
├── CasError              exit 6  a CAS refused, answered wrongly or could not be reached
│   ├── LocalFault                a file or disk of this machine cannot be used
│   ├── CasUnreachable
│   ├── CasNotTrusted             its key or certificate is not the expected one
│   └── CasRefused                it answered with a refusal; carries the HTTP status
└── Refused               exit 7  refused for safety
"""

from __future__ import annotations

from collections.abc import Iterable

from sconectl.text.findings import Finding


class SconectlError(Exception):
    """Base of all errors that are shown to the user as a message instead of a traceback.

    `message` says what happened and never holds a secret value; `hint` says what to do about it; `findings` are
    the places in the user's files that it is about.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", findings: Iterable[Finding] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.findings = tuple(findings)


class UsageError(SconectlError):
    """The command line cannot be acted on."""

    exit_code = 2


class InvalidInput(SconectlError):
    """A manifest or policy is invalid; `findings` holds every fault that was seen."""

    exit_code = 3

    def __init__(self, findings: Iterable[Finding], *, summary: str = "") -> None:
        found = tuple(findings)
        count = sum(f.severity == "error" for f in found)
        super().__init__(summary or f"{count} {'error' if count == 1 else 'errors'} found", findings=found)


class PlanImpossible(SconectlError):
    """The input is valid, but what it asks for cannot be planned."""

    exit_code = 4


class BuildFailed(SconectlError):
    """The container engine, a build step or the registry failed; `output` is what the failing step printed."""

    exit_code = 5

    def __init__(self, message: str, *, hint: str = "", output: str = "") -> None:
        super().__init__(message, hint=hint)
        self.output = output


class EngineUnreachable(BuildFailed):
    """No container engine answers."""


class CasError(SconectlError):
    """Something about a CAS failed."""

    exit_code = 6


class LocalFault(CasError):
    """Something of this machine that a CAS or its client needs, a file or a disk, cannot be used."""


class CasUnreachable(CasError):
    """No CAS answers at the address."""


class CasNotTrusted(CasError):
    """A CAS answers, but its key or certificate is not the expected one."""


class CasRefused(CasError):
    """A CAS refused a request; `status` is the HTTP status and `causes` its reasons, outermost first."""

    def __init__(self, message: str, *, status: int, causes: Iterable[str] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.causes = tuple(causes)


class Refused(SconectlError):
    """Refused for safety; going on would weaken a guarantee."""

    exit_code = 7
