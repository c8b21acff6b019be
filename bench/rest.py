"""How fast the CAS answers, next to a server that does nothing: `python bench/rest.py [--quick]`.

In: nothing; both servers are started here, each in its own process, with the same protocol class and TLS settings. Out:
one line for each ratio. One client with one kept connection to each asks them in turn, in interleaved rounds; a ratio
is the median over the rounds of (requests per second of the CAS / of the echo).
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import json
import os
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MEASUREMENT = "ab" * 32
GOALS = {"read a public value": 0.5, "create a session": 0.2, "attest and configure": 0.1}
P99_GOAL = 1.5

SECRETS = """\
secrets:
  - {name: password, kind: ascii, size: 24}
  - {name: key, kind: binary, size: 32}
  - {name: note, kind: ascii, value: "42", export_public: true}
"""
SERVICE = f"""\
services:
  - name: app
    image_name: image
    command: app --token $$SCONE::password$$
    pwd: /srv
    environment:
      MODE: production
      KEY: $$SCONE::key:hex$$
      GREETING: hello from the benchmark of the embedded CAS
    attestation: [{{mrenclave: [{MEASUREMENT}]}}]
images:
  - name: image
    injection_files:
      - path: /etc/app/config.json
        content: |
          {{"endpoint": "https://database.example.internal:5432/", "password": "$$SCONE::password|escape(json)$$",
           "retries": 3, "timeout": 30, "pool": {{"minimum": 2, "maximum": 20}}, "log": "info"}}
security: {{attestation: {{mode: simulation, tolerate: [hyperthreading, outdated-tcb], ignore_advisories: "*"}}}}
"""
ECHO = '{"kind":"string","value":"42","expires":null,"renew":null}'


def session(name: str) -> bytes:
    """Return a session of about 1.2 kB with two generated secrets."""
    head = f'name: {name}\nversion: "0.3.11"\naccess_policy: {{read: [CREATOR], update: [CREATOR]}}\n'
    return f"{head}{SERVICE}{SECRETS}".encode()


def serve_echo(directory: Path) -> None:
    """Serve a bare Starlette application behind our protocol and TLS; prints its port."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    from sconectl.cas import daemon
    from sconectl.cas.bounds.limits import DEFAULT
    from sconectl.cas.http.https_server import HttpsServer
    from sconectl.cas.http.tls import server_context
    from sconectl.cas.keys.cas_keys import load_or_create

    answer = json.loads(ECHO)

    async def echo(request: Request) -> Response:
        await request.body()
        return JSONResponse(answer)

    keys = load_or_create(directory)
    app = Starlette(routes=[Route("/{anything:path}", echo, methods=["GET", "POST"])])
    listening = daemon.listen("127.0.0.1", 0)
    server = HttpsServer(app, server_context(keys.serve_as([]), keys.software), DEFAULT)
    print(listening.getsockname()[1], flush=True)
    server.run(sockets=[listening])


@dataclass
class Client:
    """One kept connection."""

    connection: http.client.HTTPSConnection
    certificate: bytes

    def ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        self.connection.request(method, path, body)
        response = self.connection.getresponse()
        content = response.read()
        if response.status >= 300:
            raise SystemExit(f"{method} {path}: {response.status} {content[:500]!r}")
        return content

    def json(self, path: str, message: Any) -> Any:
        return json.loads(self.ask("POST", path, json.dumps(message).encode()))


def connect(port: int, config: Path) -> Client:
    from sconectl.cas.client.identity import CasConfig

    identity = CasConfig(config).identity()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # its own servers; verifying a chain is done once for a connection anyway
    context.load_cert_chain(identity.file)
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=context)
    return Client(connection, identity.certificate_der)


@contextlib.contextmanager
def echo_server(root: Path) -> Iterator[int]:
    command = [sys.executable, __file__, "--serve-echo", str(root / "echo")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.terminate()


@contextlib.contextmanager
def cas_server(directory: Path) -> Iterator[int]:
    from sconectl.cas import daemon

    anchor = directory.with_name(f"{directory.name}.anchor")
    # What one address may store in a minute is no matter of speed.
    settings = ("stored-bytes=1e9", "stored-bytes-per-address=1e9")
    running = daemon.start_detached(directory, "127.0.0.1", 0, anchor=anchor, settings=settings).running
    try:
        yield int(running.address.rpartition(":")[2])
    finally:
        daemon.stop(directory)


def timed(work: Callable[[], object], times: int) -> float:
    started = time.perf_counter()
    for _ in range(times):
        work()
    return times / (time.perf_counter() - started)


def ratio(name: str, rounds: int, times: int, cas: Callable[[], object], echo: Callable[[], object]) -> None:
    for work in (cas, echo):
        timed(work, max(1, times // 4))
    found = [(timed(echo, times), timed(cas, times)) for _ in range(rounds)]
    value = statistics.median(b / a for a, b in found)
    speeds = [statistics.median(column) for column in zip(*found, strict=True)]
    goal = GOALS[name]
    verdict = "met" if value >= goal else "MISSED"
    print(f"{name}: {value:.2f} of an echo (goal {goal}: {verdict}; echo {speeds[0]:.0f}/s, CAS {speeds[1]:.0f}/s)")


def quotes(cas: Client, number: int) -> list[bytes]:
    """Return bodies for `/v1/sim/attest`; each is good once."""
    made = []
    for _ in range(number):
        report = {
            "toolchain": "sim",
            "measurement": MEASUREMENT,
            "debug": False,
            "report_data": hashlib.sha512(cas.certificate).hexdigest(),
            "nonce": cas.json("/v1/sim/nonce", {})["nonce"],
        }
        quote = cas.json("/v1/sim/quote", {"report": report})["quote"]
        made.append(json.dumps({"config_id": "bench/app", "quote": quote}).encode())
    return made


def p99(client: Client, names: list[str], times: int) -> float:
    found = []
    for number in range(times):
        path = f"/v1/sessions/{names[number * 7919 % len(names)]}"
        started = time.perf_counter()
        client.ask("GET", path)
        found.append(time.perf_counter() - started)
    return statistics.quantiles(found, n=100)[98]


def compare_sizes(root: Path, rounds: int, times: int, many: int) -> None:
    few = 10
    with cas_server(root / "few") as small_port, cas_server(root / "many") as large_port:
        small, large = connect(small_port, root / "config"), connect(large_port, root / "config")
        for client, number in ((small, few), (large, many)):
            started = time.perf_counter()
            for index in range(number):
                client.ask("POST", "/v1/sessions", session(f"s{index}"))
            note(f"{number} sessions created in {time.perf_counter() - started:.1f} s")
        few_names, many_names = ([f"s{index}" for index in range(number)] for number in (few, many))
        pairs = [(p99(small, few_names, times), p99(large, many_names, times)) for _ in range(rounds)]
        value = statistics.median(b / a for a, b in pairs)
        verdict = "met" if value <= P99_GOAL else "MISSED"
        times_ms = [1000 * statistics.median(column) for column in zip(*pairs, strict=True)]
        print(
            f"p99 of a read with {many} sessions: {value:.2f} times that with {few} "
            f"(goal {P99_GOAL}: {verdict}; {times_ms[0]:.2f} ms, {times_ms[1]:.2f} ms)"
        )


def note(line: str) -> None:
    print(line, file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, and 1,000 sessions instead of 10,000")
    parser.add_argument("--serve-echo", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve_echo:
        serve_echo(options.serve_echo)
        return
    for name in [name for name in os.environ if name.startswith("SCONE")]:
        del os.environ[name]
    rounds, many = (5, 1000) if options.quick else (9, 10_000)
    root = Path(tempfile.mkdtemp(prefix="sconectl-bench-"))
    os.environ["XDG_STATE_HOME"] = os.environ["XDG_DATA_HOME"] = str(root / "data")
    try:
        with echo_server(root) as echo_port, cas_server(root / "cas") as cas_port:
            echo, cas = connect(echo_port, root / "config"), connect(cas_port, root / "config")
            cas.ask("POST", "/v1/sessions", session("bench"))
            note(f"a session has {len(session('bench'))} bytes")
            path = "/v1/values/session=bench,secret=note"
            ratio("read a public value", rounds, 400, lambda: cas.ask("GET", path), lambda: echo.ask("GET", path))
            numbers = iter(range(1_000_000))
            ratio(
                "create a session",
                rounds,
                60,
                lambda: cas.ask("POST", "/v1/sessions", session(f"bench-{next(numbers)}")),
                lambda: echo.ask("POST", "/v1/sessions", session("bench")),
            )
            prepared = iter(quotes(cas, rounds * 60 + 20))
            body = quotes(cas, 1)[0]
            ratio(
                "attest and configure",
                rounds,
                60,
                lambda: cas.ask("POST", "/v1/sim/attest", next(prepared)),
                lambda: echo.ask("POST", "/v1/sim/attest", body),
            )
        compare_sizes(root, rounds, 400, many)
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
