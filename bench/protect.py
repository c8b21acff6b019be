"""How fast a directory is protected and opened: `python bench/protect.py [--quick]`.

In: nothing; the tree is made here, like a Python environment, in memory. Out: one line for each ratio, and the peak
memory. What is compared takes turns in every round; a ratio is the median over the rounds of (our time / the other's).
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tree import FILES, SIZE, make_tree

from sconectl.protect.extract import extract
from sconectl.protect.fspf import data_key, open_index, seal_index
from sconectl.protect.packs import write_pack
from sconectl.protect.regions import ENCRYPTED, KERNEL, NOT_PROTECTED, Region
from sconectl.protect.tree import list_tree

KEY = bytes(range(32))
MEMORY_GOAL = 200
COPY = "cp -r tree copy"
ENCRYPT = f"tar -cf - tree | openssl enc -aes-256-ctr -K {'00' * 32} -iv {'00' * 16} > tree.enc"
GOALS = [
    ("protect, next to cp -r", 0.8, "protect", "cp"),
    ("protect, next to tar | openssl enc", 1.0, "protect", "openssl"),
    ("open in the launcher, next to cp -r", 1.2, "open", "cp"),
]


class Bench:
    """The tree, and what is done to it; each step leaves nothing behind but what the next one needs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tag = ""

    def protect(self) -> None:
        """Encrypt, authenticate and index, with two processes."""
        found = list_tree(str(self.root / "tree"), "/app")
        sealed = write_pack(data_key(KEY), "pack", found.files, self.root / "pack")
        regions = [Region("/", NOT_PROTECTED, KERNEL, "/"), Region("/app", ENCRYPTED, KERNEL, str(self.root))]
        data, self.tag = seal_index(KEY, regions, [*found.others, *sealed])
        (self.root / "fs.fspf").write_bytes(data)

    def open(self) -> None:
        """Verify and decrypt to memory, as the launcher does."""
        found = open_index(KEY, self.tag, (self.root / "fs.fspf").read_bytes())
        extract(found, str(self.root / "opened"), folder_bits=0o700)

    def shell(self, command: str) -> None:
        subprocess.run(command, shell=True, cwd=self.root, check=True, stdout=subprocess.DEVNULL)

    def round(self) -> dict[str, float]:
        """Do everything once and return the times.

        What a step wrote is gone before the next one, so that all get the same memory.
        """
        times = {"cp": timed(lambda: self.shell(COPY))}
        shutil.rmtree(self.root / "copy")
        times["openssl"] = timed(lambda: self.shell(ENCRYPT))
        (self.root / "tree.enc").unlink()
        times["protect"] = timed(self.protect)
        (self.root / "opened").mkdir()
        times["open"] = timed(self.open)
        shutil.rmtree(self.root / "opened")
        for name in ("pack", "fs.fspf"):
            (self.root / name).unlink()
        return times


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def peak_memory() -> int:
    """Return an upper limit of what this process and one copy of it had in memory at the same time, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    own = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return (own + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) // 1024


def report(name: str, goal: float, ours: list[float], others: list[float]) -> None:
    value = statistics.median(mine / other for mine, other in zip(ours, others, strict=True))
    verdict = "met" if value <= goal else "MISSED"
    theirs, mine = (1000 * statistics.median(times) for times in (others, ours))
    print(f"{name}: {value:.2f} (goal {goal}: {verdict}; {theirs:.0f} ms, ours {mine:.0f} ms)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the files, and fewer rounds")
    quick = parser.parse_args().quick
    root = Path(tempfile.mkdtemp(prefix="sconectl-bench-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    bench = Bench(root)
    try:
        make_tree(root / "tree", files=FILES // 10 if quick else FILES, size=SIZE // 10 if quick else SIZE)
        bench.protect()
        (root / "opened").mkdir()
        bench.open()
        bench.shell("diff -r tree opened/app")
        shutil.rmtree(root / "opened")
        (root / "pack").unlink()
        rounds = [bench.round() for _ in range(3 if quick else 9)]
        for name, goal, ours, other in GOALS:
            report(name, goal, [times[ours] for times in rounds], [times[other] for times in rounds])
        memory = peak_memory()
        verdict = "met" if memory <= MEMORY_GOAL else "MISSED"
        print(f"peak memory of both processes together: {memory} MB (goal {MEMORY_GOAL}: {verdict})")
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
