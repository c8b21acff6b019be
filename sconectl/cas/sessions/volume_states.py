"""The states of volumes as their owners see them, and the deliberate way back to an older one.

In: the session that owns a volume, and a client. Out: tags, who writes now, and what an owner has accepted. A storage
that was restored needs its tag to be moved to the state that the owner names; all other older states stay refused.
Raises `CasRefusal`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sconectl.cas.attest import leases
from sconectl.cas.attest.tags import Subject, check_tag, current_tag
from sconectl.cas.attest.volumes import own_subject
from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.sessions.access import Client, Principal
from sconectl.cas.sessions.authorization import fields_of, require
from sconectl.policy.reading import Session, Volume

if TYPE_CHECKING:
    from sconectl.cas.sessions.sharing import Sharing
    from sconectl.cas.store.store import Store, Transaction


class VolumeStates:
    """What owners may see and do of the states of volumes in `store`."""

    def __init__(self, store: Store, sharing: Sharing, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._sharing = sharing
        self._clock = clock

    def listed(self, name: str, principal: Principal | None) -> list[dict[str, Any]]:
        """Return the volumes that the session `name` owns, for clients that may read it."""
        return self._sharing.retrying(lambda: self._listed(name, principal))

    def accept(
        self, name: str, volume: str, old: str | None, new: str | None, principal: Principal | None
    ) -> dict[str, Any]:
        """Make `new` the tag of a volume instead of `old`, for clients that may update the session; return it.

        None stands for the state before anything was written. Refused with 409 if `old` is not the current tag, or if
        an instance has the lease.
        """
        for tag in (old, new):
            check_tag(tag)
        return self._sharing.retrying(lambda: self._accept(name, volume, old, new, Client(principal)))

    def _listed(self, name: str, principal: Principal | None) -> list[dict[str, Any]]:
        with self._store.reading() as transaction:
            session = _active(transaction, name)
            head = f"Reading the volumes of session {name} failed"
            require(transaction, self._sharing, session, "read", Client(principal), head)
            return [self._state(transaction, session, volume) for volume in session.volumes if volume.import_ is None]

    def _state(self, transaction: Transaction, session: Session, volume: Volume) -> dict[str, Any]:
        subject = own_subject(transaction, session, volume)
        now = self._clock().timestamp()
        lease = leases.lease_of(transaction, subject, now)
        tag = current_tag(transaction, subject)
        accepted = json.loads(transaction.meta(_row(subject)) or "null")
        return {
            "name": volume.name,
            "tag": tag,
            "files": volume.files,
            "in_use": {"by": lease.name, "until": lease.until_text} if lease and now < lease.until else None,
            "accepted": accepted if accepted and accepted["tag"] == tag else None,
        }

    def _accept(self, name: str, volume: str, old: str | None, new: str | None, client: Client) -> dict[str, Any]:
        with self._store.writing() as transaction:
            session = _active(transaction, name)
            head = f"Accepting a state of volume {volume} failed"
            require(transaction, self._sharing, session, "update", client, head)
            subject = own_subject(transaction, session, _owned(session, volume))
            now = self._clock()
            lease = leases.lease_of(transaction, subject, now.timestamp())
            if lease is not None and now.timestamp() < lease.until:
                raise leases.in_use(volume, lease)
            current = current_tag(transaction, subject)
            if old != current:
                raise CasRefusal(409, head, f"Its current tag is {current or 'none'}, not {old or 'none'}")
            transaction.set_tag(subject.owner, subject.key, new or "")
            reached = current_tag(transaction, subject)
            fields = fields_of(transaction, name, transaction.active_hash(name) or "", client)
            at = now.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
            mark = {"tag": reached, "at": at, "by": fields["client"]}
            transaction.set_meta(_row(subject), json.dumps(mark))
            transaction.record("volume_tag_accepted", **fields, volume=volume, old=current or "", new=reached or "")
            return {"tag": reached}


def _active(transaction: Transaction, name: str) -> Session:
    version = transaction.session(name)
    if version is None:
        raise CasRefusal(404, f"Session not found: there is no session {name}")
    return version.session()


def _owned(session: Session, name: str) -> Volume:
    volume = session.volume(name)
    if volume is None:
        raise CasRefusal(404, f"Session {session.name} has no volume {name}")
    if volume.import_ is not None:
        raise CasRefusal(
            403, f"Session {session.name} imports volume {name}", f"Its state is that of {volume.import_.session}"
        )
    return volume


def _row(subject: Subject) -> str:
    return f"accepted:{subject.owner}/{subject.key}"
