"""A REST API for the clients of a bank: over HTTPS, and kept in a redis that both sides prove themselves to."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import ssl
import sys
import time
from pathlib import Path

import redis
from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

FIELDS = ("fname", "lname", "address", "city", "iban", "ssn", "email")
KEYS = "client:"
PATIENCE = 30  # seconds that redis may need to start

app = Flask(__name__)


def database() -> redis.Redis:
    """Return redis, if it is the one that our own certificates are made for."""
    return redis.Redis(
        host=os.environ["REDIS_HOST"],
        port=int(os.environ["REDIS_PORT"]),
        ssl=True,
        ssl_cert_reqs="required",
        ssl_check_hostname=True,
        ssl_ca_certs="/tls/redis-ca.crt",
        ssl_certfile="/tls/client.crt",
        ssl_keyfile="/tls/client.key",
        socket_connect_timeout=5,
        socket_timeout=5,
        health_check_interval=10,
        decode_responses=True,
    )


def found(client: str) -> dict[str, object] | None:
    stored = app.config["DATABASE"].get(KEYS + client)
    return None if stored is None else json.loads(stored)


def refused(status: int, message: str) -> tuple[Response, int]:
    return jsonify(message=message), status


@app.post("/client/<client>")
def new_client(client: str) -> object:
    entry = {field: request.form[field] for field in FIELDS} | {"id": client, "score": random.random()}
    if not app.config["DATABASE"].set(KEYS + client, json.dumps(entry), nx=True):
        return refused(403, "there is a client with this id")
    return jsonify(entry)


@app.get("/client/<client>")
def the_client(client: str) -> object:
    return jsonify(entry) if (entry := found(client)) else refused(404, "there is no client with this id")


@app.get("/score/<client>")
def score(client: str) -> object:
    if entry := found(client):
        return jsonify(id=client, score=entry["score"])
    return refused(404, "there is no client with this id")


@app.get("/keys")
def keys() -> object:
    """List the clients, without their ids."""
    stored = app.config["DATABASE"]
    names = sorted(stored.scan_iter(KEYS + "*"))
    entries = [json.loads(entry) for entry in (stored.mget(names) if names else ()) if entry is not None]
    return jsonify(keys=[{name: value for name, value in entry.items() if name != "id"} for entry in entries])


@app.get("/memory")
def memory() -> object:
    """Say in the log how much of its own memory the program can read. What is in there stays there."""
    print("PID =", os.getpid(), flush=True)
    with Path("/proc/self/maps").open() as maps, Path("/proc/self/mem").open("rb", buffering=0) as content:
        for line in maps.readlines():
            first, _, last = line.split()[0].partition("-")
            start, size = int(first, 16), int(last, 16) - int(first, 16)
            try:
                content.seek(start)
                print("OK :", len(content.read(min(size, 1 << 20))), flush=True)
            except (OSError, OverflowError):  # a page that nobody may read, or the kernel's own
                print("PASS :", size, flush=True)
    print("END", flush=True)
    return jsonify(None)


@app.errorhandler(HTTPException)
def not_possible(error: HTTPException) -> object:
    return refused(error.code or 500, error.description or error.name)


@app.errorhandler(redis.RedisError)
def no_database(error: redis.RedisError) -> object:
    app.logger.warning("redis: %s", error)
    return refused(503, "the database does not answer; try again")


def connect() -> redis.Redis:
    """Wait until redis answers. Somebody else in its place, or one that does not want us, is the end."""
    host, port = os.environ["REDIS_HOST"], os.environ["REDIS_PORT"]
    print(f"Connecting to DB  {host} {port}", flush=True)
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            print(f"The IP Address of redis host is: {socket.getaddrinfo(host, port)[0][4]}", flush=True)
            stored = database()
            stored.info()
        except (socket.gaierror, redis.ConnectionError) as error:
            # What TLS says is final: waiting makes no other redis of it.
            if "SSL" in str(error) or "certificate" in str(error) or time.monotonic() > deadline:
                sys.exit(f"No connection to DB: {error}")
            time.sleep(1)
        else:
            print("Connection to DB is fine", flush=True)
            return stored


def renewed_context(certificate: str, key: str) -> ssl.SSLContext:
    """Return our side of TLS. At SIGHUP it reads its certificate again: from then on, new connections get that."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    signal.signal(signal.SIGHUP, lambda *_: context.load_cert_chain(certificate, key))
    return context


if __name__ == "__main__":
    app.config["DATABASE"] = connect()
    print("Starting Flask...", flush=True)
    app.run(host="0.0.0.0", port=4996, ssl_context=renewed_context("/tls/flask.crt", "/tls/flask.key"))
