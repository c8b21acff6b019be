"""Running the embedded CAS: in the foreground, detached, stopping it, and asking whether it runs.

In: the directory of the CAS and where to listen. Out: a serving process. A lock on `server.json` tells whether a
server runs, so a stale process id is never believed. Raises `CasError` with one clear message.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sconectl.cas.private_files import private_directory
from sconectl.errors import CasError

if TYPE_CHECKING:
    import uvicorn

    from sconectl.cas.service import EmbeddedCas

LOG_FILE = "server.log"
STATE_FILE = "server.json"
_START_SECONDS = 30.0
_STOP_SECONDS = 15.0
_GRACE_SECONDS = 5
_LOCK_ATTEMPTS = 40
LAUNCH = (sys.executable, "-m", "sconectl.cli.main", "cas", "serve")


@dataclass(frozen=True)
class Running:
    """A server that runs: its process and its address."""

    pid: int
    address: str


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; raises `CasError` if the address cannot be used."""
    address = show_address(host, port)
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        server = socket.socket(family, kind, protocol)
        try:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(target)
            server.listen(128)
        except OSError:
            server.close()
            raise
    except OSError as error:
        raise CasError(
            f"cannot listen on {address}: {error.strerror}", hint="choose another address with --listen HOST:PORT"
        ) from error
    return server


def show_address(host: str, port: int) -> str:
    """Return `host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def build_server(cas: EmbeddedCas, host: str) -> uvicorn.Server:
    """Return the HTTPS server for `cas`, reachable under `host` too; it runs with `server.run(sockets=[…])`."""
    import uvicorn

    from sconectl.cas.server import create_app
    from sconectl.cas.tls import PeerCertificateProtocol, server_context

    config = uvicorn.Config(
        create_app(cas),
        loop="asyncio",
        http=PeerCertificateProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    config.load()
    config.ssl = server_context(cas.keys.serve_as(_names(host)), cas.keys.software)
    return uvicorn.Server(config)


def _names(host: str) -> list[str]:
    """Return the names under which a server that listens on `host` is reached."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return [host, "127.0.0.1", "::1"]
    return ["127.0.0.1", "::1"] if address.is_unspecified else [host, "127.0.0.1", "::1"]


def serve(directory: Path, host: str, port: int, started: Callable[[EmbeddedCas, str], None]) -> None:
    """Serve the CAS in `directory` until a signal ends it; `started` is told the CAS and its address."""
    from sconectl.cas.service import EmbeddedCas

    private_directory(directory)
    with _only_server(directory) as state, contextlib.closing(listen(host, port)) as server_socket:
        cas = EmbeddedCas(directory)
        server = build_server(cas, host)
        address = show_address(host, server_socket.getsockname()[1])
        os.pwrite(state, json.dumps({"pid": os.getpid(), "address": address}).encode(), 0)
        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
        started(cas, address)
        server.run(sockets=[server_socket])


@contextlib.contextmanager
def _only_server(directory: Path) -> Iterator[int]:
    """Hold the lock that says that a server runs on `directory`; yields the file that describes it."""
    descriptor = os.open(directory / STATE_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor, directory)
        os.ftruncate(descriptor, 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, directory: Path) -> None:
    for _ in range(_LOCK_ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if (running := status(directory)) is not None:
                raise _already_running(directory, running) from None
            time.sleep(0.05)  # somebody only asks for the status, or another server is just starting
    raise CasError(f"another process is using the CAS in {directory}", hint="try again")


def _already_running(directory: Path, running: Running) -> CasError:
    return CasError(
        f"the CAS in {directory} is already running at {running.address} (process {running.pid})",
        hint="stop it with `sconectl cas stop`",
    )


def status(directory: Path) -> Running | None:
    """Return the server that runs on `directory`, or None."""
    try:
        descriptor = os.open(directory / STATE_FILE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CasError(f"cannot look into {directory}: {error.strerror}", hint="fix its owner") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        try:
            state = json.loads(os.read(descriptor, 4096))
            return Running(int(state["pid"]), str(state["address"]))
        except (ValueError, KeyError, TypeError):
            return None  # a server that is only just starting
    finally:
        os.close(descriptor)


def start_detached(directory: Path, host: str, port: int) -> Running:
    """Start a server that outlives this process and return it once it answers; raises `CasError` if it does not."""
    directory = private_directory(directory.absolute())
    if (already := status(directory)) is not None:
        raise _already_running(directory, already)
    listen(host, port).close()  # an address that cannot be used is better found out here than in a log
    log = directory / LOG_FILE
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as output:
        process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
            [*LAUNCH, "--dir", str(directory), "--listen", show_address(host, port)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise CasError(f"the CAS did not start: {_reason(log)}", hint=f"see {log}")
        running = status(directory)
        if running is not None and running.pid == process.pid and _answers(running.address):
            process.returncode = 0  # it is meant to outlive us; else its object would complain when collected
            return running
        time.sleep(0.05)
    process.terminate()
    process.wait(_STOP_SECONDS)
    raise CasError(f"the CAS did not answer within {_START_SECONDS:.0f} seconds", hint=f"see {log}")


def _reason(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return next((line for line in lines if "error" in line.lower() or "cannot" in line), lines[-1] if lines else "")


def _answers(address: str) -> bool:
    import httpx

    host = address.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]")  # noqa: S104  # not a bind
    try:
        # Whether it is the right server was decided by its process id; this only asks whether it is up.
        return httpx.get(f"https://{host}/health", verify=False, trust_env=False, timeout=2).status_code == 200  # noqa: S501
    except httpx.TransportError:
        return False


def stop(directory: Path) -> Running:
    """End the server on `directory` and return what ran; raises `CasError` if none runs or it does not end."""
    running = status(directory)
    if running is None:
        raise CasError(f"no CAS is running on {directory}", hint="start one with `sconectl cas serve`")
    try:
        os.kill(running.pid, signal.SIGTERM)
    except ProcessLookupError:
        return running
    except PermissionError as error:
        raise CasError(f"the CAS runs as another user (process {running.pid})", hint="stop it as that user") from error
    deadline = time.monotonic() + _STOP_SECONDS
    while time.monotonic() < deadline:
        if status(directory) is None:
            return running
        time.sleep(0.05)
    raise CasError(f"process {running.pid} does not end", hint=f"end it with `kill -9 {running.pid}`")
