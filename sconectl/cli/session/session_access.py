"""Which CAS the session commands talk to, as whom, and where their results go.

In: options of the command line. Out: a `SessionStore`, the session behind `cas:NAME`, or a result that is written.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sconectl.cli.options.config import load_config
from sconectl.cli.options.option_values import pairs
from sconectl.cli.output.console import note, show_findings
from sconectl.cli.wiring import cas_directory, default_cas_config
from sconectl.errors import BuildFailed, CasError, InvalidInput, UsageError
from sconectl.regular_files import first_bytes
from sconectl.text.findings import errors_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sconectl.cas.client.identity import CasConfig
    from sconectl.ports import SessionStore, StoredSession
    from sconectl.text.findings import Finding

File = Annotated[str, typer.Argument(metavar="FILE", help="The session: YAML, or signed JSON; - reads stdin.")]
Config = Annotated[
    Path | None,
    typer.Option("--cas-config", metavar="DIR", help="Your client identity and known CAS keys.", show_default="~/.cas"),
]
Output = Annotated[Path | None, typer.Option("--output-file", "-o", metavar="FILE", help="Write there, not to stdout.")]
Format = Annotated[str, typer.Option("--output", metavar="FORM", help="text or json.")]

MAX_BYTES = 64 << 20  # of a file; sessions have limits of their own
_HASH = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Templating:
    """What fills in a session file: values of `$VAR`, and a name in place of its own. Raises `UsageError`."""

    env: Annotated[
        list[str] | None, typer.Option("--env", "-e", metavar="VAR=VALUE", help="Value of $VAR. (repeatable)")
    ] = field(default=None, repr=False)
    use_env: Annotated[bool, typer.Option("--use-env", help="Take other variables from the environment.")] = False
    name: Annotated[str, typer.Option("--name", "-n", metavar="NAME", help="Name in place of that in the file.")] = ""
    fail_on_warning: Annotated[bool, typer.Option("--fail-on-warning", help="Take warnings for errors.")] = False

    def __post_init__(self) -> None:
        _ = self.variables

    @cached_property
    def variables(self) -> Mapping[str, str]:
        """The values that are given."""
        return pairs("-e", self.env or [], "VAR=VALUE")

    @property
    def wanted(self) -> bool:
        """Whether anything was asked for."""
        return bool(self.variables or self.use_env or self.name)

    def value(self, variable: str) -> str | None:
        """Return the value of a variable; one that is given wins over the environment."""
        if variable in self.variables:
            return self.variables[variable]
        return os.environ.get(variable) if self.use_env else None


@dataclass(frozen=True)
class Access:
    """How the CAS is reached, and who the client is."""

    cas: Annotated[str, typer.Option("--cas", "-c", metavar="CAS", help="local, HOST or HOST:PORT.")] = "local"
    identity: Annotated[
        Path | None, typer.Option("--identity", metavar="FILE", help="PEM file with your key and certificate.")
    ] = None
    retries: Annotated[
        int, typer.Option("--retries", min=0, max=100, envvar="SCONE_CLI_RETRIES", help="How often reads are repeated.")
    ] = 3
    cas_config: Config = None

    def config(self) -> CasConfig:
        """Return the cas-config, with the identity that was given."""
        from sconectl.cas.client.identity import CasConfig

        return CasConfig(self.cas_config or default_cas_config(), self.identity)

    def store(self) -> SessionStore:
        """Return the connection to the CAS; raises `CasError`, `UsageError` and `Refused`."""
        from sconectl.cas.connect import connect

        return connect(
            load_config(Path.cwd()).reached(self.cas),
            config_dir=self.cas_config or default_cas_config(),
            data_dir=cas_directory(),
            tolerance=f"--retries {self.retries}",
            identity_file=self.identity,
            notify=note,
        )


def stored_session(store: SessionStore, name: str, version: str = "", *, hint: str = "check the name") -> StoredSession:
    """Return the active version of a session, or the one with the hash `version`; raises `CasError`, `UsageError`."""
    if version and not _HASH.fullmatch(version):
        raise UsageError(
            f"{version} is not the hash of a version of {name}: those are 64 lower case hex digits",
            hint=f"`sconectl session history {name}` prints them",
        )
    stored = store.read(name, version or None)
    if stored is None:
        what = f"no version {version} of the session {name}" if version else f"no session {name}"
        raise CasError(f"CAS {store.address} has {what}", hint=hint)
    return stored


def one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    """Raise `UsageError` unless the value of an option is known."""
    if value not in known:
        raise UsageError(f"{option} {value} is not known", hint=f"give {' or '.join(known)}")


def accept(findings: Iterable[Finding], fail_on_warning: bool) -> None:
    """Show findings; raises `InvalidInput` with them if there are errors, or warnings that count as errors."""
    found = tuple(findings)
    if errors_of(found):
        raise InvalidInput(found)
    if found and fail_on_warning:
        raise InvalidInput(found, summary="there are warnings, and --fail-on-warning forbids them")
    show_findings(found)


def read_bytes(file: str) -> bytes:
    """Return the content of a file, or of stdin for `-`; raises `UsageError`."""
    if file == "-":
        return sys.stdin.buffer.read()
    hint = "give the file with the session, or - for stdin"
    try:
        content = first_bytes(Path(file), MAX_BYTES + 1, streams=True)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}", hint=hint) from error
    if len(content) > MAX_BYTES:
        raise UsageError(f"{file}: larger than {MAX_BYTES} bytes", hint=hint)
    return content


def deliver(content: str | bytes, file: Path | None) -> None:
    """Write a result to stdout, or to a file that only its owner can read; raises `BuildFailed`."""
    data = content.encode() if isinstance(content, str) else content
    if file is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
    except OSError as error:
        raise BuildFailed(f"{file} cannot be written: {error.strerror}", hint="choose another file") from error
