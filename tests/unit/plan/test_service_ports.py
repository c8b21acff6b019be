"""Where the ports of a service come from: one table of precedence, and what clients of it are told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from fakes.builders import TOOLCHAINS, compiled, facts, mesh_text, read_mesh
from hypothesis import given
from hypothesis import strategies as st

from sconectl.errors import InvalidInput, PlanImpossible
from sconectl.manifest.reading.reader import read_manifest
from sconectl.plan.facts.image_facts import ImageFacts
from sconectl.plan.mesh.mesh import MeshDraft, MeshInput
from sconectl.plan.network.addresses import Hosts

Env = Mapping[str, Mapping[str, str]]


def ports(image: ImageFacts, env: Env | None = None, *others: ImageFacts, text: str = "") -> list[tuple[int, str]]:
    service = compiled(image, *others, env=env, release="r", text=text).chart.services[0]
    return [(port.number, port.reason) for port in service.ports]


def local(**values: str) -> dict[str, Any]:
    return {"local": [{"name": name, "value": value} for name, value in values.items()]}


def declared(*names: str) -> dict[str, Any]:
    return {"global": [{"name": name} for name in names]}


def exposing(image: ImageFacts, *numbers: int) -> ImageFacts:
    return image.model_copy(update={"exposed": numbers})


# From the weakest source to the strongest: what each adds to an image called `cache` and to its mesh.
SOURCES: list[tuple[str, dict[str, Any], dict[str, dict[str, str]], tuple[int, ...], int]] = [
    ("APP_SERVICE_PORT of all services", {}, {"global": {"APP_SERVICE_PORT": "1001"}}, (), 1001),
    ("usual for redis", {"to": "registry.example.org/redis:1"}, {}, (), 6379),
    ("db_port beside db_host", {}, {"global": {"db_host": "r-cache", "db_port": "1002"}}, (), 1002),
    ("CACHE_PORT", {}, {"global": {"CACHE_PORT": "1003"}}, (), 1003),
    ("EXPOSE of the image", {}, {}, (1004,), 1004),
    (
        "my_port beside my_host, both of the image",
        {"environment": local(my_host="{{release}}-cache", my_port="1005")},
        {},
        (),
        1005,
    ),
    ("cache-port of the image", {"environment": local(**{"cache-port": "1006"})}, {}, (), 1006),
    ("PYTHON_SERVICE_PORT of the image", {"environment": local(PYTHON_SERVICE_PORT="1007")}, {}, (), 1007),
    (
        "APP_SERVICE_PORT in its section of env",
        {},
        {"cache": {"APP_SERVICE_PORT": "1008"}},
        (),
        1008,
    ),
    ("APP_SERVICE_PORT of the image", {"environment": local(APP_SERVICE_PORT="1009")}, {}, (), 1009),
    ("build.ports of the image", {"ports": [1010]}, {}, (), 1010),
]


@pytest.mark.parametrize("strongest", range(len(SOURCES)))
def test_the_strongest_source_decides(strongest: int) -> None:
    changes: dict[str, Any] = {}
    env: dict[str, dict[str, str]] = {}
    exposed: tuple[int, ...] = ()
    for _, change, values, numbers, _ in SOURCES[: strongest + 1]:
        environment = {"local": [*changes.get("environment", {}).get("local", ())]}
        environment["local"] += change.get("environment", {}).get("local", ())
        changes = {**changes, **change, "environment": environment}
        for section, given_values in values.items():
            env.setdefault(section, {}).update(given_values)
        exposed = exposed or numbers
    reason, number = SOURCES[strongest][0], SOURCES[strongest][4]
    image = exposing(facts("cache", **changes), *exposed)
    text = mesh_text(["cache"], env=env).replace("registry.example.org/cache:1", image.image)
    assert ports(image, text=text) == [(number, reason)]
    with_ports = text + "    ports: [2000, {name: admin, number: 2001}]\n"
    service = compiled(image, release="r", text=with_ports).chart.services[0]
    assert [(port.name, port.number) for port in service.ports] == [("api", 2000), ("admin", 2001)]


def test_a_variable_of_all_services_is_assumed_unless_the_image_uses_it() -> None:
    env = {"global": {"APP_SERVICE_PORT": "4996"}}
    for image, assumed in (
        (facts(), True),
        (facts(environment=declared("APP_SERVICE_PORT")), False),
        (facts(environment=local(PYTHON_SERVICE_PORT="{{APP_SERVICE_PORT}}")), False),
        (facts(injection_files=[{"path": "/etc/app", "content": "listen {{ APP_SERVICE_PORT }}"}]), False),
    ):
        (port,) = compiled(image, env=env).chart.services[0].ports
        assert (port.number, port.assumed) == (4996, assumed)


def test_a_service_can_say_that_it_has_no_port() -> None:
    env = {"global": {"APP_SERVICE_PORT": "443"}, "web": {"APP_SERVICE_PORT": ""}}
    assert ports(facts(), env) == []
    assert ports(facts(ports=[80]), env) == []
    text = mesh_text(env=env) + "    ports: [2000]\n"
    assert ports(facts(), text=text) == [(2000, "ports of the service in the mesh")]


def test_a_port_without_a_name_finds_one_that_is_free() -> None:
    names = ("api", "port-80", "p0-80", "tcp-80", "p-80")
    given = ", ".join(f"{{name: {name}, number: {number}}}" for number, name in enumerate(names, 1))
    found = compiled(facts(), text=mesh_text() + f"    ports: [80, {given}]\n").chart.services[0].ports
    assert [port.name for port in found] == ["p1-80", *names]


def test_ports_of_a_manifest_are_filled_in_by_the_mesh() -> None:
    image = facts(ports=['{{web_port | default(value="8080")}}', {"name": "admin", "number": "{{admin}}"}])
    env = {"global": {"admin": "9000"}}
    found = compiled(image, env=env).chart.services[0].ports
    assert [(port.name, port.number) for port in found] == [("api", 8080), ("admin", 9000)]
    with pytest.raises(PlanImpossible) as caught:
        compiled(image, env={"global": {"admin": "all"}})
    assert [(each.code, each.path) for each in caught.value.findings] == [("SC2007", "services[0]")]


@given(st.lists(st.integers(1, 65535), max_size=6))
def test_every_exposed_port_has_a_name_of_its_own(numbers: list[int]) -> None:
    found = compiled(exposing(facts(), *numbers)).chart.services[0].ports
    assert [port.number for port in found] == list(dict.fromkeys(numbers))
    names = [port.name for port in found]
    assert len({*names}) == len(names) and all(len(name) <= 15 for name in names)


@pytest.mark.parametrize(
    ("field", "path"),
    [
        ("ports: [0]", "services[0].ports[0].number"),
        ("ports: [70000]", "services[0].ports[0].number"),
        ("ports: [http]", "services[0].ports[0].number"),
        ("ports: [true]", "services[0].ports[0].number"),
        ("ports: [80, 80]", "services[0].ports[1]"),
        ("ports: [{name: a, number: 1}, {name: a, number: 2}]", "services[0].ports[1].name"),
        ("ports: [{name: HTTP, number: 1}]", "services[0].ports[0].name"),
        ("ports: [{name: '80', number: 1}]", "services[0].ports[0].name"),
        ("ports: [{name: http}]", "services[0].ports[0].number"),
        ("workload: pod", "services[0].workload"),
        ("workload: cronjob", "services[0].workload"),
        ("workload: job\n    schedule: 0 0 * * *", "services[0].schedule"),
        ("schedule: '60 0 * * *'", "services[0].schedule"),
        ("schedule: '0 0 * * 7'", "services[0].schedule"),
        ("schedule: '0 0 * *'", "services[0].schedule"),
        ("schedule: TZ=UTC 0 0 * * *", "services[0].schedule"),
    ],
)
def test_ports_and_workloads_that_there_cannot_be(field: str, path: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_manifest(f"{mesh_text()}    {field}\n", "mesh.yaml", {})
    assert [each.path for each in caught.value.findings] == [path]


@pytest.mark.parametrize("text", ["0 0 * * *", "@daily", "*/5 8-18/2 1,15 jan-Mar MON-fri", " 30  2 * * ? "])
def test_schedules(text: str) -> None:
    service = compiled(facts(), text=mesh_text() + f"    schedule: '{text}'\n").chart.services[0]
    assert (service.workload, service.schedule) == ("cronjob", text.strip())


def test_volumes_make_a_statefulset_unless_they_are_those_of_another_service() -> None:
    own = facts(volumes=[{"name": "data", "path": "/data"}])
    assert compiled(own).chart.services[0].workload == "statefulset"
    text = mesh_text() + "    workload: deployment\n"
    assert compiled(own, text=text).chart.services[0].workload == "deployment"
    shared = facts("db", volumes=[{"name": "data", "path": "/d", "export": [{"session": "web"}]}])
    user = facts(volumes=[{"name": "data", "path": "/data", "import": {"session": "db"}}])
    assert [each.workload for each in compiled(user, shared).chart.services] == ["deployment", "statefulset"]


def test_the_chart_knows_user_and_heap_of_the_image() -> None:
    image = facts(environment=local(SCONE_HEAP="760M")).model_copy(update={"user": 999, "group": 0})
    service = compiled(image).chart.services[0]
    assert (service.user, service.group, service.heap) == (999, 0, 760 << 20)
    plain = compiled(facts()).chart.services[0]
    assert (plain.user, plain.group, plain.heap) == (None, None, None)


def draft(*images: ImageFacts, env: Env | None = None, release: str = "r", text: str = "") -> MeshDraft:
    mesh, manifest = read_mesh(text or mesh_text([each.name for each in images], env=env))
    known = {each.name: each for each in images}
    return MeshDraft(MeshInput(mesh, manifest.document, known, {}, release, "0", toolchains=TOOLCHAINS))


def warnings(*images: ImageFacts, env: Env | None = None, release: str = "r") -> list[tuple[str, str]]:
    found = draft(*images, env=env, release=release).remarks
    assert all(each.severity == "warning" and each.code == "SC2030" and each.hint for each in found)
    return [(each.path, each.message) for each in found]


def test_a_port_that_nobody_offers() -> None:
    images = facts(), exposing(facts("db"), 3306)
    env = {"global": {"database_host": "r-db", "database_port": "3307"}}
    assert warnings(*images, env=env) == [
        (
            "env[0].env[1].value",
            "database_port is 3307, and database_host beside it names r-db, but db offers 3306",
        )
    ]
    assert warnings(*images, env={"global": {"database_host": "r-db", "database_port": "3306"}}) == []
    urls = {"global": {"URL": "mysql://u@r-db:3307/x", "LIST": "r-db:3306,r-db.ns.svc:99", "OTHER": "https://r-db/x"}}
    assert [path for path, _ in warnings(*images, env=urls)] == [f"env[0].env[{n}].value" for n in range(3)]
    assert warnings(*images, env={"global": {"URL": "https://r-db.example.org:1"}}) == []
    assert warnings(*images, env=env, release="") == []


def test_a_port_in_the_image_of_the_client() -> None:
    client = facts(environment=local(DB="{{db_host}}:3307"))
    found = warnings(client, exposing(facts("db"), 3306), env={"global": {"db_host": "r-db"}})
    assert found == [("services[0]", "service web calls r-db:3307, but db offers 3306")]


def test_a_host_that_no_service_has() -> None:
    env = {"global": {"api_host": "r-wob", "bucket": "r-wob", "name": "r-web", "text": "see r-wob please"}}
    found = draft(facts(), env=env).remarks
    assert [(each.path, each.hint) for each in found] == [("env[0].env[0].value", "did you mean r-web?")]
    assert warnings(facts("db"), env={"global": {"x_host": "r-db-0.r-db"}}) == []


def test_a_service_whose_chart_or_image_decides_later_is_not_judged() -> None:
    env = {"global": {"db_url": "r-db:1", "APP_SERVICE_PORT": "2"}}
    unbuilt = facts("db").model_copy(update={"measurement": "0" * 64})
    assert warnings(unbuilt, env=env) == []
    assert len(warnings(facts("db"), env=env)) == 1


def secret(name: str, **more: Any) -> dict[str, Any]:
    return {"global": [{"name": name, "kind": "ascii", **more}]}


def callers(*images: ImageFacts, env: Env | None = None, text: str = "") -> dict[str, tuple[str, ...] | None]:
    plan = compiled(*images, env=env, release="r", text=text)
    return {service.name: service.callers for service in plan.chart.services}


def test_who_imports_a_secret_or_names_the_host_may_call() -> None:
    db = facts("db", secrets=secret("token"))
    reader = facts("reader", secrets={"import": ["token"]})
    caller = facts("my_caller", environment={"global": [{"name": "db"}]})
    other = facts("other", injection_files=[{"path": "/etc/x", "content": "host=r-other"}])
    env = {"global": {"db": "r-db:1"}}
    assert callers(db, reader, caller, other, env=env) == {
        "db": ("my-caller", "reader"),
        "reader": None,
        "my-caller": None,
        "other": None,
    }


@pytest.mark.parametrize(
    "given_away",
    [{"export": [{"namespace": "else"}]}, {"export": [{"session": "else/where"}]}],
)
def test_who_gives_secrets_to_others_may_be_called_by_them(given_away: dict[str, Any]) -> None:
    reader = facts("reader", secrets={"import": ["token"]})
    assert callers(facts("db", secrets=secret("token", **given_away)), reader)["db"] is None
    inside = {"export": [{"session": "shop/reader"}]}
    assert callers(facts("db", secrets=secret("token", **inside)), reader)["db"] == ("reader",)


@pytest.mark.parametrize("session", ["shop/web", "/shop/web"])
def test_who_is_given_a_secret_by_its_manifest_may_call(session: str) -> None:
    db = facts("db", secrets=secret("token", export=[{"session": session}]))  # a policy template of web imports it
    assert callers(db, facts("reader", secrets={"import": ["token"]}), facts("web"))["db"] == ("reader", "web")


def test_a_public_certificate_and_a_front_are_for_everybody() -> None:
    reader = facts("reader", secrets={"import": ["cert"]})

    def db(**more: Any) -> ImageFacts:
        entries = [
            {"name": "k", "kind": "private-key"},
            {"name": "cert", "kind": "x509-ca", "private_key": "k", **more},
        ]
        return facts("db", secrets={"global": entries})

    assert callers(db(), reader)["db"] == ("reader",)
    assert callers(db(export_public=True), reader)["db"] is None
    front = mesh_text(["reader", "db"]) + "    helm_extra_values: {service: {type: LoadBalancer}}\n"
    assert callers(reader, db(), text=front)["db"] is None


@given(st.text("r-abc.:/@0123 \n", max_size=60))
def test_any_text_is_searched_for_hosts(text: str) -> None:
    hosts = Hosts(["a", "b-c"], "r")
    for found in hosts.named_in(text):
        assert found.host in text and (not found.service or found.host.startswith("r-"))
    assert list(Hosts(["a"], "").named_in(text)) == []


def test_variables_of_the_mesh_for_its_chart() -> None:
    env = {"global": {"useSGXDevPlugin": "azure", "sgxEpcMem": " 128", "restartPolicy": "OnFailure"}}
    hardware = facts().model_copy(update={"toolchain": "scone"})

    def values(image: ImageFacts, more: str = "", given_env: Env = env) -> Mapping[str, Any]:
        return compiled(image, text=mesh_text(env=given_env) + more).chart.services[0].extra_values

    plugin = {"useSGXDevPlugin": "azure", "sgxEpcMem": 128}
    assert values(facts()) == {}
    assert values(hardware) == plugin
    assert values(hardware, "    helm_extra_values: {sgxEpcMem: 8}\n") == {**plugin, "sgxEpcMem": 8}
    assert values(facts(), "    workload: job\n") == {"jobs": {"restartPolicy": "OnFailure"}}
    assert values(facts(), "    schedule: '@daily'\n") == {"jobs": {"restartPolicy": "OnFailure"}}
    assert values(facts(), "    workload: job\n", {"global": {"restartPolicy": "Always"}}) == {}
    for size in ("128Mi", "0" * 9 + "9" * 9, "1" * 5000):
        wrong = {"useSGXDevPlugin": "amazon", "sgxEpcMem": size, "restartPolicy": "Sometimes"}
        with pytest.raises(PlanImpossible) as caught:
            values(hardware, "    workload: job\n", {"web": wrong})
        found = [(each.code, each.path, each.message.partition(":")[0]) for each in caught.value.findings]
        assert found == [("SC2012", f"env[0].env[{number}].value", name) for number, name in enumerate(wrong)]


SWITCHES = ("INIT_CONTAINER1_ENABLE", "INIT_CONTAINER1", "INIT_CONTAINER1_PORT")
PEER = {"enabled": True, "host": "r-db", "port": 5432}


def waiting(switch: str, host: str = "{{release}}-db", port: str = "5432", more: str = "", number: int = 1) -> Any:
    names = (name.replace("1", str(number)) for name in SWITCHES)
    image = facts(environment=local(**dict(zip(names, (switch, host, port), strict=True))))
    return compiled(image, release="r", text=mesh_text() + more).chart.services[0].extra_values


def test_an_image_says_for_whom_its_pods_wait() -> None:
    assert waiting("true") == {"initContainers": {"container1": PEER}}
    assert waiting("True ", number=2) == {"initContainers": {"container2": PEER}}
    for switch in ("false", "False", ""):
        assert waiting(switch, "", "what?") == {}
    off = "    helm_extra_values: {initContainers: {container1: {enabled: false}}}\n"
    assert waiting("true", more=off) == {"initContainers": {"container1": {**PEER, "enabled": False}}}
    hardware = facts(environment=local(**dict(zip(SWITCHES, ("true", "db", "1"), strict=True))))
    values = compiled(hardware.model_copy(update={"toolchain": "scone"})).chart.services[0].extra_values
    assert values["initContainers"]["container1"] == {"enabled": False, "host": "db", "port": 1}


@pytest.mark.parametrize(
    ("given_values", "wrong"),
    [
        (("yes", "db", "1"), SWITCHES[:1]),
        (("true", "", ""), SWITCHES[1:]),
        (("true", "db$", "1"), SWITCHES[1:2]),
        (("true", "a b", "0"), SWITCHES[1:]),
        (("true", "db", "65536"), SWITCHES[2:]),
    ],
)
def test_for_whom_nobody_can_wait(given_values: tuple[str, str, str], wrong: tuple[str, ...]) -> None:
    with pytest.raises(PlanImpossible) as caught:
        waiting(*given_values)
    found = caught.value.findings
    assert {each.code for each in found} == {"SC2012"}
    assert tuple(each.message.partition(":")[0] for each in found) == wrong


def test_a_peer_without_a_value_is_said_once() -> None:
    for switch, host in (("true", "{{nowhere}}"), ("{{nowhere}}", "db")):
        with pytest.raises(PlanImpossible) as caught:
            waiting(switch, host)
        assert [each.code for each in caught.value.findings] == ["SC2006"]
