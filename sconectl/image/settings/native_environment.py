"""The environment that a container runtime gives to the program of an image, for the policy of the converted image.

In: the configuration of the native image, and its files. Out: a `NativeEnvironment`. Raises `PlanImpossible` for what
no container runtime starts, and for what no policy can say. The rules are those of Docker and runc: PATH and HOME are
added if they are missing (HOME also if it is empty), HOME is that of the first entry of /etc/passwd with the user's
number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sconectl.errors import PlanImpossible
from sconectl.image.layers.root_tree import RootFiles
from sconectl.image.settings.account_numbers import account_number, field_number
from sconectl.plan.values.literals import HOST_VARIABLE
from sconectl.runtime.start import DEFAULT_PATH

HOST_NAMES = ("HOSTNAME",)
"""Variables that are different in each container: the policy names them, and the container gives the value."""
_HIGHEST_ID = 2**31 - 1
_MAX_FILE = 16 << 20
_LONGEST_SHOWN = 64


@dataclass(frozen=True)
class NativeEnvironment:
    """The variables of the image (`given`), and those that container runtimes add (`added`)."""

    given: Mapping[str, str] = field(repr=False)
    added: Mapping[str, str] = field(repr=False)


def native_environment(config: Mapping[str, Any], root: RootFiles) -> NativeEnvironment:
    """Return the environment of a container without options. Raises `PlanImpossible`."""
    given: dict[str, str] = {}
    unset: set[str] = set()
    for entry in config.get("Env") or ():
        name, mark, value = entry.partition("=")
        if not name or "\0" in entry:
            raise PlanImpossible(
                "the image has a variable without a name, or with a NUL character: no container of it can start",
                hint="build the native image again without it",
            )
        if name.startswith(HOST_VARIABLE):
            raise PlanImpossible(
                f"the image has a variable called {name!r}, which a policy cannot give to a program: what begins with "
                f"{HOST_VARIABLE} means a variable of the container there",
                hint="give the variable another name in the native image",
            )
        if mark:
            given[name] = value
            unset.discard(name)
        else:  # takes away what the runtime would add
            given.pop(name, None)
            unset.add(name)
    home = _home(str(config.get("User") or ""), root)
    if not given.get("HOME"):
        given.pop("HOME", None)
        if "\0" in home or any("\ud800" <= character <= "\udfff" for character in home):
            raise PlanImpossible(
                "the home directory of the image's user in its /etc/passwd is not UTF-8 text, or has a NUL character, "
                "which no policy can say",
                hint="correct /etc/passwd in the native image, or set HOME there",
            )
    added = {"PATH": DEFAULT_PATH, "HOME": home}
    return NativeEnvironment(
        given,
        {name: value for name, value in added.items() if name not in given and (name == "HOME" or name not in unset)},
    )


def _home(user: str, root: RootFiles) -> str:
    """Return the home directory of `user` (`NAME`, `NUMBER`, either with `:GROUP`). Raises `PlanImpossible`."""
    name, _, group = user.partition(":")
    entries = list(_entries(root, "/etc/passwd", 7))
    number = account_number(name or "0")
    if number is None:
        number = next((field_number(entry[2]) for entry in entries if entry[0] == name), None)
    if number is None or not 0 <= number <= _HIGHEST_ID:
        raise _unknown("user", name, "/etc/passwd")
    if group:
        named = (field_number(entry[2]) for entry in _entries(root, "/etc/group", 4) if entry[0] == group)
        its = next(named, account_number(group))
        if its is None or not 0 <= its <= _HIGHEST_ID:
            raise _unknown("group", group, "/etc/group")
    return next((entry[5] for entry in entries if field_number(entry[2]) == number), "/")


def _unknown(what: str, name: str, file: str) -> PlanImpossible:
    return PlanImpossible(
        f"the {what} {_shown(name)} of the image is not in its {file}, or its number is out of range: "
        "no container of it can start",
        hint="correct USER in the native image",
    )


def _shown(name: str) -> str:
    return repr(name if len(name) <= _LONGEST_SHOWN else f"{name[:_LONGEST_SHOWN]}…")


def _entries(root: RootFiles, path: str, fields: int) -> Iterator[list[str]]:
    """Yield the lines of a file of users or groups; missing fields are empty."""
    real = root.resolve(path)
    found = root.member(real) if real else None
    if real is None or found is None or found.kind != "f":
        return
    text = root.read(real, 0, _MAX_FILE).decode("utf-8", "surrogateescape")
    for line in text.split("\n"):
        if line.strip():
            parts = line.strip().split(":")
            yield [*parts, *[""] * (fields - len(parts))]
