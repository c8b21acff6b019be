"""A REST API for documents that only their owners see; MariaDB keeps them, and memcached counts requests.

Whoever asks has shown the client certificate of nginx, so nginx may say for whom it asks.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import pymysql
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Path, Request
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from pydantic import BaseModel, Field, field_validator
from pymemcache.client.base import PooledClient
from pymemcache.client.retrying import RetryingClient
from pymemcache.exceptions import MemcacheError

REQUESTS, WINDOW = 10, 60  # so many requests of one address in so many seconds
PATIENCE = 120  # seconds that the database may need to start
LONGEST = 65535  # bytes of a document
MISTAKE = {"WWW-Authenticate": "Basic"}

app = FastAPI(title="Documents", strict_content_type=False)
Number = Annotated[int, Field(ge=-(2**31), lt=2**31)]


def trusting(ca: str, own: str) -> ssl.SSLContext:
    """Return how to talk to one that `ca` vouches for, by its name, showing a certificate of our own."""
    context = ssl.create_default_context(cafile=f"/tls/{ca}.crt")
    context.load_cert_chain(f"/tls/{own}.crt", f"/tls/{own}.key")
    return context


@contextmanager
def database() -> Iterator[Any]:
    """Open a connection; what was written is kept if nothing is raised."""
    context = trusting("mariadb-ca", "mariadb-client")
    host, user, port = os.environ["DB_HOST"], os.environ["DB_USER"], int(os.environ["DB_PORT"])
    connection = pymysql.connect(
        host=host, port=port, user=user, database="document_db", charset="utf8mb4", ssl=context, connect_timeout=10
    )
    try:
        with connection.cursor() as cursor:
            yield cursor
        connection.commit()
    finally:
        connection.close()


def counters() -> RetryingClient:
    """Return the counter; it is asked again over a new connection, because it may have been started anew."""
    place = (os.environ["MC_HOST"], int(os.environ["MC_PORT"]))
    context = trusting("memcached-ca", "memcached-client")
    pool = PooledClient(place, tls_context=context, connect_timeout=5, timeout=5, max_pool_size=16)
    return RetryingClient(pool, attempts=3, retry_for=[OSError, MemcacheError])


def derived(password: str, salt: bytes) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 100_000, 128)


Credentials = Annotated[HTTPBasicCredentials, Depends(HTTPBasic())]


def owner(credentials: Credentials) -> str:
    """Return who asks, if the password is right. Somebody unknown takes as long as somebody known."""
    with database() as cursor:
        cursor.execute("SELECT hash, salt FROM account WHERE username = %s", (credentials.username,))
        stored, salt = cursor.fetchone() or (b"", bytes(32))
    if not hmac.compare_digest(derived(credentials.password, salt), stored):
        raise HTTPException(401, "Incorrect username or password", MISTAKE)
    return credentials.username


Owner = Annotated[str, Depends(owner)]


def count(request: Request) -> None:
    """Refuse an address that asks more often than is allowed; without the counter nobody is served."""
    key, stored = f"requests:{request.client.host if request.client else ''}", app.state.counters
    while not stored.add(key, "1", expire=WINDOW, noreply=False):
        if (number := stored.incr(key, 1, noreply=False)) is not None:
            if number > REQUESTS:
                raise HTTPException(429, f"Requests exceed more than {REQUESTS} requests in the last minute")
            return


class Document(BaseModel):
    """What a user wants to keep."""

    record_id: Number
    content: str

    @field_validator("content")
    @classmethod
    def short_enough(cls, content: str) -> str:
        if len(content.encode("utf-8", "replace")) > LONGEST:
            raise ValueError(f"a document has at most {LONGEST} bytes")
        return content


@app.get("/users/create_account", status_code=201)
def create_account(request: Request, credentials: Credentials) -> dict[str, str]:
    count(request)
    name = credentials.username
    if not 1 <= len(name) <= 128:
        raise HTTPException(422, "A username has 1 to 128 characters.")
    salt = secrets.token_bytes(32)
    try:
        with database() as cursor:
            row = (name, derived(credentials.password, salt), salt)
            cursor.execute("INSERT INTO account (username, hash, salt) VALUES (%s, %s, %s)", row)
    except pymysql.err.IntegrityError:
        raise HTTPException(409, "This username is already taken.") from None
    return {"username": name}


@app.get("/users/me")
def me(request: Request, name: Owner) -> dict[str, str]:
    count(request)
    return {"username": name}


@app.post("/documents/create_document")
def create_document(request: Request, document: Document, name: Owner) -> Document:
    count(request)
    try:
        with database() as cursor:
            row = (document.record_id, document.content, name)
            cursor.execute("INSERT INTO document (record_id, content, owner) VALUES (%s, %s, %s)", row)
    except pymysql.err.IntegrityError:
        raise HTTPException(409, "This record ID already exists. Please specify a different ID") from None
    return document


@app.get("/documents/{record_id}")
def document(request: Request, record_id: Annotated[Number, Path()], name: Owner) -> dict[str, object]:
    count(request)
    with database() as cursor:
        question = "SELECT content FROM document WHERE record_id = %s AND owner = %s"
        cursor.execute(question, (record_id, name))
        found = cursor.fetchone()
    if found is None:
        raise HTTPException(404, "A document with this record ID does not exist")
    return {"record_id": record_id, "content": found[0], "owner": name}


@app.exception_handler(pymysql.err.MySQLError)
@app.exception_handler(MemcacheError)
@app.exception_handler(OSError)
def not_available(_: Request, error: Exception) -> JSONResponse:
    # No text of the error: it may hold what somebody wrote.
    print(f"database or counter: {type(error).__name__}", file=sys.stderr, flush=True)
    return JSONResponse({"detail": "The service is not available; try again"}, 500)


def wait_for_both() -> None:
    """Wait until database and counter answer. One that is somebody else is the end, and not worth waiting for."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with database() as cursor:
                cursor.execute("SELECT 1")
            app.state.counters.version()
        except (pymysql.err.MySQLError, MemcacheError, OSError) as error:
            final = isinstance(error, ssl.SSLError) or "SSL" in str(error) or "CERTIFICATE" in str(error)
            if final or time.monotonic() > deadline:
                sys.exit(f"no connection to database or counter: {error}")
            time.sleep(1)
        else:
            return


if __name__ == "__main__":
    app.state.counters = counters()
    wait_for_both()
    print("Database and counter are those of the policy", flush=True)
    uvicorn.run(
        app,
        host="0.0.0.0",
        port=8000,
        ssl_certfile="/tls/server.crt",
        ssl_keyfile="/tls/server.key",
        ssl_ca_certs="/tls/fastapi-ca.crt",
        ssl_cert_reqs=ssl.CERT_REQUIRED,
        proxy_headers=True,
        forwarded_allow_ips="*",  # nobody but nginx has a client certificate, and nginx says who its client is
        access_log=False,
    )
