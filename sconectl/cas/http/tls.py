"""TLS for the server: any client certificate is accepted, also a self-signed one, and shown to the application.

In: the server's key and chain. Out: an `ssl.SSLContext` for asyncio whose connections tell what the peer presented.
The handshake proves that the client owns the key, and keys are what counts here; Python's own ssl module cannot leave
out the check of the issuer, so pyOpenSSL does the work behind its interface.
"""

from __future__ import annotations

import contextlib
import ssl
from typing import Any

from OpenSSL import SSL

from sconectl.cas.bounds.limits import DEFAULT, Limits
from sconectl.cas.keys.certificates import Holder, certificate_der

_CHAIN = 4  # certificates; another CAS shows three
_RECORD = 1 << 14  # the most that TLS encrypts at once; OpenSSL keeps a buffer of the size of what it is given
_PIECE = 2 * _RECORD  # an encrypted record is a little longer


def server_context(served: Holder, issuer: Holder, limits: Limits = DEFAULT) -> ssl.SSLContext:
    """Return a context that serves `served` with `issuer` as its chain."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # idle connections keep none
    context.use_certificate(served.certificate)
    context.add_extra_chain_cert(issuer.certificate)
    context.use_privatekey(served.key)
    context.check_privatekey()
    context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    context.set_verify_depth(_CHAIN)  # OpenSSL checks signatures all the same, and each takes time
    # A resumed session would carry the certificate of the first one along; every connection proves its key anew.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_session_id(b"sconectl-cas")
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
    adapter = _Context(ssl.PROTOCOL_TLS_SERVER)
    adapter.openssl = context
    adapter.most_overhead = limits.tls_overhead_bytes
    return adapter


class _Context(ssl.SSLContext):
    """Stands for an SSL context in asyncio, which uses only its `wrap_bio`."""

    openssl: SSL.Context
    most_overhead: int

    def wrap_bio(  # type: ignore[override]  # the result is not an ssl.SSLObject, but behaves like one
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> TlsObject:
        """Return the TLS state machine between two byte buffers."""
        return TlsObject(self, incoming, outgoing)


class TlsObject:
    """The part of `ssl.SSLObject` that asyncio uses, on a pyOpenSSL connection."""

    def __init__(self, context: _Context, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
        self.context = context
        self._incoming = incoming
        self._outgoing = outgoing
        self._connection = SSL.Connection(context.openssl, None)
        self._connection.set_accept_state()
        self.overhead = 0
        """How many bytes came that were no content; `http_protocol` sets it back at each request."""

    def do_handshake(self) -> None:
        """Go on with the handshake; raises `ssl.SSLWantReadError` until the peer has sent enough."""
        self._run(self._connection.do_handshake)

    def read(self, size: int = 1024, buffer: Any = None) -> Any:
        """Return decrypted bytes, or their number if they are put into `buffer`; nothing at the end of the stream."""
        try:
            data = self._run(lambda: self._connection.recv(size))
        except ssl.SSLZeroReturnError:
            data = b""
        self.overhead -= len(data)
        if buffer is None:
            return data
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> int:
        """Encrypt `data` and return how much of it was taken: all of it, or asyncio would copy the rest each time."""
        view, taken = memoryview(data), 0
        while taken < len(view):
            chunk = bytes(view[taken : taken + _RECORD])
            taken += int(self._run(lambda chunk=chunk: self._connection.send(chunk)))
        return taken

    def unwrap(self) -> None:
        """Say goodbye; raises `ssl.SSLWantReadError` until the peer has done so, too."""
        if not self._run(self._connection.shutdown) and not self._incoming.eof:
            self._run(self._connection.shutdown)

    def pending(self) -> int:
        """Return how many decrypted bytes wait."""
        return self._connection.pending()

    def getpeercert(self, binary_form: bool = False) -> Any:
        """Return the client's certificate as DER; None without one. The parsed form is always empty."""
        if not binary_form:
            return {}
        certificate = self._connection.get_peer_certificate(as_cryptography=True)
        if certificate is None:
            return None
        return certificate_der(certificate)

    def peer_chain(self) -> list[bytes]:
        """Return all certificates (DER) that the client presented, its own first; only that one's key is proved."""
        own = self.getpeercert(True)
        if own is None:
            return []
        # OpenSSL leaves the client's own certificate out of the chain that a server sees.
        rest = self._connection.get_peer_cert_chain(as_cryptography=True) or []
        return [own, *(der for certificate in rest if (der := certificate_der(certificate)) != own)]

    def cipher(self) -> tuple[str, str, int] | None:
        """Return name, protocol and strength of the cipher in use."""
        name, protocol = self._connection.get_cipher_name(), self._connection.get_cipher_version()
        return (name, protocol or "", self._connection.get_cipher_bits() or 0) if name else None

    def compression(self) -> None:
        """TLS compression is off."""

    def version(self) -> str:
        """Return the protocol version."""
        return self._connection.get_protocol_version_name()

    def _run(self, step: Any) -> Any:
        """Give received bytes to OpenSSL, do one step, hand on the bytes to send; raise errors of the ssl module."""
        self._feed()
        try:
            return step()
        except SSL.WantReadError as error:
            if self._incoming.eof:
                raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "the peer hung up") from error
            if self.overhead > self.context.most_overhead + _RECORD:  # a record may still be incomplete
                raise ssl.SSLError(ssl.SSL_ERROR_SSL, "too many records without content") from error
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "more bytes are needed") from error
        except SSL.WantWriteError as error:
            raise ssl.SSLWantWriteError(ssl.SSL_ERROR_WANT_WRITE, "bytes must be sent first") from error
        except SSL.ZeroReturnError as error:
            raise ssl.SSLZeroReturnError(ssl.SSL_ERROR_ZERO_RETURN, "the peer said goodbye") from error
        except SSL.SysCallError as error:
            raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "the peer hung up") from error
        except SSL.Error as error:
            raise ssl.SSLError(ssl.SSL_ERROR_SSL, "the peer broke the TLS protocol") from error
        finally:
            self._drain()

    def _feed(self) -> None:
        data = self._incoming.read()
        self.overhead += len(data)
        while data:
            written = self._connection.bio_write(data)
            data = data[written:]

    def _drain(self) -> None:
        """Hand on the bytes to send. Each call of OpenSSL lets other threads go first, so none is made in vain."""
        with contextlib.suppress(SSL.WantReadError):
            while self._outgoing.write(self._connection.bio_read(_PIECE)) == _PIECE:
                pass
