"""Whatever is changed in the image or by the operator: the program never starts with it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .world import CHECKSUM, CONFIG_ID, GREETING, World, docker, must, run

REFUSED = 125


@pytest.fixture
def tampered(hello: World, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Return a function that runs a shell script in a container of the image and commits the result."""
    made: list[str] = []

    def change(script: str) -> str:
        name = f"sconectl-test-{uuid.uuid4().hex[:10]}"
        tag = f"{hello.image()}-{name[-6:]}"
        hello.containers.append(name)
        must(docker("run", "--name", name, "--entrypoint", "/bin/sh", hello.image(), "-c", script))
        entry = json.loads(must(docker("inspect", hello.image())).out)[0]["Config"]["Entrypoint"]
        must(docker("commit", "--change", f"ENTRYPOINT {json.dumps(entry)}", "--change", "CMD []", name, tag))
        made.append(tag)
        return tag

    yield change
    hello.remove_containers()
    for tag in made:
        docker("rmi", "-f", tag)


def refusal(hello: World, image: str, **settings: str) -> str:
    code, log = hello.finish(hello.start(image, **settings))
    assert code == REFUSED, log
    assert "FATAL" in log and "Hello" not in log and "Traceback" not in log, log
    return log


CHANGES = {
    "program": ("sed -i s/Hello/HELLO/ /python/print_env.py", "changed: /python/print_env.py"),
    "interpreter": ("echo >> $(readlink -f /usr/bin/python3)", "changed: /usr/bin/python3"),
    "library": ("for f in /lib/*/libz.so.1; do echo >> $(readlink -f $f); done", "libz.so"),
    "package": ("f=$(find / -path '*/humanize/__init__.py'); echo 'print(1)' >> $f", "humanize/__init__.py"),
    "mode": ("chmod 4755 /python/print_env.py", "changed: /python/print_env.py"),
    "link": ("ln -sf /bin/true /usr/bin/python3", "changed: /usr/bin/python3"),
    "removed": ("rm /python/print_env.py", "missing: /python/print_env.py"),
    "launcher": ("echo >> /scone/runtime/sconectl/runtime/launcher.pyc", "the launcher itself"),
    "launcher's library": ("echo >> /scone/lib/libssl.so.3", "the launcher itself"),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.shows("attack.image.002")
def test_a_changed_file_is_refused(hello: World, tampered: Callable[[str], str], name: str) -> None:
    script, named = CHANGES[name]
    log = refusal(hello, tampered(script))
    assert named in log
    assert "Unexpected enclave measurement (MRENCLAVE, " in log and " - Expected " in log


PARAMETERS = 'sed -i \'s/"heap": "/"heap": "1/\' /scone/image/enclave.json'
DEBUG = 'sed -i \'s/"mode": "production"/"mode": "debug"/\' /scone/image/enclave.json'
FORGED = (  # the program is changed, and the index with it
    "cd /python && old=$(sha256sum print_env.py | cut -c1-64) && sed -i s/Hello/HELLO/ print_env.py && "
    "new=$(sha256sum print_env.py | cut -c1-64) && sed -i s/$old/$new/ /scone/image/index.json"
)


@pytest.mark.parametrize("script", [PARAMETERS, FORGED], ids=["parameters", "program and index"])
def test_a_consistent_forgery_is_refused_by_the_cas(hello: World, tampered: Callable[[str], str], script: str) -> None:
    log = refusal(hello, tampered(script))
    expected = json.loads((hello.target / "images" / "python-hello-user.json").read_text())["facts"]["measurement"]
    assert "attestation failed" in log
    assert "Unexpected enclave (MRENCLAVE, " in log and "sconectl session read" in log
    assert expected not in log  # with it, a launcher that lies would get the secrets


def test_a_debug_enclave_is_not_tolerated(hello: World, tampered: Callable[[str], str]) -> None:
    assert "The enclave runs in debug mode - Expected production mode" in refusal(hello, tampered(DEBUG))


def test_added_files_never_take_effect(hello: World, tampered: Callable[[str], str]) -> None:
    script = (
        "d=$(/usr/bin/python3 -c 'import site; print(site.getsitepackages()[0])'); "
        "echo 'import sys; sys.stdout.write(\"pwned\")' > $d/evil.pth; echo 'print(\"pwned\")' > /python/hashlib.py; "
        "mkdir -p /python/__pycache__; echo /evil.so > /etc/ld.so.preload"
    )
    log = hello.log_with(hello.start(tampered(script)), CHECKSUM)
    assert GREETING in log and "pwned" not in log
    assert "preload" not in log  # not even looked at by the launcher's own loader


@pytest.mark.shows("002.rebuilt")
def test_another_image_under_the_same_tag_is_refused(world: World) -> None:
    project = world.hello()
    must(world.apply_service(project / "service.yaml"))
    must(world.apply_mesh(project / "mesh.yaml"))
    first = json.loads((world.target / "images" / "python-hello-user.json").read_text())["facts"]["measurement"]
    program = project / "print_env.py"
    program.write_text(program.read_text().replace("Hello", "HELLO"))
    must(world.apply_service(project / "service.yaml"))
    second = json.loads((world.target / "images" / "python-hello-user.json").read_text())["facts"]["measurement"]
    assert first != second
    log = refusal(world, world.image())
    assert f"Unexpected enclave (MRENCLAVE, {second}; not signed)" in log and first not in log
    must(world.apply_mesh(project / "mesh.yaml"))
    assert "HELLO, 'myself'" in world.log_with(world.start(world.image()), CHECKSUM)


@pytest.mark.parametrize(
    ("config_id", "reason"),
    [
        ("", "SCONE_CONFIG_ID is missing"),
        ("python3", "SCONE_CONFIG_ID is malformed"),
        ("hello-user/pythonservice/", "SCONE_CONFIG_ID is malformed"),
        ("hello-user/other/python3", "Session not found"),
        ("hello-user/pythonservice/other", "other"),
        ("hello-user/pythonservice", "pythonservice"),
    ],
)
def test_a_wrong_configuration_id_is_refused(hello: World, config_id: str, reason: str) -> None:
    assert reason in refusal(hello, hello.image(), config_id=config_id)


def test_a_cas_that_is_down_is_tried_for_a_bounded_time(hello: World) -> None:
    log = refusal(hello, hello.image(), SCONE_CAS_ADDR="127.0.0.1:9", SCONE_ATTEST_TIMEOUT="3")
    assert log.count("trying again") >= 2
    assert "did not answer within 3 seconds" in log


def test_an_unexpected_cas_is_refused(hello: World) -> None:
    other = "2wkBET2rRgE8pahuaczxKbmv7ciehqsne57F9gtzf1PVdr2VP3"
    assert "not the expected one" in refusal(hello, hello.image(), SCONE_CAS_KEY=other)
    own = must(hello.sconectl("cas", "show-identification", "--dir", hello.cas_directory)).out.strip()
    assert GREETING in hello.log_with(hello.start(hello.image(), SCONE_CAS_KEY=own), CHECKSUM)


def test_mounts_over_protected_files_are_refused(hello: World, tmp_path: Path) -> None:
    (tmp_path / "print_env.py").write_text("print('Hello, pwned')\n")
    for where in ("/python/print_env.py", "/usr/local/lib"):
        source = tmp_path / "print_env.py" if where.endswith(".py") else tmp_path
        name = hello.start(hello.image(), options=["-v", f"{source}:{where}"])
        code, log = hello.finish(name)
        assert code == REFUSED and f"mounted at {where}" in log and "pwned" not in log


def test_loader_variables_of_the_operator_are_refused(hello: World) -> None:
    assert "LD_PRELOAD" in refusal(hello, hello.image(), LD_PRELOAD="/nonexistent.so")


def test_openssl_settings_of_the_operator_do_not_reach_the_launcher(hello: World) -> None:
    container = hello.start(hello.image(), OPENSSL_CONF="/nonexistent", SSL_CERT_FILE="/nonexistent", LC_ALL="x")
    assert GREETING in hello.log_with(container, CHECKSUM)


def test_a_user_without_privileges_and_an_init(hello: World) -> None:
    container = hello.start(hello.image(), options=["--user", "1000:1000", "--init", "--cap-drop", "ALL"])
    assert GREETING in hello.log_with(container, CHECKSUM)


def test_the_configuration_id_is_the_documented_one(hello: World) -> None:
    values = (hello.target / "helm/charts/pythonservice/values.yaml").read_text()
    assert f"configId: {CONFIG_ID}" in values
    assert run(["true"]).code == 0
