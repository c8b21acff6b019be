"""Effects of a service manifest: native image, protected image, push, image session, target/images.

In: a plan, its sources and the outside world. Out: a `ServiceResult` that says what was done and what was already
there.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import sconectl
from sconectl.apply.image_sessions import publish_facts, salt_of
from sconectl.apply.native import NativeSources, build_native, sources_digest
from sconectl.apply.sessions import Uploaded
from sconectl.apply.stable import find_stable, stable_remarks
from sconectl.apply.work_directory import work_directory
from sconectl.errors import BuildFailed, EngineUnreachable
from sconectl.image.build.native_build import BuildEnvironment
from sconectl.image.layers.image_archive import image_archive, image_config
from sconectl.image.layers.layer_cache import LayerCache
from sconectl.image.layers.layer_rewrite import BuildTime, common_layers
from sconectl.image.layers.loaded_layers import LoadedLayers
from sconectl.image.layers.saved_image import NativeImage, no_space_explained, open_native, require_supported
from sconectl.image.program.program_check import check_program
from sconectl.image.settings.carried import carried
from sconectl.image.settings.exposed_ports import exposed_ports
from sconectl.image.settings.image_user import ImageUser, image_user
from sconectl.image.settings.native_environment import HOST_NAMES, NativeEnvironment, native_environment
from sconectl.image.settings.native_places import mounted_volumes, real_paths, require_buildable, require_room
from sconectl.image.settings.volume_places import left_behind
from sconectl.plan.advice.public_values import refuse_private_variables
from sconectl.plan.facts.declaration import DECLARATION, MEDIA_TYPE, declare
from sconectl.plan.facts.image_facts import BuildRecord, ImageFacts
from sconectl.plan.facts.image_label import ImageLabel
from sconectl.plan.facts.naming import without_tag
from sconectl.plan.service.service import ServicePlan, image_facts
from sconectl.ports import ImageEngine, ImageInfo, Keys, Progress, Registry, SessionStore, Workspace
from sconectl.toolchains.interface import Assembly, ProtectedImage, Protection, Toolchain, Workshop


@dataclass(frozen=True)
class ServiceWorld:
    """The outside world of a service manifest. `store` is None where no session is to be written.

    `cache` is the directory for what can be made again; `epoch` is SOURCE_DATE_EPOCH, if it is set.
    """

    toolchain: Toolchain
    engine: ImageEngine
    registry: Callable[[], Registry]
    keys: Keys
    workspace: Workspace
    store: SessionStore | None
    environment: BuildEnvironment
    launcher_base: str
    cache: Path
    push: bool
    progress: Progress
    """Told of every step."""
    detail: Progress
    """Told what the engine prints."""
    epoch: int | None = None
    remark: Progress = lambda _text: None
    """Told what is no fault, but worth knowing."""


@dataclass(frozen=True)
class ServiceResult:
    """What was done for a service manifest.

    `base` is the base image with its id, `image` the id of the image, and `digest` what its registry gave it, if it
    was pushed.
    """

    facts: ImageFacts
    base: str
    image: str
    digest: str
    built: bool
    pushed: bool
    session: Uploaded | None
    files_changed: int


def apply_service(
    plan: ServicePlan, sources: NativeSources, world: ServiceWorld, *, native: ImageInfo | None = None
) -> ServiceResult:
    """Build, push and record the image of a service; nothing is done twice.

    `native` is the image that the plan was made for, if there was one to look at. Names are looked up once, at the
    beginning; from there on images are known by their ids, because others may use the same names meanwhile.

    Raises `BuildFailed` and `CasError`; what was not finished is finished by the next run.
    """
    path = f"images/{plan.build.name}.json"
    world.workspace.files("images")  # raises before anything is built if a file is in the place of the directory
    old = _old_record(world.workspace, path)
    build = _Build(plan, sources, world, native)
    inputs = build.inputs_digest()
    built = _needs_build(world.engine, old, inputs)
    if built or old is None:
        facts, image = build.run()
        record = BuildRecord(image_id=image, inputs=inputs, facts=facts)
    else:
        record = old
    _name(world.engine, record.image_id, plan.image)
    # Each step is recorded when it is done: after a failed one, the next run goes on from there.
    changed = _write(world, path, record)
    pushed = world.push and not record.pushed
    if pushed:
        world.progress(f"pushing {plan.image}")
        digest = world.engine.push(record.image_id, plan.image, world.detail)
        _publish(plan, record.image_id, digest, world)
        record = record.model_copy(update={"pushed": digest})
        changed = max(changed, _write(world, path, record))
    session = None
    if world.store is not None:
        session = publish_facts(world.store, record.facts, build.key if plan.sealed else None)
    return ServiceResult(record.facts, build.base, record.image_id, record.pushed, built, pushed, session, changed)


def _publish(plan: ServicePlan, image: str, digest: str, world: ServiceWorld) -> None:
    """Put what a public image declares beside it into the registry, where tools find it that know no label of ours."""
    found = world.engine.inspect(image) if plan.public else None
    if found is not None:
        content = found.labels[DECLARATION].encode()
        world.registry().attach(plan.image, digest, content, MEDIA_TYPE)


def _write(world: ServiceWorld, path: str, record: BuildRecord) -> int:
    return world.workspace.write({path: record.to_text().encode()}, private=True)


def _old_record(workspace: Workspace, path: str) -> BuildRecord | None:
    text = workspace.read(path)
    if text is None:
        return None
    try:
        return BuildRecord.read(text)
    except ValidationError:
        return None  # of another version: built again


def _available(world: ServiceWorld, reference: str, *, native: bool = False) -> ImageInfo:
    found = world.engine.inspect(reference)
    if found is None:
        world.progress(f"pulling {reference}")
        try:
            found = world.engine.pull(reference, world.detail)
        except BuildFailed as error:
            # Where an image is converted there are no kinds of base images; the launcher's is in the configuration.
            another = (
                "correct the name of the image to convert, or of [launcher] base_image in sconectl.toml"
                if native
                else "give another image with --base-image KIND=IMAGE or in sconectl.toml"
            )
            error.hint = f"{error.hint}; or {another}" if error.hint else another
            raise
    require_supported(reference, found)
    return found


def _needs_build(engine: ImageEngine, old: BuildRecord | None, inputs: str) -> bool:
    return old is None or old.inputs != inputs or engine.inspect(old.image_id) is None


def _name(engine: ImageEngine, image: str, name: str) -> None:
    """Give an image its name, unless it has it: somebody may have given that to another image since it was made."""
    found = engine.inspect(name)
    if found is None or found.id != image:
        engine.tag(image, name)


@dataclass(frozen=True)
class EarlierRuns:
    """What earlier runs left: the launcher, the facts of an image made from the same inputs, whether it was pushed."""

    launcher: bool = False
    facts: ImageFacts | None = None
    pushed: bool = False

    @property
    def unchanged(self) -> bool:
        """Whether there is nothing to build."""
        return self.facts is not None


def earlier_runs(plan: ServicePlan, sources: NativeSources, world: ServiceWorld) -> EarlierRuns:
    """Return the results of earlier runs that still fit the plan. Builds and pulls nothing."""
    base = world.engine.inspect(plan.base or plan.native)
    launcher_base = world.engine.inspect(world.launcher_base or plan.base)
    launcher = launcher_base is not None and world.toolchain.has_launcher(world.engine, launcher_base, world.cache)
    old = _old_record(world.workspace, f"images/{plan.build.name}.json")
    if old is None or base is None or launcher_base is None:
        return EarlierRuns(launcher)
    if _needs_build(world.engine, old, _Build(plan, sources, world, base).inputs_digest()):
        return EarlierRuns(launcher)
    return EarlierRuns(launcher, old.facts, bool(old.pushed))


class _Build:
    """One build of one image: what it starts from, then what it does."""

    def __init__(
        self, plan: ServicePlan, sources: NativeSources, world: ServiceWorld, base: ImageInfo | None = None
    ) -> None:
        self._plan, self._sources, self._world = plan, sources, world
        self.key = world.keys.image_key(without_tag(plan.image))
        self._reference = plan.base or plan.native
        self._base = base or _available(world, self._reference, native=bool(plan.native))
        require_supported(self._reference, self._base)
        require_room(self._reference, len(self._base.layers))
        if plan.base:
            require_buildable(self._reference, self._base)
        own = world.launcher_base not in ("", self._reference)
        self._launcher_base = _available(world, world.launcher_base, native=bool(plan.native)) if own else self._base
        require_buildable(world.launcher_base, self._launcher_base)
        self._time = BuildTime.of(self._base.created, world.epoch)
        self._signing_key = (sources.signing_key or world.keys.signing_key()) if plan.signed else b""
        self._stable = (
            find_stable(plan.stable, plan.toolchain.name, engine=world.engine, registry=world.registry)
            if plan.stable
            else None
        )

    @property
    def base(self) -> str:
        """The base image, as it is called and with its id."""
        return f"{self._reference}@{self._base.id}"

    def inputs_digest(self) -> str:
        """Return a digest of everything that the image depends on. Keyed, so that it reveals no guessable value."""
        document: dict[str, Any] = {
            "version": sconectl.__version__,
            "images": [self._base.id, self._world.toolchain.launcher_key(self._launcher_base)],
            "toolchain": self._plan.toolchain.name,
            "epoch": self._time.epoch,
            "signing_key": hashlib.sha256(self._signing_key).hexdigest(),
            "stable": self._stable and self._stable.measurement,
            "plan": {**vars(self._plan), "toolchain": "", "model": self._plan.model.model_dump(mode="json")},
            "sources": sources_digest(self._sources, self._world.cache),
        }
        text = json.dumps(document, sort_keys=True, default=list)
        return hmac.new(self.key, b"inputs\0" + text.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()

    def run(self) -> tuple[ImageFacts, str]:
        """Make the image; return its facts and its id."""
        plan, world, toolchain = self._plan, self._world, self._world.toolchain
        world.engine.sweep()
        with work_directory() as work, no_space_explained(work):
            if not toolchain.has_launcher(world.engine, self._launcher_base, world.cache):
                world.progress("building the launcher (once per version and base image)")
            workshop = Workshop(world.engine, world.environment, work, world.cache, world.detail)
            launcher = toolchain.launcher(self._launcher_base, workshop)
            native = self._base if plan.native else self._built()
            world.progress("protecting and measuring the image")
            assembly = Assembly(self._base.layers, self.key, launcher, self._time, work, world.cache, self._signing_key)
            with open_native(world.engine, self._reference, native, work, world.cache, secret=plan.sealed) as image:
                require_room(self._reference, len(image.layers))
                others = mounted_volumes(image.tree, self._base.config, plan.volumes)
                outside = real_paths(image.tree, {*plan.outside, *others})
                environment = native_environment(self._base.config, image.tree)
                self._check_program(image)
                pwd, asked = plan.build.pwd, toolchain.health_command
                kept = carried(
                    self._base.config,
                    image.tree,
                    pwd=pwd,
                    sealed=plan.sealed,
                    ask_health=asked,
                    volumes=tuple(plan.volumes),
                )
                for line in (*left_behind(image.tree.members, plan.volumes), *(kept.left_out if plan.native else ())):
                    world.remark(line)
                parameters = {**plan.parameters, **kept.parameters}
                protection = Protection(plan.sealed, outside, plan.injected, parameters, (pwd,), plan.volumes)
                protected = toolchain.protect(image, protection, assembly)
                user = image_user(self._base.config, image.tree)
                facts = self._facts(protected, environment, parameters, user)
                return facts, self._load(facts, kept.configuration, protected, image.info)

    def _built(self) -> ImageInfo:
        """Build the native image."""
        world = self._world
        made = build_native(
            self._plan,
            self._sources,
            self._base,
            engine=world.engine,
            environment=world.environment,
            cache=world.cache,
            progress=world.progress,
            detail=world.detail,
        )
        found = world.engine.inspect(made)
        if found is None:
            raise BuildFailed("somebody removed the native image after it was built", hint="apply again")
        return found

    def _check_program(self, image: NativeImage) -> None:
        """Refuse what could not start, before anything is protected."""
        checked = check_program(self._plan, image.info, image.tree)
        for remark in checked.remarks if checked else ():
            self._world.remark(remark)

    def _facts(
        self,
        protected: ProtectedImage,
        environment: NativeEnvironment,
        parameters: Mapping[str, str],
        user: ImageUser | None,
    ) -> ImageFacts:
        facts = image_facts(
            replace(self._plan, parameters=parameters),
            measurement=protected.measurement,
            root=protected.root,
            outside=protected.outside,
            fspf=protected.fspf,
            signer=protected.signer,
            stable=(self._stable.measurement,) if self._stable else (),
            image_environment=environment.given,
            runtime_environment=environment.added if self._plan.native else {},
            host_names=HOST_NAMES if self._plan.native else (),
            exposed=exposed_ports(self._base.config),
            account=(user.number, user.group) if user else None,
            salt="",
        )
        if self._stable:
            for remark in stable_remarks(self._plan.stable, self._stable, facts, self._world.store):
                self._world.remark(remark)
        return facts.model_copy(update={"salt": salt_of(facts, self.key)})

    def _load(
        self, facts: ImageFacts, configuration: Mapping[str, Any], protected: ProtectedImage, native: ImageInfo
    ) -> str:
        plan, engine = self._plan, self._world.engine
        self._world.progress(f"loading {plan.image}")
        digests = [layer.digest for layer in protected.layers]
        blob = image_config(self._labelled(configuration, facts), layers=digests, epoch=self._time.epoch)
        before = LoadedLayers(LayerCache(self._world.cache / "layers"), engine.inspect)
        known = before.images(digests, common_layers(digests, self._base.layers))
        previous = engine.inspect(plan.image)  # whichever that is: the engine knows layers by their digests
        others = (self._base, native, previous, *(info for images in known.values() for info in images))
        there = max(common_layers(digests, info.layers) for info in others if info)
        try:
            loaded = engine.load(image_archive(blob, protected.layers, left_out=there))
        except EngineUnreachable:
            raise
        except BuildFailed:
            if not there:
                raise
            loaded = engine.load(image_archive(blob, protected.layers))  # some engines take complete images only
        found = engine.inspect(loaded)
        if found is None or found.layers != tuple(f"sha256:{digest}" for digest in digests):
            raise BuildFailed(f"the engine took {plan.image} but shows another image", hint="apply again")
        before.keep(known, loaded)
        return loaded

    def _labelled(self, configuration: Mapping[str, Any], facts: ImageFacts) -> dict[str, Any]:
        label = ImageLabel.of(facts, simulated=self._plan.toolchain.simulated)
        labels = label.among(self._base.labels)
        if self._plan.public:
            labels[DECLARATION] = self._declaration(facts)
        return {**configuration, "Entrypoint": list(self._world.toolchain.entrypoint), "Labels": labels}

    def _declaration(self, facts: ImageFacts) -> str:
        refuse_private_variables(facts)
        return declare(facts, self._signing_key)
