"""A directory tree like a Python environment, for the benchmarks: the same bytes on every machine.

In: a directory, the number of files and their size altogether. Out: the tree below it. Most files are small modules;
a few large libraries hold most of the bytes.
"""

from __future__ import annotations

import random
from pathlib import Path

FILES = 20_000
SIZE = 600 << 20
_LIBRARIES = 60
_BLOCK = 1 << 20


def make_tree(root: Path, *, files: int = FILES, size: int = SIZE) -> None:
    """Write the tree. `root` must not exist."""
    numbers = random.Random(20_000)
    noise = numbers.randbytes(4 * _BLOCK)
    libraries = min(_LIBRARIES, files // 10)
    small = [int(min(numbers.lognormvariate(8.3, 1.2), 200_000)) for _ in range(files - libraries)]
    rest = max(0, size - sum(small)) // max(1, libraries)
    folders = [root / f"package{number // 8:03}" / f"part{number % 8}" / "source" for number in range(files // 12 + 1)]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    for number, length in enumerate([*small, *[rest] * libraries]):
        library = number >= len(small)
        name = f"lib{number:05}.so" if library else f"module_{number:05}.py"
        path = folders[number % len(folders)] / name
        with path.open("wb") as file:
            file.write(number.to_bytes(8, "big")[: min(8, length)])
            length -= min(8, length)
            while length:
                start = numbers.randrange(_BLOCK)
                part = noise[start : start + min(length, 2 * _BLOCK)]
                file.write(part)
                length -= len(part)
        path.chmod(0o755 if library else 0o644)
