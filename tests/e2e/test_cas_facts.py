"""Who learns what from a CAS: every request, by every kind of client, against the table in docs/cas.md."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from .black_box import Client, OutsideCas, channel_hash

DOCUMENT = Path(__file__).parents[2] / "docs/cas.md"
EXPECTED, SIGNER, PLATFORM = "ab" * 32, "5c" * 32, "INTEL_QE_ID:" + "4d" * 16
EXPLICIT, PUBLIC = "the-explicit-value-0815", "the-public-value-4711"
CLIENTS = ("nobody", "stranger", "reader", "owner")
KEY = "2wkBET2rRgE8pahuaczxKbmv7ciehqsne57F9gtzf1PVdr2VP3"  # of a CAS that nobody has
COLUMNS = ("anybody", "may read", "owner", "log", "audit log")


@dataclass(frozen=True)
class World:
    """A served CAS with a session of each kind, and the facts about them."""

    cas: OutsideCas
    clients: dict[str, Client]
    facts: dict[str, str]
    nothing: str  # where nobody listens
    talker: str  # where somebody listens who does not speak TLS


def session(name: str, **sections: object) -> str:
    return json.dumps({"name": name, "version": "0.3.12", **sections})


def service(**more: object) -> list[dict[str, object]]:
    return [{"name": "app", "command": "app", "pwd": "/", **more}]


SIMULATION = {"attestation": {"mode": "simulation"}}


@pytest.fixture(scope="module")
def talker() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def talk() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listening.accept()
                    with client:
                        client.sendall(b"220 ready\r\n")

        threading.Thread(target=talk, daemon=True).start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, talker: str) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("facts")
    cas = OutsideCas(folder)
    cas.start("127.0.0.1:0", "--limit", "log-lines=100000")  # the tests read the log, and ask more than 300 times
    clients = {name: Client.new(folder, name) for name in CLIENTS[1:]}
    who = {name: cas.command("cert", "show-key-hash", client.certificate).decode().strip()
           for name, client in clients.items()}  # fmt: skip
    owner, secrets = clients["owner"], [
        {"name": "pin", "kind": "ascii", "value": EXPLICIT},
        {"name": "note", "kind": "ascii", "value": PUBLIC, "export_public": True},
    ]  # fmt: skip
    anyone = {"create_sessions": ["ANY"], "update": ["CREATOR"], "read": ["CREATOR", who["reader"]]}
    body = {
        "access_policy": anyone,
        "security": SIMULATION,
        "secrets": secrets,
        "services": service(
            attestation=[{"mrenclave": EXPECTED, "signer": {"mrsigner": SIGNER, "isvprodid": 1}}],
            platforms=[PLATFORM],
        ),
    }
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # a port that is taken, and where nobody listens
        nothing = f"127.0.0.1:{bound.getsockname()[1]}"
        facts = {
            "the hash of a session without salt": cas.upload(owner, session("acme", **body)),
            "the hash of a session that has, or had, a salt": cas.upload(
                owner, session("salted", salt="0f" * 16, **body)
            ),
            "which measurements a service accepts": EXPECTED,
            "which signers a service accepts": SIGNER,
            "which machines a service accepts": PLATFORM,
            "a value written into a session": EXPLICIT,
            "a secret with `export_public`": PUBLIC,
            "the name of a session": "acme",
            "why a secret of another CAS cannot be imported": "onnection refused",
            "where the CAS keeps its files": str(cas.directory),
        }
        lost = {"session": "far", "secret": "rule", "cas_url": nothing, "cas_key": who["owner"]}
        imports = [{"name": "rule", "kind": "config-fragment", "import": lost}]
        lost_rule = {**anyone, "read": ["CREATOR", "$$SCONE::rule$$"]}
        cas.upload(owner, session("importing", access_policy=lost_rule, secrets=imports))
        lost_service = service(attestation=["$$SCONE::rule$$"])
        cas.upload(owner, session("delegating", security=SIMULATION, secrets=imports, services=lost_service))
        try:
            yield World(cas, clients, facts, nothing, talker)
        finally:
            cas.stop()


def tls(world: World, who: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(world.cas.chain))
    context.check_hostname = False
    if who != "nobody":
        context.load_cert_chain(world.clients[who].certificate, world.clients[who].key)
    return context


def ask(world: World, who: str, method: str, path: str, body: object = None) -> tuple[int, str]:
    """Return the status, and the answer with its headers as one text."""
    host, _, port = world.cas.address.rpartition(":")
    connection = http.client.HTTPSConnection(host, int(port), context=tls(world, who), timeout=30)
    with contextlib.closing(connection):
        text = body if isinstance(body, str) or body is None else json.dumps(body)
        connection.request(method, path, text)
        answer = connection.getresponse()
        shown = answer.read().decode() + "\n" + str(answer.headers)
        return answer.status, shown


def importing(name: str, place: str) -> str:
    """Return a session that needs a secret of another CAS at the very moment of its upload."""
    wanted = {"session": "far", "secret": "key", "cas_url": place, "cas_key": KEY}
    return session(name, secrets=[
        {"name": "key", "kind": "private-key", "import": wanted}, {"name": "c", "kind": "x509", "private_key": "key"}
    ])  # fmt: skip


def requests(world: World, who: str) -> Iterator[tuple[str, str, object]]:
    """Yield what a curious client asks for."""
    unsalted = world.facts["the hash of a session without salt"]
    for namespace in ("/", "acme", "salted", "ghost"):
        yield "GET", f"/v1/sessions?namespace={quote(namespace, safe='')}", None
    for name in ("acme", "salted", "importing", "delegating", "ghost", "%2F"):
        for path in (f"/v1/sessions/{name}", f"/session/{name}", f"/v1/hashes/{name}", f"/v1/values/session={name}",
                     f"/v1/values/session={name},secret=pin", f"/v1/sessions/{name}?hash={'0' * 64}"):  # fmt: skip
            yield "GET", path, None
    for path in ("/v1/attest", "/v1/version", "/health", "/livez", "/readyz", "/openapi.json",
                 "/v1/sim/certificate-chain", "/nowhere"):  # fmt: skip
        yield "GET", path, None
    for name in ("acme", "salted", "importing"):
        yield "POST", "/v1/sessions", session(name)
        yield "POST", "/v1/sessions", session(name, predecessor="0" * 64)
        yield "POST", "/v1/sessions", session(f"{name}/{who}", namespace_hash="0" * 64)
    pinned = {"session": "acme", "secret": "pin", "session_hash": "1" * 64}
    local = [{"name": "k", "import": pinned}, {"name": "c", "kind": "x509", "private_key": "k"}]
    yield "POST", "/v1/sessions", session(f"pinning-{who}", secrets=local)
    yield (
        "POST",
        "/v1/sessions",
        importing(f"asking-{who}", world.nothing),
    )
    yield "POST", "/v1/sim/nonce", None
    channel = channel_hash(world.clients[who]) if who != "nobody" else "0" * 128
    for claims in ({}, {"debug": True}, {"mrsigner": "77" * 32, "isvprodid": 1}, {"toolchain": "sgx"}):
        report = {"toolchain": "sim", "measurement": "00" * 32, "debug": False, "report_data": channel, **claims}
        yield "POST", "/v1/sim/quote", {"report": report}
        made = json.loads(ask(world, who, "POST", "/v1/sim/quote", {"report": report})[1].partition("\n")[0])["quote"]
        for config_id in ("acme/app", "salted/app@123456", "acme/ghost", "ghost/app", "delegating/app"):
            yield "POST", "/v1/sim/attest", {"config_id": config_id, "quote": made}
    yield "POST", "/v1/sim/fill", {"files": [{"path": "/x", "content": ""}]}
    yield "POST", "/v1/sim/tags", {"subject": "fspf", "old": None, "new": "0" * 32}
    importer = {"session": "acme", "hash": "0" * 64}
    yield (
        "POST",
        "/v1/sim/exports",
        {"session": "acme", "secret": "pin", "importer": importer, "session_hash": unsalted},
    )
    yield "PUT", "/v1/encrypted_sessions", {"session": {}, "encryption_key": "00"}


def table() -> dict[str, dict[str, bool]]:
    """Return what docs/cas.md promises: fact by fact, column by column."""
    text = DOCUMENT.read_text(encoding="utf-8")
    found: dict[str, dict[str, bool]] = {}
    for line in text[text.index("| fact |") :].split("\n\n", 1)[0].splitlines()[2:]:
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        found[name] = {column: cell.startswith("yes") for column, cell in zip(COLUMNS, cells, strict=True)}
    return found


def test_nobody_learns_more_than_the_table_says(world: World) -> None:
    promised = table()
    assert set(world.facts) <= set(promised)
    learnt = dict.fromkeys(CLIENTS, "")
    for who in CLIENTS:
        for method, path, body in list(requests(world, who)):
            status, shown = ask(world, who, method, path, body)
            assert status != 500, (who, method, path, shown)
            learnt[who] += shown
    log = (world.cas.directory / "server.log").read_text()
    audit = world.cas.command("cas", "audit-log", "--dir", world.cas.directory).decode()
    seen = {"anybody": learnt["nobody"] + learnt["stranger"], "may read": learnt["reader"], "owner": learnt["owner"],
            "log": log, "audit log": audit}  # fmt: skip
    for name, fact in world.facts.items():
        found = {column: fact in text for column, text in seen.items()}
        assert found == promised[name], name
    # Where a fact is withheld, so are its parts: no list, count or comparison of it stands in an answer.
    assert "Requirement 1 of" not in "".join(learnt.values()) and "Requirement 1 of" in log
    for who in ("nobody", "stranger"):
        assert not re.search(rf"{EXPECTED}|{SIGNER}", learnt[who])


@pytest.mark.parametrize("way", ["upload", "read", "attestation"])
def test_an_import_is_refused_in_the_same_words_whatever_the_cause(world: World, way: str) -> None:
    """Else anybody who may upload scans the network of the CAS."""
    places = {
        "closed": world.nothing,
        "no-tls": world.talker,
        "no-name": "cas.invalid:8081",
        "metadata": "169.254.169.254:80",
        "another-key": world.cas.address,
    }
    told = set()
    for name, place in places.items():
        session_name = f"{way}-{name}"
        if way == "upload":
            status, shown = ask(world, "stranger", "POST", "/v1/sessions", importing(session_name, place))
        else:
            wanted = {"session": "far", "secret": "rule", "cas_url": place, "cas_key": KEY}
            imports = [{"name": "rule", "kind": "config-fragment", "import": wanted}]
            delegated = service(attestation=["$$SCONE::rule$$"])
            policy = {"read": ["CREATOR", "$$SCONE::rule$$"], "update": ["CREATOR"]}
            text = session(session_name, access_policy=policy, secrets=imports, security=SIMULATION, services=delegated)
            world.cas.upload(world.clients["owner"], text)
            if way == "read":
                status, shown = ask(world, "stranger", "GET", f"/v1/sessions/{session_name}")
            else:
                report = {"toolchain": "sim", "measurement": "00" * 32, "debug": False,
                          "report_data": channel_hash(world.clients["stranger"])}  # fmt: skip
                quoted = ask(world, "stranger", "POST", "/v1/sim/quote", {"report": report})[1].partition("\n")[0]
                body = {"config_id": f"{session_name}/app", "quote": json.loads(quoted)["quote"]}
                status, shown = ask(world, "stranger", "POST", "/v1/sim/attest", body)
        assert status == 403, shown
        answer = json.loads(shown.partition("\n")[0])["msg"]
        told.add(tuple(cause.replace(place, "PLACE").replace(session_name, "NAME") for cause in answer))
    assert len(told) == 1, told
    log = (world.cas.directory / "server.log").read_text()
    for detail in ("onnection refused", "169.254.169.254", "has the key"):
        assert detail in log, detail


def test_a_guess_of_a_hash_is_not_confirmed(world: World) -> None:
    """Who may create sessions and may not read gets the same answer for right and wrong guesses."""
    unsalted = world.facts["the hash of a session without salt"]
    answers = {
        ask(world, "stranger", "POST", "/v1/sessions", session("acme/guess", namespace_hash=guess))[1].partition("\n")[
            0
        ]
        for guess in (unsalted, "0" * 64)
    }
    assert len(answers) == 1 and "namespace_hash" in answers.pop()
    assert ask(world, "reader", "POST", "/v1/sessions", session("acme/known", namespace_hash=unsalted))[0] == 201


def test_an_attested_program_learns_the_hash_of_a_salted_session_only(world: World) -> None:
    """With attestation mode none, everybody is attested; the hash tells every other value that can be guessed."""
    report = {"toolchain": "sim", "measurement": "00" * 32, "debug": False, "report_data": "00" * 64}
    for name, mode, salt in (
        ("open", "none", {}),
        ("open-salted", "none", {"salt": "0f" * 16}),
        ("measured", "simulation", {}),
    ):
        report["report_data"] = channel_hash(world.clients["stranger"])
        made = json.loads(ask(world, "stranger", "POST", "/v1/sim/quote", {"report": report})[1].partition("\n")[0])
        demanded = {"attestation": [{"mrenclave": "00" * 32}]} if mode != "none" else {}
        uploaded = world.cas.upload(
            world.clients["owner"],
            session(
                name,
                access_policy={"read": ["CREATOR"], "update": ["CREATOR"]},
                security={"attestation": {"mode": mode}},
                secrets=[{"name": "pin", "kind": "ascii", "value": EXPLICIT}],
                services=service(**demanded),
                **salt,
            ),
        )
        attested = {"config_id": f"{name}/app", "quote": made["quote"]}
        status, shown = ask(world, "stranger", "POST", "/v1/sim/attest", attested)
        assert status == 200, shown
        assert (uploaded in shown) is bool(salt), name


def test_whoever_runs_the_cas_says_which_others_it_asks(world: World, tmp_path: Path) -> None:
    serve = ("cas", "serve", "--dir", world.cas.directory, "--detach", "--listen", world.cas.address, "--import-from")
    world.cas.stop()
    try:
        world.cas.command(*serve, world.talker, "--import-from", "cas.example.org")
        status, shown = ask(world, "stranger", "POST", "/v1/sessions", importing("listed", world.nothing))
        log = (world.cas.directory / "server.log").read_text()
        assert status == 403 and "does not allow to ask that one" in log and "allow" not in shown
        ask(world, "stranger", "POST", "/v1/sessions", importing("listed", world.talker))
        assert (world.cas.directory / "server.log").read_text().count("does not allow to ask that one") == 1
        world.cas.stop()
        assert world.cas.command(*serve, "any", "--import-from", world.talker, code=2) == b""
    finally:
        world.cas.command(*serve, "any")
