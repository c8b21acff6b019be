"""Asks the launcher in this container to run the health command; this is the HEALTHCHECK of a confidential image.

Runs by itself, as a file. Its output is what the health command prints, its exit code that of the health command. It
knows no secret, and cannot choose the command: that is measured with the image.
"""

from __future__ import annotations

import os
import socket
import sys

FOLDER = "/dev/shm/scone-health"  # noqa: S108 - of the launcher alone, checked there
SOCKET = f"{FOLDER}/socket"


def ask() -> int:
    """Return the exit code of the health command; 1 if it could not be run."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(SOCKET)
            socket.send_fds(connection, [b"?"], [1, 2])
            answer = connection.recv(1)
    except OSError as error:
        reason = f"the program has not started yet, or the container has another user ({error.strerror})"
    else:
        if answer:
            return answer[0]
        reason = "the health command was not run to its end"
    os.write(2, f"[SCONE|ERROR] No health: {reason}\n".encode())
    return 1


if __name__ == "__main__":
    sys.exit(ask())
