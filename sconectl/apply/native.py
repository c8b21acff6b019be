"""The native part of a service: what its manifest's directory contributes, and the image that is built from it.

In: a plan, the manifest's directory, an engine. Out: the sources, their digest, and the id of the native image. Raises
`PlanImpossible` for files that cannot be used, and `BuildFailed`.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, cast

from sconectl.apply.signing import read_signing_key, refuse_copied_key
from sconectl.apply.sources.requirements import Requirements, read_requirements
from sconectl.apply.sources.source_digest import copied_digest
from sconectl.apply.sources.sources import CopiedTree, find_copied
from sconectl.apply.sources.wheels import obtain_wheels
from sconectl.errors import BuildFailed, PlanImpossible
from sconectl.image.build.native_build import BuildEnvironment, CopiedFile, NativeContent, Wheel, native_context
from sconectl.image.build.source_files import show_name
from sconectl.plan.facts.naming import native_image_name
from sconectl.plan.service.base_images import is_java
from sconectl.plan.service.class_path import with_class_path
from sconectl.plan.service.service import ServicePlan
from sconectl.ports import ImageEngine, ImageInfo, Progress
from sconectl.text.yaml_tree import Document
from sconectl.text.yaml_tree import Path as FieldPath


@dataclass(frozen=True)
class NativeSources:
    """Everything that the manifest's directory contributes.

    `class_path` is empty unless it is a Java program; then `copied` has sources that are compiled. `signing_key` (PEM)
    is empty unless the manifest names one; it goes into no image.
    """

    copied: Sequence[CopiedFile] = ()
    requirements: Requirements | None = None
    class_path: tuple[str, ...] = ()
    signing_key: bytes = field(default=b"", repr=False)

    @cached_property
    def files(self) -> tuple[CopiedFile, ...]:
        """What goes into the image as it is, by place."""
        return tuple(file for file in self.copied if not self._is_compiled(file))

    @cached_property
    def java(self) -> tuple[CopiedFile, ...]:
        """The sources that are compiled, and are not in the image."""
        return tuple(file for file in self.copied if self._is_compiled(file))

    def _is_compiled(self, file: CopiedFile) -> bool:
        return bool(self.class_path) and file.source is not None and file.path.endswith(".java")


def collect_sources(
    plan: ServicePlan, directory: Path, document: Document, private: Collection[Path] = ()
) -> NativeSources:
    """Find what the manifest names. Raises `PlanImpossible` with a finding for all that cannot be used.

    `private` are files and directories of ours (the manifest, the target directory): they have values that belong to
    the service alone, and are copied only if an entry of `copy` names them.
    """
    key = directory / plan.signing_key if plan.signing_key else None
    if key:
        refuse_copied_key(key, plan.build.copied, directory, document)
    copied = find_copied(plan.build.copied, plan.build.pwd, directory, document, (*private, key) if key else private)
    requirements = read_requirements(plan.build.requirements, directory, document) if plan.build.requirements else None
    java = is_java(plan.build.kind)
    class_path = _class_path(plan, copied, document) if java else ()
    return NativeSources(copied, requirements, class_path, read_signing_key(key, document) if key else b"")


def _class_path(plan: ServicePlan, copied: CopiedTree, document: Document) -> tuple[str, ...]:
    places: list[tuple[FieldPath, str]] = [(("build", "pwd"), plan.build.pwd)]
    for number, listing in enumerate(copied.listings):
        places += [(("build", "copy", number), place) for place in listing.places(".jar")]
    findings = []
    for path, place in places:
        if any(text in place for text in (":", "$$", "{{")):
            message = f"{show_name(place)} cannot be on a class path"
            hint = "rename it: no : and no placeholders"
            findings.append(document.finding("error", "SC1005", path, message, hint))
    if findings:
        raise PlanImpossible("files that the manifest names cannot be used", findings=findings)
    return tuple(dict.fromkeys(place for _, place in places))


def complete_plan(plan: ServicePlan, sources: NativeSources) -> ServicePlan:
    """Return the plan with the class path in the command of a Java program, which only the sources tell."""
    if not sources.class_path:
        return plan
    return replace(plan, command=with_class_path(plan.command, sources.class_path))


def sources_digest(sources: NativeSources, cache: Path) -> str:
    """Return a digest of the content of all sources; `cache` is the directory that remembers those of files."""
    requirements = sources.requirements
    texts = (
        {name: hashlib.sha256(text).hexdigest() for name, text in requirements.files.items()} if requirements else {}
    )
    document = [copied_digest(sources.copied, cache / "sources"), sources.class_path, texts]
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def build_native(
    plan: ServicePlan,
    sources: NativeSources,
    base: ImageInfo,
    *,
    engine: ImageEngine,
    environment: BuildEnvironment,
    cache: Path,
    progress: Progress,
    detail: Progress,
) -> str:
    """Build the native image on `base` and return its id. Raises `BuildFailed`.

    Its name only keeps it as the engine's cache: others may build another image under the same one meanwhile.
    """
    progress("building the native image")
    wheels: tuple[Wheel, ...] = ()
    if sources.requirements:
        wheels = obtain_wheels(engine, base, sources.requirements, environment, cache / "wheels", detail)
    content = NativeContent(
        pwd=plan.build.pwd,
        wheels=wheels,
        files=sources.files,
        java=sources.java,
        class_path=":".join(sources.class_path),
        run=plan.run,
    )
    with tempfile.TemporaryFile() as context:
        native_context(content, environment, context)
        context.seek(0)
        try:
            return engine.build(cast(BinaryIO, context), base, detail, name=native_image_name(plan.build.name))
        except BuildFailed as error:
            if sources.java and '"javac"' in error.output.partition("\n")[0]:
                error.hint = "correct the sources; if there is no javac, take a base image with a JDK"
            raise
