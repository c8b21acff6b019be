"""Attacks that are whole requests: uploads, reads, attestations, imports. One function is one strike."""

from __future__ import annotations

import random
import time
from base64 import b64encode
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from . import documents
from .documents import MEASUREMENT, NAME, service, session
from .wire import Answer, Hostile, forged

Strike = Callable[[Hostile], None]
HONEST = "honest/app"
"""The configuration id of the honest client, which everybody may know."""


@lru_cache(maxsize=48)
def _prepared(make: Callable[[random.Random], bytes], variant: int) -> bytes:
    """Return one of a few documents of a kind: building them is not what the time is for."""
    return make(random.Random(f"{make.__name__} {variant}"))


def drawn(client: Hostile, makes: tuple[Callable[[random.Random], bytes], ...], name: str) -> bytes:
    client.breathe()
    return _prepared(client.rng.choice(makes), client.rng.randrange(12)).replace(NAME, name.encode())


def costly_uploads(client: Hostile) -> None:
    """A3, A6, A7: valid, and large in one way or another."""
    with client.link() as link:
        for _ in range(client.rng.choice((1, 6))):
            client.upload(link, drawn(client, documents.VALID, client.fresh()))


def invalid_uploads(client: Hostile) -> None:
    """A8: huge and wrong."""
    with client.link() as link:
        for _ in range(client.rng.choice((1, 4))):
            method, path = client.rng.choice(
                (("POST", "/v1/sessions"), ("POST", "/session"), ("PUT", "/v1/encrypted_sessions"))
            )
            client.ask(link, method, path, drawn(client, (documents.invalid,), client.fresh()))


def without_certificate(client: Hostile) -> None:
    """The same from somebody who shows no key, or each time another one."""
    client.new_key()
    with client.link() as link:
        client.upload(link, drawn(client, (*documents.VALID, documents.invalid), client.fresh()))


def uploads_then_hangs_up(client: Hostile) -> None:
    """Work is asked for, and nobody waits for it."""
    for _ in range(client.rng.choice((2, 6))):
        body = drawn(client, (*documents.VALID, documents.invalid), client.fresh())
        with client.tls() as link:
            link.sendall(b"POST /v1/sessions HTTP/1.1\r\nhost: cas\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            client.rest(client.rng.choice((0, 0.05, 0.5)))
        client.note("hung up")
        client.breathe()


def many_names(client: Hostile) -> None:
    """Small sessions, as many as possible, also deep in a name space."""
    name = client.fresh()
    with client.link() as link:
        for _ in range(30):
            client.upload(link, session(secrets=[{"name": "a", "kind": "ascii"}]).replace(NAME, name.encode()))
            name = client.rng.choice((client.fresh(), f"{name}/{'n' * client.rng.choice((1, 120))}"))


def many_versions(client: Hostile) -> None:
    """One session, again and again, of any size; then it is read, every version."""
    name, hashes = client.fresh(), [""]
    size = client.rng.choice((100, 100, 60_000, 900_000))
    with client.link() as link:
        for number in range(12):
            before = {"predecessor": hashes[-1]} if hashes[-1] else {}
            secrets = [{"name": "n", "kind": "ascii", "value": f"{number}"}, *documents.large_secrets(size)]
            made = client.upload(link, session(secrets=secrets, **before).replace(NAME, name.encode())).field("hash")
            if not made:
                break
            hashes.append(made)
        for wanted in hashes[1:]:
            client.ask(link, "GET", f"/v1/sessions/{name}?hash={wanted}")


def read_flood(client: Hostile) -> None:
    """What was uploaded is read again and again."""
    name = client.fresh()
    with client.link() as link:
        client.upload(link, drawn(client, documents.VALID, name))
        paths = (f"/v1/sessions/{name}", f"/session/{name}", f"/v1/values/session={name}", f"/v1/hashes/{name}",
                 "/v1/sessions?namespace=/", f"/v1/values/session={name},secret=a", "/openapi.json", "/readyz",
                 "/v1/attest?nonce=00", f"/v1/sessions/{client.fresh()}")  # fmt: skip
        path = client.rng.choice(paths)
        for _ in range(60):
            client.ask(link, "GET", path)


def attests_itself(client: Hostile) -> None:
    """A7: a session that multiplies, and a program that gets it."""
    name = client.fresh()
    with client.link() as link:
        if client.upload(link, drawn(client, documents.ATTESTABLE, name)).status != 201:
            return
        for _ in range(client.rng.choice((1, 5))):
            attest(client, link, f"{name}/s", MEASUREMENT)


def attest(client: Hostile, link: Any, config_id: str, measurement: str) -> Answer:
    body = {"config_id": config_id, "quote": client.quote(link, measurement)}
    return client.ask(link, "POST", "/v1/sim/attest", body)


def fills_files(client: Hostile) -> None:
    """An attested program has files filled in that multiply, and moves tags on."""
    name = client.fresh()
    images = [{"name": "i", "injection_files": ["/f"]}]
    secrets = [{"name": "a", "kind": "ascii", "value": "v" * 400_000}]
    policy = session(services=[service(image_name="i")], images=images, secrets=secrets)
    place = b"$$SCONE::a$$" * client.rng.choice((1, 300, 30_000))
    file = {"path": "/f", "content": b64encode(place).decode()}
    with client.link() as link:
        client.upload(link, policy.replace(NAME, name.encode()))
        attest(client, link, f"{name}/s", MEASUREMENT)
        for _ in range(5):
            client.ask(link, "POST", "/v1/sim/fill", {"files": [file]})
            client.ask(link, "POST", "/v1/sim/fill", {"files": [file] * client.rng.choice((1, 2))})
            client.ask(link, "POST", "/v1/sim/tags", {"subject": "fspf", "new": f"{client.rng.getrandbits(128):032x}"})


def syncs_all_day(client: Hostile) -> None:
    """A program with a volume moves its tag on as often as it can; the audit log must not grow by it."""
    name = client.fresh()
    images = [{"name": "i", "volumes": [{"name": "v", "path": "/v"}]}]
    policy = session(services=[service(image_name="i")], images=images, volumes=[{"name": "v"}])
    lease: dict[str, object] = {
        "volume": "v",
        "holder": f"{client.rng.getrandbits(128):032x}",
        "name": "host",
        "action": "take",
    }
    with client.link() as link:
        client.upload(link, policy.replace(NAME, name.encode()))
        attest(client, link, f"{name}/s", MEASUREMENT)
        for _ in range(client.rng.choice((1, 100))):
            client.ask(link, "POST", "/v1/sim/leases", lease)
        old = None
        for _ in range(client.rng.choice((10, 2000))):
            new = f"{client.rng.getrandbits(128):032x}"
            moved: dict[str, object] = {"subject": "v", "old": old, "new": new, "holder": lease["holder"]}
            client.ask(link, "POST", "/v1/sim/tags", moved)
            old = new
        client.ask(link, "POST", "/v1/sim/volumes", {"session": name, "volume": "v", "old": old, "new": None})


def forged_quotes(client: Hostile) -> None:
    """A9: refusals, each of which somebody may want to write down."""
    config_id = client.rng.choice((HONEST, f"{client.fresh()}/s", "x/" * 400 + "s", "honest/app@123456"))
    if client.rng.random() < 0.3:
        client.new_key()
    with client.link() as link:
        for _ in range(80):
            client.ask(link, "POST", "/v1/sim/attest", {"config_id": config_id, "quote": forged(client, "00")})


def guesses(client: Hostile) -> None:
    """A4, A11: what an answer says about somebody else's session."""
    with client.link() as link:
        for _ in range(20):
            measurement = f"{client.rng.getrandbits(256):064x}"
            body: dict[str, object] = {"config_id": HONEST, "quote": client.quote(link, measurement)}
            client.ask(link, "POST", "/v1/sim/attest", body | {"access_token": client.fresh()})
            client.ask(link, "GET", client.rng.choice(
                ("/v1/sessions?namespace=/", "/v1/hashes/honest", "/v1/sessions/honest", "/session/honest",
                 "/v1/values/session=honest", "/v1/values/session=honest,secret=password",
                 "/v1/sessions?namespace=honest")
            ))  # fmt: skip
            stolen = {"name": "s", "import": {"session": "honest", "secret": "password"}}
            client.upload(link, session(secrets=[stolen], services=[service(environment={"A": "$$SCONE::s$$"})])
                          .replace(NAME, client.fresh().encode()))  # fmt: skip
            client.upload(link, session(access_policy={"read": ["ANY"]}).replace(NAME, b"honest"))


def quotes_and_numbers(client: Hostile) -> None:
    """What anybody gets for nothing, as often as possible."""
    path, body = client.rng.choice(
        (("/v1/sim/nonce", None), ("/v1/sim/quote", {"report": forged(client, "00")["report"]}),
         ("/v1/sim/quote", {"report": {f"k{number}": number for number in range(50_000)}}),
         ("/v1/sim/exports", {"session": "honest", "secret": "password", "importer": {"session": "a", "hash": "b"}}))
    )  # fmt: skip
    with client.link() as link:
        for _ in range(100):
            client.ask(link, "POST", path, body)  # type: ignore[arg-type]


def imports(client: Hostile, target: str | None = None) -> tuple[str, bytes]:
    """Return a name and a session that needs a secret of another CAS to say who may do what."""
    name = client.fresh()
    addresses = [target or _address(client) for _ in range(client.rng.choice((1, 1, 4, 50)))]
    key = dict(client.targets)["key"]
    secrets = [{"name": f"s{number}", "import": {"cas_url": url, "cas_key": key, "session": "x", "secret": "y"}}
               for number, url in enumerate(addresses)]  # fmt: skip
    places = [f"$$SCONE::s{number}$$" for number in range(len(secrets))]
    policy = {"read": places, "update": places, "create_sessions": places, "list_sessions": places}
    variables = {f"V{number}": place for number, place in enumerate(places)}
    made = session(secrets=secrets, access_policy=policy, services=[service(environment=variables)])
    return name, made.replace(NAME, name.encode())


def _address(client: Hostile) -> str:
    ports = [port for manner, port in client.targets if manner != "key"]
    return f"127.0.1.{client.rng.randint(1, 100)}:{client.rng.choice(ports)}"


def tarpit_imports(client: Hostile) -> None:
    """A2: requests that wait for a server which never ends, and a client that does not."""
    name, body = imports(client)
    paths = (f"/v1/hashes/{name}", f"/v1/sessions/{name}", f"/v1/sessions?namespace={name}", f"/session/{name}")
    path = client.rng.choice(paths).encode()
    with client.link() as link:
        client.upload(link, body)
        if client.rng.random() < 0.3:
            attest(client, link, f"{name}/s", MEASUREMENT)
        if client.rng.random() < 0.3:
            client.upload(link, session().replace(NAME, f"{name}/below".encode()))
    opened = []
    for _ in range(client.rng.choice((4, 16))):
        opened.append(client.tls())
        opened[-1].sendall(b"GET %s HTTP/1.1\r\nhost: cas\r\n\r\n" % path)
    client.rest(client.rng.choice((0, 0.1, 3)))
    for waiting in opened:
        client.note("hung up")
        waiting.close()


def imports_anywhere(client: Hostile) -> None:
    """A10: what the CAS says about what it can reach."""
    target = client.rng.choice(
        ("127.0.0.1:1", "127.0.0.1:22", f"localhost:{client.cas[1]}", "nowhere.invalid:443", "10.255.255.1:443",
         "[::1]:1", "169.254.169.254:80", "a" * 60 + ".invalid:1", "127.1:1", "0:1", "2130706433:1")
    )  # fmt: skip
    name, body = imports(client, target)
    with client.link() as link:
        client.upload(link, body)
        started = time.monotonic()
        answer = client.ask(link, "GET", f"/v1/sessions/{name}")
        attest(client, link, f"{name}/s", MEASUREMENT)
        told = answer.body.lower()
        if any(word in told for word in (b"refused", b"wrong_version", b"not known", b"unreachable", b"timed out")):
            client.tally.leaks.append(f"imports_anywhere: {target}: {answer.body[:300]!r}")
        if time.monotonic() - started > 12:
            client.note("waited for longer than 12 seconds")


def chains_of_imports(client: Hostile) -> None:
    """Sessions that need each other: long chains, wide fans, circles."""
    name = client.fresh()
    depth = client.rng.choice((3, 25))
    width = client.rng.choice((1, 20, 300))
    with client.link() as link:
        for number in range(depth):
            source = f"{name}{(number + 1) % depth}"
            imported = [{"name": f"s{index}" if index else "s", "import": {"session": source, "secret": "s"}}
                        for index in range(width)]  # fmt: skip
            exported = [secret | {"export": [f"/session={name}{(number - 1) % depth}"]} for secret in imported]
            policy = {"read": ["$$SCONE::s$$"], "update": ["$$SCONE::s$$", "CREATOR"]}
            client.upload(link, session(secrets=exported, access_policy=policy, services=[service()])
                          .replace(NAME, f"{name}{number}".encode()))  # fmt: skip
        for _ in range(10):
            client.ask(link, "GET", f"/v1/hashes/{name}0")
        attest(client, link, f"{name}0/s", MEASUREMENT)


REQUESTS: tuple[tuple[int, Strike], ...] = (
    (6, costly_uploads), (5, invalid_uploads), (2, without_certificate), (4, uploads_then_hangs_up), (2, many_names),
    (2, many_versions), (3, read_flood), (4, attests_itself), (2, fills_files), (3, syncs_all_day), (4, forged_quotes),
    (2, guesses), (2, quotes_and_numbers), (5, tarpit_imports), (2, imports_anywhere), (2, chains_of_imports),
)  # fmt: skip
"""How often each is drawn, next to the others and to those of `connections`."""
