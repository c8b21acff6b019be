"""Sessions in the namespace of a mesh that no service of it owns, and that still give something to somebody.

In: a session store, the sessions of the mesh, and what the lock knows. Out: a `LeftBehind`. Nothing is written: what is
to be retired is an `Update` like any other.

That this mesh wrote a session is believed only if the CAS has the very version that the lock names: a session of that
name that changed since may belong to another mesh in the same namespace by now.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from sconectl.apply.lock.lock_file import keyed
from sconectl.apply.sessions import Update, document_of, with_content
from sconectl.errors import CasError, CasNotTrusted, CasRefused, CasUnreachable, LocalFault
from sconectl.policy.diff.diff_secrets import recipients
from sconectl.policy.reading import Session, examine
from sconectl.policy.retired import retired
from sconectl.ports import SessionStore, StoredSession

Origin = Literal["mesh", "changed", "unknown"]
_FORBIDDEN = 403
_OF_IMAGE = "image~"


@dataclass(frozen=True)
class Known:
    """What the lock says: the keyed hash of each session that this mesh `wrote`, and the sessions of other meshes."""

    wrote: Mapping[str, str] = field(default_factory=dict)
    others: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Prune:
    """What is to be retired: what this mesh wrote (`own`), and sessions by name."""

    own: bool = False
    named: tuple[str, ...] = ()


@dataclass(frozen=True)
class Orphan:
    """A session that no service owns.

    `origin`: this mesh wrote it; it did, and the session was `changed` since; or that is `unknown`. `session` is None
    if it may not be read. `importers` are the sessions of the mesh that still import from it.
    """

    name: str
    origin: Origin
    stored: StoredSession | None = field(default=None, repr=False)
    session: Session | None = field(default=None, repr=False)
    importers: tuple[str, ...] = ()

    @property
    def programs(self) -> dict[str, tuple[str, ...]]:
        """The services that may still start, each with the measurements that are named for it."""
        return {service.name: service.measurements for service in self.session.services} if self.session else {}

    @cached_property
    def secrets(self) -> dict[str, list[str]]:
        """The secrets that somebody may still have, and who: services, other sessions, namespaces, everybody."""
        return {name: who for name, who in recipients(self.session).items() if who} if self.session else {}

    @property
    def volumes(self) -> dict[str, list[str]]:
        """The volumes that other sessions may still use, and which."""
        volumes = self.session.volumes if self.session else ()
        return {each.name: [f"session {export.session}" for export in each.export] for each in volumes if each.export}

    @property
    def gives(self) -> bool:
        """Whether it gives anything to anybody, as far as that may be known."""
        return self.session is None or bool(self.programs or self.secrets or self.volumes)


@dataclass(frozen=True)
class LeftBehind:
    """What is left in a namespace. `retiring` are those of the orphans that are to be retired.

    `hidden` says why the namespace could not be listed; only what the lock names was looked at then. `present` are all
    sessions that were found, with those that give nothing.
    """

    orphans: tuple[Orphan, ...] = ()
    retiring: tuple[Update, ...] = ()
    hidden: str = ""
    present: frozenset[str] = frozenset()

    @property
    def staying(self) -> tuple[Orphan, ...]:
        """The orphans that are not to be retired."""
        gone = {update.name for update in self.retiring}
        return tuple(orphan for orphan in self.orphans if orphan.name not in gone)

    def without_retired(self) -> LeftBehind:
        """Return what is left when the orphans that are to be retired are."""
        return replace(self, orphans=self.staying, retiring=())


def look_around(store: SessionStore, updates: Sequence[Update], known: Known, prune: Prune) -> LeftBehind:
    """Return what is left behind in the namespace, whose session is the first of `updates`. Raises `CasError`."""
    namespace = updates[0]
    if namespace.seen is None:
        return LeftBehind()
    owned = known.others | {update.name for update in updates}
    names, hidden = _names(store, namespace.name, {*known.wrote, *prune.named})
    looked = (_look(store, name, known, namespace.salt) for name in names if not _is_owned(name, owned))
    found = [each for each in looked if each is not None]
    orphans = tuple(replace(each, importers=tuple(_importers(each.name, updates))) for each in found if each.gives)
    retiring = [_retirement(each) for each in orphans if _is_meant(each, prune)]
    present = owned | {each.name for each in found}
    return LeftBehind(orphans, tuple(filter(None, retiring)), hidden, frozenset(present))


def _names(store: SessionStore, namespace: str, otherwise: Collection[str]) -> tuple[list[str], str]:
    """Return the sessions in a namespace; those that are known `otherwise`, and the reason, if it may not be listed."""
    try:
        return [listed.name for listed in store.list_sessions(namespace)], ""
    except (CasUnreachable, CasNotTrusted, LocalFault):
        raise
    except CasError as error:  # it may not be listed, or this CAS cannot list it: both are no reason to change nothing
        return sorted(otherwise), error.message


def _is_owned(name: str, owned: Collection[str]) -> bool:
    return name in owned or name.rpartition("/")[2].startswith(_OF_IMAGE)


def _look(store: SessionStore, name: str, known: Known, salt: str) -> Orphan | None:
    try:
        stored = store.read(name)
    except CasRefused as error:
        if error.status != _FORBIDDEN:
            raise
        return Orphan(name, "mesh" if name in known.wrote else "unknown")
    if stored is None:
        return None
    origin: Origin = "unknown"
    if name in known.wrote:
        origin = "mesh" if keyed(salt, stored.hash) == known.wrote[name] else "changed"
    return Orphan(name, origin, stored, examine(stored.text).session)


def _importers(name: str, updates: Sequence[Update]) -> Iterator[str]:
    for update in updates:
        secrets = (secret.import_ for secret in update.wanted.secrets)
        sources = {source.session for source in secrets if source and not source.cas_url}
        volumes = {volume.import_.session for volume in update.wanted.volumes if volume.import_}
        if name in sources | volumes:
            yield update.name


def _is_meant(orphan: Orphan, prune: Prune) -> bool:
    meant = orphan.name in prune.named or (prune.own and orphan.origin == "mesh")
    return meant and not orphan.importers


def _retirement(orphan: Orphan) -> Update | None:
    if orphan.session is None or orphan.stored is None:
        return None
    return with_content(document_of(retired(orphan.session)), orphan.stored, orphan.session)
