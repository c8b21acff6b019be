"""Kills a database on a volume again and again while clients write to it, and looks for what must not happen.

After each kill -9 and start: every acknowledged row is there, once and in order; the one row that each writer had
under way is there as a whole or not at all; the database is intact and did not complain. Killed are the program, the
launcher, the container, and now and then the CAS, too.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..confidential import Confidential, address_of, await_end, is_there, process_of_cas
from ..world import docker, is_running, logs, must, run
from .clients import PATIENCE, Client, Database, Place, Refused
from .ledger import CANARY, Ledger

LONGEST = 0.8
"""Seconds under load before a kill."""
_LAUNCHER = "read launcher rest </proc/1/task/1/children"
_PROGRAM = "read program rest </proc/$launcher/task/$launcher/children; kill -9 $program"
"""What a shell in the container does; the first child of the launcher is the program."""


@dataclass
class Writer:
    """Writes one row after the other, until the connection breaks."""

    ledger: Ledger
    client: Client
    killed: threading.Event
    fault: BaseException | None = None
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def _work(self) -> None:
        ledger = self.ledger
        try:
            while True:
                ledger.under_way = True
                self.client.write(ledger.name, ledger.acknowledged + 1)
                ledger.acknowledged += 1
                ledger.under_way = False
        except (OSError, Refused) as error:
            if not self.killed.is_set():
                self.fault = error
        except BaseException as error:
            self.fault = error

    def finish(self) -> None:
        """Hang up; what was acknowledged by then is still read."""
        with contextlib.suppress(OSError):
            self.client.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()
        self.client.socket.close()
        if self.fault is not None:
            raise AssertionError(f"writer {self.ledger.name} failed before anything was killed") from self.fault


@dataclass
class Campaign:
    """One database on one volume."""

    database: Database
    image: Confidential
    draw: random.Random
    ledgers: list[tuple[Place, list[Ledger]]] = field(init=False)
    containers: dict[bool, str] = field(init=False)
    """By whether an init of the engine is process 1 and not the launcher; all are the same host to the CAS."""

    def __post_init__(self) -> None:
        self.ledgers = [
            (place, [Ledger(f"w{number}") for number in range(place.writers)]) for place in self.database.places
        ]
        host = f"{self.database.name}-host"
        self.containers = {False: self.image.create(host=host), True: self.image.create("--init", host=host)}

    def run(self, kills: int) -> int:
        """Kill so many times; return how many rows were acknowledged."""
        ways: list[Callable[[], str]] = []
        for number in range(kills):
            if not ways:
                ways = [self._program, self._launcher, self._container]
                self.draw.shuffle(ways)
            self.round(ways.pop(), kill_cas=number % 5 == 3)
        container = self._start(False)
        must(docker("stop", container))
        assert await_end(container) in (0, 128 + signal.SIGTERM), logs(container)
        self._start(True)
        self._complaints()
        return sum(ledger.acknowledged for _, ledgers in self.ledgers for ledger in ledgers)

    def round(self, kill: Callable[[], str], *, kill_cas: bool) -> None:
        """Start, look, write, kill."""
        init = kill == self._launcher or (kill == self._program and self.draw.random() < 0.5)
        container = self._start(init)
        killed = threading.Event()
        writers = [
            Writer(ledger, self._connected(container, place), killed)
            for place, ledgers in self.ledgers
            for ledger in ledgers
        ]
        try:
            time.sleep(self.draw.uniform(0, LONGEST))
            if kill_cas:
                self._kill_cas()
                time.sleep(self.draw.uniform(0, LONGEST))
            assert all(writer.thread.is_alive() for writer in writers), (writers[0].fault, logs(container)[-3000:])
            killed.set()
            kill()
            await_end(container)
        finally:
            killed.set()
            for writer in writers:
                writer.finish()

    def _start(self, init: bool) -> str:
        """Start a container, and compare what is there with the ledgers."""
        container = self.containers[init]
        must(docker("start", container))
        for place, ledgers in self.ledgers:
            client = self._connected(container, place)
            client.prepare()
            rows = client.rows()
            client.socket.close()
            assert set(rows) <= {ledger.name for ledger in ledgers}
            for ledger in ledgers:
                ledger.check(rows.get(ledger.name, ()))
        return container

    def _connected(self, container: str, place: Place) -> Client:
        deadline = time.monotonic() + PATIENCE
        while True:
            assert is_running(container), logs(container)[-5000:]
            try:
                return self.database.connect(address_of(container), place)
            except (OSError, Refused) as error:
                assert time.monotonic() < deadline, (error, logs(container)[-5000:])
                time.sleep(0.02)

    def _program(self) -> str:
        [init] = [init for init, container in self.containers.items() if is_running(container)]
        script = f"{_LAUNCHER if init else 'launcher=1'}; {_PROGRAM}"
        return must(docker("exec", "-u", "0", self.containers[init], "sh", "-c", script)).out

    def _launcher(self) -> str:
        return must(docker("exec", "-u", "0", self.containers[True], "sh", "-c", f"{_LAUNCHER}; kill -9 $launcher")).out

    def _container(self) -> str:
        return must(docker("kill", "-s", "KILL", self.containers[False])).out

    def _kill_cas(self) -> None:
        world = self.image.world
        process = process_of_cas(world)
        os.kill(process, signal.SIGKILL)
        while is_there(process):
            time.sleep(0.005)
        words = ("--dir", world.cas_directory, "--listen", world.address, "--detach")
        must(world.sconectl("cas", "serve", *words))

    def _complaints(self) -> None:
        for container in self.containers.values():
            log = logs(container)
            found = re.search(f"{self.database.complaints}|bug of sconectl|Traceback|{CANARY}", log)
            assert not found, (found, log)


def nowhere_in_plain(image: Confidential, words: Sequence[str]) -> None:
    """Look for texts on the storage and in the image: names of files, contents, everything."""
    for word in words:
        assert image.on_storage(f"find . -type f | wc -l; grep -rlF -e {word} . || :").split()[1:] == [], word
        found = run(["sh", "-c", f"docker save {image.image} | grep -cF -e {word}"]).out.strip()
        assert found == "0", word
