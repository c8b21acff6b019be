"""Kills the embedded CAS again and again while clients write to it, and looks for what must not happen.

Usage: python tests/nightly/kill_loop.py [--kills 200] [--clients 8] [--seed N]

After each kill -9 and start: every acknowledged write is there, the one write that each client had under way is there
as a whole or not at all, nothing is half-written (each session has its generated value), the database is intact, and
the audit log verifies. The server is the installed command; the clients are `http.client` over mutual TLS with kept
connections.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

SCONECTL = Path(sys.executable).with_name("sconectl")
VALUE = re.compile(r'"value":\s*"[!-~]')


class Lost(AssertionError):
    """Something happened that must not happen."""


@dataclass
class Server:
    """The CAS in one directory, started and killed."""

    root: Path
    address: tuple[str, int] = ("", 0)
    pid: int = 0

    def run(self, *arguments: object, code: int = 0) -> str:
        command = [str(SCONECTL), *(str(argument) for argument in arguments)]
        environment = os.environ | {"HOME": str(self.root), "XDG_STATE_HOME": str(self.root / "state")}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
        if done.returncode != code:
            raise Lost(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def start(self) -> None:
        often = ("--limit", "audit-segment-bytes=40000")
        output = self.run("cas", "serve", "--detach", "--dir", self.root / "cas", "--listen", "127.0.0.1:0", *often)
        host, _, port = output.strip().rpartition(":")
        self.address = (host, int(port))
        found = re.search(r"process (\d+)", self.run("cas", "status", "--dir", self.root / "cas"))
        assert found is not None
        self.pid = int(found[1])

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        while True:  # it is not our child, so it cannot be waited for
            try:
                state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
            except FileNotFoundError:
                return
            if state == "Z":
                return
            time.sleep(0.005)

    def verify(self) -> None:
        """Check database and audit log."""
        self.run("cas", "verify-audit-log", "--dir", self.root / "cas")
        numbers = re.findall(r'^{"sequence": (\d+),', self.run("cas", "audit-log", "--dir", self.root / "cas"), re.M)
        if numbers != [str(number) for number in range(1, len(numbers) + 1)]:
            raise Lost("entries of the audit log are lost or doubled")
        with contextlib.closing(sqlite3.connect(f"file:{self.root}/cas/cas.db?mode=ro", uri=True)) as database:
            [(verdict,)] = database.execute("PRAGMA integrity_check").fetchall()
        if verdict != "ok":
            raise Lost(f"integrity_check: {verdict}")


@dataclass
class Client:
    """One writer: what it knows to be stored, and the write that is under way."""

    name: str
    context: ssl.SSLContext
    acknowledged: dict[str, str] = field(default_factory=dict)
    under_way: str | None = None
    count: int = 0
    failure: Lost | None = None

    def connect(self, server: Server) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(*server.address, timeout=30, context=self.context)

    def work(self, server: Server) -> None:
        """Write until the connection breaks."""
        connection = self.connect(server)
        try:
            while True:
                self.write(connection)
        except (OSError, http.client.HTTPException):
            return
        except Lost as failure:
            self.failure = failure
        finally:
            connection.close()

    def write(self, connection: http.client.HTTPSConnection) -> None:
        if self.acknowledged and random.random() < 0.5:
            session = random.choice(list(self.acknowledged))
        else:
            self.count += 1
            session = f"{self.name}-{self.count}"
        document = {
            "name": session,
            "version": "0.3.12",
            "secrets": [
                {"name": "drawn", "kind": "ascii", "export_public": True},
                {"name": "key", "kind": "private-key"},
            ],
            "security": {"attestation": {"mode": "simulation"}},
            "services": [{"name": "s", "command": f"run {random.random()}", "attestation": {"mrenclave": "ab" * 32}}],
        }
        if session in self.acknowledged:
            document["predecessor"] = self.acknowledged[session]
        self.under_way = session
        connection.request("POST", "/v1/sessions", json.dumps(document))
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 201:
            raise Lost(f"{session}: {answer.status} {content!r}")
        self.acknowledged[session] = json.loads(content)["hash"]
        self.under_way = None

    def check(self, server: Server, sessions: list[str]) -> None:
        """Read `sessions` and the one that was under way back."""
        connection = self.connect(server)
        for session in sessions:
            if session != self.under_way:
                found = self.read(connection, session)
                if found is None or found[0] != self.acknowledged[session]:
                    raise Lost(f"{session}: acknowledged {self.acknowledged[session]}, found {found}")
        if self.under_way is not None:
            before, found = self.acknowledged.get(self.under_way), self.read(connection, self.under_way)
            hash_, predecessor = found or (None, None)
            if hash_ != before and predecessor != before:
                raise Lost(f"{self.under_way}: neither {before} nor its successor, but {found}")
            if hash_ is not None:
                self.acknowledged[self.under_way] = hash_
            self.under_way = None
        connection.close()

    def read(self, connection: http.client.HTTPSConnection, session: str) -> tuple[str, str | None] | None:
        """Return hash and predecessor of a stored session that is whole, or None without a session."""
        status, content = get(connection, f"/v1/sessions/{session}")
        value_status, value = get(connection, f"/v1/values/session={session},secret=drawn")
        if status == 404 and value_status == 404:
            return None
        if status != 200 or value_status != 200 or not VALUE.search(value):
            raise Lost(f"{session} is half-written: {status}, {value_status}")
        document = json.loads(content)
        found = re.search(r'^predecessor: "?([0-9a-f]{64})', document["session"], re.MULTILINE)
        return document["hash"], found[1] if found else None


def get(connection: http.client.HTTPSConnection, path: str) -> tuple[int, str]:
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def identity(folder: Path) -> ssl.SSLContext:
    pem = folder / "client.pem"
    made = ["-nodes", "-days", "2", "-subj", "/CN=load", "-keyout", str(pem), "-out", str(folder / "client.crt")]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", *made]
    subprocess.run(command, check=True, capture_output=True)
    with pem.open("a") as file:
        file.write((folder / "client.crt").read_text())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # our own server on the loopback; its identity is not what is tested here
    context.load_cert_chain(pem)
    return context


def loop(kills: int, clients: int, seed: int, report: bool) -> int:
    """Run the loop and return the number of acknowledged sessions; raises `Lost`."""
    random.seed(seed)
    root = Path(tempfile.mkdtemp(prefix="sconectl-kills-"))
    server, context = Server(root), identity(root)
    writers = [Client(f"c{number}", context) for number in range(clients)]
    server.start()
    for number in range(1, kills + 1):
        threads = [threading.Thread(target=writer.work, args=(server,)) for writer in writers]
        for thread in threads:
            thread.start()
        time.sleep(random.uniform(0.02, 0.4))
        server.kill()
        for thread in threads:
            thread.join(60)
        for failure in (writer.failure for writer in writers if writer.failure):
            raise failure
        server.start()
        server.verify()
        for writer in writers:
            known = list(writer.acknowledged)
            writer.check(server, known[-20:] + random.sample(known, min(5, len(known))))
        if report and number % 10 == 0:
            print(f"{number} kills, {sum(len(writer.acknowledged) for writer in writers)} sessions", flush=True)
    for writer in writers:
        writer.check(server, list(writer.acknowledged))
    server.run("cas", "stop", "--dir", root / "cas")
    shutil.rmtree(root)
    return sum(len(writer.acknowledged) for writer in writers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    sessions = loop(options.kills, options.clients, options.seed, report=True)
    print(f"{options.kills} kills: all {sessions} sessions are there and whole; the audit log verified each time")


if __name__ == "__main__":
    main()
