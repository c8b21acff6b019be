"""What scripts of applications do with sconectl, from a clean directory to running pods: the same commands, in order.

The applications are those of upstream, where their manifests are beside the checkout, and one of our own. `kubectl` and
`helm` are recorders, which check what they are given; everything else is real.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from ruamel.yaml import YAML

from .world import EXAMPLE, REPOSITORY, SCONECTL, Outcome, World, docker, log_until, must, run

FOLDER = Path(__file__).with_name("run_steps")
CORPUS = REPOSITORY.parent / "shared" / "corpus"
JDK = "sconectl-base/jdk:slim-bookworm"
VERSION = "6.0.0-rc.1"
CAS = "cas.scone-system"
WAITS = "import time\nprint('started', flush=True)\ntime.sleep(600)\n"


@dataclass(frozen=True)
class Application:
    """An application: its folder, what is not in it, and how its script calls itself."""

    folder: Path
    release: str
    services: tuple[str, ...] = ("service.yaml.template",)
    pods: tuple[str, ...] = ()
    files: Mapping[str, str | Path] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    images: tuple[str, ...] = ()


APPLICATIONS = {
    "greeter": Application(FOLDER / "greeter", "our-greeter", pods=("redis", "greeter"), options=("-v",)),
    "hello": Application(
        CORPUS / "hello",
        "pythonapp",
        pods=("pythonservice",),
        files={"print_env.py": EXAMPLE / "print_env.py", "requirements.txt": "humanize\n"},
        options=("-v",),
    ),
    "java": Application(
        CORPUS / "java",
        "javaapp",
        pods=("javaapp",),
        files={"PrintEnv.java": FOLDER / "PrintEnv.java"},
        options=("--template", str(FOLDER / "templates-genservice")),
        variables={"JAVA_VERSION": "java21"},
        images=(JDK,),
    ),
    "flask-redis": Application(
        CORPUS / "flask-redis",
        "myflask",
        pods=("redis", "flask"),
        files={"api.py": WAITS, "requirments.txt": "humanize\n"},
    ),
    "secure-documents": Application(
        CORPUS / "secure-documents",
        "secure-doc-management",
        services=("service.yaml.template", "clientService.yaml.template"),
        pods=("memcached", "mariadb", "fastapi-scone", "client", "nginx"),
        files={
            "fastapi-code/rest_api.py": WAITS, "fastapi-code/requirements.txt": "humanize\n",
            "client-code/client.py": WAITS, "client-code/requirements.txt": "humanize\n",
        },
    ),
}  # fmt: skip


@dataclass
class Machine:
    """A machine with the installed command, an engine, a registry and a CAS, and with recorders for the cluster."""

    world: World
    registry: str
    root: Path
    """Where the commands are that stand for those of a cluster, and what they recorded."""

    @property
    def repo(self) -> str:
        """What the names of all images begin with."""
        return f"{self.registry}/{self.world.name}"

    def project(self, application: Application) -> Path:
        """Return a clean directory with the application."""
        folder = self.world.root / application.release
        shutil.copytree(application.folder, folder)
        for name, content in application.files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(content if isinstance(content, str) else content.read_text())
        return folder

    def steps(self, application: Application, folder: Path, *options: str, **variables: str) -> Outcome:
        """Run the script of an application."""
        path = f"{self.root / 'bin'}:{SCONECTL.parent}:{os.environ['PATH']}"
        given = {
            **self.world.environment,
            **{"PATH": path, "RECORDS": str(self.records(application)), "PYTHONPATH": str(REPOSITORY / "tests")},
            **{"VERSION": VERSION, "SCONECTL_REPO": f"{self.repo}-curated"},
            **{"APP_SERVICES": " ".join(application.services), "APP_PODS": " ".join(application.pods)},
            **application.variables,
            **variables,
        }
        words = [str(FOLDER / "steps.sh"), "-i", f"{self.repo}-app", "-n", "apps", "-r", application.release]
        return run(["bash", *words, *application.options, *options], env=given, cwd=folder)

    def records(self, application: Application) -> Path:
        """Return the directory in which the recorders keep the cluster of an application."""
        folder = self.root / application.release
        if not folder.is_dir():
            (folder / "operator").mkdir(parents=True)
            cluster = {"address": self.world.address, "cas": CAS, "home": str(folder / "operator")}
            (folder / "cluster.json").write_text(json.dumps({**cluster, "sconectl": str(SCONECTL)}))
        return folder

    def calls(self, application: Application) -> list[str]:
        """Return what the recorders were asked since the last time."""
        file = self.records(application) / "calls.jsonl"
        found = [" ".join(json.loads(line)) for line in file.read_text().splitlines()]
        file.unlink()
        return found

    def objects(self, application: Application) -> list[dict[str, Any]]:
        """Return what was installed in the cluster."""
        file = self.records(application) / "apps" / f"{application.release}.json"
        found: list[dict[str, Any]] = json.loads(file.read_text())
        return found

    def start(self, application: Application, service: str) -> str:
        """Start what the pod of a service runs, with what the chart tells it."""
        [spec] = [
            each["spec"]["template"]["spec"]
            for each in workloads(self.objects(application))
            if each["metadata"]["labels"]["app.kubernetes.io/name"] == service
        ]
        [container] = spec["containers"]
        given = {entry["name"]: entry["value"] for entry in container["env"]}
        assert given["SCONE_CAS_ADDR"] == CAS
        return self.world.start(container["image"], config_id=given["SCONE_CONFIG_ID"])


def workloads(objects: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each for each in objects if each["kind"] in ("Deployment", "StatefulSet")]


@pytest.fixture(scope="module")
def machine(module_world: World, registry: str, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    if shutil.which("envsubst") is None:
        pytest.skip("envsubst is not installed; `make test` installs it on Debian")
    root = tmp_path_factory.mktemp("clusters")
    (root / "bin").mkdir()
    for name in ("helm", "kubectl"):
        command = root / "bin" / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FOLDER}/recorder.py" {name} "$@"\n')
        command.chmod(0o755)
    config = module_world.root / "sconectl.toml"
    text = config.read_text().replace("[base_images]\n", f'[base_images]\njava21 = "{JDK}"\n')
    config.write_text(f'{text}[cas_addresses]\n"{CAS}" = "{module_world.address}"\n')
    return Machine(module_world, registry, root)


def lacking(application: Application) -> str:
    """Return why an application cannot be tried here, or nothing."""
    if not application.folder.is_dir():
        return f"upstream's manifests of {application.folder.name} are not beside this checkout"
    missing = [image for image in application.images if docker("image", "inspect", image).code != 0]
    return f"{', '.join(missing)} is not there; scripts/test-images.sh makes it" if missing else ""


@pytest.fixture(scope="module")
def runs(machine: Machine, request: pytest.FixtureRequest) -> Iterator[dict[str, Future[Outcome]]]:
    """Run the scripts of the applications that are asked for, some at the same time: much of it is waiting."""
    here = (item for item in request.session.items if item.path == request.path)
    asked = {item.callspec.params["name"] for item in here if hasattr(item, "callspec")} | {"greeter"}
    with ThreadPoolExecutor(3) as pool:
        yield {
            name: pool.submit(machine.steps, application, machine.project(application))
            for name, application in APPLICATIONS.items()
            if name in asked and not lacking(application)
        }


def asked_of_the_cluster(application: Application, *release: str) -> list[str]:
    """Return what a script of an application asks `kubectl` and `helm`, in order."""
    labels = "app.kubernetes.io/name={},app.kubernetes.io/instance={}"
    return [
        "helm version --short",
        "kubectl version --client",
        "kubectl get pods -n apps",
        "kubectl get las las -o jsonpath={.status.state}",
        "kubectl get sgxplugin sgxplugin -o jsonpath={.status.state}",
        "kubectl get cas cas -n scone-system -o jsonpath={.status.state}",
        "kubectl provision cas cas -n scone-system --is-provisioned",
        "kubectl provision cas cas -n scone-system --print-public-keys",
        *(f"helm {words} -n apps" for words in release),
        *(
            f"kubectl get pods -n apps -l {labels.format(pod, application.release)} "
            "-o jsonpath={.items[*].status.phase}"
            for pod in application.pods
        ),
    ]


@pytest.mark.shows("002.script", "003.script", "004.script")
@pytest.mark.parametrize("name", APPLICATIONS)
def test_the_steps_of_an_application(machine: Machine, runs: dict[str, Future[Outcome]], name: str) -> None:
    application = APPLICATIONS[name]
    if why := lacking(application):
        pytest.skip(why)
    done, folder = must(runs[name].result()), machine.world.root / application.release
    assert done.out.endswith("== done\n") and "no effect" not in done.err
    release = application.release
    installing = (f"uninstall {release}", f"install {release} target/helm")
    assert machine.calls(application) == asked_of_the_cluster(application, *installing)

    objects = machine.objects(application)
    pods = {each["metadata"]["labels"]["app.kubernetes.io/name"]: each for each in workloads(objects)}
    assert pods.keys() == set(application.pods)
    assert {each["metadata"]["name"] for each in pods.values()} == {f"{release}-{pod}" for pod in pods}
    assert {pod for pod, each in pods.items() if each["kind"] == "StatefulSet"} == set(pods) & {"mariadb", "redis"}
    sessions = [each for each in objects if each["kind"] == "EncryptedPolicy"]
    assert {each["spec"]["casAddress"] for each in sessions} == {f"https://{CAS}:8081"}
    assert len(sessions) == len(pods) + 1  # and that of the namespace
    for each in pods.values():
        spec = each["spec"]["template"]["spec"]
        assert spec["imagePullSecrets"] == [{"name": "sconeapps"}]
        assert is_in_the_registry(spec["containers"][0]["image"])
    assert unanswered(folder, objects, release) == []
    nothing_secret(folder / "target" / "helm", folder / "target" / "policies")


def is_in_the_registry(image: str) -> bool:
    name, _, digest = image.partition("@")
    host, _, path = name.partition("/")
    path, _, tag = path.partition(":")
    kinds = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"
    return httpx.get(
        f"http://{host}/v2/{path}/manifests/{digest or tag or 'latest'}", headers={"Accept": kinds}
    ).is_success


def unanswered(folder: Path, objects: Iterable[dict[str, Any]], release: str) -> list[str]:
    """Return each host and port that programs or init containers know, and that not exactly one Service offers."""
    objects = list(objects)
    offered = [
        (each["metadata"]["name"], port["port"])
        for each in objects
        if each["kind"] == "Service" and each["spec"].get("clusterIP") != "None"
        for port in each["spec"]["ports"]
    ]
    wanted: dict[str, tuple[str, int]] = {}
    for file in (folder / "target" / "policies").glob("*.yaml"):
        for service in YAML(typ="safe").load(file).get("services", ()):
            values = {name.lower(): value for name, value in service["environment"].items()}
            for name, host in values.items():
                port = values.get(f"{name.removesuffix('_host').removesuffix('_name')}_port")
                if port and host.startswith(f"{release}-"):
                    wanted[f"{file.stem}: {name}"] = (host, int(port))
    for each in workloads(objects):
        for container in each["spec"]["template"]["spec"].get("initContainers", ()):
            host, port = container["command"][-3:-1]
            wanted[f"{each['metadata']['name']}: {container['name']}"] = (host, int(port))
    assert wanted or len(workloads(objects)) == 1
    return [f"{what} {pair}" for what, pair in wanted.items() if offered.count(pair) != 1]


def nothing_secret(chart: Path, policies: Path) -> None:
    """Look for values of variables and secrets where everybody may look."""
    public = b"".join(file.read_bytes() for file in chart.rglob("*") if file.is_file())
    for word in (b"API_PASSWORD", b"#NOPE", b"feedfeed", b"CREATE USER", b"!#5"):
        assert word not in public
    assert all(file.stat().st_mode & 0o077 == 0 for file in policies.iterdir())


def test_what_was_installed_starts(machine: Machine, runs: dict[str, Future[Outcome]]) -> None:
    """The sessions came into the CAS with the chart alone, and their programs start with what is in them."""
    greeter = APPLICATIONS["greeter"]
    must(runs["greeter"].result())
    log = machine.world.log_with(machine.start(greeter, "greeter"), "Hello our-greeter")
    assert "Hello our-greeter !#5$ 12 [True, True]" in log


def test_the_steps_again_without_what_they_made(machine: Machine, runs: dict[str, Future[Outcome]]) -> None:
    """As scripts do that begin with `rm -rf target`: the namespace stays, and nothing is refused."""
    greeter = APPLICATIONS["greeter"]
    must(runs["greeter"].result())
    folder = machine.world.root / greeter.release
    before = machine.objects(greeter)
    shutil.rmtree(folder / "target")
    done = must(machine.steps(greeter, folder))
    assert "nobody said" not in done.err
    assert machine.objects(greeter) == before
    mesh = (folder / "mesh.yaml.template").read_text()
    (folder / "mesh.yaml.template").write_text(mesh.replace("value: $RELEASE\n", "value: everybody\n", 1))
    shutil.rmtree(folder / "target")
    must(machine.steps(greeter, folder))
    assert "Hello everybody" in machine.world.log_with(machine.start(greeter, "greeter"), "Hello")


@pytest.mark.shows("002.script")
def test_a_software_update(machine: Machine) -> None:
    """`--release-version` counts up: pods of the version before start until the next one, each with its own program."""
    updates = replace(APPLICATIONS["greeter"], release="updates")
    folder = machine.project(updates)
    must(machine.steps(updates, folder, "--rolling", UPLOAD_MODE="Upload"))
    machine.calls(updates)
    old = machine.start(updates, "greeter")
    machine.world.log_with(old, "Hello updates")
    shutil.rmtree(folder / "target")
    text = (folder / "greeter.py").read_text()
    (folder / "greeter.py").write_text(text.replace('"Hello"', '"Version2"'))
    done = must(machine.steps(updates, folder, "--rolling", UPLOAD_MODE="Upload"))
    assert "old pods start, too" in done.err
    assert machine.calls(updates) == asked_of_the_cluster(updates, "upgrade --install updates target/helm")
    machine.world.log_with(machine.start(updates, "greeter"), "Version2 updates")
    must(docker("restart", "-t", "0", old))
    log_until(old, "a second greeting", lambda log: log.count("Hello updates") == 2)
