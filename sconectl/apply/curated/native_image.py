"""The native image of a curated service, built from its recipe.

In: the service, its base image, an engine. Out: the image. Raises `BuildFailed`, and `UsageError` for a recipe that
cannot be used. The recipe begins with `ARG SCONECTL_BASE=IMAGE` and `FROM ${SCONECTL_BASE}`; it gets the other files of
its folder, and in `.sconectl` the certificates that builds trust and `install-packages`.
"""

from __future__ import annotations

import io
import re
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from sconectl import assets
from sconectl.apply.curated.catalogue import MANIFEST, RECIPE, CuratedService
from sconectl.errors import BuildFailed, UsageError
from sconectl.image.build.native_build import SCRATCH, BuildEnvironment
from sconectl.ports import BASE_ARGUMENT, ImageEngine, ImageInfo, Progress
from sconectl.regular_files import first_bytes

MOST_BYTES = 16 << 20  # of a file of a recipe
_TOOL = "install-packages"
_BASE = re.compile(rf"(?:[ \t]*(?:#[^\n]*)?\n)*ARG {BASE_ARGUMENT}=(\S+)[ \t]*\n+FROM \${{{BASE_ARGUMENT}}}[ \t]*\n")


def recipe_base(service: CuratedService) -> str:
    """Return the image on which the recipe builds. Raises `UsageError`."""
    assert service.recipe  # noqa: S101 - narrows the type
    found = _BASE.match(_read(service.recipe).decode("utf-8", "replace"))
    if found is None:
        hint = f"begin it with the lines `ARG {BASE_ARGUMENT}=IMAGE` and `FROM ${{{BASE_ARGUMENT}}}`"
        raise UsageError(f"{service.recipe}: the base image of this recipe is not known", hint=hint)
    return found[1]


def build_recipe(
    service: CuratedService,
    base: ImageInfo,
    *,
    engine: ImageEngine,
    environment: BuildEnvironment,
    progress: Progress,
    detail: Progress,
) -> ImageInfo:
    """Build the native image on `base`; the engine's cache is used. Raises `BuildFailed` and `UsageError`."""
    progress(f"building the native image of {service.name}")
    with tempfile.TemporaryFile() as context:
        with tarfile.open(fileobj=context, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name, content in _files(service, environment):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                member.mode = 0o755 if content.startswith(b"#!") else 0o644
                tar.addfile(member, io.BytesIO(content))
        context.seek(0)
        try:
            made = engine.build(cast(BinaryIO, context), base, detail, name=service.native)
        except BuildFailed as error:
            error.hint = f"see {service.recipe}; -v shows the whole build" if error.output else error.hint
            raise
    found = engine.inspect(made)
    if found is None:
        raise BuildFailed(f"somebody removed {service.native} after it was built", hint="apply again")
    return found


def _files(service: CuratedService, environment: BuildEnvironment) -> Iterator[tuple[str, bytes]]:
    yield f"{SCRATCH}/ca.pem", environment.ca_bundle
    yield f"{SCRATCH}/{_TOOL}", assets.read(f"curated/{_TOOL}")
    for path in sorted(service.folder.rglob("*")):
        name = path.relative_to(service.folder).as_posix()
        if name == MANIFEST or stat.S_ISDIR(path.lstat().st_mode):
            continue
        if path.is_symlink():
            raise UsageError(f"{path}: a recipe has no symbolic links", hint="put the file itself there")
        yield name, _read(path)


def _read(path: Path) -> bytes:
    try:
        content = first_bytes(path, MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", hint=f"a recipe is a {RECIPE} and files beside it") from error
    if len(content) > MOST_BYTES:
        raise UsageError(f"{path}: larger than {MOST_BYTES} bytes", hint="let the recipe fetch what is so large")
    return content
