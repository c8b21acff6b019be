"""Converting a Flask image with the commands of upstream's first tutorial, and talking to it over verified HTTPS."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .capture import listening
from .curated_mesh import require_images
from .operator_attacks import NOT_TRUSTED, another_under_the_tag, learns_nothing
from .world import REPOSITORY, SCONECTL, Outcome, World, docker, inspected, logs, must, run, saved_bytes

EXAMPLE = REPOSITORY / "examples" / "flask-sconify"
SOURCES = EXAMPLE / "native"
NAMESPACE = "my_namespace-4711"
PORT = 4996
MEMORY = ("--tmpfs", "/dev/shm:exec,size=256m")
PATIENT = (
    "fname=Jane&lname=Doe&address='123 Main Street'&city=Richmond&state=Washington&ssn=123-223-2345&email=nr@aaa.com"
    "&dob=01/01/2010&contactphone=123-234-3456&drugallergies='Sulpha, Penicillin, Tree Nut'"
    "&preexistingconditions='diabetes, hypertension, asthma'&dateadmitted=01/05/2010"
    "&insurancedetails='Primera Blue Cross'"
)

TUTORIAL = r"""
export SECRETS=$(cat <<EOF
secrets:
  - name: api_ca_key
    kind: private-key
  - name: api_ca_cert
    kind: x509-ca
    export_public: true
    private_key: api_ca_key
  - name: flask_key
    kind: private-key
  - name: flask
    kind: x509
    private_key: flask_key
    issuer: api_ca_cert
    dns:
     - api
EOF
)
export INJECTED_FILES=$(cat <<EOF
injection_files:
  - path: "/tls/flask.crt"
    content: \$\$SCONE::flask.crt\$\$
  - path: "/tls/flask.key"
    content: "\$\$SCONE::flask.key\$\$"
EOF
)
export SESSION=$(./sconify_image --namespace=$NAMESPACE --name=flask --from=$NATIVE_IMAGE --to=$IMAGE \
    --cas=$SCONE_CAS_ADDR --dir="/home" --dir="/usr/local/lib" --dir="/app" --dir="/usr/lib/python3.11" \
    --binary=$BINARY $FURTHER)
echo "SESSION=$SESSION"
"""


@dataclass
class Seed:
    """A machine with the native image, on which the commands of the tutorial are typed."""

    world: World
    native: str

    @property
    def image(self) -> str:
        return self.world.image("flask-restapi")

    def convert(self, further: str) -> Outcome:
        variables = {
            "NATIVE_IMAGE": self.native,
            "IMAGE": self.image,
            "SCONE_CAS_ADDR": self.world.address,
            "NAMESPACE": NAMESPACE,
            "BINARY": "/usr/bin/python3",
            "FURTHER": further,
        }
        return run(["bash", "-c", TUTORIAL], env={**self.world.environment, **variables}, cwd=self.world.root)

    def propose(self, *words: str) -> Outcome:
        call: list[str | Path] = [
            SCONECTL,
            "sconify-image",
            "--namespace=traced",
            "--name=t",
            "--dry-run",
            f"--from={self.native}",
        ]
        return run(
            [*call, f"--to={self.world.image('traced')}", *words], env=self.world.environment, cwd=self.world.root
        )


@pytest.fixture(scope="module")
def seed(module_world: World) -> Seed:
    world = module_world
    native = world.image("flask-native")
    variables = {**world.environment, "NATIVE_IMAGE": native, "BASE_IMAGE": world.base_image}
    assert must(run([EXAMPLE / "create_native_image.sh"], env=variables)).out.endswith("OK\n")
    (world.root / "sconify_image").symlink_to(SCONECTL.with_name("sconify_image"))
    return Seed(world, native)


@pytest.fixture(autouse=True)
def without_containers(seed: Seed) -> Iterator[None]:
    yield
    seed.world.remove_containers()


@dataclass
class Api:
    """The running service, and the only CA that vouches for it."""

    container: str
    address: str
    ca: Path

    def curl(self, *words: str | Path, host: str = "api") -> Outcome:
        resolve = f"{host}:{PORT}:{self.address}"
        return run(["curl", "-sS", "--max-time", "20", "--resolve", resolve, *words])

    def answer(self, path: str, *words: str) -> tuple[int, Any]:
        """Send a request, waiting for the program to start; return status and body."""
        deadline = time.monotonic() + 180
        while True:
            done = self.curl("--cacert", self.ca, "-w", "\n%{http_code}", *words, f"https://api:{PORT}{path}")
            if done.code == 0:
                body, _, status = done.out.rpartition("\n")
                return int(status), json.loads(body) if body.lstrip().startswith("{") else body.strip()
            assert done.code == 7 and time.monotonic() < deadline, f"{done.err}\n{logs(self.container)}"
            time.sleep(0.3)


def started(seed: Seed, folder: Path) -> Api:
    """Start the confidential image as the tutorial does, and ask the CAS for the certificate of its CA."""
    world, ca = seed.world, folder / "ca.pem"
    url = f"https://{world.address}/v1/values/session={NAMESPACE}/flask"
    ca.write_text(json.loads(must(run(["curl", "-sSk", url])).out)["values"]["api_ca_cert"]["value"])
    container = world.start(seed.image, config_id=f"{NAMESPACE}/flask/service", options=MEMORY)
    [network] = inspected(container)["NetworkSettings"]["Networks"].values()
    return Api(container, network["IPAddress"], ca)


@pytest.mark.shows("000.image")
def test_the_native_image(seed: Seed) -> None:
    config = inspected(seed.native)["Config"]
    assert "LANG=C.UTF-8" in config["Env"] and config["Cmd"][-1] == "python3 -B /app/rest_api.py"
    listed = must(docker("run", "--rm", "--entrypoint", "sh", seed.native, "-c", "ls /app /tls && cat /tls/flask.crt"))
    for name in ("rest_api.py", "requirements.txt", "flask.key", "flask.crt"):
        assert f"{name}\n" in listed.out
    subject = must(
        run(["openssl", "x509", "-noout", "-subject", "-issuer"], stdin=listed.out.partition("flask.key\n")[2])
    )
    assert subject.out.replace(" ", "") == "subject=CN=api\nissuer=CN=api\n"


@pytest.mark.shows("000.rest", "000.errors", "000.converted", "000.blocks", "000.encrypted", "000.verified", "000.log")
def test_the_tutorial(seed: Seed, tmp_path: Path) -> None:
    refused = seed.convert("")
    assert refused.out == "SESSION=\n" and "add --create-namespace" in refused.err
    done = seed.convert("--create-namespace")
    assert done.out == f"SESSION={NAMESPACE}/flask\n", done.err
    policy = (seed.world.target / "policies/flask.yaml").read_text()
    assert "fspf_tag" in policy and "fspf_path" in policy and "mrenclave" in policy and "/tls/flask.key" in policy
    _nothing_readable(seed, tmp_path)
    _serves_patients(started(seed, tmp_path))
    again = seed.convert("")  # now that the namespace exists
    assert again.out == f"SESSION={NAMESPACE}/flask\n", again.err


def _nothing_readable(seed: Seed, folder: Path) -> None:
    content = saved_bytes(seed.image, folder)
    source = (SOURCES / "rest_api.py").read_bytes()
    for text in (b"A small REST API over HTTPS", b"preexistingconditions", b"def new_patient", source[-200:]):
        assert text in source and text not in content
    assert b"class FlaskGroup" not in content and b"def formatwarning" not in content  # Flask, python3.11
    assert list(inspected(seed.image)["Config"]["ExposedPorts"]) == [f"{PORT}/tcp"]


def _serves_patients(api: Api) -> None:
    status, posted = api.answer("/patient/patient_3", "-X", "POST", "-d", PATIENT)
    assert status == 200 and posted["fname"] == "Jane" and posted["id"] == "patient_3", logs(api.container)
    assert list(posted) == sorted(posted) and len(posted) == 15 and 0 <= posted["score"] < 1
    assert api.answer("/patient/patient_3") == (200, posted)
    assert api.answer("/score/patient_3") == (200, {"id": "patient_3", "score": posted["score"]})
    assert api.answer("/patient/patient_3", "-d", PATIENT) == (403, {"message": "there is a patient with this id"})
    assert api.answer("/patient/nobody") == (404, {"message": "there is no patient with this id"})
    status, message = api.answer("/patient/patient_4", "-d", "fname=Jane")
    assert status == 400 and "could not understand" in message["message"]
    assert api.answer("/patient/patient_3", "-X", "DELETE")[0] == 405
    assert "<html" in api.answer("/elsewhere")[1] and api.answer("/elsewhere")[0] == 404
    assert api.curl(f"https://api:{PORT}/score/x").code == 60  # other CAs do not vouch for it
    assert api.curl("--cacert", api.ca, f"https://other:{PORT}/", host="other").code == 60
    assert f"Running on https://127.0.0.1:{PORT}" in logs(api.container)


@pytest.mark.shows("000.template")
def test_a_session_template(seed: Seed, tmp_path: Path) -> None:
    shutil.copy(EXAMPLE / "session-template.yml", seed.world.root)
    done = seed.convert("--create-namespace --template=session-template.yml --session=session.yml")
    assert done.out == f"SESSION={NAMESPACE}/flask\n", done.err
    assert "software-hardening-needed" in (seed.world.root / "session.yml").read_text()
    api = started(seed, tmp_path)
    assert api.answer("/patient/nobody") == (404, {"message": "there is no patient with this id"})


@pytest.mark.shows("000.changed", "attack.image.000")
def test_a_changed_byte_is_refused(seed: Seed) -> None:
    seed.convert("--create-namespace")
    container = seed.world.create(seed.image, config_id=f"{NAMESPACE}/flask/service", options=MEMORY)
    listing = run(["sh", "-c", f"docker export {container} | tar -tv | grep scone/image | sort -nk3"])
    pack = must(listing).out.splitlines()[-1].split()[-1]
    file = seed.world.root / "pack"
    must(docker("cp", f"{container}:/{pack}", file))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))
    must(docker("cp", file, f"{container}:/{pack}"))
    must(docker("start", container))
    code, log = seed.world.finish(container)
    assert code == 125 and "Running on" not in log, log


@pytest.mark.shows("attack.exec.000", "attack.wire.000", "attack.stranger.000", "attack.tag.000", "000.settings")
def test_an_operator_and_the_running_service(seed: Seed, tmp_path: Path) -> None:
    require_images(seed.world)
    must(seed.convert("--create-namespace"))
    config_id = f"{NAMESPACE}/flask/service"
    api = started(seed, tmp_path)
    learns_nothing(seed.world, config_id, "flask_key")
    api.answer("/patient/nobody")
    with listening(api.container, PORT, tmp_path) as heard:
        assert api.answer("/patient/patient_9", "-d", PATIENT)[0] == 200
    assert len(heard.sizes) >= 2 and max(heard.sizes) > 500 and heard.not_tls() == []
    assert not any(text in heard for text in ("Jane", "patient_9", "Richmond"))

    seen = must(docker("exec", api.container, "env")).out + json.dumps(inspected(api.container)) + logs(api.container)
    assert not any(text in seen for text in ("PRIVATE KEY", "Jane", "Richmond", "preexistingconditions"))
    must(docker("exec", "-u", "0", api.container, "sh", "-c", "echo changed >>/etc/debian_version"))
    assert api.answer("/patient/patient_9")[1]["fname"] == "Jane"
    must(docker("restart", "-t", "2", api.container))
    code, log = seed.world.finish(api.container)
    assert code == 125 and "changed: /etc/debian_version" in log, log

    with another_under_the_tag(seed.image):
        code, log = seed.world.finish(seed.world.start(seed.image, config_id=config_id, options=MEMORY))
    assert code == 125 and NOT_TRUSTED in log, log


@pytest.mark.shows("000.trace")
def test_a_trace_proposes_the_directories(seed: Seed, tmp_path: Path) -> None:
    """The log that the tutorial makes, and a run under observation, agree on what to encrypt."""
    log = tmp_path / "strace.log"
    log.write_text(
        'execve("/usr/bin/python3", ["python3", "-B", "/app/rest_api.py"], 0x7f /* 5 vars */) = 0\n'
        'openat(AT_FDCWD, "/etc/ld.so.cache", O_RDONLY|O_CLOEXEC) = 3\n'
        'openat(AT_FDCWD, "/lib/x86_64-linux-gnu/libc.so.6", O_RDONLY|O_CLOEXEC) = 3\n'
        'openat(AT_FDCWD, "/usr/lib/python3.11/__pycache__/os.cpython-311.pyc", O_RDONLY|O_CLOEXEC) = 3\n'
        'openat(AT_FDCWD, "/usr/local/lib/python3.11/dist-packages/flask/app.py", O_RDONLY|O_CLOEXEC) = 3\n'
        'openat(AT_FDCWD, "/app/rest_api.py", O_RDONLY) = 3\n'
    )
    found = must(seed.propose("--trace", str(log)))
    assert found.out == "traced/t\n"
    assert "the trace proposes: --dir /app --dir /usr/lib/python3.11 --dir /usr/local/lib\n" in found.err
    observed = must(seed.propose("--trace=run", "--trace-seconds=10"))
    assert observed.out == "traced/t\n"
    [line] = [line for line in observed.err.splitlines() if line.startswith("the trace proposes")]
    assert {"/app", "/usr/lib/python3.11", "/usr/local/lib"} <= set(line.split()), observed.err
    assert not _left_behind()


def test_an_interrupted_observation_leaves_nothing(seed: Seed) -> None:
    words = [f"--from={seed.native}", f"--to={seed.world.image('interrupted')}", "--dry-run", "--trace=run"]
    process = subprocess.Popen(
        [SCONECTL, "sconify-image", *words, "--command=sleep 500", "--trace-seconds=600"],
        env=seed.world.environment, cwd=seed.world.root, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # jobs in the background have it ignored
    )  # fmt: skip
    deadline = time.monotonic() + 180
    while "/scone/tracer.py" not in must(docker("ps", "--no-trunc", "--format", "{{.Command}}")).out:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "Traceback" not in said
    assert not _left_behind()


def _left_behind() -> list[str]:
    commands = must(docker("ps", "-a", "--no-trunc", "--format", "{{.Command}}")).out.splitlines()
    return [command for command in commands if "/scone/tracer.py" in command]
