"""Looks at a directory, or at what an engine says about an image, for the starter manifests of `sconectl init`.

In: a directory, and the kind of program if the user named one. Out: a `Program`. Nothing is run or changed, no link is
followed, and nothing outside of the directory is looked at.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sconectl.errors import UsageError
from sconectl.manifest.model.fields import path_fault
from sconectl.plan.service.base_images import is_java
from sconectl.starter.init_docker import image_of_dockerfile
from sconectl.starter.init_sources import SKIPPED_FOLDERS, Variable, is_plain, mentions, sources, variables

JAVA = "java17"
NO_COMMAND = "/path/to/program argument"
_MAIN_NAMES = ("main.py", "app.py", "server.py", "run.py", "manage.py")
_MAIN_LINE = re.compile(r"""^if\s+__name__\s*==\s*["']__main__["']""", re.MULTILINE)
_JAVA_MAIN = re.compile(r"\bstatic\s+(?:public\s+|final\s+)*void\s+main\s*\(|^\s*void\s+main\s*\(", re.MULTILINE)
_JAVA_PACKAGE = re.compile(r"^\s*package\s+([A-Za-z_][\w.]*)\s*;", re.MULTILINE)


@dataclass(frozen=True)
class Program:
    """The facts about a program for a service manifest; `remarks` are for the user to look at.

    `folder` is its working directory in the image. `native` is the image to convert for `sconify_image`; `dockerfile`
    says that a Dockerfile here makes it.
    """

    kind: str
    command: str
    folder: str = "/app"
    copied: tuple[str, ...] = ()
    requirements: str = ""
    native: str = ""
    dockerfile: bool = False
    variables: tuple[Variable, ...] = ()
    remarks: tuple[str, ...] = ()


def program_in(directory: Path, *, kind: str, name: str) -> Program:
    """Return the program in `directory`; `kind` is empty or one of `build.kind`. Raises `UsageError` if there is none.

    Without a kind, a Dockerfile comes first (it says best how the program runs), then Python, then Java.
    """
    found = sources(directory)
    python = [file for file in found if file.suffix == ".py"]
    java = [file for file in found if file.suffix == ".java"]
    if kind == "sconify_image" or (not kind and is_plain(directory / "Dockerfile")):
        program = _of_dockerfile(directory, name)
    elif kind == "python" or (not kind and python):
        program = _python(directory, python)
    elif is_java(kind) or (not kind and java):
        program = _java(directory, java, kind or JAVA)
    else:
        raise UsageError(
            f"{directory}: there is no Python or Java program and no Dockerfile here",
            hint="name the directory of a program: sconectl init DIR; or an image: sconectl init --from IMAGE",
        )
    return replace(program, variables=variables(found))


def program_of_image(image: str, config: Mapping[str, Any] | None) -> Program:
    """Return the program of an image, from its configuration if an engine knows it."""
    if config is None:
        remark = f"{image} is not on this machine: put its command line into build.command"
        return Program("sconify_image", NO_COMMAND, folder="/", native=image, remarks=(remark,))
    words = [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]
    remarks = () if words else (f"{image} names no command: put one into build.command",)
    command = shlex.join(words) if words else NO_COMMAND
    return Program("sconify_image", command, folder=_fitting(config.get("WorkingDir")), native=image, remarks=remarks)


def _fitting(path: str | None) -> str:
    """Return the working directory of an image, or the root if a manifest cannot hold it."""
    fits = path and not path_fault(path)[0] and not any(mark in path for mark in "${")
    return path if path and fits else "/"


def _of_dockerfile(directory: Path, name: str) -> Program:
    if not is_plain(directory / "Dockerfile"):
        raise UsageError(
            f"{directory}: there is no Dockerfile here", hint="name the image to convert: sconectl init --from IMAGE"
        )
    made = image_of_dockerfile((directory / "Dockerfile").read_text("utf-8", "replace"))
    remarks = () if made.command else ("the Dockerfile names no command: put one into build.command",)
    return Program(
        "sconify_image",
        made.command or NO_COMMAND,
        folder=_fitting(made.pwd),
        native=f"{name}-native:1",
        dockerfile=True,
        remarks=remarks,
    )


def _python(directory: Path, files: list[Path]) -> Program:
    if not files:
        raise UsageError(f"{directory}: there is no Python file here", hint="name the directory of the program")
    inner = [file.relative_to(directory) for file in files]
    top = [file for file in inner if len(file.parts) == 1]
    starts = [file for file in top if _MAIN_LINE.search((directory / file).read_text("utf-8", "replace"))]
    by_name = [Path(name) for name in (*_MAIN_NAMES, f"{directory.resolve().name}.py") if Path(name) in top]
    modules = [file.parent for file in inner if file.name == "__main__.py" and len(file.parts) == 2]
    candidates = list(dict.fromkeys([*(f for f in by_name if f in starts), *starts, *by_name]))
    words = ["python3"]
    if candidates or (top and not modules):
        words.append((candidates or top)[0].as_posix())
    else:
        words += ["-m", modules[0].name] if modules else [inner[0].as_posix()]
    several = len(candidates) > 1 or not (candidates or modules or len(inner) == 1)
    remarks = (f"several files may be the program; {words[-1]} was taken for it",) if several else ()
    has_requirements = is_plain(directory / "requirements.txt")
    return Program(
        "python",
        shlex.join(words),
        copied=(*_copied(inner), *mentions(directory, files)),
        requirements="requirements.txt" if has_requirements else "",
        remarks=remarks,
    )


def _java(directory: Path, files: list[Path], kind: str) -> Program:
    if not files:
        raise UsageError(f"{directory}: there is no Java file here", hint="name the directory of the program")
    mains = []
    for file in files:
        text = file.read_text("utf-8", "replace")
        if _JAVA_MAIN.search(text):
            package = _JAVA_PACKAGE.search(text)
            mains.append(f"{package[1]}.{file.stem}" if package else file.stem)
    jars = sorted(path.name for path in directory.glob("*.jar") if is_plain(path))
    libraries = sorted(
        f"{folder.name}/*.jar"
        for folder in directory.iterdir()
        if is_plain(folder, folder=True) and folder.name not in SKIPPED_FOLDERS and any(folder.glob("*.jar"))
    )
    copied = (*_copied([file.relative_to(directory) for file in files]), *jars)
    wanted = (*copied, *(pattern for pattern in libraries if pattern.partition("/")[0] not in copied))
    remarks: tuple[str, ...] = ()
    if not mains:
        remarks = ("no class has a main method: put the class to start into build.command",)
    elif len(mains) > 1:
        remarks = (f"several classes have a main method; {mains[0]} was taken",)
    main = mains[0] if mains else "Main"
    return Program(kind, f"java {main}", copied=(*wanted, *mentions(directory, files)), remarks=remarks)


def _copied(files: list[Path]) -> tuple[str, ...]:
    """Return the entries of `copy` for sources: each file at the top, and each folder that holds some."""
    return tuple(sorted({file.parts[0] for file in files}))
