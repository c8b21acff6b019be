"""Finds the program behind a command line of an image: through shells, scripts, wrappers and symbolic links.

In: the files of the image, words of the command, environment and working directory. Out: every file on the way with
the reason why it is there, the ELF program at its end, and its libraries. Nothing of the image runs. Raises
`PlanImpossible` if there is no such program, with what may have been meant.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sconectl.errors import PlanImpossible
from sconectl.image.layers.root_tree import RootFiles
from sconectl.image.program.command_words import SHELLS, shell_call, unwrapped
from sconectl.image.program.elf import Elf
from sconectl.image.program.libraries import Libraries, elf_at, find_libraries
from sconectl.image.program.program_names import suggestion
from sconectl.image.program.service_libraries import service_libraries
from sconectl.image.program.shell_text import is_one_command, likely_commands
from sconectl.runtime.start import DEFAULT_PATH

_MAX_STEPS = 16
_MAX_LINKS = 40
_MAX_SCRIPT = 1 << 20
_FIRST_LINE = 256


@dataclass(frozen=True)
class Step:
    """A file that takes part in starting the program, and why."""

    path: str
    why: str


@dataclass(frozen=True)
class Program:
    """The program that a command line starts.

    `steps` are the files from the one that the command names to `binary`, the ELF file. `service` are directories
    with the libraries of the program's language.
    """

    steps: tuple[Step, ...]
    binary: str
    elf: Elf
    libraries: Libraries
    service: tuple[Step, ...]


@dataclass(frozen=True)
class Surroundings:
    """The environment and working directory that a command line depends on."""

    environment: Mapping[str, str]
    pwd: str

    def folders(self) -> list[str]:
        """Return the directories in which programs are looked for."""
        names = self.environment.get("PATH", DEFAULT_PATH).split(":")
        return [posixpath.normpath(posixpath.join(self.pwd, name)) for name in names]


def find_program(root: RootFiles, command: Sequence[str], around: Surroundings) -> Program:
    """Return the program that `command` starts. Raises `PlanImpossible`, and `BuildFailed` for a damaged ELF file."""
    walk = _Walk(root, around)
    binary, words = walk.start(list(command), "named by the command")
    elf = elf_at(root, binary)
    if elf is None:
        raise PlanImpossible(f"{binary} is not an ELF program")
    libraries = find_libraries(root, binary, elf, around.environment, around.pwd)
    files = [*(step.path for step in walk.steps), binary]
    service = service_libraries(root, files, words, around.environment, around.pwd)
    return Program(
        tuple(dict.fromkeys(walk.steps)), binary, elf, libraries, tuple(Step(path, why) for path, why in service)
    )


def locate(root: RootFiles, name: str, around: Surroundings, what: str = "the program") -> tuple[str, tuple[Step, ...]]:
    """Return the executable file that `name` (a path, or a name in PATH) leads to, and the links on the way.

    Raises `PlanImpossible` with candidates; `what` are the words for the program in the message.
    """
    if not name:
        raise PlanImpossible(f"{what} has an empty name")
    inexecutable = ""
    for candidate in _places(name, around):
        real, links = follow(root, candidate)
        member = root.member(real) if real else None
        if member is None or member.kind != "f":
            continue
        if member.mode & 0o111:
            return real, links
        inexecutable = real
    if inexecutable:
        raise PlanImpossible(f"{inexecutable} is not executable", hint="set its mode in the native image (chmod +x)")
    raise PlanImpossible(f"{what} {name} is not in the image", hint=suggestion(root, name, around.folders()))


def follow(root: RootFiles, path: str) -> tuple[str, tuple[Step, ...]]:
    """Return where an absolute path leads to, or nothing if it leads nowhere, and the links on the way."""
    real, left = "", path.split("/")[::-1]
    links: list[Step] = []
    while left:
        part = left.pop()
        if part in ("", "."):
            continue
        if part == "..":
            real = real.rpartition("/")[0]
            continue
        member = root.member(f"{real}/{part}")
        if member is None or len(links) > _MAX_LINKS:
            return "", ()
        if member.kind != "l":
            real = member.path
            continue
        links.append(Step(member.path, f"link to {member.target}"))
        real = "" if member.target.startswith("/") else real
        left += member.target.split("/")[::-1]
    return real or "/", tuple(links)


def _places(name: str, around: Surroundings) -> list[str]:
    folders = [""] if "/" in name else around.folders()
    return [posixpath.join(around.pwd, folder, name) for folder in folders]


class _Walk:
    """Follows a command line from file to file; every method returns the ELF program at the end, and its words."""

    def __init__(self, root: RootFiles, around: Surroundings) -> None:
        self.steps: list[Step] = []
        self._root = root
        self._around = around
        self._left = _MAX_STEPS

    def start(self, words: list[str], why: str) -> tuple[str, list[str]]:
        """Follow the command `words`. Raises `PlanImpossible`."""
        real = self._take(words[0], why)
        if elf_at(self._root, real) is None:
            return self._script(real, words)
        if posixpath.basename(words[0]) == "busybox" and len(words) > 1:
            words = words[1:]  # its first argument says which tool it is
        call = unwrapped(words)
        if call is not None and call.words:
            around, self._around = self._around, self._around_with(call.environment)
            try:
                return self.start(call.words, f"started by {posixpath.basename(words[0])}")
            finally:
                self._around = around
        return self._shell(real, words) if posixpath.basename(words[0]) in SHELLS else (real, words)

    def _take(self, name: str, why: str, what: str = "the program") -> str:
        self._left -= 1
        if self._left < 0:
            raise PlanImpossible(
                f"more than {_MAX_STEPS} programs start each other, the last one is {name}",
                hint="name the program itself with --command (`command` in a manifest)",
            )
        real, links = locate(self._root, name, self._around, what)
        self.steps += [*links, Step(real, why)]
        return real

    def _around_with(self, environment: Mapping[str, str]) -> Surroundings:
        return Surroundings({**self._around.environment, **environment}, self._around.pwd)

    def _shell(self, real: str, words: list[str]) -> tuple[str, list[str]]:
        call = shell_call(words)
        if call.text is not None:
            return self._guess(call.text, call.arguments, "started by the shell", (real, words))
        for folder in ["", *self._around.folders()] if call.arguments else ():
            script, links = follow(self._root, posixpath.join(self._around.pwd, folder, call.arguments[0]))
            member = self._root.member(script) if script else None
            if member is not None and member.kind == "f":
                self.steps += [*links, Step(script, f"script that {posixpath.basename(words[0])} runs")]
                return self._guess(self._text(script), call.arguments, f"started by {script}", (real, words))
        return real, words

    def _script(self, real: str, words: list[str]) -> tuple[str, list[str]]:
        line = self._root.read(real, 0, _FIRST_LINE).split(b"\n")[0].decode("utf-8", "surrogateescape")
        if not line.startswith("#!"):
            raise PlanImpossible(
                f"{real} is neither an ELF program nor a script that begins with #!",
                hint="the kernel cannot start it; name its interpreter in the command",
            )
        call = line[2:].replace("\t", " ").strip(" \r").split(" ", 1)  # the kernel makes one argument of the rest
        call = [*(part.strip() for part in call), real, *words[1:]]
        interpreter, call = self._interpreter(call, real)
        if posixpath.basename(call[0]) in SHELLS:
            return self._guess(self._text(real), words, f"started by {real}", (interpreter, call))
        return interpreter, call

    def _interpreter(self, words: list[str], script: str) -> tuple[str, list[str]]:
        """Find the interpreter of a script, also behind `env`; a shell is not followed into the script."""
        real = self._take(words[0], f"interpreter of {script}", f"the interpreter of {script},")
        if elf_at(self._root, real) is None:
            return self._script(real, words)
        call = unwrapped(words)
        return self._interpreter(call.words, script) if call is not None and call.words else (real, words)

    def _guess(
        self, text: str, arguments: Sequence[str], why: str, shell: tuple[str, list[str]]
    ) -> tuple[str, list[str]]:
        """Go on with the command that a script seems to end in; stay with the shell if the image does not have it."""
        for command in likely_commands(text, arguments, self._around.environment):
            steps, left = list(self.steps), self._left
            try:
                return self.start(command, why)
            except PlanImpossible:
                if is_one_command(text):  # no guess then
                    raise
                self.steps, self._left = steps, left
        return shell

    def _text(self, path: str) -> str:
        return self._root.read(path, 0, _MAX_SCRIPT).decode("utf-8", "surrogateescape")
