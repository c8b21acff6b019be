"""Signs images by a program of the user, like cosign: no shell, and no input; what it says goes to the user.

In: a command with `{image}` and `{key}`, and a file with a key. Out: nothing. Raises `BuildFailed`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

from sconectl.errors import BuildFailed, UsageError
from sconectl.ports import Progress

DEFAULT = ("cosign", "sign", "--yes", "--key", "{key}", "{image}")
_SECONDS = 300
_PASSWORD = "COSIGN_PASSWORD"  # noqa: S105 - the name of a variable


class ImageSigner:
    """Implements `ports.ImageSigner`."""

    def __init__(self, command: Sequence[str], key: str, detail: Progress) -> None:
        command = tuple(command) or DEFAULT
        if not any("{image}" in word for word in command[1:]):
            raise UsageError("the command that signs images has no {image}", hint=f"like {' '.join(DEFAULT)}")
        program = shutil.which(command[0])
        if program is None:
            hint = "install it, or name another command in sconectl.toml: [sign] command"
            raise BuildFailed(f"there is no program {command[0]} to sign images with", hint=hint)
        self._command = (program, *command[1:])
        self._key, self._detail = key, detail

    def sign(self, image: str) -> None:
        """Sign `NAME@sha256:…`."""
        words = [word.replace("{key}", self._key).replace("{image}", image) for word in self._command]
        # Without a variable cosign asks a terminal for the password, and there may be none.
        environment = {_PASSWORD: "", **os.environ}
        try:
            done = subprocess.run(  # noqa: S603 - the words of the user's configuration, and no shell
                words, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False, env=environment
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BuildFailed(f"{words[0]} could not sign {image}: {type(error).__name__}") from error
        said = (done.stdout + done.stderr).decode("utf-8", "replace").strip()
        if said:
            self._detail(said)
        if done.returncode:
            last = said.splitlines()[-1] if said else "it said nothing"
            raise BuildFailed(
                f"{words[0]} ended with {done.returncode} instead of signing {image}: {last}",
                hint=f"the copy is pushed, and the next run signs it; {_PASSWORD} is the password of the key",
            )
