"""examples/secure-documents: five services with TLS between them, and documents that only their owners read."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from .application import Application, an_application
from .capture import listening
from .confidential import await_end
from .curated_mesh import certificate, require_images
from .operator_attacks import NOT_TRUSTED, another_under_the_tag
from .readme_walk import walk
from .restart_order import drawn_order
from .world import World, docker, logs, must

PORTS = {"nginx": 443, "fastapi": 8000, "mariadb": 3306, "memcached": 11211}
SERVICES = ("client", "nginx", "fastapi", "memcached", "mariadb")
CLAIM = "volumedata"
BOB, PASSWORD = "bobross", "password123"
BIRDS = "Ever make mistakes in life? Lets make them birds. Yeah, theyre birds now."
WRONG = {"detail": "Incorrect username or password"}


@pytest.mark.shows("004.curl")
def test_the_readme(walker: World) -> None:
    """The first test of this module: the others take the images that it leaves."""
    require_images(walker)
    walk(walker, "secure-documents")


@pytest.fixture(scope="module")
def app(walker: World) -> Iterator[Application]:
    """All services, started in the order in which nobody finds anybody."""
    with an_application(walker, "secure-documents") as app:
        for service in SERVICES:
            app.running[service] = app.create(service)
        with app.kept_up():
            for service in SERVICES:
                must(docker("start", app.running[service]))
            for service in PORTS:
                app.await_health(app.running[service])
        yield app


@pytest.fixture(scope="module")
def ca(app: Application) -> Path:
    """What users know nginx by; the CAS gives it to everybody."""
    return app.certificate_of("secure-documents/nginx", "NGINX_SERVER_CA_CERT", app.world.root / "nginx-ca.crt")


def once(app: Application, ca: Path, path: str, *words: str, user: str = f"{BOB}:{PASSWORD}") -> tuple[int, Any]:
    own = ("-u", user) if user else ()
    done = app.curl(
        "nginx", 443, "demo-nginx", "--cacert", ca, *own, "-w", "\n%{http_code}", *words, f"https://demo-nginx{path}"
    )
    assert done.code == 0, f"{done}\n{logs(app.running['nginx'])}"
    body, _, status = done.out.rpartition("\n")
    return int(status), json.loads(body) if body.startswith(("{", "[")) else body


def ask(app: Application, ca: Path, path: str, *words: str, user: str = f"{BOB}:{PASSWORD}") -> tuple[int, Any]:
    """Send a request; the limit is not what is of interest."""
    answer = once(app, ca, path, *words, user=user)
    if answer[0] == 429:
        forget_requests(app)
        answer = once(app, ca, path, *words, user=user)
    return answer


def forget_requests(app: Application) -> None:
    """Start memcached anew: what it counted was in its memory only."""
    must(docker("restart", "-t", "5", app.running["memcached"]))
    app.await_health(app.running["memcached"])


def document(number: object, content: str) -> list[str]:
    return ["-H", "Content-Type: application/json", "-d", json.dumps({"record_id": number, "content": content})]


def back(app: Application, ca: Path, path: str, seconds: float = 180) -> tuple[int, Any]:
    """Wait until the application answers again."""
    deadline = time.monotonic() + seconds
    while True:
        resolved = app.curl("nginx", 443, "demo-nginx", "--cacert", ca, "https://demo-nginx/")
        if resolved.code == 0 and "Bad Gateway" not in resolved.out:
            answer = ask(app, ca, path)
            if answer[0] < 500:
                return answer
        assert time.monotonic() < deadline, (resolved, {name: logs(each) for name, each in app.running.items()})
        time.sleep(0.5)


@pytest.mark.shows("004.accounts")
def test_accounts(app: Application, ca: Path) -> None:
    assert ask(app, ca, "/users/me") == (401, WRONG)
    assert ask(app, ca, "/users/create_account") == (201, {"username": BOB})
    assert ask(app, ca, "/users/create_account") == (409, {"detail": "This username is already taken."})
    assert ask(app, ca, "/users/me") == (200, {"username": BOB})
    assert ask(app, ca, "/users/me", user=f"{BOB}:wrong") == (401, WRONG)
    assert ask(app, ca, "/users/me", user=f"Bobross:{PASSWORD}") == (401, WRONG)  # letters count
    status, body = ask(app, ca, "/users/me", "-i", user="")
    assert status == 401 and "www-authenticate: Basic" in body and '{"detail":"Not authenticated"}' in body
    assert ask(app, ca, "/users/create_account", "-X", "POST")[0] == 405
    assert ask(app, ca, "/users/create_account", user=f"{'x' * 129}:p")[0] == 422
    assert ask(app, ca, "/openapi.json", user="")[0] == 200 and ask(app, ca, "/docs", user="")[0] == 200


@pytest.mark.shows("004.passwords")
def test_what_is_kept_of_a_password(app: Application) -> None:
    """Asked of the program itself, in its container; the database has nothing else."""
    look = "import rest_api as api; print(api.derived('password123', b'salt' * 8).hex())"
    path = "/python/documents"
    done = must(docker("exec", "-w", path, app.running["fastapi"], "python3", "-B", "-c", look))
    assert bytes.fromhex(done.out) == hashlib.pbkdf2_hmac("sha256", b"password123", b"salt" * 8, 100_000, 128)
    source = must(docker("exec", app.running["fastapi"], "cat", f"{path}/rest_api.py")).out
    assert "salt = secrets.token_bytes(32)" in source and "hmac.compare_digest(derived(" in source


@pytest.mark.shows("004.documents")
def test_documents(app: Application, ca: Path) -> None:
    new = "/documents/create_document"
    assert ask(app, ca, new, *document("31", BIRDS)) == (200, {"record_id": 31, "content": BIRDS})
    assert ask(app, ca, "/documents/31") == (200, {"record_id": 31, "content": BIRDS, "owner": BOB})
    taken = {"detail": "This record ID already exists. Please specify a different ID"}
    assert ask(app, ca, new, *document(31, "another")) == (409, taken)
    missing = {"detail": "A document with this record ID does not exist"}
    assert ask(app, ca, "/documents/32") == (404, missing)
    assert ask(app, ca, "/documents/x")[0] == 422
    for body in (document("x", ""), document(2**31, ""), document(33, "x" * 65536), ["-d", "{}"], ["-d", "no JSON"]):
        assert ask(app, ca, new, *body)[0] == 422
    without_type = ["-H", "Content-Type:", "-d", json.dumps({"record_id": 34, "content": "'; DROP TABLE account; --"})]
    assert ask(app, ca, new, *without_type)[0] == 200
    assert ask(app, ca, "/documents/34")[1]["content"] == "'; DROP TABLE account; --"
    # Everybody has numbers of their own, and sees nothing else.
    alice = "alice:secret"
    assert ask(app, ca, "/users/create_account", user=alice)[0] == 201
    assert ask(app, ca, "/documents/31", user=alice) == (404, missing)
    assert ask(app, ca, new, *document(31, "hers"), user=alice)[0] == 200
    assert ask(app, ca, "/documents/31")[1]["content"] == BIRDS
    text = "𝔘 ümläuts 🐦"
    assert ask(app, ca, new, *document(35, text))[0] == 200
    assert ask(app, ca, "/documents/35")[1]["content"] == text


@pytest.mark.shows("004.limit")
def test_ten_requests_a_minute(app: Application, ca: Path) -> None:
    forget_requests(app)
    assert once(app, ca, "/users/me", user=f"{BOB}:wrong")[0] == 401  # neither counted
    assert once(app, ca, "/documents/x")[0] == 422
    answers = [once(app, ca, path) for path in ["/users/me", "/documents/31", "/documents/99"] * 4]
    assert [status for status, _ in answers] == [200, 200, 404] * 3 + [200, 429, 429]
    assert answers[-1][1] == {"detail": "Requests exceed more than 10 requests in the last minute"}
    forget_requests(app)
    assert once(app, ca, "/users/me")[0] == 200


@pytest.mark.shows("004.client")
def test_the_client(app: Application) -> None:
    log = app.world.log_with(app.running["client"], "document 1: status_code=200")
    assert 'Getting env var "NGINX_ADDR"' in log and re.search(r"New user: [A-Za-z]{15}\nCreating documents\n", log)


@pytest.mark.shows("004.direct", "attack.stranger.004")
def test_nobody_else_comes_in(app: Application, ca: Path) -> None:
    """A container of the same network that has no policy; some of its certificates have the right names."""
    folder = app.world.root / "foreign"
    folder.mkdir()
    for issuer, name in (("FASTAPI_CA", "FASTAPI_CLIENT_CERT"), ("MariaDB_CA", "MARIADB_CLIENT_CERT")):
        for kind, content in zip(("ca", "crt", "key"), certificate(issuer, name), strict=True):
            (folder / f"{name}.{kind}").write_text(content)
            (folder / f"{name}.{kind}").chmod(0o644)
    own = "--cert /f/FASTAPI_CLIENT_CERT.crt --key /f/FASTAPI_CLIENT_CERT.key"
    sql = "mariadb --no-defaults -h demo-mariadb -u scontain -e 'SELECT * FROM document_db.document'"
    ssl = "--ssl-cert=/f/MARIADB_CLIENT_CERT.crt --ssl-key=/f/MARIADB_CLIENT_CERT.key"
    commands = [
        "curl -sS -k https://demo-fastapi:8000/docs",
        f"curl -sS -k {own} https://demo-fastapi:8000/docs",
        "curl -sS http://demo-fastapi:8000/docs",
        "curl -sS http://demo-nginx:443/docs",
        "curl -sS https://demo-nginx/docs",
        sql,
        f"{sql} --skip-ssl",
        f"{sql} {ssl}",
        f"{sql} {ssl} -u root",
        "(echo stats; sleep 1) | openssl s_client -quiet -connect demo-memcached:11211",
        "(echo stats; sleep 1) | timeout 3 curl -sS telnet://demo-memcached:11211",
    ]
    for command in commands:
        outcome = app.stranger(command, mounts=[f"{folder}:/f:ro"])
        said = outcome.text
        assert not any(word in said for word in ("swagger", "STAT ", "birds", BOB)), (command, said)
        assert outcome.code != 0 or "400 Bad Request" in said, (command, said)
    assert back(app, ca, "/documents/31")[1]["content"] == BIRDS


@pytest.mark.shows("004.wire", "attack.wire.004")
def test_on_the_wire(app: Application, ca: Path, tmp_path: Path) -> None:
    forget_requests(app)
    with ExitStack() as stack:
        heard = {
            service: stack.enter_context(listening(app.running[service], port, tmp_path))
            for service, port in PORTS.items()
        }
        assert ask(app, ca, "/documents/create_document", *document(77, BIRDS))[0] == 200
        assert ask(app, ca, "/documents/77")[1]["content"] == BIRDS
    for service, each in heard.items():
        assert len(each.sizes) >= 2 and max(each.sizes) > 100, (service, each.sizes)
        assert each.not_tls(greeting=service == "mariadb") == [], service
        assert not any(text in each for text in ("birds", BOB, "record_id", "SELECT", "requests:")), service


@pytest.mark.shows("004.operator", "attack.exec.004")
def test_what_an_operator_sees(app: Application) -> None:
    for service in SERVICES:
        seen = app.seen_by_operator(service)
        assert not any(text in seen for text in ("PRIVATE KEY", "birds", BOB, PASSWORD, "IDENTIFIED BY")), service
    environment = must(docker("exec", app.running["fastapi"], "env")).out
    assert "DB_HOST" not in environment and "MC_HOST" not in environment
    held = "\n".join(path.read_text() for path in sorted(app.world.target.rglob("*.*")) if path.is_file())
    assert "FASTAPI_CLIENT_CERT" in held and "PRIVATE KEY" not in held
    assert app.plain_anywhere(CLAIM, "birds", BOB, "document_db", "username") == []
    app.edited_by_a_shell("fastapi")


@pytest.mark.shows("004.command", "attack.environment.004", "attack.arguments.004")
def test_other_values_and_another_command(app: Application, ca: Path) -> None:
    """Each service is started with variables and arguments of somebody else; nothing of it arrives."""
    evil = {"DB_HOST": "evil", "MC_HOST": "evil", "NGINX_ADDR": "evil", "sqlInitScript": "DROP DATABASE document_db"}
    for service in ("nginx", "fastapi", "memcached", "mariadb"):
        app.stop(service)
        app.running[service] = app.create(service, "sh", "-c", "echo pwned", read_only=True, **evil)
    with app.kept_up():
        for service in PORTS:
            must(docker("start", app.running[service]))
        for service in PORTS:
            app.await_health(app.running[service])
            assert "pwned" not in logs(app.running[service])
    assert back(app, ca, "/documents/31")[1] == {"record_id": 31, "content": BIRDS, "owner": BOB}


@pytest.mark.shows("004.changed", "attack.image.004")
def test_changed_images(app: Application) -> None:
    app.refused_when_changed("fastapi", "/python/documents/rest_api.py")
    app.refused_when_changed("client", "/python/client/client.py")
    app.refused_when_changed("nginx", "/usr/sbin/nginx")
    app.refused_when_changed("memcached", "/usr/bin/memcached")
    app.refused_when_changed("mariadb", "/usr/local/bin/start-mariadb")


@pytest.mark.shows("attack.tag.004")
def test_another_image_under_the_tag(app: Application) -> None:
    [container] = app.pods["fastapi"]["containers"]
    with another_under_the_tag(container["image"]):
        assert NOT_TRUSTED in app.not_started("fastapi")


@pytest.mark.shows("004.restart")
def test_loss_and_restart_of_each(app: Application, ca: Path) -> None:
    """Whatever is lost, and comes back a little later: the application is there again within a minute."""
    drawn = drawn_order()
    for service in drawn.sample(["mariadb", "fastapi", "nginx"], 3):
        must(docker("kill", app.running[service]))
        await_end(app.running[service])
        must(docker("start", app.running[service]))
        assert back(app, ca, "/documents/31")[1]["content"] == BIRDS, service
    must(docker("kill", app.running["memcached"]))
    await_end(app.running["memcached"])
    assert once(app, ca, "/documents/31") == (500, {"detail": "The service is not available; try again"})
    must(docker("start", app.running["memcached"]))
    assert back(app, ca, "/documents/31")[1]["content"] == BIRDS
    app.world.stop_cas()
    assert back(app, ca, "/documents/31")[1]["content"] == BIRDS  # nobody needs the CAS for what runs
    words = ("cas", "serve", "--dir", app.world.cas_directory, "--listen", app.world.address, "--detach")
    must(app.world.sconectl(*words))
    with app.kept_up():
        for service in SERVICES:
            must(docker("kill", app.running[service]))
        for service in drawn.sample(SERVICES, len(SERVICES)):
            await_end(app.running[service])
            must(docker("start", app.running[service]))
        assert back(app, ca, "/documents/31")[1]["content"] == BIRDS


@pytest.mark.shows("004.volume", "attack.changed_volume.004", "attack.old_volume.004")
def test_old_and_changed_data(app: Application, ca: Path) -> None:
    """The last test of this module: MariaDB does not start on data that are not its newest."""
    old = app.storage("old")
    must(docker("volume", "create", old))
    app.stop("mariadb")
    app.storage_shell(CLAIM, "cp -a /s/. /o", old)
    app.start("mariadb")
    assert back(app, ca, "/documents/31")[0] == 200
    assert ask(app, ca, "/documents/create_document", *document(78, "late"))[0] == 200
    app.stop("mariadb")
    newest = app.storage("newest")
    must(docker("volume", "create", newest))
    app.storage_shell(CLAIM, "cp -a /s/. /o", newest)
    app.storage_shell(CLAIM, "find /s -mindepth 1 -delete; cp -a /o/. /s", old)
    assert "rolled back" in app.not_started("mariadb")
    flip = "for f in $(find /s -name '*ibdata*'); do printf XXXX | dd of=$f bs=1 seek=70000 conv=notrunc; done"
    app.storage_shell(CLAIM, f"find /s -mindepth 1 -delete; cp -a /o/. /s; {flip}", newest)
    container = app.create("mariadb")
    must(docker("start", container))
    code, log = app.world.finish(container)
    assert code != 0 and "ready for connections" not in log, log
    app.storage_shell(CLAIM, "find /s -mindepth 1 -delete")
    app.not_started("mariadb")
