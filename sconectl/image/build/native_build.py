"""Build contexts for the container engine: Dockerfiles whose text holds nothing that a user could break out of.

In: what goes into the image. Out: a context, written as a stream. Raises `BuildFailed`. Text reaches a Dockerfile only
through `written_in_dockerfile`; files travel in inner tars that the engine unpacks, never as COPY arguments, so that
any name works with any engine.
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
from typing import IO, Any

from sconectl.image.build.source_files import SourceFiles, Stamp, changed, stamp_of
from sconectl.text.rendering import render

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
_INSTALL = ("install", "--no-compile", "--no-index", "--no-deps", "--find-links", WHEELS, "-r")
_JAVA = f"/{SCRATCH}/java"
# Run in that directory, javac names the sources as the user does; the locale lets it find names that are not ASCII.
_COMPILER = ("env", "LC_ALL=C.UTF-8", "javac", "-encoding", "UTF-8", "-d")
_BLOCK = 1 << 20
_WORD = re.compile(r"[A-Za-z0-9_./+@%,:=~-]+")


@dataclass(frozen=True)
class BuildEnvironment:
    """The CA certificates (PEM) that build steps trust in the network; empty for those of the base image."""

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


def dockerfile(environment: BuildEnvironment, steps: Sequence[Sequence[str]]) -> str:
    """Return a Dockerfile that unpacks the inner tar files.tar over the base image, and runs commands.

    The base image is an argument of the build, because engines differ in how they are told an image that has no name.
    """
    return _rendered("steps", environment, steps=steps)


def _rendered(template: str, environment: BuildEnvironment, **values: Any) -> str:
    """Return a Dockerfile; the variables are for the steps of the build only."""
    variables = dict(_FIXED)
    if environment.ca_bundle:
        variables.update(dict.fromkeys(_CA_VARIABLES, f"/{SCRATCH}/ca.pem"))
    template = f"image/build/{template}.Dockerfile"
    return render(template, written_in_dockerfile, variables=sorted(variables.items()), **values)


def written_in_dockerfile(value: object) -> str:
    """Return a list of words as JSON, the form of a command that nothing breaks out of, and a plain word as it is.

    Raises `ValueError` for everything else, so that no template can write it.
    """
    if isinstance(value, (list, tuple)) and all(isinstance(word, str) for word in value):
        return json.dumps(value)
    if isinstance(value, str) and _WORD.fullmatch(value):
        return value
    raise ValueError("only lists of words and plain words can stand in a Dockerfile")


def native_context(content: NativeContent, environment: BuildEnvironment, context: IO[bytes]) -> None:
    """Write the build context of a native image to `context`, which can seek.

    Raises `BuildFailed` for files that changed.
    """
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
    text = _rendered(
        "native",
        environment,
        pwd=content.pwd,
        pwd_is_word=bool(_WORD.fullmatch(content.pwd)),
        install=[*_PIP, *_INSTALL, f"{WHEELS}.txt"] if content.wheels else [],
        sources=_JAVA,
        compiler=[*_COMPILER, content.pwd, "-cp", content.class_path, f"@{_JAVA}.txt"] if content.java else [],
        run=content.run,
    )
    _finish(context, text)


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
    step = [*_PIP, "wheel", "--wheel-dir", WHEELS, *index, "-r", f"{folder}/{main}"]
    with _inner_tar(context, "files.tar") as tar:
        environment.add_to(tar)
        _add_copied(tar, [CopiedFile(WHEELS, 0o755)])
        for path, text in sorted(requirements.items()):
            add_file(tar, f"{folder}/{path}"[1:], text)
    _finish(context, dockerfile(environment, [step]))


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
