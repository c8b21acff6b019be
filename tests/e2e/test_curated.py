"""Curated services: built for a mesh that names them, served with mutual TLS, refused to everybody else, kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest

from .changed_bytes import flip_file, flipped, put_back, taken
from .curated_mesh import (
    NATIVE_CLIENT,
    RELEASE,
    CuratedMesh,
    a_network,
    certificate,
    client_manifest,
    require_images,
    write_mesh,
)
from .world import World, docker, logs, must, run

SERVICES = ("redis", "memcached", "mariadb", "nginx")
IMPORTS = (
    *("redis_ca_cert", "redis_client_cert", "MEMCACHED_CA_CERT", "MEMCACHED_CLIENT_CERT"),
    *("MARIADB_CA_CERT", "MARIADB_CLIENT_CERT", "MYSQL_ROOT_PASSWORD", "NGINX_SERVER_CA_CERT"),
)
REFUSED = 125
PASSWORD = "it's \\ 'a' \"b\" $(c) `d` \\\\ %s &"
SQL = """ |
     CREATE USER 'scontain'@'%'
       REQUIRE SUBJECT '/CN=MARIADB_CLIENT_CERT'
       AND ISSUER '/CN=MariaDB_CA';
     GRANT ALL PRIVILEGES ON *.* TO 'scontain'@'%' WITH GRANT OPTION;
     FLUSH PRIVILEGES;
     SHOW GRANTS FOR 'scontain'@'%';
     GRANT ALL PRIVILEGES ON *.* TO 'root'@'%' IDENTIFIED BY '$$SCONE::MYSQL_ROOT_PASSWORD$$';
     CREATE USER 'tls'@'%' REQUIRE SSL;
     CREATE USER 'cipher'@'%' REQUIRE CIPHER 'TLS_AES_256_GCM_SHA384';
     CREATE DATABASE shop;
     CREATE TABLE shop.runs (id INT AUTO_INCREMENT PRIMARY KEY);
     INSERT INTO shop.runs VALUES ();
"""
VALUES = {
    "redis_server_name": f"{RELEASE}-redis",
    "redis_client_name": "the client",
    "memcached_host": f"{RELEASE}-memcached",
    "memcached_port": "11211",
    "database_host": f"{RELEASE}-mariadb",
    "database_port": "3306",
    "database_user": "scontain",
    "sqlInitScript": SQL,
    "nginx_server_name": f"{RELEASE}-nginx",
    "nginx_backend_server_name": f"{RELEASE}-client",
    "nginx_backend_server_port": "8443",
    "nginx_initContainers_enabled": "true",
    "NGINX_BACKEND_CLIENT_CERT": "PROXY",
    "NGINX_BACKEND_CA_CERT": "BACKEND_CA",
}
CLAIM = {"enabled": True, "accessModes": ["ReadWriteOnce"]}
HELM_VALUES = {
    "redis": {"volumedata": {"persistence": CLAIM}},
    # As upstream's mesh has it: the claim stands for the volume, and two more are mounted, which nothing uses.
    "mariadb-scone": {
        "persistence": {**CLAIM, "existingClaim": "maria-data-pvc", "size": "1Gi", "mountPath": "/var/lib/mysql"},
        "extraVolumes": [
            {"name": "external", "persistentVolumeClaim": {"claimName": "maria-external-pvc"}},
            {"name": "vartmp", "persistentVolumeClaim": {"claimName": "maria-vartmp-pvc"}},
        ],
        "extraVolumeMounts": [
            {"name": "external", "mountPath": "/external"},
            {"name": "vartmp", "mountPath": "/var/tmp"},
        ],
    },
}
CLAIMS = {"redis": "volumedata", "mariadb": "maria-data-pvc"}


@pytest.fixture(scope="module")
def mesh(module_world: World) -> Iterator[CuratedMesh]:
    world = module_world
    require_images(world)
    with a_network() as network:
        mesh = CuratedMesh(world, network)
        folder = world.root
        (folder / "client.yaml").write_text(client_manifest(mesh.image("client"), IMPORTS))
        (folder / "secrets.json").write_text(
            json.dumps([{"name": "MYSQL_ROOT_PASSWORD", "kind": "ascii", "value": PASSWORD}])
        )
        given = {"mariadb": {"image_secrets": "secrets.json"}}
        write_mesh(folder / "mesh.yaml", mesh, [*SERVICES, "client"], VALUES, HELM_VALUES, **given)
        done = mesh.apply()
        for service in SERVICES:
            assert f"{mesh.image(service)}: the curated service {service}" in done.err
        words = ("--network", network, "--network-alias", f"{RELEASE}-client")
        client = world.start(mesh.image("client"), config_id="curated-mesh/client/sleep", options=words)
        mesh.running["client"] = client
        world.log_with(client, "SIMULATION")
        for name, content in zip(("ca", "crt", "key"), certificate("MariaDB_CA", "MARIADB_CLIENT_CERT"), strict=True):
            mesh.give(f"/tmp/foreign.{name}", content)
        try:
            yield mesh
        finally:
            world.remove_containers()
            claims = (*CLAIMS.values(), "maria-external-pvc", "maria-vartmp-pvc")
            docker("volume", "rm", "-f", *map(mesh.storage, claims))


def tls(service: str, said: str, *, ca: str = "", own: str = "", name: str = "") -> str:
    """Return a command that says something over TLS; by default as one who may, who asks for the right name."""
    own = own or f"-cert {TLS[service]['own']} -key {TLS[service]['own']}.key"
    name = name or f"{RELEASE}-{service}"
    return (
        f"(printf '{said}'; sleep 0.5) | openssl s_client -quiet -no_ign_eof -verify_quiet -verify_return_error "
        f"-CAfile {ca or TLS[service]['ca']} -connect {name}:{TLS[service]['port']} -verify_hostname {name} {own}"
    )


TLS = {
    "redis": {"ca": "/tls/redis_ca_cert", "own": "/tls/redis_client_cert", "port": 6379},
    "memcached": {"ca": "/tls/MEMCACHED_CA_CERT", "own": "/tls/MEMCACHED_CLIENT_CERT", "port": 11211},
}
FOREIGN = "-cert /tmp/foreign.crt -key /tmp/foreign.key"


def refused(mesh: CuratedMesh, service: str, said: str, answer: str) -> None:
    """Try everybody who may not come in, and then again somebody who may: nothing of that did any harm."""
    plain = f"(printf '{said}'; sleep 0.5) | timeout 3 curl -sS telnet://{RELEASE}-{service}:{TLS[service]['port']}"
    attempts = [
        tls(service, said, own=" "),
        tls(service, said, own=FOREIGN),
        tls(service, said, ca="/tmp/foreign.ca"),
        tls(service, said, name=f"other-{service}"),
        plain,
    ]
    for attempt, outcome in mesh.ask_all(attempts).items():
        assert answer not in outcome.text, (attempt, outcome)
        assert attempt == plain or "alert" in outcome.err or "verify" in outcome.err, (attempt, outcome)
    assert answer in mesh.ask(tls(service, said)).out


def answers_those_who_wait(mesh: CuratedMesh, service: str, port: int) -> None:
    """Ask a service as pods do that wait for it: with the Python of the launcher, and without a certificate."""
    [waiting] = mesh.pods["nginx"]["initContainers"]
    assert waiting["command"][-3:] == [f"{RELEASE}-client", "8443", "tls"]  # nginx_initContainers_enabled
    words = [*waiting["command"][:-3], f"{RELEASE}-{service}", str(port), "tls"]
    done = must(run(["docker", "exec", mesh.running["client"], "timeout", "20", *words]))
    assert f"{RELEASE}-{service}:{port} answers; it speaks TLS" in done.out


def redis_cli(command: str) -> str:
    files = "--cacert /tls/redis_ca_cert --cert /tls/redis_client_cert --key /tls/redis_client_cert.key"
    return f"redis-cli -e -h {RELEASE}-redis --tls {files} {command}"


def test_redis(mesh: CuratedMesh) -> None:
    mesh.start("redis")
    answers_those_who_wait(mesh, "redis", 6379)
    refused(mesh, "redis", "PING\\r\\n", "+PONG")
    assert must(mesh.ask(redis_cli("set answer 42"))).out == "OK\n"
    assert "protected" in mesh.ask(redis_cli("config set dir /tmp")).text
    assert mesh.stop("redis") == 0
    mesh.start("redis")
    assert must(mesh.ask(redis_cli("get answer"))).out == "42\n"
    nowhere_in_plain(mesh, "redis", "answer")


def test_memcached(mesh: CuratedMesh) -> None:
    mesh.start("memcached")
    refused(mesh, "memcached", "version\\r\\n", "VERSION")
    assert "STORED" in mesh.ask(tls("memcached", "set a 0 0 2\\r\\n42\\r\\n")).out
    assert mesh.ask(tls("memcached", "get a\\r\\n")).out.split() == ["VALUE", "a", "0", "2", "42", "END"]
    assert mesh.stop("memcached") == 0


def mariadb(sql: str, *, user: str = "scontain", host: str = "", files: str = "", more: str = "") -> str:
    own = "--ssl-ca=/tls/MARIADB_CA_CERT --ssl-cert=/tls/MARIADB_CLIENT_CERT --ssl-key=/tls/MARIADB_CLIENT_CERT.key"
    files = files or f"{own} --ssl-verify-server-cert"
    return f'mariadb --no-defaults -BN -h {host or RELEASE + "-mariadb"} {files} -u {user} {more} -e "{sql}"'


def test_mariadb(mesh: CuratedMesh) -> None:
    mesh.start("mariadb")
    answers_those_who_wait(mesh, "mariadb", 3306)
    assert must(mesh.ask(mariadb("SELECT COUNT(*) FROM shop.runs"))).out == "1\n"
    password = '-p"$(cat /tls/MYSQL_ROOT_PASSWORD)"'
    assert must(mesh.ask("cat /tls/MYSQL_ROOT_PASSWORD")).out == PASSWORD
    assert must(mesh.ask(mariadb("SELECT CURRENT_USER()", user="root", more=password))).out == "root@%\n"
    ca = "--ssl-ca=/tls/MARIADB_CA_CERT --ssl-verify-server-cert"
    foreign = "--ssl-cert=/tmp/foreign.crt --ssl-key=/tmp/foreign.key"
    root = {"user": "root", "more": password}
    attempts = [
        *[mariadb("SELECT 1", files=files) for files in ("--skip-ssl", ca, f"{ca} {foreign}")],
        *[mariadb("SELECT 1", files=files, **root) for files in ("--skip-ssl", ca, f"{ca} {foreign}")],
        *[mariadb("SELECT 1", user=user, files=ca) for user in ("tls", "cipher")],
        mariadb("SELECT 1", files=f"--ssl-ca=/tmp/foreign.ca --ssl-verify-server-cert {foreign}"),
        mariadb("SELECT 1", host="other-mariadb"),
        mariadb("SELECT 1", user="root", more="-pwrong"),
    ]
    for attempt, outcome in mesh.ask_all(attempts).items():
        assert outcome.code != 0 and "ERROR" in outcome.err and not outcome.out, (attempt, outcome)
    for user in ("tls", "cipher"):
        assert must(mesh.ask(mariadb("SELECT CURRENT_USER()", user=user))).out == f"{user}@%\n"
    assert must(mesh.ask(mariadb("SELECT LOAD_FILE('/etc/mysql/tls/server.key')"))).out == "NULL\n"
    must(mesh.ask(mariadb("INSERT INTO shop.runs VALUES ()")))
    must(mesh.ask(mariadb("CREATE TABLE shop.texts AS SELECT 'a-text-of-the-database' AS text")))
    log = logs(mesh.running["mariadb"])
    assert "PRIVILEGES" not in log and "IDENTIFIED" not in log and PASSWORD not in log
    assert mesh.stop("mariadb") == 0
    mesh.start("mariadb")
    assert must(mesh.ask(mariadb("SELECT COUNT(*) FROM shop.runs"))).out == "2\n"
    nowhere_in_plain(mesh, "mariadb", "a-text-of-the-database")


def nowhere_in_plain(mesh: CuratedMesh, service: str, text: str) -> None:
    """Look at the storage as its operator could."""
    words = ("--rm", "-u", "0", "-v", f"{mesh.storage(CLAIMS[service])}:/storage", "--entrypoint", "sh", NATIVE_CLIENT)
    found = must(docker("run", *words, "-c", f"find /storage -type f | wc -l; grep -rlF -e {text} /storage || :")).out
    assert int(found.split()[0]) > 2 and len(found.split()) == 1, found


def curl(*words: str) -> str:
    return f"curl -sS --max-time 5 --cacert /tls/NGINX_SERVER_CA_CERT {' '.join(words)}"


def backend(mesh: CuratedMesh, own: str, ca: str) -> None:
    """Start the service behind nginx, in the place of the one before; it tells who asks, and takes no stranger."""
    files = f"-cert {own} -key {own.removesuffix('.crt')}.key -CAfile {ca}"
    server = f"openssl s_server -accept 8443 {files} -Verify 2 -verify_return_error -www -quiet"
    must(
        mesh.ask(
            f"pkill openssl; for i in 1 2 3 4 5; do pgrep openssl || break; sleep 0.1; done; {server} >/tmp/log 2>&1 &"
        )
    )


def test_nginx(mesh: CuratedMesh) -> None:
    backend(mesh, "/tls/BACKEND", "/tls/BACKEND_CA")
    mesh.start("nginx")
    page = must(mesh.ask(curl(f"https://{RELEASE}-nginx/"))).out
    assert "CN = a proxy" in page or "CN=a proxy" in page, page
    for words in (
        f"http://{RELEASE}-nginx:443/",
        "https://other-nginx/",
        f"--cacert /tmp/foreign.ca https://{RELEASE}-nginx/",
    ):
        outcome = mesh.ask(curl(words))
        assert "proxy" not in outcome.text and (outcome.code or "400 Bad Request" in outcome.out), (words, outcome)
    # A service that is somebody else, or has the wrong name, gets no request. One that does not know nginx gives none.
    for own, ca in (
        ("/tmp/foreign.crt", "/tls/BACKEND_CA"),
        ("/tls/PROXY", "/tls/BACKEND_CA"),
        ("/tls/BACKEND", "/tmp/foreign.ca"),
    ):
        backend(mesh, own, ca)
        assert "502 Bad Gateway" in must(mesh.ask(curl(f"https://{RELEASE}-nginx/"))).out, (own, ca)
    assert mesh.stop("nginx") == 0


CHANGED = {
    "redis": "/usr/bin/redis-check-rdb",
    "memcached": "/usr/bin/memcached",
    "mariadb": "/usr/local/bin/start-mariadb",
    "nginx": "/usr/sbin/nginx",
}


@pytest.mark.parametrize("service", SERVICES)
def test_a_changed_image_is_refused(mesh: CuratedMesh, service: str) -> None:
    container = mesh.create(service, read_only=False)
    flip_file(container, CHANGED[service])
    must(docker("start", container))
    code, log = mesh.world.finish(container)
    assert code == REFUSED and f"changed: {CHANGED[service]}" in log, log


def test_an_index_that_fits_the_changed_file_is_refused(mesh: CuratedMesh) -> None:
    container, path = mesh.create("memcached", read_only=False), CHANGED["memcached"]
    ((program, content),) = taken(container, path).values()
    ((entries, index),) = taken(container, "/scone/image/index.json").values()
    digests = [hashlib.sha256(text).hexdigest().encode() for text in (content, flipped(content))]
    forged = index.replace(digests[0], digests[1])
    assert forged != index
    put_back(container, str(PurePosixPath(path).parent), program, flipped(content))
    put_back(container, "/scone/image", entries, forged)
    must(docker("start", container))
    code, log = mesh.world.finish(container)
    assert code == REFUSED and "it is for another measurement" in log and "changed:" not in log, log


def test_a_second_apply_builds_nothing(mesh: CuratedMesh) -> None:
    done = mesh.apply()
    assert [line for line in done.out.splitlines() if line.startswith("image ")] == [
        f"image {mesh.image(service)}: unchanged" for service in (*SERVICES, "client")
    ]
    words = ("curated", "build", "redis", "--to", mesh.image("redis"), "-n", "--cas", mesh.world.address)
    assert f"image {mesh.image('redis')}: unchanged\n" in must(mesh.world.sconectl(*words)).out
