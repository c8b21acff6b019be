"""Waits until a server answers: `answers.py HOST PORT tls`, or `answers.py HOST PORT SECONDS` for a single test.

With `tls` it waits as long as it takes for a server that speaks TLS: nothing else counts for who starts behind it.
With a number it waits that long for a connection, and says whether TLS is spoken. It sends nothing that is worth
protecting, so it asks for no certificate. A server that greets first may be MariaDB or MySQL: their clients ask for TLS
after that.
"""

import socket
import ssl
import struct
import sys
import time

TLS, PROTOCOL_41, SECURE = 1 << 11, 1 << 9, 1 << 15  # what both sides of that protocol say they can
LONGEST = 1 << 16


def spoken(host, port):
    """Return "TLS" or "no TLS" for a server that answers, and nothing for one that does not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        connection = socket.create_connection((host, port), timeout=5)
    except OSError:
        return ""
    with connection:
        try:
            if not ready(connection):
                return "no TLS"
            context.wrap_socket(connection, server_hostname=host).close()
        except ssl.SSLError as error:
            # A server that wants a certificate of ours, or another version, says so in TLS.
            return "TLS" if "ALERT" in (error.reason or "").upper() else "no TLS"
        except OSError:
            return "no TLS"
    return "TLS"


def ready(connection):
    """Return whether a handshake of TLS may begin: at once, or after a greeting and a request for it."""
    connection.settimeout(1)
    try:
        if not connection.recv(1, socket.MSG_PEEK):
            return False
    except TimeoutError:  # it waits for its client, as servers mostly do
        return True
    finally:
        connection.settimeout(5)
    with connection.makefile("rb") as stream:
        length = int.from_bytes(stream.read(4)[:3], "little")
        greeting = stream.read(length) if length < LONGEST else b""
    version, _, rest = greeting.partition(b"\0")  # the rest is fixed: number, challenge, 0, flags
    if version[:1] != b"\x0a" or not int.from_bytes(rest[13:15], "little") & TLS:
        return False
    connection.sendall(b"\x20\0\0\1" + struct.pack("<IIB23x", TLS | PROTOCOL_41 | SECURE, 1 << 24, 33))
    return True


def main(host, port, until):
    """Wait, and return the exit code."""
    patience = float("inf") if until == "tls" else float(until)
    started = time.monotonic()
    while True:
        found = spoken(host, int(port))
        if found == "TLS" or (found and until != "tls"):
            print(f"{host}:{port} answers; it speaks {found}", flush=True)
            return 0
        if time.monotonic() - started > patience:
            print(f"{host}:{port} does not answer", flush=True)
            return 1
        print(f"waiting for {host}:{port}", flush=True)
        time.sleep(2)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
