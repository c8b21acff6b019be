"""Checks, before anything is protected, that an existing image can start as a confidential one.

In: a plan and the files of the native image. Out: the program that its command starts, and remarks. Raises
`PlanImpossible` if there is no such program, if it is for another processor, or if it would not be protected.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sconectl.errors import BuildFailed, PlanImpossible
from sconectl.image.layers.root_tree import RootFiles
from sconectl.image.program.elf import Elf
from sconectl.image.program.entry_point import Program, Step, Surroundings, find_program, locate
from sconectl.image.program.libraries import elf_at
from sconectl.image.settings.native_places import image_volumes, real_paths
from sconectl.plan.service.protection import UNMEASURED, Rule, rule_for, rules
from sconectl.plan.service.service import ServicePlan
from sconectl.ports import ImageInfo

_ALSO_RUNS = {"amd64": ("386",), "arm64": ("arm",), "ppc64le": ("ppc64",)}
_UNKNOWN_YET = ("{{", "@@", "$$")
"""What the mesh or the CAS fills in: such a command line is complete only when the program starts."""


@dataclass(frozen=True)
class CheckedProgram:
    """The program that a confidential image will start, and remarks for its owner."""

    program: Program
    remarks: tuple[str, ...] = ()


def describe(plan: ServicePlan, native: ImageInfo, root: RootFiles) -> dict[str, str]:
    """Return why each file and directory that starts the program of an existing image is needed, by its path.

    Empty for other kinds, whose files are not at hand before the build, and if there is no such program:
    `check_program` says why.
    """
    if not plan.native:
        return {}
    try:
        program = find_program(root, plan.command.words, _surroundings(plan, native))
    except (PlanImpossible, BuildFailed):
        return {}
    reasons = {library.path: library.why for library in program.libraries.found}
    return reasons | {step.path: step.why for step in reversed((*program.steps, *program.service))}


def _surroundings(plan: ServicePlan, native: ImageInfo) -> Surroundings:
    """Return the surroundings of the command: variables of the native image and of the policy, and directory."""
    own = dict(entry.partition("=")[::2] for entry in native.config.get("Env") or ())
    local = {entry.name: entry.value for entry in plan.model.environment.local}
    return Surroundings({**own, **local}, plan.build.pwd)


def check_program(plan: ServicePlan, native: ImageInfo, root: RootFiles) -> CheckedProgram | None:
    """Check `binaries`, and the command of an existing image, against the files of the native image.

    None if the command is of our own making, or not known yet. Raises `PlanImpossible`, and `BuildFailed` for damaged
    programs.
    """
    return _Check(plan, native, root).run()


class _Check:
    def __init__(self, plan: ServicePlan, native: ImageInfo, root: RootFiles) -> None:
        self._plan, self._native, self._root = plan, native, root
        self._around = _surroundings(plan, native)
        self._rules = rules(plan.model, real_paths(root, image_volumes(native.config)))

    def run(self) -> CheckedProgram | None:
        named = [self._binary(name) for name in self._plan.build.binaries]
        command = self._plan.command.words
        unknown = not self._plan.literal_command and any(mark in command[0] for mark in _UNKNOWN_YET)
        if not self._plan.native or unknown:
            return None
        program = find_program(self._root, command, self._around)
        self._require_machine(program.binary, program.elf)
        self._require_protected(program.steps)
        return CheckedProgram(program, tuple(self._remarks(program, named)))

    def _binary(self, name: str) -> str:
        """Return the file that an entry of `binaries` stands for."""
        path, links = locate(self._root, name, self._around, "the binary")
        elf = elf_at(self._root, path)
        if elf is not None:
            self._require_machine(path, elf)
        elif self._root.read(path, 0, 2) != b"#!":
            raise PlanImpossible(f"the binary {path} is neither an ELF program nor a script")
        self._require_protected((*links, Step(path, "named by binaries")))
        return path

    def _require_machine(self, path: str, elf: Elf) -> None:
        expected = self._native.architecture
        if expected and elf.machine not in (expected, *_ALSO_RUNS.get(expected, ())):
            raise PlanImpossible(
                f"{path} is a program for {elf.machine}, but the image is for {expected}",
                hint="make the native image for one architecture (docker build --platform)",
            )
        if not elf.executable and not elf.interpreter:
            raise PlanImpossible(f"{path} is a library and no program")

    def _require_protected(self, steps: tuple[Step, ...]) -> None:
        for step in steps:
            rule = rule_for(self._rules, step.path)
            if rule.protection in UNMEASURED:
                raise PlanImpossible(
                    f"{step.path} is needed to start the program ({step.why}), but is not protected: {_because(rule)}",
                    hint="take its directory out of what is not protected, or move it to another place",
                )

    def _remarks(self, program: Program, named: list[str]) -> Iterator[str]:
        steps = [step.path for step in program.steps]
        for path in named:
            if path not in steps:
                yield f"{path} is protected, but the command starts {program.binary}"
        for text in program.libraries.missing:
            yield f"not in the image: {text}; the program starts only if it finds that in another way"
        for path in (*steps, *(library.path for library in program.libraries.found)):
            if rule_for(self._rules, path).protection == "encrypted":
                yield f"{path} is encrypted: start containers with an executable /dev/shm (--tmpfs /dev/shm:exec)"
                return


def _because(rule: Rule) -> str:
    return f"{rule.path} is {rule.protection} ({rule.why})"
