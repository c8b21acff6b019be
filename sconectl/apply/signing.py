"""The key of a user that signs enclaves: read from its file, and checked before anything is built.

In: the path of its file. Out: the key (PEM). Raises `Refused` for a file that others can read, and for one without a
usable key `PlanImpossible` with a finding, or `UsageError` where there is no manifest. The key is copied nowhere, so
its file may be anywhere.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from sconectl.errors import PlanImpossible, Refused, UsageError
from sconectl.protect.signature import BadKey, load_key
from sconectl.text.yaml_tree import Document

_MAX_SIZE = 1 << 16
_FIELD = ("build", "signature", "key")


def read_signing_key(path: Path, document: Document) -> bytes:
    """Return the signing key in a file that a manifest names. Raises `PlanImpossible` and `Refused`."""
    try:
        return load_signing_key(path)
    except UsageError as error:
        finding = document.finding("error", "SC1005", _FIELD, error.message, error.hint)
        raise PlanImpossible("a file that the manifest names cannot be used", findings=[finding]) from error


def load_signing_key(path: Path) -> bytes:
    """Return the signing key in a file. Raises `UsageError` and `Refused`."""
    remedy = f"openssl genrsa -3 -out {path} 3072, readable by you alone"
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # whatever it is, it must not block
        try:
            mode = os.fstat(handle).st_mode
            if not stat.S_ISREG(mode):
                raise UsageError(f"{path} is not a file", hint=remedy)
            if mode & 0o077:
                raise Refused(f"the signing key {path} can be read by others", hint=f"chmod 600 {path}")
            pem = os.read(handle, _MAX_SIZE)
        finally:
            os.close(handle)
    except (OSError, ValueError) as error:  # ValueError: a NUL character
        reason = error.strerror if isinstance(error, OSError) else "it is not the name of a file"
        raise UsageError(f"{path} cannot be read: {reason}", hint=remedy) from error
    try:
        load_key(pem)
    except BadKey as error:
        raise UsageError(f"{path} cannot sign enclaves: {error}", hint=remedy) from error
    return pem


def refuse_copied_key(key: Path, copied: Sequence[str], directory: Path, document: Document) -> None:
    """Raise `PlanImpossible` if an entry of `copy` would put the signing key into the image."""
    findings = []
    for number, name in enumerate(copied):
        if (directory / name).resolve() == key.resolve():
            field, message = ("build", "copy", number), "this is the signing key: it must not be in the image"
            findings.append(document.finding("error", "SC1005", field, message))
    if findings:
        raise PlanImpossible("a file that the manifest names cannot be used", findings=findings)
