"""What volumes cost programs, next to the same programs without them: `python bench/volumes.py [--quick]`.

In: an engine, a base image with Python (SCONECTL_TEST_BASE_IMAGE), and native images (scripts/test-images.sh). Out: one
line for each ratio. A native image has its data in a volume of the engine, the confidential ones have their storage in
one: all are on the same disk. What is compared takes turns in every round; a ratio is the median over the rounds.
"""

from __future__ import annotations

import argparse
import inspect
import os
import re
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import tree

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from e2e.confidential import Confidential, address_of, converted
from e2e.databases.clients import MARIADB, SQLITE, Told
from e2e.world import World, docker, logs, must, running_world

from sconectl.runtime.attest import fetch_configuration
from sconectl.runtime.configuration import Host
from sconectl.runtime.link import CasLink, open_channel

BASE = os.environ.get("SCONECTL_TEST_BASE_IMAGE", "")
MEASUREMENT = "ab" * 32
SESSION = {
    "name": "round-trip", "version": "0.3.11", "volumes": [{"name": "v"}],
    "services": [{"name": "app", "command": "app", "pwd": "/", "image_name": "i",
                  "attestation": [{"mrenclave": [MEASUREMENT]}]}],
    "images": [{"name": "i", "volumes": [{"name": "v", "path": "/v"}]}],
    "security": {"attestation": {"mode": "simulation"}},
}  # fmt: skip

SQLITE_COMMITS = """
import os, sqlite3, time
def work():
    db = sqlite3.connect('/data/{journal}.db', isolation_level=None)
    db.execute('PRAGMA journal_mode={journal}')
    db.execute('PRAGMA synchronous=EXTRA')
    db.execute('CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, text)')
    begin = time.perf_counter()
    for _ in range({count}):
        db.execute('INSERT INTO t (text) VALUES (?)', ('x' * 100,))
    return time.perf_counter() - begin
result = work()
"""
ONE_FSYNC = """
import os, time
def work():
    data = memoryview(os.urandom(1 << 20))
    begin = time.perf_counter()
    file = os.open('/data/large', os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    for _ in range({megabytes}):
        os.write(file, data)
    os.fsync(file)
    os.close(file)
    return time.perf_counter() - begin
result = work()
"""
READS = """
import os, random, time
def work():
    file = os.open('{folder}/large', os.O_RDONLY)
    draw = random.Random(1)
    size = os.fstat(file).st_size
    buffer = bytearray(1 << 20)
    begin = time.perf_counter()
    while os.readv(file, [buffer]):
        pass
    for _ in range(20_000):
        os.pread(file, 4096, draw.randrange(size // 4096) * 4096)
    os.close(file)
    return time.perf_counter() - begin
result = work()
"""
NO_SYNC = """
import hashlib, os, time
def work():
    data = os.urandom(1 << 16)
    begin = time.perf_counter()
    log = os.open('/data/log', os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for number in range({count}):
        os.write(log, b'%d %s\\n' % (number, hashlib.sha256(data).hexdigest().encode()))
        if number % 50 == 0:
            with open('/data/part-%d' % (number // 50 % 100), 'wb') as file:
                file.write(data)
    os.close(log)
    return time.perf_counter() - begin
result = work()
"""
TREE = """
import os, shutil, types, pathlib
module = types.ModuleType('tree')
exec({source!r}, module.__dict__)
module.make_tree(pathlib.Path('/data/tree'), files={files}, size={size})
os.sync()
"""
COPY = """
import subprocess, time
subprocess.run('rm -rf /memory/*', shell=True, check=True)
begin = time.perf_counter()
subprocess.run(['cp', '-r', '/data/tree', '/memory/copy'], check=True)
result = time.perf_counter() - begin
"""


@dataclass
class Bench:
    """The machine, with containers that do what they are told: native, and with bounded and strict tags."""

    world: World
    images: dict[str, Confidential] = field(default_factory=dict)
    containers: dict[str, str] = field(default_factory=dict)
    storages: list[str] = field(default_factory=list)

    def start(
        self, what: str, native: str, path: str, image: Confidential | None = None, *, large_pages: bool = False
    ) -> None:
        """Start one of the containers; with `large_pages` the memory is mounted as docs/volumes.md says for reads."""
        if image is not None:
            self.images[what] = image
            memory = ["--tmpfs", "/scone/memory:size=4g"]
            if large_pages:
                storage = f"sconectl-bench-{self.world.name}-{what}-memory"
                self.storages.append(storage)
                options = ("type=tmpfs", "device=tmpfs", "o=size=4g,mode=1777,huge=within_size")
                words = [word for option in options for word in ("--opt", option)]
                must(docker("volume", "create", *words, storage))
                memory = ["-v", f"{storage}:/scone/memory"]
            container = image.create(host=what, memory=memory)
        else:
            storage = f"sconectl-bench-{self.world.name}-{what}"
            self.storages.append(storage)
            container = self.world.create(
                native, options=("-v", f"{storage}:{path}", "--tmpfs", "/memory:size=4g"), config_id=""
            )
        self.containers[what] = container
        must(docker("start", container))

    def told(self, what: str) -> Told:
        """Connect to the program in a container, once it is there."""
        deadline = time.monotonic() + 60
        while True:
            try:
                return Told(socket.create_connection((address_of(self.containers[what]), 7000), timeout=600))
            except OSError:
                if time.monotonic() > deadline:
                    raise SystemExit(f"{what} did not start:\n{logs(self.containers[what])}") from None
                time.sleep(0.002)

    def do(self, what: str, code: str) -> float:
        link = self.told(what)
        try:
            return float(link.do(code) or 0)
        finally:
            link.socket.close()

    def remove(self) -> None:
        for image in self.images.values():
            image.remove()
        self.world.remove_containers()
        docker("volume", "rm", "-f", *self.storages)


@dataclass
class RoundTrip:
    """How long the CAS takes for a new tag of a volume, over one kept connection."""

    link: CasLink
    tag: str | None = None

    @classmethod
    def new(cls, world: World) -> RoundTrip:
        key = must(world.sconectl("cas", "show-identification", "--dir", world.cas_directory)).out.strip()
        channel = open_channel()
        link = CasLink(world.address, key, channel, timeout=20)
        status, content = link.call("POST", "/v1/sessions", SESSION, deadline=time.monotonic() + 20)
        if status != 201:
            raise SystemExit(f"the session was not created: {status} {content!r}")
        identity = {"measurement": MEASUREMENT, "debug": False}
        fetch_configuration(
            link, link, channel, config_id="round-trip/app", identity=identity, host=Host(), patience=20
        )
        return cls(link)

    def seconds(self) -> float:
        new = os.urandom(16).hex()
        begin = time.perf_counter()
        status, content = self.link.call(
            "POST", "/v1/sim/tags", {"subject": "v", "old": self.tag, "new": new}, deadline=time.monotonic() + 20
        )
        if status != 200:
            raise SystemExit(f"the CAS did not take a tag: {status} {content!r}")
        self.tag = new
        return time.perf_counter() - begin


@dataclass(frozen=True)
class Size:
    """How much is done."""

    rounds: int
    commits: int
    megabytes: int
    files: int
    bytes: int

    @classmethod
    def of(cls, *, quick: bool) -> Size:
        return cls(3, 100, 50, 2000, 60 << 20) if quick else cls(7, 500, 500, tree.FILES, tree.SIZE)


class Report:
    """Prints a line for each ratio, and remembers whether a goal was missed."""

    def __init__(self) -> None:
        self.missed = 0

    def at_least(self, name: str, goal: float, native: list[float], ours: list[float]) -> None:
        """Speed: how much of the native one is left."""
        self._line(name, statistics.median(theirs / mine for theirs, mine in zip(native, ours, strict=True)), goal, 1)

    def at_most(self, name: str, goal: float, others: list[float], ours: list[float]) -> None:
        """Time, next to that of something else."""
        self._line(name, statistics.median(mine / other for other, mine in zip(others, ours, strict=True)), goal, -1)

    def _line(self, name: str, value: float, goal: float, sign: int) -> None:
        met = sign * value >= sign * goal
        self.missed += not met
        what = "at least" if sign > 0 else "at most"
        print(f"{name}: {value:.2f} (goal: {what} {goal}: {'met' if met else 'MISSED'})", flush=True)


def rounds(count: int, *works: Callable[[], float]) -> list[list[float]]:
    """Do everything in turns; return the times of each work."""
    for work in works:
        work()  # caches are warm, tables and directories are there

    def alone(work: Callable[[], float]) -> float:
        os.sync()  # what others have left to be written is not to be written now
        return work()

    times = [[alone(work) for work in works] for _ in range(count)]
    return [list(column) for column in zip(*times, strict=True)]


def programs(bench: Bench, size: Size, report: Report) -> None:
    """SQLite, files, and a program that never syncs."""
    native = SQLITE.native
    bench.start("native", native, "/data")
    bench.start("bounded", native, "/data", _image(bench, native, "/data", "bounded", bounded=True))
    bench.start("strict", native, "/data", _image(bench, native, "/data", "strict", bounded=False))
    image = _image(bench, native, "/data", "large-pages", bounded=True)
    bench.start("large-pages", native, "/data", image, large_pages=True)

    def timed(what: str, code: str) -> Callable[[], float]:
        return lambda: bench.do(what, code)

    for journal in ("wal", "delete"):
        code = SQLITE_COMMITS.format(journal=journal, count=size.commits)
        theirs, ours = rounds(size.rounds, timed("native", code), timed("bounded", code))
        report.at_least(f"SQLite commits, bounded tags, journal mode {journal}, of native", 0.3, theirs, ours)

    trip = RoundTrip.new(bench.world)
    code = SQLITE_COMMITS.format(journal="wal", count=size.commits)
    bounded, strict, trips = rounds(
        size.rounds,
        timed("bounded", code),
        timed("strict", code),
        lambda: sum(trip.seconds() for _ in range(100)) / 100,
    )
    print(
        f"(a commit takes {1e3 * statistics.median(bounded) / size.commits:.2f} ms with bounded tags, "
        f"{1e3 * statistics.median(strict) / size.commits:.2f} ms with strict ones; "
        f"the CAS answers in {1e3 * statistics.median(trips):.2f} ms)"
    )
    expected = [time / size.commits + trip for time, trip in zip(bounded, trips, strict=True)]
    report.at_most(
        "SQLite commit, strict tags, next to bounded ones and a round trip to the CAS", 1.3, expected,
        [time / size.commits for time in strict],
    )  # fmt: skip

    for name, goal, code in (
        (f"sequential write of {size.megabytes} MB with one fsync", 0.4, ONE_FSYNC.format(megabytes=size.megabytes)),
        ("a program that never syncs", 0.95, NO_SYNC.format(count=size.commits * 20)),
    ):
        theirs, ours = rounds(size.rounds, timed("native", code), timed("bounded", code))
        report.at_least(f"{name}, of native", goal, theirs, ours)

    bench.do("native", "import shutil; shutil.copy('/data/large', '/memory/large')")
    bench.do("large-pages", ONE_FSYNC.format(megabytes=size.megabytes))
    code = READS.format(folder="/data")
    theirs, memory, ours, large = rounds(
        size.rounds,
        *(timed("native", code), timed("native", READS.format(folder="/memory"))),
        *(timed("bounded", code), timed("large-pages", code)),
    )
    name = "reads, of native reads of what the page cache holds"
    report.at_least(f"{name}, memory with large pages", 0.95, theirs, large)
    report.at_least(f"{name}, memory of --tmpfs", 0.95, theirs, ours)
    report.at_least("reads, of native reads from a tmpfs", 0.95, memory, ours)


def opening(bench: Bench, size: Size, report: Report) -> None:
    """A start with a large volume, less one with an empty volume, next to `cp -r` into memory."""
    code = TREE.format(source=inspect.getsource(tree), files=size.files, size=size.bytes)
    bench.start("copied", SQLITE.native, "/data")
    for what in ("large", "empty"):
        bench.start(what, SQLITE.native, "/data", _image(bench, SQLITE.native, "/data", what, bounded=True))
    for what in ("copied", "large"):
        bench.do(what, code)

    def restart(what: str) -> float:
        must(docker("stop", bench.containers[what]))
        begin = time.perf_counter()
        must(docker("start", bench.containers[what]))
        bench.told(what).socket.close()
        return time.perf_counter() - begin

    copied, large, empty = rounds(
        size.rounds, lambda: bench.do("copied", COPY), lambda: restart("large"), lambda: restart("empty")
    )
    opened = [whole - rest for whole, rest in zip(large, empty, strict=True)]
    name = f"open of {size.bytes >> 20} MB in {size.files} files, next to cp -r"
    report.at_most(name, 1.3, copied, opened)


def mariadb(bench: Bench, size: Size, report: Report) -> None:
    """Committed inserts by the load generator of MariaDB, in a container of its own."""
    native, path = MARIADB.native, MARIADB.path
    bench.world.remove_containers()  # those of the other parts
    client = bench.world.create(native, "inf", options=("--entrypoint", "sleep"), config_id="")
    bench.containers["client"] = client
    must(docker("start", client))
    bench.start("maria-native", native, path)
    bench.start("maria-bounded", native, path, _image(bench, native, path, "maria-bounded", bounded=True))
    for what in ("maria-native", "maria-bounded"):
        deadline = time.monotonic() + 60
        while docker(*_client(bench, what, "mariadb", "-e", "SELECT 1")).code != 0:
            if time.monotonic() > deadline:
                raise SystemExit(logs(bench.containers[what]))
            time.sleep(0.2)
        table = "CREATE TABLE bench.t (id BIGINT AUTO_INCREMENT PRIMARY KEY, text TEXT)"
        must(docker(*_client(bench, what, "mariadb", "-e", f"CREATE DATABASE bench; {table}")))

    def inserts(what: str, clients: int) -> Callable[[], float]:
        words = [f"--concurrency={clients}", f"--number-of-queries={size.commits * 2 * min(clients, 4)}"]
        query = f"--query=INSERT INTO bench.t (text) VALUES ('{'x' * 100}')"

        def work() -> float:
            said = must(
                docker(*_client(bench, what, "mariadb-slap", "--create-schema=bench", "--no-drop", query, *words))
            )
            found = re.search(r"Average number of seconds to run all queries: ([0-9.]+)", said.out)
            if not found:
                raise SystemExit(said.text)
            return float(found[1])

        return work

    for clients, goal in ((1, 0.35), (16, 0.5)):
        theirs, ours = rounds(size.rounds, inserts("maria-native", clients), inserts("maria-bounded", clients))
        report.at_least(f"MariaDB, INSERT with commit, {clients} clients, bounded tags, of native", goal, theirs, ours)


def _client(bench: Bench, what: str, program: str, *words: str) -> list[str]:
    server = f"--host={address_of(bench.containers[what])}"
    return ["exec", bench.containers["client"], program, server, "--user=app", "--password=app", *words]


def _image(bench: Bench, native: str, path: str, name: str, *, bounded: bool) -> Confidential:
    return converted(bench.world, native, {"data": path}, name=name, bounded=["data"] if bounded else [])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the files, and fewer rounds")
    parts = {"programs": programs, "opening": opening, "mariadb": mariadb}
    parser.add_argument("--only", choices=parts, help="one part")
    options = parser.parse_args()
    if not BASE:
        sys.exit("SCONECTL_TEST_BASE_IMAGE names no Python base image; `make bench` sets it")
    size, report = Size.of(quick=options.quick), Report()
    with tempfile.TemporaryDirectory(prefix="sconectl-bench-") as folder, ExitStack() as stack:
        root = Path(folder)
        world = stack.enter_context(
            running_world(root, BASE, os.environ.get("SCONECTL_TEST_CA_BUNDLE", ""), root / "cache")
        )
        bench = Bench(world)
        stack.callback(bench.remove)
        for name, part in parts.items():
            if options.only in (None, name):
                part(bench, size, report)
    return int(report.missed > 0)


if __name__ == "__main__":
    sys.exit(main())
