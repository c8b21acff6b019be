"""What the files of a native image say against a manifest: things that cannot be protected, paths that do not exist.

In: the plan, its rules, and the files. Out: findings at the positions of the manifest that lead to them.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence

from sconectl.apply.native import NativeSources
from sconectl.errors import BuildFailed, PlanImpossible
from sconectl.image.layers.layer_index import Member
from sconectl.image.layers.root_tree import RootTree
from sconectl.image.program.program_check import check_program
from sconectl.image.settings.carried import carried
from sconectl.image.settings.image_user import ROOT, image_user, why_out_of_reach
from sconectl.image.settings.native_environment import native_environment
from sconectl.image.settings.volume_places import left_behind
from sconectl.plan.service.protection import (
    IMAGE_VOLUME,
    UNMEASURED,
    UNPROTECTED,
    WRITTEN_IN_PLACE,
    Rule,
    rule_for,
)
from sconectl.plan.service.service import ServicePlan
from sconectl.ports import ImageInfo
from sconectl.text.findings import Finding, Severity
from sconectl.text.yaml_tree import Document, Path

CODE = "SC1008"
_SHOWN = 3
_SPECIAL = {"c": "a device", "b": "a device", "p": "a FIFO", "s": "a socket"}
_SETID = 0o6000
_DIRECTORIES = ("dirs", "fs_dirs", "plains")
_MADE_IF_MISSING = ("plains", "plain_files", "host_paths")


def setuid_paths(members: Mapping[str, Member], known: Mapping[str, Rule]) -> tuple[str, ...]:
    """Return the protected files that run with the rights of their owner or group, sorted."""
    return tuple(
        path
        for path in sorted(members)
        if members[path].kind == "f" and members[path].mode & _SETID and _protected(known, path)
    )


def image_findings(
    plan: ServicePlan,
    document: Document,
    known: Mapping[str, Rule],
    native: tuple[ImageInfo, RootTree],
    sources: NativeSources,
) -> list[Finding]:
    """Return findings about the image that the build begins with; `sources` are added to it.

    The contents of its files have to be at hand where `needs_contents` says so.
    """
    info, tree = native
    origin: Path = ("build", "from") if plan.build.base else ("build", "kind")
    place = "in the native image" if plan.native else "in a `run` step"  # an image is converted as it is
    steps = bool(plan.run or plan.build.requirements or sources.java)
    found = [
        *_special(tree.members, known, (origin, place), steps),
        *_hard_links(tree.members, known, (origin, place), steps),
        *_setuid(setuid_paths(tree.members, known), known, (origin, place), steps),
        *_volumes(known, plan),
        *_own_volumes(known, plan, tree, steps),
        *_missing(plan, tree, frozenset(file.path for file in sources.files), steps),
        *_injected(plan, tree),
        *_out_of_reach(plan, info, tree, steps),
        *_program(plan, info, tree),
    ]
    return [document.finding(severity, CODE, where, message, hint) for severity, where, message, hint in found]


_Fault = tuple[Severity, Path, str, str]
_Origin = tuple[Path, str]
"""Where the manifest names the image, and where its files can be changed."""


def _protected(known: Mapping[str, Rule], path: str) -> bool:
    return rule_for(known, path).protection not in UNMEASURED


def _special(members: Mapping[str, Member], known: Mapping[str, Rule], at: _Origin, steps: bool) -> Iterator[_Fault]:
    origin, place = at
    for path in sorted(members):
        what = _SPECIAL.get(members[path].kind)
        if what and _protected(known, path):
            hint = f"remove it {place}, or name its directory in host_paths"
            yield "warning" if steps else "error", origin, f"{path} is {what}, which cannot be protected", hint


def _hard_links(members: Mapping[str, Member], known: Mapping[str, Rule], at: _Origin, steps: bool) -> Iterator[_Fault]:
    """Find files with names in two classes: `target` is the name that all links to one file share."""
    origin, place = at
    for path in sorted(members):
        other = members[path].target
        if members[path].kind == "f" and other:
            one, two = _manner(known, path), _manner(known, other)
            if one != two and "volume" not in (one, two):  # what is there is left out
                message = f"{path} ({one}) is a hard link to {other} ({two})"
                yield "warning" if steps else "error", origin, message, f"remove it {place}, or copy the file"


def _manner(known: Mapping[str, Rule], path: str) -> str:
    protection = rule_for(known, path).protection
    return (
        protection
        if protection in ("encrypted", "volume")
        else "unprotected"
        if protection in UNPROTECTED
        else "protected"
    )


def _setuid(paths: Sequence[str], known: Mapping[str, Rule], at: _Origin, steps: bool) -> Iterator[_Fault]:
    origin, place = at
    hidden = [path for path in paths if rule_for(known, path).protection == "encrypted"]
    hint = f"take that mode away {place} (chmod u-s,g-s)"
    for text, found in (("encrypted", hidden), ("protected", [path for path in paths if path not in hidden])):
        if found:
            shown = ", ".join(found[:_SHOWN]) + (", …" if len(found) > _SHOWN else "")
            some = f"{text} file runs" if len(found) == 1 else f"{text} files run"
            message = f"{len(found)} {some} with the rights of another user or group (setuid): {shown}"
            if text == "encrypted":
                yield "warning" if steps else "error", origin, f"{message}; such files cannot be encrypted", hint
            else:
                yield "warning", origin, message, f"the program can call them; if it need not, {hint}"


def _volumes(known: Mapping[str, Rule], plan: ServicePlan) -> Iterator[_Fault]:
    """Find paths that cannot be protected, because the native image declares a volume there."""
    volumes = [rule.path for rule in known.values() if rule.why == IMAGE_VOLUME]
    for field in ("dirs", "fs_dirs", "fs_files"):
        for number, path in enumerate(getattr(plan.build, field)):
            for volume in volumes:
                holds = field == "dirs" and f"{volume}/".startswith(f"{path}/")
                if holds or f"{path}/".startswith(f"{volume}/"):
                    message = f"cannot be protected: the native image declares {volume} as a volume"
                    yield "error", ("build", field, number), message, "another path, or another base image"


def _own_volumes(known: Mapping[str, Rule], plan: ServicePlan, tree: RootTree, steps: bool) -> Iterator[_Fault]:
    """Find what the image has where the manifest wants a volume."""
    mounted = [rule.path for rule in known.values() if rule.why == IMAGE_VOLUME]
    for number, volume in enumerate(plan.build.volumes):
        where: Path = ("build", "volumes", number, "path")
        for above in (path for path in mounted if volume.path.startswith(f"{path}/")):
            message = f"cannot be a volume: the native image declares {above} as one, which is mounted over it"
            yield "error", where, message, f"take {above}, or another path"
        severity: Severity = "warning" if steps else "error"
        for path in (volume.path, *_parents(volume.path)):
            member = tree.member(path)
            if member is not None and member.kind != "d":
                what = "a link" if member.kind == "l" else "a file"
                yield severity, where, f"{path} is {what} in the image", "name a directory, and without links"
        for line in left_behind(tree.members, {volume.path: volume.name}):
            yield "warning", where, line, "let the program fill it, or copy the data in"


def _missing(plan: ServicePlan, tree: RootTree, copied: frozenset[str], steps: bool) -> Iterator[_Fault]:
    """Find paths of the manifest that are not in the image, or are something else there."""
    build = plan.build
    made = copied | {parent for path in copied for parent in _parents(path)} | {build.pwd}
    fields = (*_DIRECTORIES, "fs_files", "plain_files", "host_paths")
    for field in fields if plan.native else (*fields, "binaries"):
        for number, path in enumerate(getattr(build, field)):
            if not path.startswith("/") or path == "/" or path in made:
                continue
            where: Path = ("build", field, number)
            member, real = tree.member(path), tree.resolve(path)
            severity: Severity = "warning" if steps or field in _MADE_IF_MISSING else "error"
            if member is None and real is None:
                maker = "the native image" if plan.native else "a `run` step"
                hint = "nothing, if it is mounted" if field == "host_paths" else f"{maker} has to make it"
                yield severity, where, f"{path} is not in the image", hint
            elif real != path and field in ("dirs", *_MADE_IF_MISSING):
                yield severity, where, f"{path} is a link, or behind one, in the image", "name the path without links"
            elif field in _DIRECTORIES and real == path and member is not None and member.kind != "d":
                yield severity, where, f"{path} is not a directory of the image", "check the path"


def _injected(plan: ServicePlan, tree: RootTree) -> Iterator[_Fault]:
    for number, file in enumerate(plan.model.injection_files):
        where: Path = ("injection_files", number, "path")
        member = tree.member(file.path)
        if member is not None and member.kind == "d":
            yield "error", where, "the image has a directory there", "another path"
        for parent in _parents(file.path):
            above = tree.member(parent)
            if above is not None and above.kind != "d":
                what = "a link" if above.kind == "l" else "a file"
                yield "error", where, f"{parent} is {what} in the image", "name the path without links"


def needs_contents(plan: ServicePlan, info: ImageInfo) -> bool:
    """Say whether the contents of files are needed to find out who a program runs as, or what it is."""
    return bool(plan.native or info.config.get("User"))


def _out_of_reach(plan: ServicePlan, info: ImageInfo, tree: RootTree, steps: bool) -> Iterator[_Fault]:
    """Find injected files that the user of the image cannot get at, or that it may not write where they are."""
    # The steps of a build run as root, and the program as the user of `from`.
    user = image_user(info.config, tree) if needs_contents(plan, info) else ROOT
    if user is None:
        return
    for number, file in enumerate(plan.model.injection_files):
        reason, hint = why_out_of_reach(user, file.path, tree)
        if reason:
            sure = not steps or file.path in WRITTEN_IN_PLACE
            severity: Severity = "error" if user.number and sure else "warning"
            yield severity, ("injection_files", number, "path"), reason, hint


def _program(plan: ServicePlan, info: ImageInfo, tree: RootTree) -> Iterator[_Fault]:
    """Find what an existing image cannot start. What others start is known when they are built."""
    if not plan.native:
        return
    try:
        native_environment(info.config, tree)
    except PlanImpossible as error:
        yield "error", ("build", "from"), error.message, error.hint
    paths = tuple(plan.volumes)
    for line in carried(
        info.config, tree, pwd=plan.build.pwd, sealed=plan.sealed, ask_health=(), volumes=paths
    ).left_out:
        yield "warning", ("build", "from"), line, ""
    where: Path = ("build", "command")
    try:
        checked = check_program(plan, info, tree)
    except (PlanImpossible, BuildFailed) as error:
        yield "error", where, error.message, error.hint
        return
    for remark in checked.remarks if checked else ():
        yield "warning", where, remark, ""


def _parents(path: str) -> Iterator[str]:
    while (path := posixpath.dirname(path)) != "/":
        yield path
