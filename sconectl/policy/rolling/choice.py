"""Which version of a service a session is to hold next, and which one stays beside it.

In: what is wanted, what is there, and what the user asked for. Out: a `Choice`, or the fault why there is none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sconectl.policy.model.services import Service
from sconectl.policy.model.session import Session
from sconectl.policy.rolling.versions import Fault, Names, is_same, versions_in
from sconectl.policy.rolling.wish import Wish

_OLDER = "the CAS has version {0} already, and {1} is older"
_OLDER_HINT = "give that number to change it, or a higher one for a new version"
_UNNAMED_HINT = "leave image_name out of image_policy, and apply that first"
_FINISH = "the version that is to be the only one was not applied yet: the manifests say something else than the CAS"
_FINISH_HINT = "`sconectl apply --rolling` applies them, and ends the rollout that is open now"


@dataclass(frozen=True)
class Choice:
    """The number of the version that is to be the first, and that of the one which stays beside it.

    `only_own` leaves out of the first what the image accepts beside its own measurement: that has a version of its own.
    """

    number: int = 1
    kept: int | None = None
    only_own: bool = False


def choose(
    wanted: Session, own: Session, seen: Session | None, names: Names, wish: Wish, stable: Collection[str], next_: int
) -> Choice | Fault:
    """Return what the session `wanted` becomes where `seen` is active; `next_` is the number of a new version.

    `stable` are measurements of earlier images that stay valid; `own` is what is wanted without them.
    """
    found = versions_in(seen, names) if seen else {}
    begins = wish.begins(max(found, default=0))
    if begins and seen is not None and seen.services and not (found and versions_in(wanted, names)):
        return Fault(f"no service has the image_name {names.image}, by which versions are told", _UNNAMED_HINT)
    if seen is None or not found:
        return Choice(wish.release or 1)
    first, *others = found
    other = others[0] if others else None
    for number in found if other is None else (first, other):
        for only_own, form in ((False, wanted), (True, own)):
            if is_same(form, seen, names, number):
                return _again(number, first, other, wish, newest=max(found), only_own=only_own)
    if wish.finish:
        return Fault(_FINISH, _FINISH_HINT)
    accepting = [number for number, services in found.items() if any(stable_in(each, stable) for each in services)]
    return _changed(first, other, wish, accepting[-1] if accepting else None, bool(stable), next_, max(found))


def stable_in(service: Service, stable: Collection[str]) -> bool:
    """Say whether a service accepts one of these measurements."""
    return not set(stable).isdisjoint(service.measurements)


def _again(number: int, first: int, other: int | None, wish: Wish, *, newest: int, only_own: bool) -> Choice | Fault:
    """Return the choice for a version that the session has already."""
    if wish.finish:
        return Choice(number, None, only_own=True) if number == first else Fault(_FINISH, _FINISH_HINT)
    if wish.release is not None and wish.release < newest:
        return Fault(_OLDER.format(newest, wish.release), _OLDER_HINT)
    beside = other if number == first else first
    if wish.release is not None and wish.release > newest and number == first:
        beside = None  # a later release with the same service: what was older than that is over
    return Choice(number, beside, only_own)


def _changed(
    first: int, other: int | None, wish: Wish, accepting: int | None, has_stable: bool, next_: int, newest: int
) -> Choice | Fault:
    """Return the choice for a version that is new."""
    if wish.release is not None:
        if wish.release < newest:
            return Fault(_OLDER.format(newest, wish.release), _OLDER_HINT)
        if wish.release > newest:
            return Choice(wish.release, first, only_own=True)
        return Choice(newest, other if newest == first else first, only_own=True)
    if wish.rolling:
        return Choice(next_, first, only_own=True)
    if has_stable:
        return Choice(next_, first if accepting is None else accepting, only_own=True)
    return Choice(first, other)


def without_measurements(document: Mapping[str, Any], service: str, measurements: Collection[str]) -> dict[str, Any]:
    """Return the document of a session in which a service does not accept these measurements by their digits."""

    def kept(entry: Any) -> Any:
        listed = entry.get("mrenclave") if isinstance(entry, Mapping) else None
        if not isinstance(listed, list):
            return entry
        return {**entry, "mrenclave": [one for one in listed if one not in measurements] or listed}

    if "services" not in document:
        return dict(document)
    return {
        **document,
        "services": [
            {**entry, "attestation": [kept(each) for each in entry["attestation"]]}
            if entry["name"] == service and isinstance(entry.get("attestation"), list)
            else entry
            for entry in document["services"]
        ],
    }
