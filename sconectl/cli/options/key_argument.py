"""The key of protected files, as commands take it.

In: 64 hex digits, @FILE, or - for a line on stdin. Out: 32 bytes. Raises `UsageError`, which does not repeat the key.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from sconectl.errors import UsageError
from sconectl.regular_files import first_bytes


def file_key(text: str) -> bytes:
    """Return the key that an argument is, names the file of, or announces on stdin."""
    if text == "-":
        text = sys.stdin.readline()
    elif text.startswith("@"):
        try:
            text = first_bytes(Path(text[1:]), 4096, streams=True).decode("ascii", "replace")
        except FileNotFoundError as error:
            raise UsageError(f"there is no key file {text[1:]}") from error
        except OSError as error:
            raise UsageError(f"there is no key file {text[1:]}: {error.strerror}") from error
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text.strip()):
        raise UsageError("a key has 64 hex digits", hint="give it as it was printed, as @FILE, or as - and on stdin")
    return bytes.fromhex(text)
