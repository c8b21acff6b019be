"""What a native image has at the paths of encrypted volumes: that content is not in the confidential image.

In: the files of a native image, and the volumes. Out: lines for people.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sconectl.image.layers.layer_index import Member


def left_behind(members: Mapping[str, Member], volumes: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each volume where the image has something; `volumes` are their names by path."""
    for path, name in volumes.items():
        number = sum(other.startswith(f"{path}/") for other in members)
        if number:
            things = "1 file or directory" if number == 1 else f"{number} files and directories"
            yield f"what the native image has in {path} ({things}) is left out: the volume {name} begins empty"
