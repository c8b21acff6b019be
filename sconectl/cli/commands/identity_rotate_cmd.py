"""`sconectl identity rotate`: a new key for an identity, which keeps what it owns.

In: CASes and namespaces. Out: the new key hash on stdout; which sessions changed, and which only others can change, on
stderr. Until `--finish`, the old key is kept and may do what it could.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from sconectl.cli.output.console import note, result
from sconectl.cli.session.session_access import Access, Config
from sconectl.cli.wiring import cas_directory
from sconectl.errors import CasError, Refused, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from sconectl.cas.client.identity import CasConfig, ClientIdentity
    from sconectl.cas.client.key_rotation import KeyChanges
    from sconectl.ports import SessionStore

_LOCAL, _TOP = "local", "/"


def rotate(
    cas: Annotated[
        list[str] | None,
        typer.Option(
            "--cas", "-c", metavar="CAS", help="A CAS with sessions of yours. (repeatable)", show_default="local"
        ),
    ] = None,
    namespace: Annotated[
        list[str] | None,
        typer.Option(
            "--namespace", metavar="NS", help="Where your sessions are. (repeatable)", show_default="everywhere"
        ),
    ] = None,
    finish: Annotated[bool, typer.Option("--finish", help="Take the old key out, and delete it.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Go on although something is lost by it.")] = False,
    cas_config: Config = None,
) -> None:
    """Replace the key of your identity, and keep what it owns; print the new key hash.

    First, a new key may do in your sessions what yours may, and takes its place
    here. Your old key still works. Once everybody knows the new one, `--finish`
    takes the old one out of the sessions, and deletes it.
    """
    config = Access(cas_config=cas_config).config()
    if config.existing() is None:
        raise UsageError(f"there is no identity in {config.directory}", hint="`sconectl identity new` makes one")
    if finish:
        _finish(config, _places(config.rotated_in(), cas, namespace), yes=yes)
    else:
        _begin(config, dict.fromkeys(cas or (_LOCAL,), tuple(namespace or (_TOP,))), yes=yes)


def _begin(config: CasConfig, places: Mapping[str, tuple[str, ...]], *, yes: bool) -> None:
    from sconectl.cas.client.key_rotation import upload

    if config.old_identity() is not None:
        note("the rotation that was begun before is not finished; this goes on with it")
    old = config.old_identity() or config.identity()
    new = config.next_identity() if config.old_identity() is None else _following(config)
    grants = {address: _granting(config, old.file, address, names, new.key_hash) for address, names in places.items()}
    _refuse_closed({address: changes for address, (_, changes) in grants.items()})
    _refuse_losses([changes for _, changes in grants.values()], yes=yes)
    for address, (store, changes) in grants.items():
        config.note_rotated(address, {*config.rotated_in().get(address, ()), *places[address]})
        upload(store, changes.changes)
        _say(address, changes, f"{new.key_hash} may do what {old.key_hash} may")
    config.switch()
    result(config.identity().key_hash)
    note("name the new key hash wherever the old one is named, for example in `access` of a mesh; then finish with")
    note("  sconectl identity rotate --finish")


def _following(config: CasConfig) -> ClientIdentity:
    """Return the identity that follows the old one, which is kept: the present one unless a switch was interrupted."""
    present, old = config.identity(), config.old_identity()
    return config.next_identity() if old is not None and old.key_hash == present.key_hash else present


def _finish(config: CasConfig, places: Mapping[str, tuple[str, ...]], *, yes: bool) -> None:
    from sconectl.cas.client.key_rotation import key_changes, upload
    from sconectl.policy.key_change import with_key_replaced

    old, new = config.old_identity(), config.identity()
    if old is None or old.key_hash == new.key_hash:
        raise UsageError("no identity is being rotated here", hint="begin with `sconectl identity rotate --cas CAS`")
    config.switch()
    for address, names in places.items():
        # Whatever took the new key out of a session meanwhile, the old one lets it in again.
        store, changes = _granting(config, old.file, address, names, new.key_hash)
        _refuse_losses([changes], yes=yes)
        upload(store, changes.changes)
        ours = _store(config, new.file, address)
        replaced = partial(with_key_replaced, key=old.key_hash, certificate=new.certificate_pem)
        replacing = key_changes(ours, names, old.key_hash, new.key_hash, replaced)
        _refuse_closed({address: replacing})
        _refuse_losses([replacing], yes=yes)
        upload(ours, replacing.changes)
        left = key_changes(store, names, old.key_hash, new.key_hash, replaced).left
        _say(address, replacing, f"{new.key_hash} stands for {old.key_hash}")
        if left and not yes:
            raise Refused(
                f"sessions of CAS {address} still name the old key, and only others can change that: {', '.join(left)}",
                hint=f"ask their owners to name {new.key_hash}; with --yes you lose what they let you do",
            )
        config.note_rotated(address, ())
    if others := config.rotated_in():
        note(f"the old key is kept until this is done for {', '.join(sorted(others))}, too")
    else:
        config.forget_old()
    result(new.key_hash)


def _granting(
    config: CasConfig, file: Path, address: str, names: tuple[str, ...], new: str
) -> tuple[SessionStore, KeyChanges]:
    """Return what lets the key `new` do in a CAS what the old one in `file` may, and the connection for that."""
    from sconectl.cas.client.identity import read_identity
    from sconectl.cas.client.key_rotation import key_changes
    from sconectl.policy.key_change import with_key_beside

    old = read_identity(file).key_hash
    store = _store(config, file, address)
    return store, key_changes(store, names, old, old, partial(with_key_beside, key=old, another=new))


def _places(
    known: Mapping[str, Iterable[str]], cas: list[str] | None, namespace: list[str] | None
) -> dict[str, tuple[str, ...]]:
    """Return where to finish: in the CASes that are named, else in all that know the new key; everywhere in each."""
    return {
        address: tuple(dict.fromkeys([*known.get(address, ()), *(namespace or ())])) or (_TOP,)
        for address in cas or sorted(known)
    }


def _store(config: CasConfig, file: Path, address: str) -> SessionStore:
    from sconectl.cas.connect import connect

    return connect(address, config_dir=config.directory, data_dir=cas_directory(), identity_file=file, notify=note)


def _refuse_closed(plans: Mapping[str, KeyChanges]) -> None:
    """Raise `CasError` if there may be sessions that were not found."""
    for address, plan in plans.items():
        if plan.closed:
            raise CasError(
                f"you may not list the sessions in {', '.join(plan.closed)} of CAS {address}",
                hint="name the namespaces in which your sessions are with --namespace",
            )


def _refuse_losses(plans: Iterable[KeyChanges], *, yes: bool) -> None:
    """Raise `Refused` if an update would cost values, unless the user agrees."""
    drawn = [f"{name} of {change.name}" for plan in plans for change in plan.changes for name in change.drawn_anew]
    if drawn and not yes:
        raise Refused(
            f"each update draws these private keys anew, because they are without migrate: true: {', '.join(drawn)}",
            hint="--yes goes on all the same; programs that run keep the old keys until they start again",
        )


def _say(address: str, changes: KeyChanges, what: str) -> None:
    for change in changes.changes:
        note(f"CAS {address}: session {change.name}: {what}")
    if changes.left:
        note(f"warning: CAS {address}: only others can change {', '.join(changes.left)}, where the old key is named")
