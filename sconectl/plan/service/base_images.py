"""The base image of each kind of program.

In: the kind, and the images that configuration and command line give. Out: an image reference. Raises `UsageError` for
a kind that does not exist.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from sconectl.errors import UsageError

_JAVA_17 = "eclipse-temurin:17-jdk-alpine"
_JAVA_17_GLIBC = "eclipse-temurin:17-jdk-jammy"

DEFAULT_BASES = {
    "python": "python:3.12-slim-bookworm",
    "java": _JAVA_17,
    "java-glibc": _JAVA_17_GLIBC,
    "java8": "eclipse-temurin:8-jdk-alpine",
    "java15": "openjdk:15-jdk-slim-buster",
    "java17": _JAVA_17,
    "java17-bullseye": "openjdk:17-jdk-slim-bullseye",
    "java17-glibc": _JAVA_17_GLIBC,
    "java21": "eclipse-temurin:21-jdk-alpine",
    "java21-ubuntu": "eclipse-temurin:21-jdk-noble",
}
"""The official image of each kind of program."""
RECIPE_BASES = {"debian": "debian:bookworm-slim"}
"""What the recipes of curated services begin with."""


def is_java(kind: str) -> bool:
    """Say whether programs of this kind are compiled with javac and run by `java`."""
    return kind.startswith("java")


def base_image(kind: str, given: Mapping[str, str]) -> str:
    """Return the base image of a kind: the given one, else the official one."""
    return given.get(kind) or DEFAULT_BASES[kind]


def recipe_base_image(image: str, given: Mapping[str, str]) -> str:
    """Return the image that takes the place of the base image of a recipe, or that image itself."""
    return next((given[name] for name, usual in RECIPE_BASES.items() if usual == image and given.get(name)), image)


def check_kinds(kinds: Iterable[str], where: str) -> None:
    """Refuse kinds that have no base image; `where` is what gives them, like `--base-image`."""
    bases = (*DEFAULT_BASES, *RECIPE_BASES)
    for kind in kinds:
        if kind not in bases:
            near = difflib.get_close_matches(kind, bases, n=1)
            known = f"known are {', '.join(sorted(bases))}"
            raise UsageError(f"{where}: unknown kind {kind!r}", hint=f"did you mean {near[0]}?" if near else known)
