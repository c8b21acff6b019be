"""Which path of an image is protected how, and which wishes of the manifest do not fit together.

In: the model of a service. Out: rules, of which the longest one that holds a path decides; findings.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from sconectl.manifest.model.genservice import GenService
from sconectl.protect.index import RUNTIME_PATHS, is_below
from sconectl.text.findings import Finding, Severity
from sconectl.text.yaml_tree import Document, Path

Protection = Literal[
    "binary-fs", "encrypted", "plain", "host path", "injected", "runtime-provided", "volume", "launcher"
]

UNPROTECTED: frozenset[Protection] = frozenset({"plain", "host path", "runtime-provided"})
"""The classes whose content anybody may change who runs the image."""
UNMEASURED: frozenset[Protection] = UNPROTECTED | {"volume"}
"""The classes of which the measurement says nothing: no program is started from there."""

CONTAINER_RUNTIMES = "container runtimes"
IMAGE_VOLUME = "image volume"
"""Reasons why a path is runtime-provided: container runtimes fill it, or the native image has a volume there."""

LAUNCHER_ROOT = "/scone"
_KEPT = "/usr/lib/scone/originals"
_DEVICES = ("/dev", "/proc", "/sys")
WRITTEN_IN_PLACE = ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf")
"""Files that the container runtime mounts; the launcher writes what is injected there into them."""
_MEASURED = ("fs_dirs", "fs_files")
_FIELDS: dict[str, Protection] = {
    "dirs": "encrypted",
    "plains": "plain",
    "plain_files": "plain",
    "host_paths": "host path",
    "fs_dirs": "binary-fs",
    "fs_files": "binary-fs",
}


@dataclass(frozen=True)
class Rule:
    """A path, how it and what lies below it are protected, and why."""

    path: str
    protection: Protection
    why: str


def default_rules() -> dict[str, Rule]:
    """Return the rules that every image has, by path."""
    found = {"/": Rule("/", "binary-fs", "default")}
    found |= {path: Rule(path, "runtime-provided", CONTAINER_RUNTIMES) for path in RUNTIME_PATHS}
    found[LAUNCHER_ROOT] = Rule(LAUNCHER_ROOT, "launcher", "launcher")
    return found


def rules(model: GenService, volumes: Iterable[str]) -> dict[str, Rule]:
    """Return the rules of an image by path, sorted. `volumes` are those of the native image, as normal paths."""
    build = model.build
    found = [Rule(path, "binary-fs", f"build.{field}") for field in _MEASURED for path in getattr(build, field)]
    own = tuple(volume.path for volume in build.volumes)
    found += [Rule(path, "runtime-provided", IMAGE_VOLUME) for path in volumes if not is_below(path, own)]
    found += [Rule(path, "volume", "build.volumes") for path in own]
    for field in (name for name in reversed(_FIELDS) if name not in _MEASURED):
        found += [Rule(path, _FIELDS[field], f"build.{field}") for path in getattr(build, field)]
    found += [Rule(file.path, "injected", "injection_files") for file in model.injection_files]
    by_path = default_rules() | {rule.path: rule for rule in found}
    return {path: by_path[path] for path in sorted(by_path)}


def rule_for(known: Mapping[str, Rule], path: str) -> Rule:
    """Return the rule that decides about `path`: the longest one that holds it."""
    while path not in known:
        path = posixpath.dirname(path)
    return known[path]


@dataclass(frozen=True)
class _Claim:
    """What the manifest says about a path, and where it does."""

    where: Path
    path: str
    protection: Protection
    field: str


_Fault = tuple[_Claim, Severity, str, str]


def overlaps(model: GenService, document: Document) -> list[Finding]:
    """Return errors and warnings about paths of a manifest that do not fit together, at their positions."""
    claims = list(_claims(model))
    found: list[_Fault | None] = [_place_fault(claim) for claim in claims]
    for number, claim in enumerate(claims):
        others = [*claims[:number], *(other for other in claims[number + 1 :] if other.path != claim.path)]
        found.append(next(filter(None, (_pair_fault(claim, other) for other in others)), None))
    found += _unprotected_code(model, claims)
    return [
        document.finding(severity, "SC1004", claim.where, message, hint)
        for claim, severity, message, hint in filter(None, found)
    ]


def _claims(model: GenService) -> Iterator[_Claim]:
    build = model.build
    for field, protection in _FIELDS.items():
        for number, path in enumerate(getattr(build, field)):
            yield _Claim(("build", field, number), path, protection, f"build.{field}")
    for number, volume in enumerate(build.volumes):
        yield _Claim(("build", "volumes", number, "path"), volume.path, "volume", "build.volumes")
    for number, file in enumerate(model.injection_files):
        yield _Claim(("injection_files", number, "path"), file.path, "injected", "injection_files")


_VERBS: Mapping[Protection, str] = {
    "encrypted": "encrypted",
    "binary-fs": "protected",
    "injected": "injected",
    "plain": "left unprotected",
    "host path": "left unprotected",
    "volume": "a volume",
}


def _place_fault(claim: _Claim) -> _Fault | None:
    """Return the fault of a claim about a path where no image can keep it; None if there is none."""
    path, verb = claim.path, _VERBS[claim.protection]
    if path == "/" and claim.field != "build.fs_dirs":
        return claim, "error", f"the root directory cannot be {verb}", "name directories or files below it"
    if is_below(path, (LAUNCHER_ROOT,)):
        return claim, "error", f"{LAUNCHER_ROOT} belongs to the launcher, and cannot be {verb}", "another path"
    above = next((other for other in RUNTIME_PATHS if is_below(path, (other,))), "")
    below = next((other for other in RUNTIME_PATHS if is_below(other, (path,)) and other != LAUNCHER_ROOT), "")
    fills = f"it cannot be {verb}: a container is given its own {above}"
    if claim.protection in ("encrypted", "binary-fs", "volume") and above:
        return claim, "error", fills, "another path"
    if claim.protection in ("encrypted", "volume") and below and path != "/":
        hint = "name a directory that neither contains nor lies in an unprotected one"
        return claim, "error", f"it cannot be {verb}: a container is given its own {below}", hint
    if claim.protection == "volume" and (is_below(path, (_KEPT,)) or is_below(_KEPT, (path,))):
        return claim, "error", f"it cannot be {verb}: confidential images keep something in {_KEPT}", "another path"
    if claim.protection == "injected" and above in _DEVICES:
        return claim, "error", fills, "another path"
    if claim.protection == "injected" and above and path not in WRITTEN_IN_PLACE:
        message = f"{above} is not protected: whoever runs the image can put another file there"
        return claim, "warning", message, "another path"
    if claim.protection == "plain" and above in _DEVICES:
        return claim, "warning", f"has no effect: a container is given its own {above}", "remove it"
    return None


def _pair_fault(claim: _Claim, other: _Claim) -> _Fault | None:
    """Find what is wrong with a path that is also, or lies in, the path of another claim."""
    inner, outer = claim.protection, other.protection
    if claim.path == other.path:
        message, same = f"is also named in {other.field}", inner == outer != "volume"
        return None if same else (claim, "error", message, "keep the one that is meant")
    if other.path == "/" or not is_below(claim.path, (other.path,)):
        return None
    if outer == "injected":
        return claim, "error", f"lies below the injected file {other.path}", "another path"
    if outer == "volume":
        hint = "only the program writes into a volume; directories of two classes lie apart"
        return claim, "error", f"lies in the volume {other.path}", hint
    if outer == "encrypted" and inner != "injected":
        return claim, "error", f"lies in the encrypted directory {other.path}", "directories of two classes lie apart"
    if outer not in UNPROTECTED or inner in UNPROTECTED:
        return None
    message = f"lies in {other.path} ({other.field}), which is not protected"
    if inner == "injected":
        return claim, "warning", f"{message}: whoever runs the image can put another file there", "another path"
    return claim, "error", message, "directories of two classes lie apart"


def _unprotected_code(model: GenService, claims: list[_Claim]) -> Iterator[_Fault]:
    """Find programs and copied files in unprotected places: a program there is never started."""
    build = model.build
    places = {path: "a container is given its own" for path in RUNTIME_PATHS if path != LAUNCHER_ROOT}
    places |= {claim.path: f"{claim.field} has" for claim in claims if claim.protection in UNMEASURED}
    programs: list[tuple[Path, str]] = [(("build", "command"), build.command.words[0])]
    programs += [(("build", "binaries", number), path) for number, path in enumerate(build.binaries)]
    for where, named in programs:
        path = posixpath.normpath(posixpath.join(build.pwd, named))
        open_place = _above(path, places) if "/" in named else ""
        if open_place:
            message = f"the program is not protected, and will not be started: {places[open_place]} {open_place}"
            yield _Claim(where, path, "binary-fs", "build"), "error", message, "move it to a protected directory"
    for number, name in enumerate(build.copied):
        path = posixpath.normpath(posixpath.join(build.pwd, name))
        if open_place := _above(path, places):
            message = f"what is copied is not protected: {places[open_place]} {open_place}"
            claim = _Claim(("build", "copy", number), path, "plain", "build.copy")
            yield claim, "warning", message, "whoever runs the image can change it; set pwd to a protected directory"


def _above(path: str, places: Iterable[str]) -> str:
    return next((place for place in places if is_below(path, (place,))), "")
