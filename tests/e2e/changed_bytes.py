"""Changes single bytes in containers that were created but not started; works without a shell in them."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import PurePosixPath

PROTECTED_CONTENT = ("packs/", "blobs/")
"""Where an image keeps encrypted content, below /scone/image."""


def taken(container: str, path: str) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    """Return the files at or below `path`, by the name that an archive of it gives them."""
    done = subprocess.run(["docker", "cp", f"{container}:{path}", "-"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    found = {}
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isfile() else None
            if file is not None:
                found[member.name] = (member, file.read())
    return found


def put_back(container: str, folder: str, member: tarfile.TarInfo, content: bytes) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    command = ["docker", "cp", "-", f"{container}:{folder}"]
    done = subprocess.run(command, input=archive.getvalue(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def flipped(content: bytes) -> bytes:
    """Return the content with one bit of its middle byte changed."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def flip_file(container: str, path: str) -> None:
    """Change one byte of a regular file; name it by its real path."""
    ((member, content),) = taken(container, path).values()
    put_back(container, str(PurePosixPath(path).parent), member, flipped(content))


def flip_encrypted(container: str) -> None:
    """Change one byte of the largest file with encrypted content."""
    files = {
        name: file
        for name, file in taken(container, "/scone/image").items()
        if name.removeprefix("image/").startswith(PROTECTED_CONTENT)
    }
    assert files, "the image has no encrypted content"
    member, content = max(files.values(), key=lambda file: len(file[1]))
    put_back(container, "/scone", member, flipped(content))
