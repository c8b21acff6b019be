"""How a program reads its files again, when the certificates in them were renewed."""

# Annotations are no texts here (no `from __future__ import annotations`): pydantic would compile each at every start.

from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, ModelWrapValidatorHandler, model_validator

from sconectl.manifest.model.faults import Misfit, Unfit, with_misfits
from sconectl.manifest.model.fields import CommandLine, Maybe, OneOf, Part
from sconectl.text.marks import SHOWN
from sconectl.text.secret_placeholders import START

SIGNALS = {
    "SIGHUP": "what most servers take, nginx and PostgreSQL among them",
    "SIGUSR1": "what Apache takes",
    "SIGUSR2": "what HAProxy takes",
}
"""The signals that programs take for this, and examples of them."""


def _as_it_is(line: CommandLine) -> CommandLine:
    """Refuse what would be filled in by nobody: the image holds the command, before there is a mesh or a CAS."""
    if START in line or "{{" in line:
        raise Unfit(
            "it is measured with the image, so no value is filled into it",
            "give the value in a variable of the program: the command gets that, too",
        )
    return line


class Reload(Part):
    """What tells the program that its files were renewed; with neither field, it sees that by itself."""

    signal: Maybe[Annotated[str, OneOf(SIGNALS)]] = Field(
        None, description="The signal that the program gets.", examples=["SIGHUP"]
    )
    command: Maybe[Annotated[CommandLine, AfterValidator(_as_it_is), SHOWN]] = Field(
        None,
        description="A command that is run beside the program, with its variables; it is measured.",
        examples=["mariadb-admin flush-ssl"],
    )

    @model_validator(mode="wrap")
    @classmethod
    def _one_of_them(cls, value: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        both = isinstance(value, dict) and value.get("signal") and value.get("command")
        misfit = Misfit(("command",), "a program gets a signal, or a command is run for it", "remove one of them")
        return with_misfits(value, read, [misfit] if both else [])
