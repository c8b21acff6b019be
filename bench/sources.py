"""How fast copied files are checked and hashed: `python bench/sources.py [--quick]`.

In: nothing; the tree is made here, like a Python environment. Out: one line for each ratio. What is compared takes
turns, in interleaved rounds; a ratio is the median over the rounds of (our time / the other's).
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tree import FILES, SIZE, make_tree

from sconectl.apply.sources.source_digest import copied_digest
from sconectl.apply.sources.sources import find_copied
from sconectl.text.yaml_tree import parse

CHECK_GOAL = 2.5
HASH_GOAL = 0.65


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def shell(command: str, folder: Path) -> None:
    subprocess.run(command, shell=True, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def ratio(name: str, goal: float, rounds: int, ours: Callable[[], object], other: Callable[[], object]) -> None:
    for work in (ours, other):
        timed(work)
    found = [(timed(other), timed(ours)) for _ in range(rounds)]
    value = statistics.median(b / a for a, b in found)
    theirs, mine = (1000 * statistics.median(column) for column in zip(*found, strict=True))
    verdict = "met" if value <= goal else "MISSED"
    print(f"{name}: {value:.2f} (goal {goal}: {verdict}; {theirs:.0f} ms, ours {mine:.0f} ms)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the files, and fewer rounds")
    quick = parser.parse_args().quick
    root = Path(tempfile.mkdtemp(prefix="sconectl-bench-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    document = parse("build: {copy: [tree]}", "service.yaml")
    cache = root / "cache"
    try:
        make_tree(root / "tree", files=FILES // 10 if quick else FILES, size=SIZE // 10 if quick else SIZE)
        time.sleep(2.5)  # files that were written just now are never remembered

        def check() -> str:
            return copied_digest(find_copied(["tree"], "/app", root, document), cache)

        def hash_all() -> str:
            shutil.rmtree(cache, ignore_errors=True)
            return check()

        rounds = 7 if quick else 15
        digest = hash_all()
        ratio("content hash, next to tar | openssl", HASH_GOAL, rounds, hash_all, lambda: shell(HASH, root))
        ratio("nothing changed, next to find | wc", CHECK_GOAL, 2 * rounds, check, lambda: shell(FIND, root))
        if check() != digest:
            sys.exit("the digest is not the same")
    finally:
        shutil.rmtree(root)


HASH = "tar -cf - tree | openssl dgst -sha256"
FIND = "find tree -type f | wc -l"

if __name__ == "__main__":
    main()
