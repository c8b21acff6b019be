"""What somebody sees who listens on the wire: the packets of a container's network, and the streams in them."""

from __future__ import annotations

import struct
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .world import docker, must

LISTENER = "sconectl-test-image/clients"
"""A native image that has tcpdump."""
RECORDS = range(20, 24)  # of TLS: change cipher spec, alert, handshake, application data


@dataclass
class Heard:
    """The bytes of each direction of each TCP connection with one port, in their order."""

    port: int
    listener: str = ""
    streams: list[bytes] = field(default_factory=list)

    @property
    def sizes(self) -> list[int]:
        return [len(stream) for stream in self.streams]

    def not_tls(self, *, greeting: bool = False) -> list[bytes]:
        """Return the first bytes that are no record of TLS, of each stream that has some.

        MariaDB begins with one packet in each direction that agrees on TLS, the `greeting`; three bytes are its length.
        """
        behind = [stream[4 + int.from_bytes(stream[:3], "little") :] if greeting else stream for stream in self.streams]
        return [rest[:80] for stream in behind if (rest := after_records(stream))]

    def __contains__(self, text: str) -> bool:
        return any(text.encode() in stream for stream in self.streams)


def after_records(stream: bytes) -> bytes:
    """Return what is behind the records of TLS at the beginning of a stream; the last one may be cut off."""
    while len(stream) >= 5:
        kind, version, length = struct.unpack(">BHH", stream[:5])
        if kind not in RECORDS or version not in (0x0301, 0x0302, 0x0303) or length > 2**14 + 256:
            return stream
        stream = stream[5 + length :]
    return b""


def packets(capture: bytes) -> Iterator[bytes]:
    """Return the Ethernet frames of a file of tcpdump."""
    assert capture[:4] == b"\xd4\xc3\xb2\xa1", capture[:24]
    position = 24
    while position < len(capture):
        (length,) = struct.unpack("<I", capture[position + 8 : position + 12])
        yield capture[position + 16 : position + 16 + length]
        position += 16 + length


def streams(capture: bytes) -> list[bytes]:
    """Put the TCP segments of each direction together; what was sent twice counts once."""
    segments: dict[tuple[bytes, bytes], dict[int, bytes]] = {}
    for frame in packets(capture):
        if frame[12:14] != b"\x08\x00" or frame[23] != 6:
            continue
        packet = frame[14 : 14 + int.from_bytes(frame[16:18], "big")]
        segment = packet[(packet[0] & 15) * 4 :]
        payload = segment[(segment[12] >> 4) * 4 :]
        if payload:
            sequence = int.from_bytes(segment[4:8], "big")
            segments.setdefault((packet[12:20], segment[:4]), {}).setdefault(sequence, payload)
    found = []
    for parts in segments.values():
        expected, stream = min(parts), b""
        for sequence in sorted(parts):
            if sequence >= expected:
                stream += parts[sequence]
                expected = sequence + len(parts[sequence])
        found.append(stream)
    return found


@contextmanager
def listening(container: str, port: int, folder: Path) -> Iterator[Heard]:
    """Listen in the network of a running container; what was heard is there when the block has ended.

    Without a container it is a network of its own, which others start in: `--network container:LISTENER`.
    """
    name = f"sconectl-test-{uuid.uuid4().hex[:10]}"
    heard = Heard(port, name)
    words = [
        "--network",
        f"container:{container}" if container else "bridge",
        "--user",
        "0",
        "--cap-add",
        "NET_RAW",
        "--cap-add",
        "NET_ADMIN",
    ]
    command = [
        "tcpdump",
        "-i",
        "eth0",
        "--immediate-mode",
        "-U",
        "-Z",
        "root",
        "-w",
        "/tmp/heard",
        "tcp",
        "port",
        str(port),
    ]
    must(docker("run", "-d", "--name", name, *words, LISTENER, *command))
    try:
        deadline = time.monotonic() + 90
        while "listening on eth0" not in docker("logs", name).err:
            assert time.monotonic() < deadline, docker("logs", name)
            time.sleep(0.1)
        yield heard
        time.sleep(0.5)  # until the last packets are written
        must(docker("stop", "-t", "5", name))
        must(docker("cp", f"{name}:/tmp/heard", folder / name))
        heard.streams += streams((folder / name).read_bytes())
    finally:
        docker("rm", "-f", name)
