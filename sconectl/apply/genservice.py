"""Effects of a service manifest: native image, protected image, push, image session, target/images.

In: a plan and the outside world. Out: a `ServiceResult` that says what was done and what was already there.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from pydantic import ValidationError

import sconectl
from sconectl.apply.image_sessions import publish_facts, salt_of
from sconectl.apply.sessions import Uploaded
from sconectl.errors import BuildFailed
from sconectl.plan.facts import LABEL, BuildRecord, Fspf, ImageFacts
from sconectl.plan.naming import native_image_name, without_tag
from sconectl.plan.service import ServicePlan, image_facts
from sconectl.ports import ImageEngine, ImageInfo, Keys, Progress, SessionStore, Workspace
from sconectl.toolchains.image_archive import Layer, image_archive, image_config
from sconectl.toolchains.launcher_bundle import ENTRYPOINT, Bundle, bundle_tag, obtain_bundle
from sconectl.toolchains.native_build import BuildEnvironment, CopiedFile, native_context
from sconectl.toolchains.sim import FSPF_PATH, ProtectedRoot, Protection, protect

_CARRIED = ("ExposedPorts", "StopSignal", "User", "Volumes")
"""What the configuration of a native image keeps; its variables and command go into the facts instead."""


@dataclass(frozen=True)
class ServiceWorld:
    """The outside world of a service manifest. `store` is None where no session is to be written."""

    engine: ImageEngine
    keys: Keys
    workspace: Workspace
    store: SessionStore | None
    environment: BuildEnvironment
    launcher_base: str
    push: bool
    progress: Progress
    """Told of every step."""
    detail: Progress
    """Told what the engine prints."""


@dataclass(frozen=True)
class ServiceResult:
    """What was done for a service manifest."""

    facts: ImageFacts
    built: bool
    pushed: bool
    session: Uploaded | None
    files_changed: int


def apply_service(
    plan: ServicePlan, files: Sequence[CopiedFile], requirements: bytes | None, world: ServiceWorld
) -> ServiceResult:
    """Build, push and record the image of a service; nothing is done twice.

    Raises `BuildFailed` and `CasError`; what was not finished is finished by the next run.
    """
    path = f"images/{plan.name}.json"
    old = _old_record(world.workspace, path)
    key = world.keys.image_key(without_tag(plan.image))
    base = _available(world, plan.base or plan.native)
    launcher_base = _available(world, world.launcher_base or plan.base)
    inputs = _inputs_digest(plan, files, requirements, key, (base.id, bundle_tag(launcher_base)))
    built = _needs_build(world.engine, plan, old, inputs)
    if built or old is None:
        facts, image = _build(plan, files, requirements, key, base, launcher_base, world)
        record = BuildRecord(image_id=image, inputs=inputs, facts=facts)
    else:
        record = old
    # Each step is recorded when it is done: after a failed one, the next run goes on from there.
    changed = _write(world, path, record)
    pushed = world.push and not record.pushed
    if pushed:
        world.progress(f"pushing {plan.image}")
        record = record.model_copy(update={"pushed": world.engine.push(plan.image, world.detail)})
        changed = max(changed, _write(world, path, record))
    session = None
    if world.store is not None:
        session = publish_facts(world.store, record.facts, key if plan.sealed else None)
    return ServiceResult(record.facts, built, pushed, session, changed)


def _write(world: ServiceWorld, path: str, record: BuildRecord) -> int:
    return world.workspace.write({path: record.to_text().encode()}, private=True)


def _old_record(workspace: Workspace, path: str) -> BuildRecord | None:
    text = workspace.read(path)
    if text is None:
        return None
    try:
        return BuildRecord.model_validate_json(text)
    except ValidationError:
        return None  # of another version: built again


def _available(world: ServiceWorld, reference: str) -> ImageInfo:
    found = world.engine.inspect(reference)
    if found is not None:
        return found
    world.progress(f"pulling {reference}")
    try:
        return world.engine.pull(reference, world.detail)
    except BuildFailed as error:
        error.hint = error.hint or "give another image with --base-image KIND=IMAGE or in sconectl.toml"
        raise


def _needs_build(engine: ImageEngine, plan: ServicePlan, old: BuildRecord | None, inputs: str) -> bool:
    if old is None or old.inputs != inputs:
        return True
    found = engine.inspect(plan.image)
    return found is None or found.id != old.image_id


def _inputs_digest(
    plan: ServicePlan, files: Sequence[CopiedFile], requirements: bytes | None, key: bytes, images: tuple[str, ...]
) -> str:
    """Return a digest of everything that the image depends on. Keyed, so that it reveals no guessable value."""
    document: dict[str, Any] = {
        "version": sconectl.__version__,
        "images": images,
        "plan": {name: value for name, value in vars(plan).items() if name != "model"},
        "model": plan.model.model_dump(mode="json"),
        "requirements": hashlib.sha256(requirements or b"").hexdigest(),
        "files": [
            (
                file.path,
                file.mode,
                file.link,
                hashlib.sha256(file.source.read_bytes()).hexdigest() if file.source else "",
            )
            for file in files
        ],
    }
    text = json.dumps(document, sort_keys=True, default=list)
    return hmac.new(key, b"inputs\0" + text.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()


def _build(
    plan: ServicePlan,
    files: Sequence[CopiedFile],
    requirements: bytes | None,
    key: bytes,
    base: ImageInfo,
    launcher_base: ImageInfo,
    world: ServiceWorld,
) -> tuple[ImageFacts, str]:
    with tempfile.TemporaryDirectory(prefix="sconectl-") as work:
        if world.engine.inspect(bundle_tag(launcher_base)) is None:
            world.progress("building the launcher (once per version and base image)")
        base_name = world.launcher_base or plan.base
        bundle = obtain_bundle(world.engine, base_name, launcher_base, world.environment, Path(work), world.detail)
        native = plan.native or _build_native(plan, files, requirements, world)
        world.progress("protecting and measuring the image")
        outside = tuple(sorted({*plan.outside, *(base.config.get("Volumes") or {})}))
        protection = Protection(plan.sealed, outside, plan.injected, plan.parameters)
        with world.engine.export(native) as stream:
            protected = protect(stream, protection, key, bundle, Path(work, "root.tar"))
        _require_binaries(plan, protected)
        facts = _facts(plan, protected, base, key)
        return facts, _load(plan, facts, base, bundle, protected.layer, world)


def _require_binaries(plan: ServicePlan, protected: ProtectedRoot) -> None:
    """Refuse a build whose `binaries` are not files of the image; all files are measured, named or not."""
    missing = [
        path for path in plan.model.build.binaries if path.startswith("/") and path not in protected.index.entries
    ]
    if missing:
        raise BuildFailed(f"not in the image: {', '.join(missing)}", hint="check binaries (--binary)")


def _build_native(
    plan: ServicePlan, files: Sequence[CopiedFile], requirements: bytes | None, world: ServiceWorld
) -> str:
    """Build the native image and return its id; the tag only keeps it as the engine's cache."""
    world.progress("building the native image")
    with tempfile.TemporaryFile() as context:
        native_context(
            plan.base,
            pwd=plan.pwd,
            requirements=requirements,
            files=files,
            run=plan.run,
            environment=world.environment,
            context=context,
        )
        context.seek(0)
        return world.engine.build(cast(BinaryIO, context), native_image_name(plan.name), world.detail)


def _facts(plan: ServicePlan, protected: ProtectedRoot, base: ImageInfo, key: bytes) -> ImageFacts:
    variables = dict(entry.partition("=")[::2] for entry in base.config.get("Env") or ())
    facts = image_facts(
        plan,
        measurement=protected.measurement,
        root=protected.index.digest(),
        outside=protected.index.outside,
        fspf=Fspf(path=FSPF_PATH, tag=protected.fspf_tag) if plan.sealed else None,
        image_environment=variables,
        salt="",
    )
    return facts.model_copy(update={"salt": salt_of(facts, key)})


def _load(
    plan: ServicePlan, facts: ImageFacts, base: ImageInfo, bundle: Bundle, root: Layer, world: ServiceWorld
) -> str:
    world.progress(f"loading {plan.image}")
    config: dict[str, Any] = {name: base.config[name] for name in _CARRIED if base.config.get(name)}
    config |= {"Entrypoint": list(ENTRYPOINT), "Labels": {LABEL: facts.label()}}
    layers = [bundle.layer, root]
    blob = image_config(config, architecture=base.architecture, layers=layers)
    world.engine.load(image_archive(plan.image, blob, layers))
    found = world.engine.inspect(plan.image)
    if found is None:
        raise BuildFailed(f"the engine took {plan.image} but does not show it")
    return found.id
