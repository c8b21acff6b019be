"""examples/flask-redis: clients of a bank over HTTPS, in a redis that only the unchanged program gets into."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .application import REFUSED, Application, an_application
from .capture import listening
from .confidential import address_of, await_end
from .curated_mesh import a_network, certificate, require_images
from .operator_attacks import NOT_TRUSTED, another_under_the_tag
from .readme_walk import walk
from .world import World, docker, logs, must

PORT, REDIS_PORT, CLAIM = 4996, 6379, "volumedata"
JANE = {
    **{"fname": "Jane", "lname": "Doe", "address": "123 Main Street", "city": "Richmond"},
    **{"iban": "DE12345678", "ssn": "123-223-2345", "email": "nr@aaa.com"},
}


def test_the_readme(walker: World) -> None:
    """The first test of this module: the others take the images that it leaves."""
    require_images(walker)
    walk(walker, "flask-redis")


@pytest.fixture(scope="module")
def app(walker: World) -> Iterator[Application]:
    """The application; flask comes first, and waits for redis."""
    with an_application(walker, "flask-redis") as app:
        flask = app.create("flask")
        must(docker("start", flask))
        app.running["flask"] = flask
        app.start("redis")
        app.await_health(flask)
        yield app


@pytest.fixture(scope="module")
def ca(app: Application) -> Path:
    return app.certificate_of("flask-redis/flask", "api_ca_cert", app.world.root / "api-ca.pem")


def answer(app: Application, ca: Path, path: str, *words: str, seconds: float = 180) -> tuple[int, Any]:
    """Send a request; wait as long as nobody listens. Return status and body."""
    deadline = time.monotonic() + seconds
    url = f"https://api:{PORT}{path}"
    while True:
        done = app.curl("flask", PORT, "api", "--cacert", ca, "-w", "\n%{http_code}", *words, url)
        if done.code == 0:
            body, _, status = done.out.rpartition("\n")
            return int(status), json.loads(body)
        assert done.code in (7, 35) and time.monotonic() < deadline, f"{done}\n{logs(app.running['flask'])}"
        time.sleep(0.2)


def form(**values: str) -> list[str]:
    return [word for name, value in values.items() for word in ("--data-urlencode", f"{name}={value}")]


@pytest.mark.shows("003.rest", "003.errors")
def test_clients(app: Application, ca: Path) -> None:
    assert answer(app, ca, "/keys") == (200, {"keys": []})
    status, entry = answer(app, ca, "/client/jane", *form(**JANE))
    assert status == 200 and entry == {**JANE, "id": "jane", "score": entry["score"]} and 0 <= entry["score"] < 1
    assert list(entry) == sorted(entry)
    assert answer(app, ca, "/client/jane") == (200, entry)
    assert answer(app, ca, "/score/jane") == (200, {"id": "jane", "score": entry["score"]})
    listed = {name: value for name, value in entry.items() if name != "id"}
    assert answer(app, ca, "/keys") == (200, {"keys": [listed]})
    multipart = [word for name, value in JANE.items() for word in ("-F", f"{name}={value}")]
    assert answer(app, ca, "/client/john", *multipart)[0] == 200
    # What is not possible is said in JSON, and changes nothing.
    assert answer(app, ca, "/client/jane", *form(**{**JANE, "city": "Rome"})) == (
        403,
        {"message": "there is a client with this id"},
    )
    assert answer(app, ca, "/client/jane") == (200, entry)
    for path in ("/client/nobody", "/score/nobody"):
        assert answer(app, ca, path) == (404, {"message": "there is no client with this id"})
    status, said = answer(app, ca, "/client/joe", *form(fname="Joe"))
    assert status == 400 and "this server could not understand" in said["message"]
    assert answer(app, ca, "/client/jane", "-X", "DELETE")[0] == 405


@pytest.mark.shows("003.log", "003.memory")
def test_what_the_log_says(app: Application, ca: Path) -> None:
    log = logs(app.running["flask"])
    expected = [
        "Connecting to DB  demo-redis 6379",
        f"The IP Address of redis host is: ('{address_of(app.running['redis'])}', 6379)",
        "Connection to DB is fine",
        "Starting Flask...",
        "SIMULATION",
    ]
    assert [line for line in expected if line not in log] == []
    assert answer(app, ca, "/memory") == (200, None)
    said = logs(app.running["flask"])[len(log) :]
    assert "PID = " in said and "OK : " in said and "END\n" in said
    assert not any(value in logs(app.running["flask"]) for value in JANE.values())


@pytest.mark.shows("003.server")
def test_the_server_is_verified(app: Application, ca: Path) -> None:
    assert app.curl("flask", PORT, "api", f"https://api:{PORT}/keys").code == 60  # no CA of the machine vouches for it
    assert app.curl("flask", PORT, "other", "--cacert", ca, f"https://other:{PORT}/keys").code == 60
    assert app.curl("flask", PORT, "api", f"http://api:{PORT}/keys").code != 0


@pytest.mark.shows("003.client_certificate", "attack.stranger.003")
def test_redis_lets_nobody_in(app: Application, ca: Path) -> None:
    """A container of the same network that has no policy, whatever it brings along."""
    folder = app.world.root / "foreign"
    folder.mkdir()
    issuer, crt, key = certificate("redis_ca", "demo-flask")  # the names are those of the right ones
    for name, content in (("ca.crt", issuer), ("crt", crt), ("key", key)):
        (folder / name).write_text(content)
    (folder / "key").chmod(0o644)
    tls = "redis-cli -h demo-redis --tls --insecure"
    for command in (
        "redis-cli -h demo-redis ping",
        f"{tls} ping",
        f"{tls} --cert /foreign/crt --key /foreign/key ping",
        f"{tls} --cert /foreign/crt --key /foreign/key keys '*'",
    ):
        refused = app.stranger(command, mounts=[f"{folder}:/foreign:ro"])
        assert "PONG" not in refused.text and "client:" not in refused.text, (command, refused)
        assert any(word in refused.text for word in ("onnection reset", "closed", "alert", "Error")), (command, refused)
    assert answer(app, ca, "/keys")[0] == 200


@pytest.mark.shows("003.fake")
def test_a_fake_redis_gets_nothing(app: Application, tmp_path: Path) -> None:
    """In another network, where somebody else has the name of redis, and certificates of its own."""
    tmp_path.chmod(0o755)
    tls = "--tls-cert-file /fake/crt --tls-key-file /fake/key --tls-ca-cert-file /fake/ca"
    for name, content in zip(("ca", "crt", "key"), certificate("redis_ca", "demo-redis"), strict=True):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o644)
    with a_network() as network:
        fake = app.world.create(
            "sconectl-test-image/redis", "redis-server", "--port", "0", "--tls-port", str(REDIS_PORT), *tls.split(),
            "--tls-auth-clients", "no", "--loglevel", "debug", config_id="",
            options=["--network", network, "--network-alias", "demo-redis", "-v", f"{tmp_path}:/fake:ro",
                     "--entrypoint", ""],
        )  # fmt: skip
        must(docker("start", fake))
        app.world.log_with(fake, "Ready to accept connections")
        network, app.network = app.network, network
        try:
            flask = app.create("flask")
        finally:
            network, app.network = app.network, network
        must(docker("start", flask))
        code, log = app.world.finish(flask)
        docker("rm", "-f", fake)
        docker("rm", "-f", flask)
    assert code == 1 and "certificate verify failed" in log and "Starting Flask" not in log, log
    assert "Traceback" not in log


@pytest.mark.shows("003.wire", "attack.wire.003")
def test_on_the_wire(app: Application, ca: Path, tmp_path: Path) -> None:
    flask, redis = app.running["flask"], app.running["redis"]
    with listening(redis, REDIS_PORT, tmp_path) as inside, listening(flask, PORT, tmp_path) as outside:
        assert answer(app, ca, "/client/mary", *form(**JANE))[0] == 200
        assert answer(app, ca, "/client/mary")[1]["ssn"] == JANE["ssn"]
    for heard in (inside, outside):
        assert len(heard.sizes) >= 2 and max(heard.sizes) > 100, heard.sizes
        assert heard.not_tls() == []
        assert not any(text in heard for text in (*JANE.values(), "fname", "client:"))


@pytest.mark.shows("003.operator", "attack.exec.003")
def test_what_an_operator_sees(app: Application, tmp_path: Path) -> None:
    for service in ("flask", "redis"):
        seen = app.seen_by_operator(service)
        assert "PRIVATE KEY" not in seen and not any(value in seen for value in JANE.values())
    # The variables that the program has are not those of the container.
    assert "REDIS_HOST" not in must(docker("exec", app.running["flask"], "env")).out
    held = "\n".join(path.read_text() for path in sorted(app.world.target.rglob("*.*")) if path.is_file())
    assert "redis_client_cert" in held and "PRIVATE KEY" not in held
    assert app.plain_anywhere(CLAIM, "Richmond", "Jane", "client:") == []
    app.edited_by_a_shell("flask")


@pytest.mark.shows("003.command", "attack.environment.003", "attack.arguments.003")
def test_other_values_and_another_command(app: Application, ca: Path) -> None:
    """The policy says what is executed, and with which variables: whoever starts the container does not."""
    before = answer(app, ca, "/keys")
    app.stop("flask")
    evil = {"REDIS_HOST": "evil", "REDIS_PORT": "1", "PYTHONPATH": "/tmp", "FLASK_DEBUG": "1"}
    changed = app.create("flask", "python3", "-c", "print('pwned')", read_only=True, **evil)
    must(docker("start", changed))
    app.running["flask"] = changed
    app.await_health(changed)
    assert answer(app, ca, "/keys") == before
    log = logs(changed)
    assert "Connecting to DB  demo-redis 6379" in log and "pwned" not in log and "Debugger" not in log


@pytest.mark.shows("003.changed", "attack.image.003")
def test_a_changed_image(app: Application) -> None:
    app.refused_when_changed("flask", "/python/api.py")
    app.refused_when_changed("redis", "/usr/bin/redis-check-rdb")


@pytest.mark.shows("003.changed")
def test_another_image(app: Application) -> None:
    """A program that the policy does not know, but asks under this name: it gets no certificate."""
    world = app.world
    folder = world.root / "evil"
    shutil.copytree(app.folder, folder)
    (folder / "api.py").write_text("print(open('/tls/client.key').read(), flush=True)\n")
    manifest = (folder / "service.yaml").read_text().replace(app.image("flask-redis"), f"{app.prefix}/evil:1")
    (folder / "service.yaml").write_text(manifest)
    must(world.sconectl("apply", "-f", folder / "service.yaml", "-n", "-t", "evil", "--cas", world.address))
    code, log = world.finish(world.start(f"{app.prefix}/evil:1", config_id=app.config_id("flask")))
    assert code == REFUSED and "The program enclave is not trustworthy" in log and "PRIVATE KEY" not in log, log


@pytest.mark.shows("attack.tag.003")
def test_another_image_under_the_tag(app: Application) -> None:
    with another_under_the_tag(app.image("flask-redis")):
        assert NOT_TRUSTED in app.not_started("flask")


@pytest.mark.shows("003.restart", "003.errors")
def test_restarts_in_any_order(app: Application, ca: Path) -> None:
    before = answer(app, ca, "/client/jane")
    assert before[0] == 200
    flask = app.running["flask"]
    app.stop("redis")
    assert answer(app, ca, "/client/jane")[0] == 503  # and not a lie, or a page of the interpreter
    app.start("redis")
    assert answer(app, ca, "/client/jane") == before  # the same program, connected again
    must(docker("kill", flask))
    await_end(flask)
    must(docker("start", flask))
    assert answer(app, ca, "/client/jane") == before
    app.stop("redis")
    must(docker("restart", "-t", "5", flask))
    app.world.stop_cas()
    must(
        app.world.sconectl("cas", "serve", "--dir", app.world.cas_directory, "--listen", app.world.address, "--detach")
    )
    app.start("redis")
    app.await_health(flask)
    assert answer(app, ca, "/client/jane") == before


@pytest.mark.shows("003.volume", "attack.changed_volume.003", "attack.old_volume.003")
def test_old_and_changed_data(app: Application, ca: Path) -> None:
    """The last test of this module: redis does not start on what is not its newest data."""
    old = app.storage("old")
    must(docker("volume", "create", old))
    app.stop("redis")
    app.storage_shell(CLAIM, "cp -a /s/. /o", old)
    app.start("redis")
    assert answer(app, ca, "/client/late", *form(**JANE))[0] == 200
    app.stop("redis")
    newest = app.storage("newest")
    must(docker("volume", "create", newest))
    app.storage_shell(CLAIM, "cp -a /s/. /o; find /s -mindepth 1 -delete", newest)
    app.not_started("redis")  # deleted: it does not begin anew
    app.storage_shell(CLAIM, "cp -a /o/. /s", old)
    app.not_started("redis")  # whole and valid, and the CAS knows a newer one
    app.storage_shell(CLAIM, "find /s -mindepth 1 -delete; cp -a /o/. /s", newest)
    flip = "f=$(find /s -type f -size +0 -name '*aof*' | sort | tail -n 1); printf XXXX | dd of=$f bs=1 conv=notrunc"
    app.storage_shell(CLAIM, flip)
    container = app.create("redis")
    must(docker("start", container))
    code, log = app.world.finish(container)
    assert code != 0, log
    app.storage_shell(CLAIM, "find /s -mindepth 1 -delete; cp -a /o/. /s", newest)
    app.start("redis")
    assert answer(app, ca, "/client/late")[0] == 200
