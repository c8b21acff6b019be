"""The embedded CAS for containers of this machine: found where it runs, else started where they reach it.

In: the directory of the CAS, what the mesh calls it, the address at which containers reach this machine. Out: where it
is, and its key. A file in the directory (mode 0600) remembers the process that was started here, so that it is ended
with the last mesh that needs it, and one that somebody else started is not.
"""

from __future__ import annotations

import errno
import ipaddress
import json
import socket
from collections.abc import Callable, Iterable, Sized
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sconectl.cas import daemon
from sconectl.cas.connect import LOCAL
from sconectl.cas.disk.directory_lock import Running
from sconectl.cas.disk.private_files import read_private, write_private
from sconectl.cas.keys.cas_keys import FILE, load_or_create
from sconectl.errors import CasError

PORT = 8081
MARK = "started-by-up.json"


@dataclass(frozen=True)
class CasPlace:
    """Where containers find a CAS. `key` is the hash of its key, "" for one that is not ours, or was never started.

    `runs` says whether somebody answers there; otherwise the embedded CAS is to be started there.
    """

    address: str
    key: str
    runs: bool = True


def find(directory: Path, cas_url: str, host: str) -> CasPlace:
    """Return where the CAS is that a mesh calls `cas_url`; `host` is the address of this machine for containers.

    Nothing is started or written. Raises `CasError` if containers cannot reach it.
    """
    running = daemon.status(directory)
    if cas_url != LOCAL:
        return _at(directory, cas_url, running, host)
    if running is None:
        return CasPlace(daemon.show_address(host, _last_port(directory, host)), _key(directory), runs=False)
    where, port = _split(running.address)
    ip = _ip(where)
    if ip.is_loopback:
        raise CasError(
            f"the embedded CAS listens on {running.address}, where containers do not reach it",
            hint="stop it with `sconectl cas stop`; then this command starts it where they do",
        )
    reached = host if ip.is_unspecified else str(ip)
    return CasPlace(daemon.show_address(reached, port), _key(directory))


def _at(directory: Path, cas_url: str, running: Running | None, host: str) -> CasPlace:
    """Return a CAS that the mesh names by its address; it is to be started if that is of this machine, and free."""
    address = cas_url.removeprefix("https://").rstrip("/")
    try:
        where, port = _split(address)
        ip = ipaddress.ip_address("127.0.0.1" if where == "localhost" else where)
    except ValueError:
        return CasPlace(address, "")  # a name, which is not ours to give
    if ip.is_loopback or ip.is_unspecified:
        raise CasError(
            f"the mesh has its CAS at {address}, where containers do not reach it",
            hint="write `cas_url: local` for the embedded CAS",
        )
    shown = daemon.show_address(where, port)
    if running is not None:
        own_host, own_port = _split(running.address)
        own = _ip(own_host)
        same = own_port == port and (own == ip or (own.is_unspecified and where == host))
        return CasPlace(shown, _key(directory) if same else "")
    if not _obstacle(where, port):
        return CasPlace(shown, _key(directory), runs=False)
    return CasPlace(shown, "")  # another machine, or somebody answers there


def start(directory: Path, place: CasPlace, *, anywhere: bool) -> CasPlace:
    """Start the embedded CAS in a place, or if that is taken `anywhere` on the same host; return where it runs.

    A place that it had the last time comes first, so that containers find it again. Raises `CasError`.
    """
    host, wanted = _split(place.address)
    running = _start_at(directory, host, dict.fromkeys((wanted, PORT, 0)) if anywhere else [wanted])
    write_private(directory / MARK, json.dumps(asdict(running)).encode())
    return CasPlace(running.address, _key(directory))


def _start_at(directory: Path, host: str, ports: Iterable[int]) -> Running:
    """Start the embedded CAS at the first of some ports that nobody has; the last one is tried in any case."""
    first, *others = ports
    if not others or _obstacle(host, first) != errno.EADDRINUSE:
        try:
            return daemon.start_detached(directory, host, first).running
        except CasError:
            if not others or _obstacle(host, first) != errno.EADDRINUSE:
                raise  # else somebody else has just taken the port
    return _start_at(directory, host, others)


def _obstacle(host: str, port: int) -> int:
    """Return the number of the error with which nobody can listen at an address now; 0 if it is ours, and free."""
    try:
        daemon.listen(host, port).close()
    except CasError as error:
        return (error.__cause__.errno if isinstance(error.__cause__, OSError) else None) or errno.EINVAL
    return 0


def _last_port(directory: Path, host: str) -> int:
    try:
        before, port = _split(str(_mark(directory)["address"]))
    except (KeyError, ValueError):
        return PORT
    return port if before == host else PORT


def _mark(directory: Path) -> dict[str, Any]:
    """Return what the file says about the process that was started here; nothing if there is none."""
    try:
        found = json.loads((read_private(directory / MARK) if directory.is_dir() else None) or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def stop_if_started(directory: Path, users: Callable[[str], Sized]) -> bool:
    """End the server of a directory if it was started here, and nobody uses it any more; say whether it was ended.

    `users` returns who uses the CAS with a key (its hash). Raises `CasError`.
    """
    mark, running = _mark(directory), daemon.status(directory) if directory.is_dir() else None
    if running is None or mark != asdict(running) or users(_key(directory)):
        return False
    daemon.stop(directory)
    return True


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the IP address on which a server listens that was given this host. Raises `CasError`."""
    try:
        return ipaddress.ip_address(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise CasError(
            f"the embedded CAS listens on {host}, which has no IP address any more: {error.strerror}",
            hint="stop it with `sconectl cas stop`; then this command starts it where containers reach it",
        ) from error


def _key(directory: Path) -> str:
    return load_or_create(directory).cas_key_hash if (directory / FILE).exists() else ""


def _split(address: str) -> tuple[str, int]:
    """Return host and port of an address. Raises `ValueError` for a port that is none."""
    host, colon, port = address.rpartition(":")
    if not colon or port.endswith("]") or (":" in host and not host.startswith("[")):
        host, port = address, str(PORT)
    return host.removeprefix("[").removesuffix("]"), int(port)
