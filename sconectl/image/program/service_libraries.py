"""Knows where the interpreters of common languages keep their libraries.

In: the files of an image, and the files that start the program. Out: the directories that exist, each with a reason.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence

from sconectl.image.layers.root_tree import RootFiles

_PYTHON = re.compile(r"(?:lib)?(python[0-9]\.[0-9]+)")
_NAMES = re.compile(r"(python|java|node|nodejs|perl|ruby|php)[0-9.-]*\Z")


def service_libraries(
    root: RootFiles, files: Sequence[str], words: Sequence[str], environment: Mapping[str, str], pwd: str
) -> list[tuple[str, str]]:
    """Return the directories below which a program finds its language's libraries; `files` end with its binary."""
    binary = files[-1]
    match = _NAMES.match(posixpath.basename(binary))
    if match is None:
        return []
    language = "node" if match[1] == "nodejs" else match[1]
    found: dict[str, str] = {}
    for path in _folders(language, files, words, environment, pwd):
        real = root.resolve(posixpath.normpath(path))
        member = root.member(real) if real else None
        if real and member is not None and member.kind == "d" and real != "/":
            found.setdefault(real, f"libraries of {language}, for {binary}")
    return list(found.items())


def _folders(
    language: str, files: Sequence[str], words: Sequence[str], environment: Mapping[str, str], pwd: str
) -> Iterator[str]:
    prefixes = list(dict.fromkeys(posixpath.dirname(posixpath.dirname(file)) or "/" for file in reversed(files)))
    if language == "python":
        match = _PYTHON.match(posixpath.basename(files[-1]))
        name = match[1] if match else "python3"
        yield from (f"{prefix}/lib/{name}" for prefix in [*prefixes, "/usr/local", "/usr"])
        yield "/usr/lib/python3"
        yield from (folder for folder in environment.get("PYTHONPATH", "").split(":") if folder.startswith("/"))
    elif language == "java":
        yield prefixes[0]
        yield from ([environment["JAVA_HOME"]] if environment.get("JAVA_HOME", "").startswith("/") else [])
    elif language == "node":
        yield from (f"{prefix}/lib/node_modules" for prefix in [*prefixes, "/usr/local", "/usr"])
        yield from ("/usr/share/nodejs", f"{pwd}/node_modules")
        script = next((word for word in words[1:] if not word.startswith("-")), "")
        yield posixpath.join(pwd, posixpath.dirname(script), "node_modules")
    else:
        own = {"perl": ("perl", "perl5"), "php": ("php",), "ruby": ("ruby",)}[language]
        yield from (f"{prefix}/{where}/{name}" for prefix in prefixes for where in ("lib", "share") for name in own)
