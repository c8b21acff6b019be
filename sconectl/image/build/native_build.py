"""Build contexts for the container engine: Dockerfiles whose text holds nothing that a user could break out of.

In: what goes into the image. Out: a context, written as a stream. Raises `BuildFailed`. User text reaches a Dockerfile
only as JSON (RUN in exec form), or if it is a plain word (working directory); files travel in inner tars that the
engine unpacks, never as COPY arguments, so that any name works with any engine.
"""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sconectl.ports import BASE_ARGUMENT
from sconectl.image.build.source_files import SourceFiles, Stamp, changed, stamp_of

SCRATCH = ".sconectl"
"""Folder below / that build steps may use; it never reaches a final image."""
WHEELS = f"/{SCRATCH}/wheels"
"""Where the wheels of a service are, both when they are made and when they are installed."""

_FIXED = {
    "PIP_BREAK_SYSTEM_PACKAGES": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_CACHE_DIR": "1",
    "PIP_ROOT_USER_ACTION": "ignore",
    "PYTHONDONTWRITEBYTECODE": "1",
    "SOURCE_DATE_EPOCH": "0",
}
_CA_VARIABLES = ("CURL_CA_BUNDLE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
_PIP = ("python3", "-I", "-B", "-m", "pip")
"""-I: never with a module of the working directory in the place of its own; -B: it ignores PYTHONDONTWRITEBYTECODE."""
_JAVA = f"/{SCRATCH}/java"
_BLOCK = 1 << 20
_WORD = re.compile(r"[A-Za-z0-9_./+@%,:=~-]+")


@dataclass(frozen=True)
class BuildEnvironment:
    """The CA certificates (PEM) that build steps trust when they reach the network; empty for those of the base image."""

    ca_bundle: bytes = b""

    def add_to(self, tar: tarfile.TarFile) -> None:
        """Add the certificates to a context's files, and a file that is always there (an empty tar is not unpacked)."""
        add_file(tar, f"{SCRATCH}/README", b"Scratch files of the build; not part of the image.\n")
        if self.ca_bundle:
            add_file(tar, f"{SCRATCH}/ca.pem", self.ca_bundle)


@dataclass(frozen=True)
class CopiedFile:
    """A file, link or directory to place in the image; `source` is None for a directory that is only created.

    A `source` is absolute and has no link on its way; with a `stamp` it has to be unchanged when it is read.
    """

    path: str
    mode: int
    source: Path | None = None
    link: str = ""
    stamp: Stamp | None = None


@dataclass(frozen=True)
class Wheel:
    """A wheel on this machine, with its SHA-256 in hex."""

    file: Path
    digest: str

    @property
    def requirement(self) -> str:
        """The line of a requirements file that is met by this wheel alone."""
        name, version = self.file.name.split("-")[:2]
        return f"{name}=={version} --hash=sha256:{self.digest}\n"


@dataclass(frozen=True)
class NativeContent:
    """The additions to the base image, in this order: wheels, files, compiled classes, and the steps of `run`.

    `java` are sources, placed like files; they are compiled into `pwd` with `class_path` and are not in the image.
    """

    pwd: str
    wheels: Sequence[Wheel] = ()
    files: Sequence[CopiedFile] = ()
    java: Sequence[CopiedFile] = ()
    class_path: str = ""
    run: Sequence[str] = ()


def dockerfile_head(environment: BuildEnvironment) -> str:
    """Return the first lines of a Dockerfile: base image, build-only variables, and the inner tar unpacked.

    The base image is an argument of the build, because engines differ in how they are told an image that has no name.
    """
    variables = dict(_FIXED)
    if environment.ca_bundle:
        variables.update(dict.fromkeys(_CA_VARIABLES, f"/{SCRATCH}/ca.pem"))
    arguments = "".join(f"ARG {name}={value}\n" for name, value in sorted(variables.items()))
    return f"ARG {BASE_ARGUMENT}\nFROM ${{{BASE_ARGUMENT}}}\nUSER 0\n{arguments}ADD files.tar /\n"


def _workdir(pwd: str) -> str:
    """Return the line that makes `pwd`, the working directory, and enters it if its name is a plain word."""
    return f"WORKDIR {pwd}" if _WORD.fullmatch(pwd) else _run("mkdir", "-p", pwd)


def _step(pwd: str, step: str) -> str:
    """Return the line that runs a command of a shell in `pwd`; a name that is no plain word is only in its JSON."""
    if _WORD.fullmatch(pwd):
        return _run("/bin/sh", "-c", step)
    return _run("/bin/sh", "-c", 'cd "$0" && exec /bin/sh -c "$1"', pwd, step)


def native_context(content: NativeContent, environment: BuildEnvironment, context: IO[bytes]) -> None:
    """Write the build context of a native image to `context`, which can seek.

    Raises `BuildFailed` for files that changed.
    """
    lines = [_workdir(content.pwd)] if _WORD.fullmatch(content.pwd) or content.java or content.run else []
    if content.wheels:
        options = ("--no-compile", "--no-index", "--no-deps", "--find-links", WHEELS)
        lines.append(_run(*_PIP, "install", *options, "-r", f"{WHEELS}.txt"))
    lines.append("ADD program.tar /")
    if content.java:
        lines += _compilation(content)
    lines += [_step(content.pwd, step) for step in content.run]
    with _inner_tar(context, "files.tar") as tar:
        environment.add_to(tar)
        if content.wheels:
            add_file(tar, f"{WHEELS}.txt"[1:], "".join(wheel.requirement for wheel in content.wheels).encode())
            _add_copied(tar, [CopiedFile(f"{WHEELS}/{each.file.name}", 0o644, each.file) for each in content.wheels])
    with _inner_tar(context, "program.tar") as tar:
        add_file(tar, f"{SCRATCH}/program", b"")
        _add_copied(tar, content.files)
        if content.java:
            names = sorted(_below(content.pwd, file.path) for file in content.java)
            add_file(tar, f"{_JAVA}.txt"[1:], "".join(map(_quoted, names)).encode("utf-8", "surrogateescape"))
            _add_copied(
                tar,
                [
                    CopiedFile(f"{_JAVA}/{_below(content.pwd, f.path)}", 0o644, f.source, stamp=f.stamp)
                    for f in content.java
                ],
            )
    _finish(context, dockerfile_head(environment) + "\n".join(lines) + "\n")


def wheel_context(
    requirements: Mapping[str, bytes],
    main: str,
    environment: BuildEnvironment,
    index_url: str,
    context: IO[bytes],
) -> None:
    """Write the context of an image with all wheels in `WHEELS` that the requirements file `main` asks for.

    `requirements` are the files by relative path.
    """
    index = ("--index-url", index_url) if index_url else ()
    folder = f"/{SCRATCH}/requirements"
    step = _run(*_PIP, "wheel", "--wheel-dir", WHEELS, *index, "-r", f"{folder}/{main}")
    with _inner_tar(context, "files.tar") as tar:
        environment.add_to(tar)
        _add_copied(tar, [CopiedFile(WHEELS, 0o755)])
        for path, text in sorted(requirements.items()):
            add_file(tar, f"{folder}/{path}"[1:], text)
    _finish(context, dockerfile_head(environment) + step + "\n")


def _run(*words: str) -> str:
    return f"RUN {json.dumps(words)}"


def _compilation(content: NativeContent) -> list[str]:
    # The directory makes javac name the sources as the user does; the locale lets it find names that are not ASCII.
    compiler = ("env", "LC_ALL=C.UTF-8", "javac", "-encoding", "UTF-8", "-d", content.pwd)
    step = _run(*compiler, "-cp", content.class_path, f"@{_JAVA}.txt")
    return [f"WORKDIR {_JAVA}", step, _workdir(content.pwd)]


def _below(pwd: str, path: str) -> str:
    return path.removeprefix(pwd).lstrip("/")


def _quoted(name: str) -> str:
    """Return a line of an argument file of javac."""
    name = f"./{name}" if name.startswith("-") else name  # no option
    text = name.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n").replace("\r", r"\r")
    return f'"{text}"\n'


@contextmanager
def _inner_tar(outer: IO[bytes], name: str) -> Iterator[tarfile.TarFile]:
    """Write a tar as the next member of the tar `outer`; its header comes last, when its size is known."""
    start = outer.tell()
    outer.write(bytes(tarfile.BLOCKSIZE))
    with tarfile.TarFile(fileobj=outer, mode="w", copybufsize=_BLOCK) as tar:
        yield tar
    end = outer.tell()
    header = tarfile.TarInfo(name)
    header.size = end - start - tarfile.BLOCKSIZE
    outer.seek(start)
    outer.write(header.tobuf(tarfile.GNU_FORMAT))
    outer.seek(end)


def _finish(outer: IO[bytes], dockerfile: str) -> None:
    """Write the Dockerfile: last, so that its length does not move the tars, which engines recognise by their bytes."""
    with tarfile.open(fileobj=outer, mode="w") as tar:
        add_file(tar, "Dockerfile", dockerfile.encode())


def _add_copied(tar: tarfile.TarFile, files: Sequence[CopiedFile]) -> None:
    with SourceFiles() as sources:
        for file in files:
            member = tarfile.TarInfo(file.path.lstrip("/"))
            member.mode = file.mode
            if file.link:
                member.type, member.linkname = tarfile.SYMTYPE, file.link
                tar.addfile(member)
            elif file.source is None:
                member.type = tarfile.DIRTYPE
                tar.addfile(member)
            else:
                _add_content(tar, member, file, sources)


def _add_content(tar: tarfile.TarFile, member: tarfile.TarInfo, file: CopiedFile, sources: SourceFiles) -> None:
    path = str(file.source)
    with os.fdopen(sources.open(path, file.stamp), "rb") as content:
        status = os.fstat(content.fileno())
        member.size = status.st_size
        try:
            tar.addfile(member, content)
        except OSError as error:
            if error.errno is not None:  # of the context, which is written: a full disk
                raise
            raise changed(path) from error
        if stamp_of(os.fstat(content.fileno())) != stamp_of(status):
            raise changed(path)


def add_file(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a regular file with fixed metadata, so that the engine's cache recognises it."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mode = 0o644
    tar.addfile(member, io.BytesIO(content))
