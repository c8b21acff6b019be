"""What changes for the services of a session: who may run them, what they get, and the files around them.

In: the old and the new session. Out: changes. Arguments, variables and files are named, never shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from sconectl.policy.diff.change import Change, neutral, ranked, strengthens, weakens
from sconectl.policy.diff.diff_enclaves import enclaves
from sconectl.policy.diff.gains import gained_and_lost
from sconectl.policy.forms.fields import HOST_VARIABLE
from sconectl.policy.reading import Image, Service, Session, Volume

_GROUP = "configuration"
_HOST_ARGUMENT = re.compile(r"@@[0-9]+\Z")
_NETWORK_SHIELD = re.compile(r"SCONE_NETWORK_SHIELD(?:\Z|_UNSUPPORTED_PROTOCOLS\Z|_(?:SERVER|CLIENT)_[0-9]+\Z)")
_OTHERS = 0o077  # the permissions of everybody but the owner
_SHIELDED = frozenset({"protected", "refuse"})
LOADS_CODE = frozenset(
    {"LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH", "GCONV_PATH", "OPENSSL_CONF", "OPENSSL_MODULES", "PATH"}
    | {"PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "NODE_OPTIONS", "NODE_PATH", "BASH_ENV", "ENV"}
    | {"CLASSPATH", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "RUBYLIB", "RUBYOPT", "PERL5LIB"}
    | {"PERL5OPT"}
)
"""Variables by which a program, its interpreter or its libraries find or load code."""
_Named = TypeVar("_Named", Service, Image, Volume)


def services(old: Session, new: Session) -> Iterator[Change]:
    """Yield the changes of each service and image: which enclaves may run it, and its configuration."""
    before, after = by_name(old.services), by_name(new.services)
    for name in sorted(before.keys() - after.keys()):
        yield strengthens("attestation", f"service {name}", "is removed; no enclave may run it")
    for name, service in after.items():
        first = before.get(name)
        yield from enclaves(first, service, old, new)
        if first is not None:
            yield from _configuration(first, service)
    yield from _files(by_name(old.images), by_name(new.images))


def by_name(entries: Sequence[_Named]) -> dict[str, _Named]:
    """Return the entries of a section by their names."""
    return {entry.name: entry for entry in entries}


def _configuration(before: Service, after: Service) -> Iterator[Change]:
    subject = f"service {after.name}"
    if before.command != after.command:
        yield neutral(_GROUP, subject, f"command: {_arguments(before.command, after.command)}")
    yield from _variables(subject, before.environment, after.environment)
    for key, words in (("pwd", "working directory"), ("image_name", "image")):
        if getattr(before, key) != getattr(after, key):
            yield neutral(_GROUP, subject, f"{words}: is {getattr(after, key) or 'not given'}")
    yield from gained_and_lost(
        _GROUP,
        subject,
        _of_host(before),
        _of_host(after),
        "the host decides {}",
        "the host no longer decides {}",
        "SC5032",
    )


def _arguments(before: Sequence[str], after: Sequence[str]) -> str:
    if len(before) != len(after):
        return f"has {len(after)} words instead of {len(before)}"
    changed = [str(number) for number, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]]
    return "changed in word " + ", ".join(changed) + " (the program is word 0)"


def _of_host(service: Service) -> list[str]:
    """Return the arguments and variables of a service that the host gives (LANG §18)."""
    words = [
        f"word {number} of the command" for number, word in enumerate(service.command) if _HOST_ARGUMENT.match(word)
    ]
    names = [name.removeprefix(HOST_VARIABLE) for name in service.environment if name.startswith(HOST_VARIABLE)]
    return words + [f"the variable {name}" for name in sorted(names)]


def _variables(subject: str, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Change]:
    for name, text in _keys("variable", before, after):
        if name in LOADS_CODE:
            yield _loading(subject, text, before.get(name), after.get(name))
        elif _NETWORK_SHIELD.match(name):
            yield ranked(_GROUP, subject, text, "SC5034", before.get(name) in _SHIELDED, after.get(name) in _SHIELDED)
        else:
            yield neutral(_GROUP, subject, text)


def _loading(subject: str, text: str, before: str | None, after: str | None) -> Change:
    if after:
        return weakens(_GROUP, subject, f"{text}; it decides which code is loaded", "SC5031")
    return (strengthens if before else neutral)(_GROUP, subject, text)


def _keys(what: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the names whose values differ, and what happened to them."""
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name) or (name in before) != (name in after):
            how = "added" if name not in before else "removed" if name not in after else "changed"
            yield name, f"{what} {name}: {how}"


def _files(before: Mapping[str, Image], after: Mapping[str, Image]) -> Iterator[Change]:
    for name in sorted(before.keys() | after.keys()):
        subject = f"image {name}"
        limits = (image.provide_secrets if image else None for image in (before.get(name), after.get(name)))
        for _, text in _keys("limit", *({} if limit is None else {"provide_secrets": limit} for limit in limits)):
            yield neutral(_GROUP, subject, text)
        first, second = (
            {file.path: file for file in (image.injection_files if image else ())}
            for image in (before.get(name), after.get(name))
        )
        texts = ({path: file.content for path, file in files.items()} for files in (first, second))
        for _, text in _keys("file", *texts):
            yield neutral(_GROUP, subject, text)
        for path in sorted(first.keys() & second.keys()):
            was, now = first[path].permission, second[path].permission
            if was != now:
                text = f"file {path}: its permission was {was:03o}, is {now:03o}"
                opened, closed = bool(now & ~was & _OTHERS), bool(was & ~now & _OTHERS)
                yield ranked(_GROUP, subject, text, "SC5033", opened, closed and not opened)
