"""Existing images of many kinds: converted, they do their job; with one byte changed, they never start."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sconectl.runtime.files import sealed_target

from .changed_bytes import flip_encrypted, flip_file
from .world import SCONECTL, World, docker, inspected, must, run

REFUSED = 125
SECRET = "explicit-token-value"
TOKEN = {"name": "token", "kind": "ascii", "value": SECRET}
TLS: list[dict[str, Any]] = [
    TOKEN,
    {"name": "ca_key", "kind": "private-key"},
    {"name": "ca", "kind": "x509-ca", "private_key": "ca_key", "common_name": "CA", "export_public": True},
    {"name": "server_key", "kind": "private-key"},
    {"name": "server", "kind": "x509", "private_key": "server_key", "issuer": "ca", "dns": ["the-server"]},
]


@dataclass(frozen=True)
class Native:
    """An image to convert: `command` is what a manifest says; without one, `sconify-image` converts it as it is.

    `encrypted` is the only file in a directory to encrypt, with the text `hidden` in it; `measured` is a file that the
    program needs. `said` is what it prints when it starts, and shows that its surroundings are those of the image.
    """

    name: str
    encrypted: str
    hidden: str
    measured: str
    said: tuple[str, ...]
    command: str = ""
    pwd: str = "/"
    secrets: tuple[dict[str, Any], ...] = (TOKEN,)
    files: tuple[tuple[str, str], ...] = (("/etc/app/token", "$$SCONE::token$$"),)

    @property
    def source(self) -> str:
        return f"sconectl-test-image/{self.name}"

    @property
    def directory(self) -> str:
        return str(Path(self.encrypted).parent)

    @property
    def injections(self) -> list[dict[str, str]]:
        return [{"path": path, "content": content} for path, content in self.files]


def small(name: str, measured: str, pwd: str, user: str, command: str = "") -> Native:
    where = sealed_target(pwd) if pwd == "/secret" else pwd  # where it is in memory shows
    said = (f"user {user} in {where}\n", "argument one\nargument two words\n", "variable NATIVE=from the image")
    return Native(name, "/secret/data.txt", "a text that only the enclave reads", measured, said, command, pwd)


NATIVES = [
    Native(
        name="nginx",
        encrypted="/srv/www/index.html",
        hidden="A page that only the enclave reads",
        measured="/usr/sbin/nginx",
        said=("docker-entrypoint.sh: starting as root in /srv, a value with 'quotes' and \"more\"",),
        secrets=tuple(TLS),
        files=(("/tls/web.crt", "$$SCONE::server.crt$$"), ("/tls/web.key", "$$SCONE::server.key$$")),
    ),
    Native(
        name="redis",
        encrypted="/usr/local/etc/redis/redis.conf",
        hidden="aclfile /tls/users.acl",
        measured="/usr/bin/redis-check-rdb",
        said=("docker-entrypoint.sh: starting as redis in /data, version 7",),
        command="docker-entrypoint.sh redis-server /usr/local/etc/redis/redis.conf",
        pwd="/data",
        secrets=tuple(TLS),
        files=(
            ("/tls/ca.crt", "$$SCONE::ca$$"),
            ("/tls/redis.crt", "$$SCONE::server:crt$$"),
            ("/tls/redis.key", "$$SCONE::server:privatekey$$"),
            ("/tls/users.acl", "user default on >$$SCONE::token$$ ~* &* +@all\n"),
        ),
    ),
    Native(
        name="java",
        encrypted="/app/classes/Main.class",
        hidden="the secret is ",
        measured="/usr/lib/jvm/java-17-openjdk-amd64/lib/libjava.so",
        said=("Picked up JAVA_TOOL_OPTIONS: -Xmx64m -XX:+UseSerialGC", "started as 1000 in /app"),
    ),
    Native(
        name="node",
        encrypted="/app/code/server.js",
        hidden="the secret is ",
        measured="/usr/bin/node",
        said=("started as 33 in /app for production",),
        command="/usr/bin/env NODE_NO_WARNINGS=1 node /app/code/server.js 8080",
        pwd="/app",
    ),
    small("static", "/program", "/", "1000:1000"),
    small("musl", "/usr/bin/program", "/secret", "1000:1000", "program one 'two words'"),
    small("musl-shell", "/bin/busybox", "/data", "0:0"),
    small("no-shell", "/opt/program/program", "/", "65532:0", "/bin/program one 'two words'"),
]


@dataclass(frozen=True)
class Converted:
    """A confidential image, and how to start it."""

    native: Native
    world: World
    image: str
    config_id: str

    def start(self) -> str:
        return self.world.start(self.image, "ignored", config_id=self.config_id, EVIL="evil")

    def refusal(self, change: Callable[[str], None]) -> str:
        """Change the image, start it, and return the log of the launcher that refused it."""
        container = self.world.create(self.image, config_id=self.config_id)
        change(container)
        must(docker("start", container))
        code, log = self.world.finish(container)
        assert code == REFUSED and "FATAL" in log and "Traceback" not in log, log
        assert not any(text in log for text in (*self.native.said, SECRET)), log
        return log


@pytest.fixture(scope="module", params=NATIVES, ids=lambda native: native.name)
def converted(request: pytest.FixtureRequest, module_world: World) -> Iterator[Converted]:
    native: Native = request.param
    if docker("image", "inspect", native.source).code != 0:
        pytest.skip(f"there is no image {native.source}; `make test` makes it where Debian packages can be had")
    image = module_world.image(native.name)
    convert = by_manifest if native.command else in_one_call
    yield Converted(native, module_world, image, convert(module_world, native, image))
    module_world.remove_containers()
    docker("rmi", "-f", image)


def in_one_call(user: World, native: Native, image: str) -> str:
    sections = {
        "SECRETS": json.dumps({"secrets": native.secrets}),
        "INJECTED_FILES": json.dumps({"injection_files": native.injections}),
    }
    done = run(
        [
            SCONECTL.with_name("sconify_image"), f"--from={native.source}", f"--to={image}", f"--cas={user.address}",
            f"--namespace=one-call-{native.name}", "--create-namespace", f"--name={native.name}",
            f"--dir={native.directory}", "--heap=1G", "--stack=4M", "--env=TOKEN=$$SCONE::token$$",
        ],
        env={**user.environment, **sections},
        cwd=user.root,
    )  # fmt: skip
    assert must(done).out == f"one-call-{native.name}/{native.name}\n"
    return f"one-call-{native.name}/{native.name}/service"


def by_manifest(user: World, native: Native, image: str) -> str:
    folder = user.root / native.name
    folder.mkdir()
    service = {
        "apiVersion": "scone/5.8",
        "kind": "genservice",
        "build": {
            "name": native.name,
            "kind": "sconify_image",
            "from": native.source,
            "to": image,
            "command": native.command,
            "pwd": native.pwd,
            "dirs": [native.directory],
        },
        "environment": {"local": [{"name": "TOKEN", "value": "$$SCONE::token$$"}]},
        "secrets": {"global": native.secrets},
        "injection_files": native.injections,
    }
    mesh = {
        "apiVersion": "scone/5.8",
        "kind": "mesh",
        "cas": [{"cas_url": user.address}],
        "policy": {"namespace": f"manifest-{native.name}"},
        "env": None,
        "services": [{"name": "app", "image": image}],
    }
    (folder / "service.yaml").write_text(json.dumps(service))
    (folder / "mesh.yaml").write_text(json.dumps(mesh))
    must(user.apply_service(folder / "service.yaml"))
    must(user.sconectl("apply", "-f", folder / "mesh.yaml"))
    return f"manifest-{native.name}/app/{Path(native.command.split()[0]).name}"


def test_it_does_its_job(converted: Converted) -> None:
    container = converted.start()
    JOBS.get(converted.native.name, prints_what_the_policy_says)(converted, container)
    log = must(docker("logs", container)).text
    assert all(text in log for text in converted.native.said), log
    assert "SIMULATION" in log and "evil" not in log and "EVIL" not in log


def prints_what_the_policy_says(converted: Converted, container: str) -> None:
    code, log = converted.world.finish(container)
    assert code == 42, log
    assert log.count("argument ") == 2
    native: list[str] = inspected(converted.native.source)["Config"]["Env"] or []
    given = {entry.partition("=")[0] for entry in native} | {"TOKEN", "HOME", "HOSTNAME", "PATH"}
    names = {line.removeprefix("variable ").partition("=")[0] for line in log.splitlines() if "variable " in line}
    of_the_shell = {"OLDPWD", "PWD", "SHLVL"} if converted.native.name == "musl-shell" else set()
    assert given <= names and not {name for name in names - given - of_the_shell if not name.startswith("SCONE_")}
    assert "file /secret/data.txt: a text that only the enclave reads" in log
    assert f"file /etc/app/token: {SECRET}" in log and f"variable TOKEN={SECRET}" in log


def serves_a_secret(converted: Converted, container: str) -> None:
    log = converted.world.log_with(container, "listening")
    assert f"the secret is {SECRET}" in log
    assert must(run(["curl", "-sS", "--fail", f"http://{address_of(container)}:8080/"])).out == SECRET


def serves_a_page(converted: Converted, container: str) -> None:
    converted.world.log_with(container, "start worker process")
    page = [
        "curl", "-sS", "--fail", "--cacert", ca_of(converted), "--resolve",
        f"the-server:8443:{address_of(container)}", "https://the-server:8443/",
    ]  # fmt: skip
    assert must(run(page)).out == "<h1>A page that only the enclave reads</h1>\n"
    strangers = [word for word in page if word not in ("--cacert", page[4])]
    assert run(strangers).code == 60  # nobody else vouches for the certificate


def stores(converted: Converted, container: str) -> None:
    converted.world.log_with(container, "Ready to accept connections")
    client = ["redis-cli", "-h", address_of(container), "--tls", "--cacert", ca_of(converted), "--no-auth-warning"]
    assert "NOAUTH" in run([*client, "PING"]).text
    known = [*client, "--pass", SECRET]
    assert must(run([*known, "PING"])).out == "PONG\n"
    assert must(run([*known, "SET", "key", "a value"])).out == "OK\n"
    assert must(run([*known, "GET", "key"])).out == "a value\n"


JOBS: dict[str, Callable[[Converted, str], None]] = {
    "nginx": serves_a_page,
    "redis": stores,
    "java": serves_a_secret,
    "node": serves_a_secret,
}


def address_of(container: str) -> str:
    return str(inspected(container)["NetworkSettings"]["Networks"]["bridge"]["IPAddress"])


def ca_of(converted: Converted) -> str:
    """Return a file with the public certificate of the CA that the session defines."""
    session = converted.config_id.rpartition("/")[0]
    url = f"https://{converted.world.address}/v1/values/session={session},secret=ca"
    file = converted.world.root / f"{converted.native.name}-ca.pem"
    file.write_text(json.loads(must(run(["curl", "-sSk", "--fail", url])).out)["value"])
    return str(file)


def test_what_the_image_says_of_itself_is_carried_over(converted: Converted) -> None:
    native, made = inspected(converted.native.source), inspected(converted.image)
    for name in ("ExposedPorts", "StopSignal", "User", "Volumes"):
        assert made["Config"].get(name) == native["Config"].get(name), name
    labels = dict(native["Config"]["Labels"])
    assert labels.items() <= made["Config"]["Labels"].items()
    assert made["Architecture"] == native["Architecture"]
    left = set(native["Config"]["Env"]) & set(made["Config"]["Env"] or [])
    assert all(entry.startswith("PATH=") for entry in left)  # for `docker exec`; the policy has the others


def test_a_changed_byte_of_a_measured_file_is_refused(converted: Converted) -> None:
    log = converted.refusal(lambda container: flip_file(container, converted.native.measured))
    assert f"changed: {converted.native.measured}" in log
    assert "Unexpected enclave measurement (MRENCLAVE, " in log


def test_a_changed_byte_of_an_encrypted_file_is_refused(converted: Converted) -> None:
    log = converted.refusal(flip_encrypted)
    assert converted.native.encrypted in log


def test_nobody_reads_what_is_encrypted(converted: Converted) -> None:
    search = ["sh", "-c", 'docker save "$1" | grep -acF -e "$2" -e "$3"', "sh"]
    assert run([*search, converted.image, converted.native.hidden, SECRET]).out == "0\n"
