"""Greets a user and shows, without revealing it, that the password from the CAS is there and stays the same.

Reads its environment once at the start, then looks again every ten seconds and stops if anything changed.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from datetime import timedelta

import humanize

REQUIRED = ("API_USER", "API_PASSWORD", "EXCLAIM", "XPASSWORD")
PAUSE_SECONDS = 10


def say(line: str) -> None:
    """Print a line at once, so that the container's log never lags behind."""
    print(line, flush=True)


def checksum(text: str) -> str:
    """Return the MD5 of a text: enough to recognise it, and no security rests on it."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def release_name() -> str:
    """Return the Helm release this program belongs to, with a remark if nobody said."""
    release = os.environ.get("RELEASE", "")
    if not release:
        say("..:WRN:The environment variable RELEASE is not defined.")
        say("..:WRN:The line that tells how to stop this program will be wrong.")
        release = "unknown"
    say(f"..:INF:'release' is {release}.")
    return release


def violation(user: str, password: str) -> str:
    """Return what changed in the environment since the start, or nothing."""
    user_now, sum_now = os.environ.get("API_USER", ""), checksum(os.environ.get("API_PASSWORD", ""))
    if user_now != user:
        return f"The value of API_USER changed from '{user}' to '{user_now}'!"
    if sum_now != checksum(password):
        return f"The checksum of API_PASSWORD changed from '{checksum(password)}' to '{sum_now}'!"
    return ""


def main() -> int:
    """Run until the environment changes; return the exit code."""
    if any(not os.environ.get(name) for name in REQUIRED):
        say("Not all required environment variables are defined.")
        return 1
    release = release_name()
    user, password, exclaim, xpassword = (os.environ[name] for name in REQUIRED)
    say(f"Hello, '{user}' - thanks for passing along the API_PASSWORD and xpassword={xpassword}")
    say(f"The checksum of the original API_PASSWORD is '{checksum(password)}'")

    started = time.monotonic()
    while True:
        changed = violation(user, password)
        if changed:
            say(f"Integrity violation:{changed}")
            return 1
        say(f"Hello! {exclaim} user '{user}'!")
        say(f"Disclaimer!\n{os.environ.get('DISCLAIMER', '')}.")
        say(f"The checksum of the current password is '{checksum(os.environ['API_PASSWORD'])}'")
        say(f"Running for {humanize.precisedelta(timedelta(seconds=int(time.monotonic() - started)))}.")
        say(f"Stop ME by executing 'helm uninstall {release}'")
        time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
