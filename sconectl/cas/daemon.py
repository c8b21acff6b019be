"""Running the embedded CAS: in the foreground, detached, stopping it, and asking whether it runs.

In: the directory of the CAS and where to listen. Out: a serving process. Whether one runs, its lock tells
(`directory_lock`). Raises `CasError` with one clear message.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sconectl.cas.bounds.limits import DEFAULT, Limits
from sconectl.cas.disk.directory_lock import Running, writer
from sconectl.cas.disk.directory_lock import status as status
from sconectl.cas.disk.private_files import private_directory
from sconectl.cas.http.listener import CountingListener
from sconectl.cas.isolated_process import environment, isolated
from sconectl.errors import CasError

if TYPE_CHECKING:
    from sconectl.cas.sessions.embedded import EmbeddedCas

LOG_FILE = "server.log"
_START_SECONDS = 30.0
_ANSWER_SECONDS = 10.0
_ASKING_SECONDS = 5.0
_OK = 200
_LONGEST_START = 64 << 10
_STOP_SECONDS = 15.0
PROGRAM = "from sconectl.cli.main import run; run()"


def listen(host: str, port: int, limits: Limits = DEFAULT) -> CountingListener:
    """Return a listening socket that bounds its connections; raises `CasError` if the address cannot be used."""
    address = show_address(host, port)
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        server = CountingListener(family, kind, protocol)
        server.limits = limits
        try:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(target)
            server.listen(256)
        except OSError:
            server.close()
            raise
    except OSError as error:
        raise CasError(
            f"cannot listen on {address}: {error.strerror}",
            hint="choose another address: sconectl cas serve --listen HOST:PORT",
        ) from error
    return server


def show_address(host: str, port: int) -> str:
    """Return `host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _names(host: str) -> list[str]:
    """Return the names under which a server that listens on `host` is reached."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return [host, "127.0.0.1", "::1"]
    return ["127.0.0.1", "::1"] if address.is_unspecified else [host, "127.0.0.1", "::1"]


def serve(
    directory: Path,
    host: str,
    port: int,
    started: Callable[[EmbeddedCas, str], None],
    *,
    anchor: Path | None = None,
    detached: bool = False,
    limits: Limits = DEFAULT,
) -> None:
    """Serve the CAS in `directory` until a signal ends it; `started` is told the CAS and its address.

    `anchor` is where the freshness of the store is remembered, outside of it. If `detached`, output goes to the log as
    soon as the start has succeeded; until then the process that started this one reads it.
    """
    private_directory(directory)
    with writer(directory) as own, contextlib.closing(listen(host, port, limits)) as server_socket:
        from sconectl.cas.http import https_server
        from sconectl.cas.http.server_log import log_to
        from sconectl.cas.sessions.embedded import EmbeddedCas

        log_to(sys.stderr, limits)
        with contextlib.closing(EmbeddedCas(directory, anchor=anchor, limits=limits)) as cas:
            server = https_server.build_server(cas, _names(host), limits)
            address = show_address(host, server_socket.getsockname()[1])
            own.describe(address)
            started(cas, address)
            if detached:
                _print_to(directory / LOG_FILE)
            # uvicorn ends well on this signal, and then sends it again; folded events are still to be written then.
            signal.signal(signal.SIGTERM, lambda *_: None)
            server.run(sockets=[server_socket])


@dataclass(frozen=True)
class Started:
    """A server that outlives the process that started it, and its output while it started."""

    running: Running
    said: str


def start_detached(
    directory: Path, host: str, port: int, *, anchor: Path | None = None, settings: Iterable[str] = ()
) -> Started:
    """Start a server that outlives this process and return it once it answers; raises `CasError` if it does not.

    `settings` are limits as `NAME=VALUE`.
    """
    directory = private_directory(directory.absolute())
    with writer(directory):  # better to find out here than in a log that a server runs, or that of another address
        listen(host, port).close()
    more = [*(["--anchor", str(anchor.absolute())] if anchor else []), *(f"--limit={setting}" for setting in settings)]
    # A pipe, and no file: the disk of the CAS may be full, and then the reason would be lost.
    process = subprocess.Popen(  # noqa: S603  # our own interpreter and program
        isolated(
            PROGRAM, "cas", "serve", "--dir", directory, "--listen", show_address(host, port), *more, "--detached"
        ),
        cwd=directory,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    said = _said(process, _START_SECONDS)
    if process.poll() is None:
        running = status(directory)
        deadline = time.monotonic() + _ANSWER_SECONDS
        while running is not None and running.pid == process.pid and time.monotonic() < deadline:
            if _answers(running.address):
                process.returncode = 0  # it is meant to outlive us; else its object would complain when collected
                return Started(running, said)
            time.sleep(0.05)
        process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    raise CasError(f"the CAS did not start: {_reason(said) or 'it does not answer'}", hint=f"it said:\n{said.strip()}")


def _said(process: subprocess.Popen[bytes], seconds: float) -> str:
    """Return the output of a starting process until it has started or failed, both of which close the pipe."""
    pipe = process.stdout
    if pipe is None:
        return ""
    found = bytearray()
    deadline = time.monotonic() + seconds
    with pipe, selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0 and selector.select(left):
            if not (chunk := os.read(pipe.fileno(), 1 << 16)):
                break
            found += chunk[: _LONGEST_START - len(found)]
    return found.decode(errors="replace")


def _print_to(log: Path) -> None:
    """Send the output of this process to the file `log`, or nowhere if that cannot be opened."""
    try:
        output = os.open(log, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        logging.getLogger(__name__).warning("warning: there is no log: %s: %s", log, error.strerror)
        output = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    sys.stdout.flush()
    sys.stderr.flush()
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.close(output)


def _reason(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line.lower() or "cannot" in line), lines[-1] if lines else "")


def _answers(address: str) -> bool:
    """Say whether a server answers at `address`; whether it is the right one was decided by its process id."""
    try:
        return _asked(address, "/livez")[0] == _OK
    except OSError:
        return False


def why_not_ready(address: str) -> str | None:
    """Return why the server at `address` cannot do its work, None if it can."""
    try:
        status_code, body = _asked(address, "/readyz")
        return None if status_code == _OK else ": ".join(json.loads(body)["msg"])
    except (OSError, ValueError, KeyError, TypeError):
        return "it does not answer"


def _asked(address: str, path: str) -> tuple[int, bytes]:
    import http.client
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with contextlib.closing(
        http.client.HTTPSConnection(reachable(address), timeout=_ASKING_SECONDS, context=context)
    ) as connection:
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as error:
            raise OSError("no HTTP") from error


def reachable(address: str) -> str:
    """Return the address at which a server that listens on `address` is reached from this machine."""
    host, _, port = address.rpartition(":")
    return {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host) + f":{port}"  # noqa: S104  # not a bind


def stop(directory: Path) -> Running:
    """End the server on `directory` and return its description; raises `CasError` if none runs or it does not end."""
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
