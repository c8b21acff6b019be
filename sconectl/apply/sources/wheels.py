"""The wheels that requirements ask for: made once in the engine for each base image, then taken from this machine.

In: requirements, an engine and a directory. Out: verified wheels. Raises `BuildFailed`. The SHA-256 of each wheel is
kept with it and checked whenever it is used; the directory may be deleted at any time, and is not believed if others
can write to it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import urlsplit

from sconectl.apply.sources.requirements import Requirements
from sconectl.errors import BuildFailed
from sconectl.image.build.native_build import WHEELS, BuildEnvironment, Wheel, wheel_context
from sconectl.image.layers.layer_cache import is_private
from sconectl.ports import ImageEngine, ImageInfo, Progress

_FORMAT = 1
_LIST = "wheels.json"
_NAME = re.compile(r"[A-Za-z0-9_.!+]+-[A-Za-z0-9_.!+]+(-[A-Za-z0-9_.+]+){3,4}\.whl")
_BLOCK = 1 << 20
_TRIES = 5
_COMPILING = re.compile(
    r"command '[^']*(gcc|cc|clang|g\+\+|c\+\+)[^']*'|(gcc|cc|g\+\+|cargo|rustc|cmake|pkg-config)['\"`]?: "
    r"(command )?not found|unable to execute|No such file or directory: '[^']*(gcc|cc|cargo|rustc|cmake)'|"
    r"Unknown compiler|[Cc]an't find Rust compiler|no acceptable C compiler|need a C compiler|Python\.h: No such file",
)


def obtain_wheels(
    engine: ImageEngine,
    base: ImageInfo,
    requirements: Requirements,
    environment: BuildEnvironment,
    folder: Path,
    detail: Progress,
) -> tuple[Wheel, ...]:
    """Return all wheels that the requirements need in image `base`, sorted by name."""
    index_url = _index_url(os.environ)
    known = folder / _key(base, requirements, index_url)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not is_private(folder):
        raise BuildFailed(
            f"{folder}, where wheels are kept, belongs to somebody else, or others can write to it",
            hint="remove it, or set XDG_CACHE_HOME to a directory of your own",
        )
    wheels = _verified(known)
    if wheels is not None:
        return wheels
    with tempfile.TemporaryFile() as context:
        wheel_context(requirements.files, requirements.main, environment, index_url, context)
        context.seek(0)
        with _explained():
            image = engine.build(cast(BinaryIO, context), base, detail)
    try:
        with engine.read_directory(image, WHEELS) as stream:
            _keep(stream, known)
    finally:
        engine.remove(image)
    wheels = _verified(known)
    if wheels is None:
        raise BuildFailed("the wheels changed while they were kept", hint="apply again")
    return wheels


def _index_url(variables: Mapping[str, str]) -> str:
    """Return the package index that pip is told to use on this machine."""
    url = variables.get("PIP_INDEX_URL", "")
    if "@" in urlsplit(url).netloc:
        raise BuildFailed(
            "PIP_INDEX_URL holds credentials, which would stay in the engine's cache",
            hint="unset it, or let it name an index that needs none",
        )
    return url


def _key(info: ImageInfo, requirements: Requirements, index_url: str) -> str:
    digest = hashlib.sha256(json.dumps([_FORMAT, info.id, requirements.main, index_url]).encode())
    for path, content in sorted(requirements.files.items()):
        digest.update(f"\n{json.dumps(path)} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _verified(folder: Path) -> tuple[Wheel, ...] | None:
    """Return the wheels of a directory, or None if it is not there or not as it was written."""
    try:
        if not is_private(folder):
            return None
        document = json.loads((folder / _LIST).read_bytes())
        home = folder.resolve()
        wheels = tuple(Wheel(home / name, digest) for name, digest in sorted(document.items()))
        fine = all(map(_NAME.fullmatch, document)) and all(_digest(wheel.file) == wheel.digest for wheel in wheels)
    except (OSError, ValueError, AttributeError, TypeError):
        return None
    return wheels if fine else None


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _keep(stream: BinaryIO, folder: Path) -> None:
    """Write the wheels of a tar to a directory that appears whole or not at all."""
    work = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        digests = {}
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                name = member.name.rpartition("/")[2]
                content = tar.extractfile(member) if member.isreg() and _NAME.fullmatch(name) else None
                if content is None:
                    continue
                digest = hashlib.sha256()
                with (work / name).open("wb") as file:
                    while block := content.read(_BLOCK):
                        digest.update(block)
                        file.write(block)
                digests[name] = digest.hexdigest()
        (work / _LIST).write_text(json.dumps(digests, indent=1, sort_keys=True))
        _put(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _put(work: Path, folder: Path) -> None:
    """Give `work` the name `folder`, unless somebody else has put the same wheels there meanwhile."""
    for _ in range(_TRIES):
        shutil.rmtree(folder, ignore_errors=True)  # one that was not as it was written
        try:
            work.rename(folder)
            return
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
        if _verified(folder) is not None:
            return
    raise BuildFailed(f"{folder} changes all the time", hint="see who writes there, and apply again")


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Say what to do about requirements that need a compiler."""
    try:
        yield
    except BuildFailed as error:
        if _COMPILING.search(error.output):
            error.hint = (
                "a requirement has no wheel for this base image and has to be compiled: "
                "take a version that has one, or a base image with compilers (`from`)"
            )
        elif error.output:
            error.hint = "correct the requirements; -v shows the whole build"
        raise
