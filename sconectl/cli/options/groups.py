"""Options that several commands share, declared once: as the fields of a dataclass, in typer's words.

In: a command with parameters that are such dataclasses. Out: the same command as typer takes it, with the fields in
their places. Fields that are not annotated for typer are no options.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Annotated, Any, get_type_hints


class Only:
    """Annotates a group of which a command takes some options, in this order; `helps` are other texts for them.

    Other parameters of the command that are named stand between them.
    """

    def __init__(self, names: str, **helps: str) -> None:
        self.names = names.split()
        self.helps = helps


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that takes the options of its groups one by one, all by name."""
    hints = get_type_hints(command, include_extras=True)
    bare: dict[str, Any] = {name: getattr(hint, "__origin__", hint) for name, hint in hints.items()}
    groups: dict[str, Any] = {name: group for name, group in bare.items() if is_dataclass(group)}
    own = {
        name: parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=hints[name])
        for name, parameter in inspect.signature(command).parameters.items()
    }
    options: dict[str, inspect.Parameter] = {}
    members: dict[str, list[str]] = {}
    for name, parameter in own.items():
        if name not in groups:
            options.setdefault(name, parameter)
            continue
        found = {option.name: option for option in _options(groups[name], hints[name], own)}
        members[name] = [option for option in found if option not in own]
        options |= found

    @functools.wraps(command)
    def run(**given: Any) -> None:
        made = {name: groups[name](**{each: given.pop(each) for each in names}) for name, names in members.items()}
        command(**given, **made)

    run.__signature__ = inspect.Signature(list(options.values()))  # type: ignore[attr-defined]  # what typer reads
    run.__annotations__ = {name: option.annotation for name, option in options.items()}
    return run


def _options(group: Any, hint: Any, own: dict[str, inspect.Parameter]) -> Iterator[inspect.Parameter]:
    """Yield the options that a command takes of a group, and its own ones that stand between them."""
    hints = get_type_hints(group, include_extras=True)
    declared = {each.name: each for each in fields(group) if hasattr(hints[each.name], "__metadata__")}
    (only,) = getattr(hint, "__metadata__", (Only(" ".join(declared)),))
    for name in only.names:
        yield own[name] if name in own else _option(declared[name], hints[name], only.helps.get(name))


def _option(declared: Field[Any], hint: Any, words: str | None) -> inspect.Parameter:
    if words is not None:
        info = copy(hint.__metadata__[0])
        info.help = words
        hint = Annotated[hint.__origin__, info]
    default = inspect.Parameter.empty if declared.default is MISSING else declared.default
    return inspect.Parameter(declared.name, inspect.Parameter.KEYWORD_ONLY, annotation=hint, default=default)
