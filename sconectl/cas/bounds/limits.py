"""Every bound of the CAS: what one client, and all of them together, may cost it.

In: `NAME=VALUE` as an operator writes it. Out: `Limits`, which server, store and policies are given; docs/cas.md has a
table of them. A bound that stands anywhere else is a constant of a protocol or format, no limit.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sconectl.errors import UsageError

_KIB, _MIB = 1 << 10, 1 << 20


def _of(default: float, what: str, seen: str) -> Any:
    return dataclasses.field(default=default, metadata={"what": what, "seen": seen})


@dataclass(frozen=True)
class Limits:
    """Times in seconds, sizes in bytes, everything else numbers. An address is an IPv4 address or an IPv6 /64."""

    # Connections
    connections: int = _of(
        512,
        "open connections",
        "the one that waits longest (above 1 s) for its client is closed, else the new one",
    )
    connections_per_address: int = _of(256, "open connections of one address", "the same, among those of the address")
    handshake_seconds: float = _of(10.0, "a TLS handshake", "closed connection")
    idle_seconds: float = _of(75.0, "a connection without a request", "closed connection")
    stalled_seconds: float = _of(30.0, "an answer that the client does not read", "closed connection")
    goodbye_seconds: float = _of(5.0, "the end of a TLS connection", "closed connection")
    tls_overhead_bytes: int = _of(64 * _KIB, "what TLS adds to one request, or a handshake", "closed connection")

    # Requests
    header_seconds: float = _of(10.0, "the arrival of a header", "408")
    header_bytes: int = _of(32 * _KIB, "size of a header", "431")
    body_seconds: float = _of(30.0, "the arrival of a body", "408")
    body_bytes: int = _of(_MIB, "size of a body", "413")
    header_lines: int = _of(100, "lines of a header", "431")
    attest_bytes: int = _of(64 * _KIB, "size of a body of nonce, quote, attest, tags, leases and exports", "413")
    body_chunks: int = _of(2048, "chunks of a body, or pieces in which it arrives", "413, closed connection")
    lingering_seconds: float = _of(2.0, "throwing away a body behind an early answer", "closed connection")
    bodies_bytes: int = _of(32 * _MIB, "all bodies above 16 KiB until they are done with", "503 with Retry-After")
    bodies_bytes_per_address: int = _of(16 * _MIB, "the same, of one address", "503 with Retry-After")
    answers_bytes: int = _of(32 * _MIB, "all answers above 16 KiB that are not yet read", "503")

    # Lanes: each kind of work has its own threads and its own line
    attest_threads: int = _of(2, "attestations (quote, attest, fill, tags, leases) at a time", "it waits")
    attest_waiting: int = _of(512, "attestations that wait", "503 with Retry-After")
    attest_per_address: int = _of(256, "attestations of one address, waiting or done", "503 with Retry-After")
    upload_threads: int = _of(1, "uploads at a time", "it waits")
    upload_waiting: int = _of(32, "uploads that wait", "503 with Retry-After")
    upload_per_address: int = _of(8, "uploads of one address, waiting or done", "503 with Retry-After")
    read_threads: int = _of(1, "reads (sessions, hashes, lists, values, exports) at a time", "it waits")
    read_waiting: int = _of(256, "reads that wait", "503 with Retry-After")
    read_per_address: int = _of(128, "reads of one address, waiting or done", "503 with Retry-After")
    waiting_seconds: float = _of(20.0, "waiting for one's turn", "503 with Retry-After")
    ready_seconds: float = _of(2.0, "a trial among the attestations, for /readyz", "503 of /readyz")
    stuck_seconds: float = _of(30.0, "no attestation begun or finished", "503 of /livez and /health")

    # Other CASes
    remote_seconds: float = _of(10.0, "all that one request asks of other CASes", "the import is refused: 403 or 503")
    remote_requests: int = _of(16, "requests to other CASes at a time", "the import is refused: 503")
    remote_per_target: int = _of(4, "the same, to one host", "the import is refused: 503")
    remote_per_address: int = _of(4, "the same, for clients of one address", "the import is refused: 503")
    remote_values: int = _of(64, "values of other CASes that one request needs", "403")
    remote_bytes: int = _of(2 * _MIB, "size of another CAS's answer", "the import is refused: 503")

    # Sessions
    session_values: int = _of(20_000, "YAML values in a session, aliases written out", "400")
    session_findings: int = _of(100, "findings that an answer lists", "the first ones, and how many more there are")
    session_secrets: int = _of(1000, "secrets of a session", "413")
    session_keys: int = _of(64, "private keys and OpenPGP keys that a session has drawn", "413")
    session_signatures: int = _of(128, "certificates and tokens of a session", "413")
    session_drawn_bytes: int = _of(4 * _MIB, "all generated values of a session", "413")
    references: int = _of(100, "references in the sections of a policy, each time it is applied", "403")
    references_bytes: int = _of(64 * _KIB, "the values of these references", "403")
    listed_sessions: int = _of(20_000, "sessions in one list", "413")

    # Filling secrets in
    filled_bytes: int = _of(4 * _MIB, "a configuration, or files, with the secrets filled in", "413")
    token_bytes: int = _of(64 * _KIB, "a token with its claims filled in", "413")

    # Disk: the limit after each number says how much of it comes back with time
    stored_bytes: int = _of(20 * _MIB, "what all uploads together may store at once", "429")
    stored_bytes_per_minute: int = _of(_MIB, "how much of that comes back in a minute", "429")
    stored_bytes_per_address: int = _of(16 * _MIB, "what uploads of one address may store at once", "429")
    stored_bytes_per_address_per_minute: int = _of(_MIB, "how much of that comes back in a minute", "429")
    assured_bytes: int = _of(128 * _KIB, "what an address may store when all together have used up theirs", "429")
    assured_bytes_per_minute: int = _of(32 * _KIB, "how much of that comes back in a minute", "429")
    attestations: int = _of(
        10_000,
        "attestations, leases, and tags without a lease, of one address in one top-level namespace at once",
        "429",
    )
    attestations_per_second: int = _of(10, "how many of these come back in a second", "429")
    reserve_bytes: int = _of(64 * _MIB, "disk kept for attestation, an eighth of the disk at most", "507 for uploads")
    audit_entries: int = _of(60, "entries of one event that strangers cause at once", "nothing; the rest is folded")
    audit_entries_per_minute: int = _of(10, "how many of these come back in a minute", "nothing; the rest is folded")
    audit_window_seconds: float = _of(60.0, "what is folded into one entry", "nothing")
    audit_segment_bytes: int = _of(_MIB, "audit log in the database before a segment is closed", "nothing")
    log_lines: int = _of(300, "lines of the server's log at once", "nothing; the log says how many were left out")
    log_lines_per_minute: int = _of(120, "how many of these come back in a minute", "nothing")
    log_bytes: int = _of(8 * _MIB, "size of server.log", "nothing; the older half is dropped")

    # Memory
    cache_bytes: int = _of(32 * _MIB, "sessions that are kept parsed", "nothing; they are read again")


DEFAULT = Limits()


def chosen(settings: Iterable[str]) -> Limits:
    """Return the limits with `NAME=VALUE` settings applied; raises `UsageError` that names all that are wrong."""
    kinds = {_name(field.name): type(field.default) for field in dataclasses.fields(Limits)}
    values: dict[str, float] = {}
    faults = []
    for setting in settings:
        name, _, text = setting.partition("=")
        kind = kinds.get(name)
        if kind is None:
            faults.append(f"there is no limit {name!r}")
            continue
        value = _number(text)
        if value is None or value <= 0 or (kind is int and not value.is_integer()):
            expected = "a whole number" if kind is int else "a number of seconds"
            faults.append(f"{name}: expected {expected} above 0, found {text!r}")
            continue
        values[name.replace("-", "_")] = int(value) if kind is int else value
    if faults:
        raise UsageError(
            "; ".join(f"--limit {fault}" for fault in faults), hint=f"the limits are: {', '.join(sorted(kinds))}"
        )
    return dataclasses.replace(DEFAULT, **values)  # type: ignore[arg-type]  # each has the type of its field


def _name(field: str) -> str:
    return field.replace("_", "-")


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
