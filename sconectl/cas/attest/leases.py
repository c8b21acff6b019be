"""Leases: which instance may write to a volume, and until when; there is one at a time.

In: who wants to have or to use a lease, and the time of the CAS (unix seconds). Out: the lease that is in the way, or
nothing. A lease belongs to the volume, so all sessions that import it share one. It is a row of the store, and thus
outlives the CAS; it is never longer than `SECONDS`, whatever happens to the clock of the CAS.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sconectl.cas.attest.tags import Subject
from sconectl.cas.bounds.refusal import CasRefusal

if TYPE_CHECKING:
    from sconectl.cas.store.store import Transaction

SECONDS = 30
_HOLDER = re.compile(r"[0-9a-f]{32}\Z")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,253}\Z")


@dataclass(frozen=True)
class Lease:
    """Who has a lease: an instance, the name of its host, and until when (unix seconds)."""

    holder: str
    name: str
    until: float

    @property
    def until_text(self) -> str:
        """The end of the lease as people read it."""
        return datetime.fromtimestamp(self.until, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def check_holder(holder: str) -> None:
    """Raise `CasRefusal` 400 if `holder` cannot be one."""
    if not _HOLDER.match(holder):
        raise CasRefusal(400, "The holder of a lease has 32 lower case hex digits")


def check_name(name: str) -> None:
    """Raise `CasRefusal` 400 if `name` cannot be that of a host."""
    if not _NAME.match(name):
        raise CasRefusal(400, "The name of a holder has 1 to 253 letters, digits, dots, hyphens and underscores")


def lease_of(transaction: Transaction, subject: Subject, now: float) -> Lease | None:
    """Return the lease that was given last and not released, whether it has run out or not.

    It ends `SECONDS` from now at the latest: the clock may have been set back since it was given.
    """
    row = transaction.meta(_row(subject))
    if not row:
        return None
    found = Lease(**json.loads(row))
    return replace(found, until=min(found.until, now + SECONDS))


def take(transaction: Transaction, subject: Subject, holder: str, name: str, now: float) -> tuple[Lease, bool]:
    """Give the lease to `holder`, or renew it, unless another one has it.

    Return the lease that is in force now, and whether it was given anew.
    """
    found = lease_of(transaction, subject, now)
    held = found is not None and now < found.until
    if found is not None and held and found.holder != holder:
        _keep(transaction, subject, found)  # with an end that is right by the present clock
        return found, False
    given = Lease(holder, name, now + SECONDS)
    _keep(transaction, subject, given)
    return given, not held


def use(transaction: Transaction, subject: Subject, volume: str, holder: str | None, now: float) -> None:
    """Renew the lease of `holder`, which moves the tag; raises `CasRefusal` 409 if it has none, or another one has it.

    One that has run out, and that nobody else has taken, goes on. Whoever names no holder must find no lease in force.
    """
    found = lease_of(transaction, subject, now)
    if holder is None:
        if found is not None and now < found.until:
            raise in_use(volume, found)
    elif found is None:
        raise CasRefusal(409, f"There is no lease on volume {volume}", "Take one before the tag is moved on")
    elif found.holder != holder:
        raise in_use(volume, found)
    else:
        _keep(transaction, subject, replace(found, until=now + SECONDS))


def release(transaction: Transaction, subject: Subject, holder: str, now: float) -> bool:
    """Take the lease from `holder`; say whether it had one, perhaps run out."""
    found = lease_of(transaction, subject, now)
    if found is None or found.holder != holder:
        return False
    transaction.set_meta(_row(subject), "")
    return True


def in_use(volume: str, lease: Lease) -> CasRefusal:
    """Return the refusal for whoever is in the way of `lease`."""
    return CasRefusal(
        409,
        f"Volume {volume} is in use by {lease.name}",
        f"Its lease ends at {lease.until_text}, unless that instance renews it before",
    )


def _keep(transaction: Transaction, subject: Subject, lease: Lease) -> None:
    transaction.set_meta(_row(subject), json.dumps(asdict(lease)))


def _row(subject: Subject) -> str:
    return f"lease:{subject.owner}/{subject.key}"
