"""The simulated machine that signs quotes: who it is, and what is wrong with it.

In: `platform.json` in the directory of the CAS, drawn on first use. Out: a `Platform`. A user may edit the file to see
what a policy does on a bad machine; on hardware these facts come with the collateral of the processor's vendor.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sconectl.cas.disk.private_files import create_private, locked, private_directory, read_private, write_private
from sconectl.errors import CasError
from sconectl.policy.forms.tolerations import ADVISORY_CATEGORIES

FILE = "platform.json"

Issue = Literal[
    "hyperthreading",
    "insecure-igpu",
    "aepic-leak",
    "software-hardening-needed",
    "insecure-configuration",
    "outdated-tcb",
]
"""The issues of a machine that a policy may tolerate (LANG §17.2)."""


class Platform(BaseModel):
    """A machine: its id (32 hex digits, shown behind `INTEL_QE_ID:`), its issues, the advisories about it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    id: Annotated[str, Field(pattern=r"\A[0-9a-f]{32}\z")]
    issues: Annotated[tuple[Issue, ...], Field(strict=False, max_length=16)] = ()
    advisories: Annotated[
        tuple[Annotated[str, Field(pattern=r"\AINTEL-SA-[0-9]{5}\z")], ...], Field(strict=False, max_length=256)
    ] = ()

    @model_validator(mode="after")
    def _advisories_have_a_category(self) -> Platform:
        """Hold on to LANG §17.3: an advisory always comes with one of the issues that are its category."""
        if self.advisories and not set(self.issues) & set(ADVISORY_CATEGORIES):
            raise ValueError(f"advisories need one of {', '.join(ADVISORY_CATEGORIES)} among the issues")
        return self


class Machine(Platform):
    """The machine, and what its owner lets the CAS on it do."""

    accept_hardware_policies: bool = False
    """Whether policies for hardware, which nothing here can keep, are accepted all the same."""
    import_from: Annotated[tuple[str, ...] | None, Field(strict=False, max_length=256)] = None
    """The other CASes (HOST:PORT) that sessions may import secrets from; None for all."""

    @property
    def platform(self) -> Platform:
        """The part of the machine that quotes contain."""
        return Platform(id=self.id, issues=self.issues, advisories=self.advisories)


def load_machine(directory: Path, **changes: Any) -> Machine:
    """Return the machine in `directory`, made on first use; raises `CasError` if its file is unusable.

    `changes` are fields of `Machine` that get another value, which is remembered.
    """
    path = private_directory(directory) / FILE
    with locked(directory):
        raw = read_private(path)
        machine = Machine(id=secrets.token_hex(16)) if raw is None else _read(path, raw)
        machine = machine.model_copy(update=changes)
        text = (json.dumps(machine.model_dump(mode="json"), indent=2) + "\n").encode()
        if raw is None or changes:
            write = create_private if raw is None else write_private
            write(path, text)
    return machine


def _read(path: Path, raw: bytes) -> Machine:
    try:
        return Machine.model_validate_json(raw)
    except ValidationError as error:
        faults = "; ".join(_shown(fault["loc"], fault["msg"]) for fault in error.errors(include_input=False))
        raise CasError(
            f"{path} does not describe a platform: {faults}",
            hint="correct it, or delete it: then a new platform without issues is drawn, with another id",
        ) from error


def _shown(place: tuple[int | str, ...], message: str) -> str:
    where = ".".join(str(step) for step in place)
    return f"{where}: {message}" if where else message
