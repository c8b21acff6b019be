"""The sessions of a mesh while one version of a service takes the place of another: both are in them.

In: the plan of a mesh, its sessions beside what the CAS has, and what the user asked for. Out: a `Rolled`. The CAS is
asked for nothing more, and nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sconectl.apply.sessions import Update
from sconectl.plan.mesh.mesh import FSPF_SECRET, MeshPlan, SessionPlan
from sconectl.policy.reading import Session
from sconectl.policy.rolling.choice import Choice, choose, without_measurements
from sconectl.policy.rolling.overlap import Overlap, session_of
from sconectl.policy.rolling.sharing import share
from sconectl.policy.rolling.versions import Fault, Names, is_same, suffix, versioned, versions_in
from sconectl.policy.rolling.wish import Wish


@dataclass(frozen=True)
class Rollout:
    """Two versions in one session: `new` takes the place of `old`. `began` says whether that is so from now on."""

    session: str
    old: int
    new: int
    began: bool


@dataclass(frozen=True)
class Rolled:
    """The plan and the sessions with all versions that are to start, or the faults by session why they cannot."""

    plan: MeshPlan
    updates: tuple[Update, ...]
    rollouts: tuple[Rollout, ...] = ()
    faults: tuple[tuple[str, Fault], ...] = ()


def names_in(session: str, program: str = "") -> Names:
    """Return what the versions of the service of a session are called in it."""
    return Names(program, session.rpartition("/")[2], FSPF_SECRET)


def roll(plan: MeshPlan, updates: Sequence[Update], wish: Wish) -> Rolled:
    """Return what the sessions of a mesh become. Without `updates`, where no CAS is asked, there is one version."""
    as_it_is = Rolled(plan, tuple(updates))
    if not updates:
        return as_it_is
    beside = {update.name: update for update in updates}
    pairs = [(session, beside[session.name]) for session in plan.sessions if session.program]
    next_ = _next(pairs)
    choices = {session.name: _choice(session, update, wish, next_) for session, update in pairs}
    faults = [(name, found) for name, found in choices.items() if isinstance(found, Fault)]
    chosen = {name: found for name, found in choices.items() if isinstance(found, Choice)}
    if faults or (wish == Wish() and all(choice == Choice() for choice in chosen.values())):
        return replace(as_it_is, faults=tuple(faults))
    overlaps = {session.name: _overlap(session, update, chosen[session.name], wish) for session, update in pairs}
    share(overlaps)
    documents = {name: overlap.document for name, overlap in overlaps.items()}
    return Rolled(
        plan.rolled(documents, {name: suffix(choice.number) for name, choice in chosen.items()}),
        tuple(
            {
                **beside,
                **{session.name: _with(session, update, documents[session.name]) for session, update in pairs},
            }.values()
        ),
        tuple(_rollouts(pairs, chosen)),
        tuple((name, fault) for name, overlap in overlaps.items() for fault in overlap.faults),
    )


def _next(pairs: Sequence[tuple[SessionPlan, Update]]) -> int:
    """Return the number of a new version, one for the whole mesh.

    It is that of an open rollout whose services are all as they are wanted: others join it, as after a run that was
    cut off.
    """
    found = {
        session.name: list(versions_in(update.seen, names_in(session.name)))
        for session, update in pairs
        if update.seen is not None
    }
    newest = max((number for numbers in found.values() for number in numbers), default=0)
    last = [pair for pair in pairs if found.get(pair[0].name, [])[:1] == [newest]]
    is_open = any(len(found[session.name]) > 1 for session, _ in last)
    return newest if is_open and all(_is_there(*pair, newest) for pair in last) else newest + 1


def _is_there(session: SessionPlan, update: Update, number: int) -> bool:
    names, seen = names_in(session.name, session.program), update.seen
    return seen is not None and any(
        is_same(form, seen, names, number) for form in (update.wanted, _own(session, update))
    )


def _own(session: SessionPlan, update: Update) -> Session:
    """Return what is wanted without the measurements of earlier images."""
    if not session.stable:
        return update.wanted
    return session_of(without_measurements(session.document, session.program, session.stable))


def _choice(session: SessionPlan, update: Update, wish: Wish, next_: int) -> Choice | Fault:
    names, own = names_in(session.name, session.program), _own(session, update)
    return choose(update.wanted, own, update.seen, names, wish, session.stable, next_)


def _overlap(session: SessionPlan, update: Update, choice: Choice, wish: Wish) -> Overlap:
    document: Mapping[str, Any] = session.document
    names = names_in(session.name, session.program)
    if choice.only_own:
        document = without_measurements(document, session.program, session.stable)
    overlap = Overlap(versioned(document, names, choice.number), update.seen)
    found = versions_in(update.seen, names) if update.seen else {}
    if choice.kept is not None:
        overlap.keep(found[choice.kept], names)
    if wish.begins(max(found, default=0)) and choice.number in found:
        overlap.keep_uses(found[choice.number])  # pods that stay as they are get what they got, too
    return overlap


def _with(session: SessionPlan, update: Update, document: Mapping[str, Any]) -> Update:
    names = names_in(session.name, session.program)
    if document == update.document:
        return replace(update, names=names)
    return replace(update, document=document, wanted=session_of(document), names=names)


def _rollouts(pairs: Sequence[tuple[SessionPlan, Update]], chosen: Mapping[str, Choice]) -> Iterator[Rollout]:
    for session, update in pairs:
        choice = chosen[session.name]
        if choice.kept is not None and update.seen is not None:
            before = list(versions_in(update.seen, names_in(session.name)))
            began = before[:2] != [choice.number, choice.kept]
            yield Rollout(session.name, choice.kept, choice.number, began)
