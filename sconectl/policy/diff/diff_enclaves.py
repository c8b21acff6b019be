"""What changes in which enclaves, on which machines, may run the services of a session (LANG §6).

In: the old and the new session. Out: changes.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

from sconectl.policy.diff.change import Change, neutral, strengthens, weakens
from sconectl.policy.diff.diff_attestation import one_time_password
from sconectl.policy.diff.gains import added, gained_and_lost
from sconectl.policy.reading import EnclaveSigner, Service, Session, Variant
from sconectl.text.secret_placeholders import is_reference

_GROUP = "attestation"
_LAST_NUMBER = 0xFFFF


@dataclass(frozen=True)
class _Enclaves:
    """Enclaves that are accepted together: of one measurement or any, of one signer or any, or what a secret says."""

    measurement: str | None = None
    signer: EnclaveSigner | str | None = None
    reference: str = ""

    @property
    def is_one_program(self) -> bool:
        """Whether a measurement names one program, and no secret is asked for it."""
        return self.measurement is not None and not is_reference(self.measurement)

    def __str__(self) -> str:
        if self.reference:
            return f"what the secret in {self.reference} says"
        enclave = "any enclave"
        if self.measurement is not None:
            of_secret = is_reference(self.measurement)
            enclave = f"{'the enclaves that the secret names in' if of_secret else 'the enclave'} {self.measurement}"
        if self.signer is None:
            return enclave
        if isinstance(self.signer, str):
            return f"{enclave} signed by the key that the secret in {self.signer} names"
        values = self.signer.model_dump(exclude_none=True)
        return f"{enclave} signed by {', '.join(f'{key} {value}' for key, value in values.items())}"


def enclaves(before: Service | None, after: Service, old: Session, new: Session) -> Iterator[Change]:
    """Yield the changes of which enclaves may run a service, where, and with which one-time password."""
    subject = f"service {after.name}"
    first = [] if before is None else _accepted(before)
    second = _accepted(after)
    instead = _instead(first, second)
    come_in = set(instead.values())
    for gone, come in instead.items():
        yield neutral(_GROUP, subject, f"is run by {come} instead of {gone}")
    yield from gained_and_lost(
        _GROUP,
        subject,
        [entry for entry in first if entry not in instead],
        [entry for entry in second if entry not in come_in],
        "may be run by {}",
        "may no longer be run by {}",
        _code,
        covers=_covers,
        within=_within,
    )
    if before is None:
        if not second:
            yield weakens(_GROUP, subject, "is new", "SC5021")
        return
    if first == second and before.attestation != after.attestation:
        yield neutral(_GROUP, subject, "its attestation is written differently, and accepts the same")
    yield from _platforms(before, after)
    yield from _one_time_password(before, after, old, new)


def _accepted(service: Service) -> list[_Enclaves]:
    found: list[_Enclaves] = []
    for variant in service.attestation:
        if isinstance(variant, Variant):
            found += [_Enclaves(measurement, variant.signer) for measurement in variant.mrenclave or (None,)]
        else:
            found.append(_Enclaves(reference=variant))
    return list(dict.fromkeys(found))


def _covers(wide: _Enclaves, narrow: _Enclaves) -> bool:
    """Say whether `wide` accepts every enclave that `narrow` accepts; what a secret says is not known here."""
    if wide.reference or narrow.reference:
        return wide == narrow
    if wide.measurement not in (None, narrow.measurement):
        return False
    if wide.signer is None or wide.signer == narrow.signer:
        return True
    if not isinstance(wide.signer, EnclaveSigner) or not isinstance(narrow.signer, EnclaveSigner):
        return False
    return _includes(wide.signer, narrow.signer)


def _within(entry: _Enclaves) -> Sequence[Hashable]:
    if entry.reference:
        return (entry.reference,)
    signer = entry.signer
    by = (signer.mrsigner, signer.isvprodid) if isinstance(signer, EnclaveSigner) else signer
    return (entry.measurement, by), (None, by), (entry.measurement, None), (None, None)


def _includes(wide: EnclaveSigner, narrow: EnclaveSigner) -> bool:
    if (wide.mrsigner, wide.isvprodid) != (narrow.mrsigner, narrow.isvprodid):
        return False
    (low, high), (lower, higher) = _versions(wide), _versions(narrow)
    return low <= lower and higher <= high


def _versions(signer: EnclaveSigner) -> tuple[int, int]:
    if signer.isvsvn is not None:
        return signer.isvsvn, signer.isvsvn
    return signer.isvsvn_min or 0, _LAST_NUMBER if signer.isvsvn_max is None else signer.isvsvn_max


def _instead(before: list[_Enclaves], after: list[_Enclaves]) -> dict[_Enclaves, _Enclaves]:
    """Return which program takes the place of which: one that is accepted no longer, with the same signer if any.

    So many programs as before may run the service, and it has been looked at which: that is an ordinary update.
    """
    gone: dict[EnclaveSigner | str | None, list[_Enclaves]] = {}
    for entry in added(after, before, _covers, _within):
        if entry.is_one_program:
            gone.setdefault(entry.signer, []).append(entry)
    waiting = {signer: iter(entries) for signer, entries in gone.items()}
    found: dict[_Enclaves, _Enclaves] = {}
    for come in added(before, after, _covers, _within):
        match = next(waiting.get(come.signer, iter(())), None) if come.is_one_program else None
        if match is not None:
            found[match] = come
    return found


def _code(entry: _Enclaves, covered: Sequence[_Enclaves]) -> str:
    if entry.reference or isinstance(entry.signer, str) or (entry.measurement and not entry.is_one_program):
        return "SC5024"
    if any(other.measurement == entry.measurement for other in covered):
        return "SC5023"
    return "SC5021" if entry.measurement else "SC5022"


def _platforms(before: Service, after: Service) -> Iterator[Change]:
    first, second = before.platforms, after.platforms
    subject = f"service {after.name}"
    if bool(first) == bool(second):
        may, no_longer = "may run on {}", "may no longer run on {}"
        yield from gained_and_lost(_GROUP, subject, first, second, may, no_longer, "SC5025")
    elif second:
        yield strengthens(_GROUP, subject, f"may run only on {', '.join(second)}")
    else:
        yield weakens(_GROUP, subject, "may run on any platform", "SC5025")


def _one_time_password(before: Service, after: Service, old: Session, new: Session) -> Iterator[Change]:
    """Yield the change of a service's own secret for one-time passwords; without it that of the session counts."""
    subject = f"service {after.name}"
    was, now = before.one_time_password_shared_secret, after.one_time_password_shared_secret
    if was == now:
        return
    if now is None and one_time_password(new) is None:
        yield weakens(_GROUP, subject, "needs no one-time password any more", "SC5009")
    elif was is None and one_time_password(old) is None:
        yield strengthens(_GROUP, subject, "needs a one-time password")
    else:
        yield neutral(_GROUP, subject, "the secret of its one-time passwords is another one")
