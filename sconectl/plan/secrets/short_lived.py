"""Certificates that end while programs use them: the CAS renews them in files, and `build.reload` tells the program.

In: what secrets say about their life, and what the programs of a mesh get. Out: what a program keeps from its start.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sconectl.plan.secrets.wiring import ServiceSecrets
from sconectl.policy.forms.durations import duration
from sconectl.policy.forms.placeholders import PlaceholderError, target_of
from sconectl.text.secret_placeholders import placeholders

_SHORT = timedelta(days=30)
"""The CAS renews a certificate when a third of its time is left: a program starts with that at least."""
_NO_RELOAD = "add build.reload to the service manifest of its image, and build that again"
_NO_FILE = "put it into injection_files in the service manifest of its image, and build that again"


@dataclass(frozen=True)
class Given:
    """What a program gets: texts of `files`, and those of `kept`, its arguments and variables.

    `reloads` says whether it is told of new files; `said` are secrets of which its own manifest warns, if it has to.
    """

    secrets: ServiceSecrets
    files: Sequence[str]
    kept: Sequence[str]
    reloads: bool
    said: Collection[str]


def is_short(valid_for: Any) -> bool:
    """Say whether a certificate with this `valid_for` ends soon; not of one that is no duration, or not yet."""
    try:
        return isinstance(valid_for, str) and duration(valid_for) < _SHORT
    except ValueError:
        return False


def holds(texts: Iterable[str], name: str) -> bool:
    """Say whether the certificate `name` stands in one of the texts."""
    return any(_is(found, name) for text in texts for found in placeholders(text) if found)


def _is(found: Any, name: str) -> bool:
    try:
        return target_of(found, {name: None}).secret == name
    except PlaceholderError:
        return False


def kept_certificates(services: Mapping[str, Given]) -> Iterator[tuple[str, str, str]]:
    """Yield the service, what its program keeps, and what helps, for certificates of a mesh that end soon."""
    everywhere = {name: entry for given in services.values() for name, entry in given.secrets.defined.items()}
    for service, given in services.items():
        defined = everywhere | given.secrets.defined
        for name in dict.fromkeys([*given.secrets.defined, *given.secrets.imported]):
            if name in given.said or not (life := _life(name, defined)):
                continue
            if not given.reloads and holds(given.files, name):
                message = f"the program of {service} keeps the {name} of its start, which may end after a third of"
                yield service, f"{message} {life}: its image has no reload", _NO_RELOAD
            if holds(given.kept, name):
                where = "in an argument or a variable; only files are renewed"
                yield service, f"the program of {service} keeps the {name} of its start {where}", _NO_FILE


def _life(name: str, defined: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the `valid_for` that ends a certificate of the CAS soon, its own or of an issuer; empty if none does."""
    seen: list[str] = []
    while name in defined and name not in seen and not defined[name].get("value"):
        if is_short(valid_for := defined[name].get("valid_for")):
            return str(valid_for)
        seen.append(name)
        name = str(defined[name].get("issuer") or "")
    return ""
