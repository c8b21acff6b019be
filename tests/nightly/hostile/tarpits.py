"""Servers that a CAS had better not wait for: each takes a connection and then does not do what it should.

In: nothing. Out: the addresses of the tarpits by manner, each on many addresses of this machine, and the key hash that
they prove. They run in the calling process, in one event loop.
"""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sconectl.key_hash import key_hash

DRIP = 4.0
HOSTS = 100
"""Each tarpit is reached at 127.0.1.1 to 127.0.1.100."""

Writer = asyncio.StreamWriter
Reader = asyncio.StreamReader
_OK = b"HTTP/1.1 200 OK\r\n"


async def silent(reader: Reader, writer: Writer, chain: bytes) -> None:
    await asyncio.sleep(3600)


async def hangs_up(reader: Reader, writer: Writer, chain: bytes) -> None:
    return


async def dripping(reader: Reader, writer: Writer, chain: bytes) -> None:
    writer.write(_OK + b"content-length: %d\r\n\r\n" % len(chain))
    for number in range(len(chain)):
        writer.write(chain[number : number + 1])
        await writer.drain()
        await asyncio.sleep(DRIP)


async def dripping_header(reader: Reader, writer: Writer, chain: bytes) -> None:
    writer.write(_OK)
    while True:
        writer.write(b"x: y\r\n")
        await writer.drain()
        await asyncio.sleep(DRIP / 4)


async def provisional(reader: Reader, writer: Writer, chain: bytes) -> None:
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.5)


async def endless(reader: Reader, writer: Writer, chain: bytes) -> None:
    writer.write(_OK + b"\r\n")
    for _ in range(2000):
        writer.write(b"x" * 65536)
        await writer.drain()


async def endless_header(reader: Reader, writer: Writer, chain: bytes) -> None:
    writer.write(_OK)
    for _ in range(2000):
        writer.write(b"x: " + b"y" * 1000 + b"\r\n")
        await writer.drain()


async def tiny_chunks(reader: Reader, writer: Writer, chain: bytes) -> None:
    writer.write(_OK + b"transfer-encoding: chunked\r\n\r\n")
    for _ in range(300):
        writer.write(b"1\r\nx\r\n" * 5000)
        await writer.drain()


async def redirecting(reader: Reader, writer: Writer, chain: bytes) -> None:
    writer.write(b"HTTP/1.1 307 Temporary Redirect\r\nlocation: https://127.0.1.1:1/\r\ncontent-length: 0\r\n\r\n")
    await writer.drain()


async def many_certificates(reader: Reader, writer: Writer, chain: bytes) -> None:
    body = chain * (2_000_000 // len(chain))
    writer.write(_OK + b"content-length: %d\r\n\r\n" % len(body) + body)
    await writer.drain()


async def proving(reader: Reader, writer: Writer, chain: bytes) -> None:
    """Prove the key, and only then drip: the second request of an import."""
    header = await reader.readuntil(b"\r\n\r\n")
    if b"certificate-chain" not in header:
        await dripping(reader, writer, chain)
        return
    writer.write(_OK + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(chain) + chain)
    await writer.drain()


async def proving_and_huge(reader: Reader, writer: Writer, chain: bytes) -> None:
    header = await reader.readuntil(b"\r\n\r\n")
    body = chain if b"certificate-chain" in header else b'{"msg":' + b"[" * 1_900_000
    writer.write(_OK + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    await writer.drain()


MANNERS: tuple[Callable[[Reader, Writer, bytes], Awaitable[None]], ...] = (
    silent, hangs_up, dripping, dripping_header, provisional, endless, endless_header, tiny_chunks, redirecting,
    many_certificates, proving, proving_and_huge,
)  # fmt: skip


async def serve(announce: Callable[[list[tuple[str, int]], str], None]) -> None:
    """Serve all manners until cancelled; `announce` gets their names and ports, and the key hash."""
    context, chain, proved = _identity()
    ports: list[tuple[str, int]] = []
    servers = []
    for manner in MANNERS:
        server = await asyncio.start_server(_guarded(manner, chain), "0.0.0.0", 0, ssl=context)
        servers.append(server)
        ports.append((manner.__name__, server.sockets[0].getsockname()[1]))
    plain = await asyncio.start_server(_guarded(silent, chain), "0.0.0.0", 0)  # takes a TLS hello and says nothing
    servers.append(plain)
    ports.append(("no_handshake", plain.sockets[0].getsockname()[1]))
    hole = _black_hole()
    ports.append(("never_accepts", hole[0].getsockname()[1]))
    announce(ports, proved)
    await asyncio.gather(*(server.serve_forever() for server in servers))


def _guarded(
    manner: Callable[[Reader, Writer, bytes], Awaitable[None]], chain: bytes
) -> Callable[[Reader, Writer], Awaitable[None]]:
    async def handle(reader: Reader, writer: Writer) -> None:
        try:
            await manner(reader, writer, chain)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    return handle


def _black_hole() -> list[socket.socket]:
    """Return a listener whose queue is full, first: connections to it neither succeed nor fail."""
    listener = socket.socket()
    listener.bind(("0.0.0.0", 0))
    listener.listen(0)
    waiting = []
    for _ in range(3):
        link = socket.socket()
        link.setblocking(False)
        link.connect_ex(("127.0.0.1", listener.getsockname()[1]))
        waiting.append(link)
    return [listener, *waiting]


def _identity() -> tuple[ssl.SSLContext, bytes, str]:
    """Return TLS settings, the chain (PEM) that a CAS would show, and the key hash of its root."""
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = _certificate("root", root_key, root_key, ca=True)
    leaf = _certificate("cas", key, root_key, ca=False)
    pem = serialization.Encoding.PEM
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "tarpit.pem")
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        file.write_bytes(private + leaf.public_bytes(pem))
        context.load_cert_chain(file)
    return context, leaf.public_bytes(pem) + root.public_bytes(pem), key_hash(root_key.public_key())


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: ec.EllipticCurvePrivateKey, *, ca: bool
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    subject, by = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (name, "root"))
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .sign(issuer, hashes.SHA256())
    )
