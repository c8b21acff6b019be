"""Upstream's manifests and our examples give the same sessions, by `sconectl session diff`, but for what is listed.

Upstream's files are taken as they are, where they are at hand, and get values for their variables only. Nothing is
built: the engine is one in memory.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fakes.engine import PYTHON, FakeEngine
from meant_differences import Reasons, changes, stale, unexplained

from .conftest import Run

EXAMPLES = Path(__file__).parents[3] / "examples"
CORPUS = Path(__file__).parents[4] / "shared" / "corpus"
VARIABLES = {
    **{"APP_IMAGE_REPO": "r.example.org/app", "SCONECTL_REPO": "r.example.org/curated", "VERSION": "6.0.0"},
    **{"RELEASE": "demo", "NAMESPACE": "default", "JAVA_VERSION": "java17", "UPLOAD_MODE": "EncryptedManifest"},
    **{"CAS_URL": "cas.example.org", "CAS_KEY": "", "CAS_SESSION_ENCRYPTION_KEY": "ab" * 32},
}

# What differs from upstream's session to ours, and why it is meant.
NAMESPACE: Reasons = {
    "version: …": "what upstream tolerates and hides needs a younger version of the language",
    "read: CREATOR may": "upstream encrypts its sessions for the CAS, and then nobody may read them again",
    "list_sessions: CREATOR may": "as for reading",
}
SERVICE: Reasons = {
    **NAMESPACE,
    "tolerate: … is tolerated no longer": "upstream accepts machines with known weaknesses",
    "ignore_advisories: every advisory is ignored no longer": "and those with weaknesses that are found later",
}
PROGRAM: Reasons = {
    **SERVICE,
    "service …: is run by the enclave … instead of the enclave …": "our program is not upstream's",
    "service …: variable SCONE_HEAP: changed": "our program needs less memory",
}
PYTHON_BEHIND_TLS: Reasons = {
    **PROGRAM,
    "service python3: variable SCONE_LOG: removed": "it has the default",
    "service python3: variable PYTHON…: …": "about files that Python writes and output that it keeps back",
    "image …: file /etc/hosts: removed": "a wrong answer of the name server leads to somebody without the certificate",
    "image …: file /etc/resolv.conf: removed": "as above",
    "service python3: variable CLUSTER_DNS_IP: removed": "it is in those files only",
    "service python3: variable K8sNAMESPACE: removed": "as above",
}
SERVER_BEHIND_TLS: Reasons = {
    **PYTHON_BEHIND_TLS,
    "image …: file /etc/hostname: removed": "as the other files of the network",
    "service python3: variable INIT_CONTAINER…: removed": "our program itself waits for the other one",
}
OLDER_SPELLING = "upstream's .crt and .key are :crt and :privatekey today, and its .chain of a CA is that CA"


@dataclass(frozen=True)
class Pair:
    """An application of upstream and our example of it: `differing` holds what is meant to differ, by session."""

    upstream: str
    example: str
    differing: Mapping[str, Reasons]
    files: tuple[str, ...]
    """What upstream's manifests name, and is not beside them here."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Names in our manifests that upstream has others for."""


PAIRS = {
    "hello-user": Pair(
        "hello",
        "hello-user",
        {
            "namespace": NAMESPACE,
            "pythonservice": {
                **PROGRAM,
                "service python3: variable RELEASE: changed": "ours is fixed in its mesh",
                "secret …: every session in namespace hello-user may no longer import it": "nobody else needs them",
                "secret disclaimer: value: changed": "our text is another one",
                "secret disclaimer: replaced: the session gives another value": "as above",
            },
        },
        files=("print_env.py", "requirements.txt"),
    ),
    "hello-java": Pair(
        "java",
        "hello-java",
        {
            "namespace": NAMESPACE,
            "javaapp": {
                **PROGRAM,
                "service java: command: has 5 words instead of 4": "ours says how much memory Java takes",
                "service java: variable SCONE_MPROTECT: added": "Java writes the machine code that it runs",
                "service java: variable SCONE_…: removed": "they have the defaults",
                "service java: variable PORT: added": "ours is a server",
                "secret password: size: was 10, is 20": "ours is longer",
                "secret password: drawn anew: …": "as above",
                "secret TRUSTSTORE_P12_HEX: removed: …": "upstream's program does not use it",
            },
        },
        files=("PrintEnv.java",),
        renamed={"javaservice": "javaapp", "java-password": "password"},
    ),
    "flask-redis": Pair(
        "flask-redis",
        "flask-redis",
        {
            "namespace": NAMESPACE,
            "redis": {
                **SERVICE,
                "service redis-server: variable redis_client_name: changed": "upstream's names another application",
                "secret redis_client_cert: common_name: changed": "it is that variable",
            },
            "flask": {
                **SERVER_BEHIND_TLS,
                "service python3: variable api_host: removed": "it is in /etc/hostname only",
                "image flask: file /tls/…: changed": OLDER_SPELLING,
                "secret api_ca_cert: everybody may read it without a certificate": "users verify the API by it",
                "secret api_ca_cert: common_name: changed": "it has a name that people can read",
                "secret flask: may no longer be used as client": "it is that of a server",
            },
        },
        files=("api.py", "requirments.txt"),
    ),
    "secure-documents": Pair(
        "secure-documents",
        "secure-documents",
        {
            "namespace": NAMESPACE,
            "memcached": SERVICE,
            "nginx": SERVICE,
            "mariadb": {
                **SERVICE,
                "service start-mariadb: variable sqlInitScript: changed": "the API may only read and add entries",
                "image mariadb: file /etc/mysql/tls/init.sql: changed": "it is that variable",
                "secret MYSQL_ROOT_PASSWORD: service start-mariadb gets it elsewhere (…)": "ours is not in SQL",
            },
            "client": {
                **PYTHON_BEHIND_TLS,
                "service python3: command: changed in word 1 …": "our program is in another directory",
                "image client: file /etc/nginx_ca.crt: changed": OLDER_SPELLING,
            },
            "fastapi-scone": {
                **SERVER_BEHIND_TLS,
                "service python3: command: changed in word 1 …": "our program is in another directory",
                "service python3: variable DB_PORT: added": "upstream's program knows the number",
                "service python3: variable MC_PORT: added": "as above",
                "service python3: variable nginx_backend_server_port: removed": "that of our program is fixed",
                "image fastapi-scone: file /etc/…: removed": "our files are below /tls",
                "image fastapi-scone: file /tls/…: added": "as above",
                "secret …: service python3 gets it elsewhere (file /tls/…)": "as above",
                "secret FASTAPI_CLIENT_CERT: service python3 no longer gets it": "it is for nginx alone",
                "secret fastapi: may no longer be used as client": "it is that of a server",
                "secret FASTAPI_CLIENT_CERT: may no longer be used as server": "it is that of a client",
            },
        },
        files=(
            *("fastapi-code/rest_api.py", "fastapi-code/requirements.txt"),
            *("client-code/client.py", "client-code/requirements.txt"),
        ),
        renamed={
            "{{release}}-fastapi": "{{release}}-fastapi-scone",
            "name: fastapi\n    image": "name: fastapi-scone\n    image",
        },
    ),
}


class Sides:
    """Both sides of a pair, compiled by the command, in a folder each."""

    def __init__(self, run: Run, project: Path, pair: Pair) -> None:
        self.run, self.project, self.pair = run, project, pair

    def upstream(self) -> Path:
        """Return the sessions of upstream's manifests."""
        if not CORPUS.is_dir():
            pytest.skip("upstream's manifests are not beside this checkout")
        folder = self._copy(CORPUS / self.pair.upstream, "upstream")
        for name in self.pair.files:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).touch()
        return self._compiled(folder)

    def ours(self, folder: str = "ours", changed: Mapping[str, str] | None = None) -> Path:
        """Return the sessions of our example, with some texts of its manifests `changed`."""
        copy = self._copy(EXAMPLES / self.pair.example, folder)
        for file in copy.rglob("*requirements.txt"):
            file.write_text("")
        for file in copy.glob("*.yaml"):
            text = file.read_text()
            for old, new in {**self.pair.renamed, **(changed or {})}.items():
                text = text.replace(old, new)
            file.write_text(text)
        return self._compiled(copy)

    def _copy(self, source: Path, name: str) -> Path:
        folder = self.project / name
        shutil.copytree(source, folder, copy_function=shutil.copyfile)
        for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            path.chmod(0o755)
        return folder

    def _compiled(self, folder: Path) -> Path:
        (folder / "sconectl.toml").write_text('[base_images]\npython = "base:1"\njava17 = "base:1"\n')
        variables = {**VARIABLES, "APP_NAMESPACE": self.pair.example}
        given = [word for name, value in variables.items() for word in ("--set", f"{name}={value}")]
        files = [word for file in sorted(folder.glob("*ervice.yaml*")) for word in ("-f", file)]
        [mesh] = folder.glob("mesh.yaml*")
        with contextlib.chdir(folder):
            done = self.run("apply", "--dry-run", *files, "-f", mesh, "--release", "demo", *given)
        assert done.code == 0, done.err
        return folder / "target" / "policies"

    def differences(self, upstream: Path, ours: Path) -> dict[str, list[str]]:
        """Return what `session diff` says of each session."""
        names = {file.stem for file in upstream.glob("*.yaml")}
        assert names == {file.stem for file in ours.glob("*.yaml")} == self.pair.differing.keys()
        found = {}
        for name in sorted(names):
            done = self.run("session", "diff", upstream / f"{name}.yaml", ours / f"{name}.yaml", "--output", "json")
            assert done.code == 0, done.err
            found[name] = changes(done.out)
        return found


@pytest.fixture
def sides(run: Run, project: Path, engine: FakeEngine, request: pytest.FixtureRequest) -> Sides:
    engine.images["base:1"] = PYTHON
    return Sides(run, project, PAIRS[request.param])


@pytest.mark.parametrize("sides", PAIRS, indirect=True)
@pytest.mark.shows("002.wiring", "003.wiring", "004.wiring")
def test_the_wiring_is_that_of_upstream(sides: Sides) -> None:
    found = sides.differences(sides.upstream(), sides.ours())
    for name, reasons in sides.pair.differing.items():
        assert unexplained(found[name], reasons) == [], name
        assert stale(found[name], reasons) == [], f"{name}: these differences are there no longer"


CHANGED = {
    "another issuer": ("flask-redis", "issuer: api_ca_cert", "issuer: redis_ca_cert", "issuer"),
    "another name": ("flask-redis", "dns: [api]", "dns: [api, evil]", "is valid for dns:evil"),
    "another file": ("flask-redis", "/tls/client.key", "/tls/key", "file /tls/key: added"),
    "another secret in a file": ("flask-redis", "redis_client_cert:crt", "redis_ca_cert:crt", "gets it elsewhere"),
    "another CA": ("secure-documents", "value: FASTAPI_CA_CERT", "value: FASTAPI_CLIENT_CERT", "FASTAPI_CA_CERT"),
    "a public secret": ("hello-user", "size: 10", "size: 10\n      export_public: true", "everybody may read it"),
    "a longer password": ("hello-java", "size: 20", "size: 21", "size"),
}


@pytest.mark.parametrize(("sides", "old", "new", "said"), CHANGED.values(), ids=CHANGED, indirect=["sides"])
def test_other_wiring_is_noticed(sides: Sides, old: str, new: str, said: str) -> None:
    """What is listed above hides nothing: one change of the wiring, and it is said."""
    first, second = sides.ours(), sides.ours("changed", {old: new})
    found = sides.differences(first, second)
    lines = [line for name, reasons in sides.pair.differing.items() for line in unexplained(found[name], reasons)]
    assert any(said in line for line in lines), (found, lines)
