"""Effects of a mesh: sessions into the CAS in order, then target/policies and target/helm.

In: a plan and the outside world. Out: a `MeshResult`. Every session is either as it was or new; a run that was cut
off is finished by the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from sconectl.apply.copies.copied_images import Copied, Copying
from sconectl.apply.image_sessions import share_image
from sconectl.apply.lock.lock_file import LockedChart, LockedPods
from sconectl.apply.retiring.orphans import LeftBehind
from sconectl.apply.rolling.rollouts import Rolled, Rollout
from sconectl.apply.sessions import Update, Uploaded, look_up, put
from sconectl.apply.signed_policies import NOTHING, Receipts, Shipped, Signing, ship
from sconectl.artefacts.chart import ChartContent, chart_content
from sconectl.artefacts.chart_version import next_version, written_version
from sconectl.artefacts.manifests import manifest_files
from sconectl.artefacts.policy_resources import chart_policies
from sconectl.artefacts.session import policy_files, session_text
from sconectl.errors import BuildFailed, CasError, CasUnreachable, InvalidInput, PlanImpossible
from sconectl.plan.mesh.chart_plan import ChartPlan, ChartService, Digests
from sconectl.plan.mesh.mesh import MeshPlan
from sconectl.plan.mesh.mesh_input import ENCRYPTED_ONLY
from sconectl.plan.mesh.own_chart import CHART_FILE
from sconectl.policy.reading import Session
from sconectl.policy.session_check import checked
from sconectl.ports import Keys, Progress, SessionStore, Workspace
from sconectl.text.findings import Finding

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def _no_key() -> NoReturn:
    raise PlanImpossible("the key for signed sessions is not at hand", hint="give a directory with --cas-config")


def _not_asked(_session: str) -> NoReturn:
    raise CasUnreachable("the CAS is not asked")


@dataclass(frozen=True)
class MeshWorld:
    """The outside world of a mesh. `store` is None where nothing is to be uploaded.

    `image_store` is None where no key of an image is to be shared. `signing_key` and `encryption_key` (of the CAS) are
    asked in modes with signed sessions only, and so is `active_hash` (of a session in the CAS); `receipts` are those of
    earlier runs. With a `release`, manifests are written beside the chart.
    Without a `chart_version`, that of the chart changes with its content: against `last_chart`, which the lock knows,
    else against the chart in the workspace. `copying` is None where no image is to be copied; `pushed` are the digests
    of images that earlier runs pushed.
    """

    store: SessionStore | None
    image_store: SessionStore | None
    keys: Keys
    workspace: Workspace
    progress: Progress
    signing_key: Callable[[], Ed25519PrivateKey] = _no_key
    encryption_key: Callable[[], str] = _no_key
    active_hash: Callable[[str], str | None] = _not_asked
    receipts: Receipts = field(default_factory=dict)
    release: str = ""
    chart_version: str = ""
    last_chart: LockedChart | None = None
    copying: Copying | None = None
    pushed: Digests = field(default_factory=dict)


@dataclass(frozen=True)
class MeshResult:
    """What was done for a mesh: `sessions` in a CAS, `shipped` ones that are signed or encrypted.

    `updates` are the sessions of the mesh beside what the CAS had before, `rollouts` those that have two versions now.
    `left` is what nobody owns any more, and `retired` what `prune` took of it; None where no CAS was asked. `helm` is
    the chart with the marks of these sessions.
    """

    sessions: tuple[Uploaded, ...]
    updates: tuple[Update, ...]
    files_changed: int
    chart: LockedChart
    helm: ChartPlan
    shipped: Shipped = NOTHING
    rollouts: tuple[Rollout, ...] = ()
    left: LeftBehind | None = None
    retired: tuple[Uploaded, ...] = ()
    copied: tuple[Copied, ...] = ()

    @property
    def all_updates(self) -> tuple[Update, ...]:
        """The sessions of the mesh, and those that are to be retired."""
        return (*self.updates, *(self.left.retiring if self.left else ()))


def _shipped(plan: MeshPlan, world: MeshWorld) -> Shipped:
    signing = Signing(world.signing_key(), world.encryption_key, world.active_hash, world.receipts)
    return ship(plan, signing, world.workspace)


def check_sessions(plan: MeshPlan, *, kept: bool = True) -> tuple[Session, ...]:
    """Return the sessions as a CAS reads them, none unless they are to be `kept`: thousands take much memory.

    Raises `InvalidInput` with the findings of every session that the rules of the policy language refuse.
    """
    findings: list[Finding] = []
    sessions: list[Session] = []
    for session in plan.sessions:
        text = partial(session_text, session.document)
        examined = checked(session.document, text, file=f"policies/{session.file}.yaml")
        findings += examined.findings
        sessions += [examined.session] if kept and examined.session else []
    if findings:
        raise InvalidInput(findings, summary="the generated policies break rules of the policy language")
    return tuple(sessions)


def apply_mesh(
    plan: MeshPlan,
    world: MeshWorld,
    approve: Callable[[Sequence[Update]], None] = lambda _updates: None,
    roll_out: Callable[[MeshPlan, Sequence[Update]], Rolled] = lambda plan, updates: Rolled(plan, tuple(updates)),
    look_around: Callable[[SessionStore, Sequence[Update]], LeftBehind] = lambda _store, _updates: LeftBehind(),
) -> MeshResult:
    """Upload what changed and write what changed. Raises what the ports raise, `PlanImpossible` and `InvalidInput`.

    Before anything is uploaded or written, `roll_out` says which versions of services the sessions hold, `look_around`
    what else is in the namespace, and `approve` gets what would become of all; each may raise. What is to be retired is
    left to `prune`, when everything else is done.
    """
    given, sessions = plan, check_sessions(plan, kept=world.store is not None)
    for folder in ("policies", "helm", "manifests"):
        world.workspace.files(folder)  # raises before anything is uploaded if a file is in the place of one
    shipped = _shipped(plan, world) if plan.signed else NOTHING
    resources = shipped.resources if plan.installed else {}
    rolled = roll_out(plan, _beside(plan, sessions, world))
    updates = rolled.updates
    if rolled.plan is not plan:
        plan = rolled.plan
        check_sessions(plan, kept=False)
    left = look_around(world.store, updates) if world.store is not None and updates else None
    approve((*updates, *left.retiring) if left else updates)
    policies = {} if plan.mode == ENCRYPTED_ONLY else policy_files(plan)
    private = {**{f"policies/{path}": content for path, content in policies.items()}, **shipped.files}

    digests = dict(world.pushed)

    def charted() -> tuple[ChartPlan, ChartContent]:
        helm = plan.chart_for(updates[0].salt) if updates else _as_locked(plan.chart, world.last_chart)
        return helm, chart_content(helm.by_digest(digests), chart_policies(resources))

    helm, content = charted()  # before anything is uploaded
    copied = _copied(plan, world)
    digests |= {
        (wanted.to, wanted.measurement): done.digest for wanted, done in zip(plan.copies, copied, strict=bool(copied))
    }
    uploaded = _upload(plan, world, updates)
    raced = bool(updates) and updates[0].salt != uploaded[0].salt  # somebody else created the namespace in between
    if raced:
        updates = (replace(updates[0], salt=uploaded[0].salt), *updates[1:])
    if raced or copied:
        helm, content = charted()
    version = _version(content, world)
    chart = {f"helm/{path}": text for path, text in content.with_version(version).items()}
    manifests = manifest_files(helm.by_digest(digests), world.release, resources) if world.release else {}
    changed = world.workspace.write(private, replaces=("policies",), private=True)
    changed += world.workspace.write(chart, replaces=("helm",))
    below = {f"manifests/{path}": content for path, content in manifests.items()}
    changed += world.workspace.write(below, replaces=("manifests",))
    written = LockedChart(version=version, content=content.digest, pods=_pods(given.chart, helm))
    return MeshResult(tuple(uploaded), updates, changed, written, helm, shipped, rolled.rollouts, left, copied=copied)


def _copied(plan: MeshPlan, world: MeshWorld) -> tuple[Copied, ...]:
    """Copy the images: a program of a copy that is not there could not start."""
    if world.copying is None:
        return ()
    squash = bool(plan.repo and plan.repo.squash)
    return tuple(world.copying.copy(wanted, squash=squash) for wanted in plan.copies)


def _pods(offline: ChartPlan, written: ChartPlan) -> dict[str, LockedPods]:
    """Return what the lock keeps of the pods; `offline` is the chart as it is where no CAS is asked."""
    marks = {service.name: service.configuration for service in offline.services}
    return {
        service.name: LockedPods(
            offline=marks[service.name], config_id=service.config_id, configuration=service.configuration
        )
        for service in written.services
    }


def _as_locked(chart: ChartPlan, last: LockedChart | None) -> ChartPlan:
    """Return a chart that is made without a CAS, with what the last apply learnt of pods that get the same."""
    pods = last.pods if last else {}

    def same(service: ChartService) -> ChartService:
        found = pods.get(service.name)
        if found is None or not service.configuration or found.offline != service.configuration:
            return service
        return replace(service, config_id=found.config_id, configuration=found.configuration)

    return replace(chart, services=tuple(map(same, chart.services)))


def prune(store: SessionStore, done: MeshResult, progress: Progress) -> MeshResult:
    """Retire what is to be retired, and return the result without it. Raises `CasError`."""
    assert done.left is not None  # noqa: S101 - there is something to be retired
    retired = []
    for update in done.left.retiring:
        progress(f"retiring session {update.name}")
        retired.append(put(store, update))
    return replace(done, left=done.left.without_retired(), retired=tuple(retired))


def _version(content: ChartContent, world: MeshWorld) -> str:
    """Return the version that is asked for, else one that differs from the last one if the content does."""
    if world.last_chart:
        return world.chart_version or next_version(world.last_chart.version, world.last_chart.content == content.digest)
    try:
        before = world.workspace.read(f"helm/{CHART_FILE}")
    except BuildFailed:
        before = None  # something that is no file: it is replaced, or writing says why that cannot be
    previous, digest = written_version(before)
    return world.chart_version or next_version(previous, digest == content.digest)


def looked_up(plan: MeshPlan, world: MeshWorld) -> tuple[Update, ...]:
    """Return the sessions of a plan beside what the CAS has, where they are uploaded at all. Raises what a CAS does."""
    return _beside(plan, check_sessions(plan), world)


def _beside(plan: MeshPlan, sessions: Sequence[Session], world: MeshWorld) -> tuple[Update, ...]:
    if world.store is None:
        return ()
    world.progress(f"looking up {len(plan.sessions)} sessions")
    namespace, *services = zip(plan.sessions, sessions, strict=True)
    salted = look_up(world.store, namespace[0].document, salted=True)
    return (salted, *(look_up(world.store, session.document, wanted) for session, wanted in services))


def _upload(plan: MeshPlan, world: MeshWorld, updates: Sequence[Update]) -> list[Uploaded]:
    """Upload the sessions, the namespace first, and let them, and the people of the mesh, have those of its images."""
    done: list[Uploaded] = []
    store, keeper = world.store, world.image_store or world.store

    def upload(found: Sequence[Update]) -> None:
        for update in found:
            assert store is not None  # noqa: S101 - without one, there are no updates
            world.progress(f"session {update.name}")
            done.append(put(store, update))

    try:
        upload(updates[:1])
        for share in plan.shares:
            if keeper is not None:
                world.progress(f"session {share.facts.image_session}")
                shared = share_image(keeper, share, world.keys)
                done += [shared] if shared else []
        upload(updates[1:])
    except (CasError, PlanImpossible) as error:
        written = [entry.name for entry in done if entry.outcome != "unchanged"]
        if written:
            note = f"written before that: {', '.join(written)}; run the command again to finish"
            error.hint = f"{error.hint}; {note}" if error.hint else note
        raise
    return done
