"""Build contexts for the container engine: Dockerfiles whose text holds nothing that a user could break out of.

User text reaches a Dockerfile only as JSON (RUN in exec form) or after it was checked (image, working directory);
files travel in one inner tar that the engine unpacks, never as COPY arguments.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sconectl.errors import BuildFailed

SCRATCH = ".sconectl"
"""Folder below / that build steps may use; it never reaches a final image."""

_FIXED = {
    "PIP_BREAK_SYSTEM_PACKAGES": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_CACHE_DIR": "1",
    "PIP_ROOT_USER_ACTION": "ignore",
    "PYTHONDONTWRITEBYTECODE": "1",
    "SOURCE_DATE_EPOCH": "0",
}
_CA_VARIABLES = ("CURL_CA_BUNDLE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")


@dataclass(frozen=True)
class BuildEnvironment:
    """What build steps need to reach the network: the CA certificates (PEM) that they trust, or nothing special."""

    ca_bundle: bytes = b""

    def add_to(self, tar: tarfile.TarFile) -> None:
        """Add what the steps need to a context's files; never leaves it empty (an empty tar is not unpacked)."""
        add_file(tar, f"{SCRATCH}/README", b"Scratch files of the build; not part of the image.\n")
        if self.ca_bundle:
            add_file(tar, f"{SCRATCH}/ca.pem", self.ca_bundle)


@dataclass(frozen=True)
class CopiedFile:
    """A file, link or directory to place in the image; `source` is None for a directory that is only created."""

    path: str
    mode: int
    source: Path | None = None
    link: str = ""


def dockerfile_head(base: str, environment: BuildEnvironment) -> str:
    """Return the first lines of a Dockerfile: base image, build-only variables, and the inner tar unpacked."""
    _require_word(base)
    variables = dict(_FIXED)
    if environment.ca_bundle:
        variables.update(dict.fromkeys(_CA_VARIABLES, f"/{SCRATCH}/ca.pem"))
    arguments = "".join(f"ARG {name}={value}\n" for name, value in sorted(variables.items()))
    return f"FROM {base}\nUSER 0\n{arguments}ADD files.tar /\n"


def _require_word(text: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_./+@%,:=~-]+", text):
        raise BuildFailed(f"{text!r} cannot be used in a Dockerfile")


def native_context(
    base: str,
    *,
    pwd: str,
    requirements: bytes | None,
    files: Sequence[CopiedFile],
    run: Sequence[str],
    environment: BuildEnvironment,
    context: IO[bytes],
) -> None:
    """Write the build context of a Python service's native image to `context`.

    `run` holds shell commands, one build step each. Raises `BuildFailed` if `base` or `pwd` is not a plain word.
    """
    _require_word(pwd)
    lines = [dockerfile_head(base, environment).rstrip("\n"), f"WORKDIR {pwd}"]
    if requirements is not None:
        install = ["python3", "-m", "pip", "install", "--no-compile", "-r", f"/{SCRATCH}/requirements.txt"]
        lines.append(f"RUN {json.dumps(install)}")
    lines.append("ADD program.tar /")
    lines += [f"RUN {json.dumps(['/bin/sh', '-c', step])}" for step in run]
    first, second = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=first, mode="w") as tar:
        environment.add_to(tar)
        if requirements is not None:
            add_file(tar, f"{SCRATCH}/requirements.txt", requirements)
    with tarfile.open(fileobj=second, mode="w") as tar:
        add_file(tar, f"{SCRATCH}/program", b"")
        for file in files:
            _add_copied(tar, file)
    with tarfile.open(fileobj=context, mode="w") as tar:
        add_file(tar, "Dockerfile", ("\n".join(lines) + "\n").encode())
        add_file(tar, "files.tar", first.getvalue())
        add_file(tar, "program.tar", second.getvalue())


def _add_copied(tar: tarfile.TarFile, file: CopiedFile) -> None:
    member = tarfile.TarInfo(file.path.lstrip("/"))
    member.mode = file.mode
    if file.link:
        member.type, member.linkname = tarfile.SYMTYPE, file.link
        tar.addfile(member)
    elif file.source is None:
        member.type = tarfile.DIRTYPE
        tar.addfile(member)
    else:
        content = file.source.read_bytes()
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))


def add_file(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a regular file with fixed metadata, so that the engine's cache recognises it."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mode = 0o644
    tar.addfile(member, io.BytesIO(content))
