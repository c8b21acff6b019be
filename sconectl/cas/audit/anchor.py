"""The freshness anchor: the newest entry of the audit log, and how many tags were moved on since, outside of the store.

In: a path and the sealing key of the CAS. Out: a file of mode 0600 that says how new the store must be, so that an
older copy of the directory is noticed. Two slots are written in turn and in place: a torn write leaves the other one.
Each is authenticated (HMAC-SHA256) with a key that only this CAS has. An anchor belongs to one directory at a time: a
copy of the directory that is in use beside it would go another way.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import hmac
import json
import os
import struct
import weakref
from collections.abc import Iterator
from pathlib import Path

from sconectl.cas.audit.entries import EMPTY, Head
from sconectl.cas.disk.private_files import write_private
from sconectl.cas.disk.sealing import derived_key
from sconectl.errors import CasError

VARIABLE = "SCONECTL_CAS_ANCHOR"
_MAGIC = b"sconanc2"
_BODY = struct.Struct(">8sQ64sQ")  # magic, sequence, Ed25519 signature of the entry, tags that were moved on since
_OLD_MAGIC = b"sconanc1"
_OLD_BODY = struct.Struct(">8sQ64s")
_MAC = hashlib.sha256().digest_size
_SLOT = _BODY.size + _MAC
_LONGEST_CLAIM = 16 << 10
_OFFSETS = (0, 4096)  # in blocks of their own: one failed block write cannot harm both


def default_anchor(cas_key_hash: str) -> Path:
    """Return where the anchor of a CAS lies unless told otherwise: `SCONECTL_CAS_ANCHOR`, or in `$XDG_STATE_HOME`."""
    if chosen := os.environ.get(VARIABLE, ""):
        return Path(chosen).absolute()
    base = os.environ.get("XDG_STATE_HOME", "")
    # The XDG specification says to ignore relative paths.
    state = Path(base) if base.startswith("/") else Path.home() / ".local" / "state"
    return state / "sconectl" / "anchors" / cas_key_hash


class Anchor:
    """The anchor at `path`; safe to use from several threads and processes at once."""

    def __init__(self, path: Path, sealing_key: bytes) -> None:
        self.path = path.absolute()
        self._key = derived_key(sealing_key, "sconectl CAS freshness anchor v1")
        self._claim: weakref.finalize[..., Anchor] | None = None

    def claim(self, directory: Path) -> None:
        """Hold the anchor for the CAS in `directory` until `release`, or as long as this object is in use.

        Several processes on one directory may. Raises `CasError` while a process holds it for another directory.
        """
        found = directory.stat()
        own = json.dumps({"device": found.st_dev, "inode": found.st_ino, "directory": str(directory.absolute())})
        lock = self.path.with_name(f"{self.path.name}.lock")
        with self._explained():
            lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with contextlib.suppress(BlockingIOError):  # nobody else has it: it is ours
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, own.encode(), 0)
            fcntl.flock(descriptor, fcntl.LOCK_SH)  # whoever writes into it holds it for a moment only
            holder = os.pread(descriptor, _LONGEST_CLAIM, 0).decode(errors="replace")
            if _place(holder) != _place(own):
                raise CasError(
                    f"the freshness anchor {self.path} is in use for another directory: {_named(holder)}",
                    hint="stop the CAS there if this one is to go on; a copy that shall be a CAS of its own needs"
                    f" another anchor ({VARIABLE} or --anchor)",
                )
        except BaseException:
            os.close(descriptor)
            raise
        self._claim = weakref.finalize(self, os.close, descriptor)

    def release(self) -> None:
        """Let another directory have the anchor."""
        if self._claim is not None:
            self._claim()

    def read(self) -> Head | None:
        """Return the entry that the store must have, or None without an anchor; raises `CasError` if it is unusable."""
        try:
            with self._locked(os.O_RDONLY) as descriptor:
                return max(self._slots(descriptor), key=_age)
        except FileNotFoundError:
            return None

    def advance(self, head: Head) -> None:
        """Remember durably that the store has reached `head`; one that is newer already stays."""
        try:
            with self._locked(os.O_RDWR) as descriptor:
                slots = self._slots(descriptor)
                if max(slots, key=_age).age < head.age:
                    self._write(descriptor, slots.index(min(slots, key=_age)), head)
        except FileNotFoundError:
            self.replace(head)

    def replace(self, head: Head) -> None:
        """Make `head` the entry that the store must have, whatever it was: on first contact and after a restore."""
        with self._explained():
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self.path, self._slot(head).ljust(_OFFSETS[1], b"\0") + bytes(_SLOT))

    @contextlib.contextmanager
    def _locked(self, flags: int) -> Iterator[int]:
        with self._explained():
            descriptor = os.open(self.path, flags | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield descriptor
            finally:
                os.close(descriptor)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise CasError(
                f"the freshness anchor {self.path} cannot be used: {error.strerror}",
                hint=f"fix its owner, or set {VARIABLE} to another path outside of the CAS's directory",
            ) from error

    def _slots(self, descriptor: int) -> list[Head]:
        """Return the entries in both slots, `EMPTY` for a slot without one."""
        slots = [self._parsed(os.pread(descriptor, _SLOT, offset)) for offset in _OFFSETS]
        if all(slot is None for slot in slots):
            raise CasError(
                f"the freshness anchor {self.path} is damaged or belongs to another CAS",
                hint="without it an older copy of the store goes unnoticed; if you know that the store is the newest,"
                f" remove the file; another CAS needs another path in {VARIABLE}",
            )
        return [slot or EMPTY for slot in slots]

    def _write(self, descriptor: int, slot: int, head: Head) -> None:
        os.pwrite(descriptor, self._slot(head), _OFFSETS[slot])
        os.fdatasync(descriptor)

    def _slot(self, head: Head) -> bytes:
        body = _BODY.pack(_MAGIC, head.sequence, base64.b64decode(head.signature), head.moves)
        return body + self._mac(body)

    def _parsed(self, raw: bytes) -> Head | None:
        for magic, form in ((_MAGIC, _BODY), (_OLD_MAGIC, _OLD_BODY)):
            body, mac = raw[: form.size], raw[form.size : form.size + _MAC]
            if body[: len(magic)] == magic and hmac.compare_digest(mac, self._mac(body)):
                _, sequence, signature, *moves = form.unpack(body)
                return Head(sequence, base64.b64encode(signature).decode(), *moves)
        return None

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")


def _place(claim: str) -> tuple[int, int] | None:
    """Return device and inode of the directory that a claim names, None if it names none."""
    try:
        found = json.loads(claim)
        return int(found["device"]), int(found["inode"])
    except (ValueError, KeyError, TypeError):
        return None


def _named(claim: str) -> str:
    try:
        return str(json.loads(claim)["directory"])
    except (ValueError, KeyError, TypeError):
        return "one that it does not name"


def _age(head: Head) -> tuple[int, int]:
    return head.age
