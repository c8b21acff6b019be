"""The master key of a CAS: where the one key comes from that seals all others.

In: the directory of the CAS and `SCONECTL_CAS_KEY`. Out: 32 bytes. A key is drawn only for a CAS whose keys are not
sealed yet; later a missing or other key is an error and never replaced. Messages name the source, never the key.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sconectl.cas.disk.private_files import create_private, read_private, warn_if_open
from sconectl.cas.disk.sealing import KEY_BYTES
from sconectl.errors import CasError, LocalFault

VARIABLE = "SCONECTL_CAS_KEY"
FILE = "master.key"
_KEYRING_SERVICE = "sconectl-cas"
_COMMAND_SECONDS = 60.0
_HEX = re.compile(rb"[0-9a-fA-F]{64}\Z")
_FORMS = "hex:KEY, file:PATH, credential:NAME, command:COMMAND or keyring[:NAME]"
_KEY_FORMS = "a key is 64 hex digits, base64 of 32 bytes, or 32 bytes"


@dataclass(frozen=True)
class MasterKey:
    """The key, and what kind of place it came from (`directory`, `hex`, `file`, `credential`, …)."""

    source: str
    key: bytes = field(repr=False)


class _Keyring(Protocol):
    def get_password(self, service_name: str, username: str) -> str | None: ...

    def set_password(self, service_name: str, username: str, password: str) -> None: ...


def master_key(directory: Path, *, sealed: str | None) -> MasterKey:
    """Return the master key for the CAS in `directory`.

    `sealed` is the source that its keys were sealed under, or None if they are not sealed yet: only then may a key be
    drawn. Raises `CasError` if the source is unusable or has no key.
    """
    setting = os.environ.get(VARIABLE, "")
    if not setting:
        return MasterKey("directory", _own_file(directory, sealed))
    source, _, rest = setting.partition(":")
    if source == "keyring":
        return MasterKey(source, _from_keyring(rest or "default", sealed))
    reader = _READERS.get(source)
    if reader is None or not rest:
        # The setting may hold a key in a wrong form: it is not shown.
        raise CasError(f"{VARIABLE} is not understood", hint=f"it is one of {_FORMS}")
    return MasterKey(source, reader(rest))


def lies_in(directory: Path) -> bool:
    """Say whether the master key of the CAS in `directory` is a file there; then the directory is all there is."""
    return not os.environ.get(VARIABLE) and (directory / FILE).exists()


def _own_file(directory: Path, sealed: str | None) -> bytes:
    path = directory / FILE
    raw = read_private(path)
    if raw is not None:
        return _parse(raw, str(path))
    if sealed is not None:
        raise _missing(directory, sealed)
    key = os.urandom(KEY_BYTES)
    create_private(path, key.hex().encode() + b"\n")
    return key


def _missing(directory: Path, sealed: str) -> CasError:
    if sealed == "directory":
        return CasError(
            f"{directory / FILE} is missing, and without it nothing in {directory} can be read",
            hint=f"restore it from a backup, or set {VARIABLE} to where its key is kept",
        )
    return CasError(
        f"the keys in {directory} are sealed under a master key from another place ({sealed}), which is not set",
        hint=f"set {VARIABLE} as when they were sealed ({sealed}:…)",
    )


def _parse(raw: bytes, place: str) -> bytes:
    if len(raw) == KEY_BYTES:
        return raw
    text = raw.strip()
    if _HEX.match(text):
        return bytes.fromhex(text.decode())
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise CasError(f"the master key from {place} is not a key", hint=_KEY_FORMS)
    return key


def _from_hex(text: str) -> bytes:
    if not _HEX.match(text.encode()):
        raise CasError(f"the master key in {VARIABLE} is not a key", hint="write hex: and 64 hex digits")
    return bytes.fromhex(text)


def _from_file(path: str) -> bytes:
    try:
        warn_if_open(Path(path))
        return _parse(Path(path).read_bytes(), path)
    except OSError as error:
        raise LocalFault(
            f"the master key cannot be read from {path}: {error.strerror}", hint=f"correct {VARIABLE} or the file"
        ) from error


def _from_credential(name: str) -> bytes:
    directory = os.environ.get("CREDENTIALS_DIRECTORY", "")
    if not directory or "/" in name or name in (".", ".."):
        raise CasError(
            f"there is no systemd credential {name}",
            hint=f"name it in the unit, like LoadCredentialEncrypted={name}:FILE; systemd sets $CREDENTIALS_DIRECTORY",
        )
    return _from_file(f"{directory}/{name}")


def _from_command(line: str) -> bytes:
    hint = f"{VARIABLE} names a program with its arguments; it prints the key ({_KEY_FORMS})"
    try:
        command = shlex.split(line)
        done = subprocess.run(  # noqa: S603  # the user's own command, without a shell
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=_COMMAND_SECONDS, check=False
        )
    except (OSError, ValueError, IndexError) as error:
        raise CasError("the command for the master key cannot be run", hint=hint) from error
    except subprocess.TimeoutExpired as error:
        raise CasError(f"the command for the master key ran longer than {_COMMAND_SECONDS:.0f} s", hint=hint) from error
    if done.returncode != 0:
        raise CasError(f"the command for the master key ended with exit code {done.returncode}", hint=hint)
    return _parse(done.stdout, "the command")


def _from_keyring(name: str, sealed: str | None) -> bytes:
    keyring = _keyring()
    try:
        text = keyring.get_password(_KEYRING_SERVICE, name)
        if text is None and sealed is None:
            text = os.urandom(KEY_BYTES).hex()
            keyring.set_password(_KEYRING_SERVICE, name, text)
            if keyring.get_password(_KEYRING_SERVICE, name) != text:
                raise CasError("the keyring does not keep the master key", hint="use another source, like file:PATH")
    except CasError:
        raise
    except Exception as error:  # each backend of `keyring` raises errors of its own
        raise CasError(
            f"the keyring cannot be used: {type(error).__name__}",
            hint="unlock it, or use another source, like file:PATH",
        ) from error
    if text is None:
        raise CasError(
            f"the keyring has no master key {name} of service {_KEYRING_SERVICE}",
            hint="use the keyring that the keys were sealed with, or restore its entry",
        )
    return _parse(text.encode(), "the keyring")


def _keyring() -> _Keyring:
    import importlib

    try:
        module: _Keyring = importlib.import_module("keyring")  # optional
    except ImportError as error:
        raise CasError(
            "the Python package keyring is not installed", hint="install it: pip install 'sconectl[keyring]'"
        ) from error
    return module


_READERS: dict[str, Callable[[str], bytes]] = {
    "hex": _from_hex,
    "file": _from_file,
    "credential": _from_credential,
    "command": _from_command,
}
