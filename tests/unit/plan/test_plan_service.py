"""The plan of one image: parameters, conflicts, names, and what the label may say."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from fakes.builders import SIM, compiled, facts, service_plan, service_text, session
from pydantic import ValidationError

from sconectl.errors import InvalidInput, PlanImpossible
from sconectl.manifest.reading.reader import read_manifest
from sconectl.plan.facts import naming
from sconectl.plan.facts.image_facts import BuildRecord, ImageFacts
from sconectl.plan.facts.image_label import ImageLabel
from sconectl.plan.mesh.availability import refuse, unavailable_in_service


def faults(text: str) -> list[tuple[str, str, str]]:
    with pytest.raises(InvalidInput) as caught:
        service_plan(text)
    assert all(f.position.line > 1 for f in caught.value.findings)
    return [(f.code, f.path, f.message) for f in caught.value.findings]


def local(**values: str) -> dict[str, object]:
    return {"local": [{"name": name, "value": value} for name, value in values.items()]}


@pytest.mark.parametrize(
    ("variable", "value", "parameter"),
    [
        ("SCONE_HEAP", "64M", str(64 << 20)),
        ("SCONE_HEAP", "1g", str(1 << 30)),
        ("SCONE_HEAP", "4096", "4096"),
        ("SCONE_STACK", " 8K ", "8192"),
        ("SCONE_ALLOW_DLOPEN", "2", "2"),
    ],
)
def test_parameters_are_normalised(variable: str, value: str, parameter: str) -> None:
    plan = service_plan(service_text(environment=local(**{variable: value})))
    assert plan.parameters[variable.removeprefix("SCONE_").lower()] == parameter


def volumes(*given: dict[str, Any]) -> str:
    paths: list[dict[str, Any]] = [{"path": f"/v{number}"} for number in range(len(given))]
    return service_text(volumes=[{**path, **volume} for path, volume in zip(paths, given, strict=True)])


def test_how_tags_are_kept_is_measured_where_it_is_not_the_default() -> None:
    strict = service_plan(volumes({"name": "a"}, {"name": "b", "tags": "strict"}))
    assert "volumes" not in strict.parameters and strict.volumes == {"/v0": "a", "/v1": "b"}
    plan = service_plan(volumes({"name": "z", "tags": "bounded"}, {"name": "b"}, {"name": "a", "tags": "bounded"}))
    assert plan.parameters["volumes"] == '{"a":{"tags":"bounded"},"z":{"tags":"bounded"}}'


@pytest.mark.parametrize(
    ("names", "path", "message"),
    [
        (("a", "b", "a"), "build.volumes[2].name", "two volumes are called a"),
        (("V1", "v1"), "build.volumes[1].name", "in a chart this volume and V1 have the same name, volumev1"),
        (("a.b", "a_b"), "build.volumes[1].name", "in a chart this volume and a.b have the same name, volumea-b"),
    ],
)
def test_volumes_have_names_of_their_own(names: tuple[str, ...], path: str, message: str) -> None:
    assert faults(volumes(*({"name": name} for name in names))) == [("SC1004", path, message)]


def test_names_of_volumes_in_charts() -> None:
    assert [naming.volume_label(name) for name in ("V1", "my_data", "a.b-")] == [
        "volumev1", "volumemy-data", "volumea-b",
    ]  # fmt: skip
    long = [naming.volume_label("x" * 100 + end) for end in "ab"]
    assert all(len(label) == 63 for label in long) and len({*long}) == 2


def test_bad_parameters_and_conflicts_are_all_named_without_their_values() -> None:
    text = service_text(
        dirs=["/", "/data/x", "/app"],
        plains=["/data"],
        environment={
            "local": [
                {"name": "SCONE_HEAP", "value": "hunter2"},
                {"name": "SCONE_FORK", "value": "hunter2"},
                {"name": "A", "value": "hunter2"},
                {"name": "A", "value": "hunter2"},
            ],
            "global": [{"name": "G"}, {"name": "G"}],
        },
    )
    found = faults(text)
    assert {code for code, _, _ in found} == {"SC1004"}
    assert {path for _, path, _ in found} == {
        *(
            "build.dirs[0]",
            "build.dirs[1]",
            "environment.local[0].value",
            "environment.local[1].value",
        ),
        *("environment.local[3].name", "environment.global[1].name"),
    }
    assert "hunter2" not in repr(found)


def test_an_existing_image_is_converted_as_it_is() -> None:
    found = faults(service_text(kind="sconify_image", copy=["a"], run=["b"], requirements="c"))
    assert {path for _, path, _ in found} == {"build.kind", "build.copy", "build.requirements", "build.run"}
    plan = service_plan(service_text(kind="sconify_image", from_="native:2"))
    assert (plan.native, plan.base) == ("native:2", "")


def test_what_is_not_available_is_planned_and_then_refused() -> None:
    text = service_text(gen_policy={"policy": "x"}, volumes=[{"name": "v", "path": "/v"}])
    assert service_plan(text).model.build.volumes
    manifest = read_manifest(text, "service.yaml", {})
    with pytest.raises(PlanImpossible) as caught:
        assert manifest.model.kind == "genservice"
        refuse(unavailable_in_service(manifest.model, manifest.document, SIM))
    assert {(f.code, f.path) for f in caught.value.findings} == {
        ("SC2001", "build.gen_policy"),
    }


def test_base_images() -> None:
    assert service_plan(service_text()).base == "base:1"
    assert service_plan(service_text(from_="mine:2")).base == "mine:2"
    assert service_plan(service_text(kind="java17")).base == "eclipse-temurin:17-jdk-alpine"


def test_what_cannot_be_meant_for_a_java_program() -> None:
    text = service_text(
        kind="java17", requirements="r.txt", copy=["a.jar", "b.zip", "lib/*.ZIP"], command="java -Xmx1g Main.java"
    )
    assert {path for _, path, _ in faults(text)} == {
        *("build.requirements", "build.copy[1]", "build.copy[2]", "build.command"),
    }


def test_folded_run_steps_are_one_line() -> None:
    plan = service_plan(service_text(run=["a\n  && b\n", "c"]))
    assert plan.run == ("a   && b", "c")


@pytest.mark.parametrize(
    ("image", "tagged", "untagged"),
    [
        ("app", "app:latest", "app"),
        ("app:1", "app:1", "app"),
        ("localhost:5000/app", "localhost:5000/app:latest", "localhost:5000/app"),
        ("localhost:5000/app:1", "localhost:5000/app:1", "localhost:5000/app"),
        ("app@sha256:" + "0" * 64, "app@sha256:" + "0" * 64, "app"),
        ("h:1/app:2@sha256:" + "0" * 64, "h:1/app:2@sha256:" + "0" * 64, "h:1/app"),
    ],
)
def test_references(image: str, tagged: str, untagged: str) -> None:
    assert naming.with_tag(image) == tagged
    assert naming.without_tag(image) == untagged


def test_names_of_image_sessions_are_short_and_stay_different() -> None:
    long = "registry.example.org/" + "a" * 200
    assert len(naming.image_session_name(f"{long}:1")) <= 128
    assert naming.image_session_name(f"{long}:1") != naming.image_session_name(f"{long}:2")
    assert naming.image_session_name("a/b:1") == "image~a~b~~1"


def test_program_names() -> None:
    assert naming.program_name(["/usr/bin/python3", "-u"]) == "python3"
    assert naming.program_name(["we ird/pro gram"]) == "pro-gram"
    assert naming.program_name(["/bin/"]) == "service"


FULL = facts(
    environment={"local": [{"name": "A", "value": "hunter2"}], "global": [{"name": "G", "value": "hunter3"}]},
    secrets={"global": [{"name": "s", "kind": "ascii", "value": "hunter4"}], "import": ["t"]},
    injection_files=[{"path": "/f", "content": "hunter5"}],
    command="python3 hunter6",
)


def test_the_label_names_things_and_has_no_values() -> None:
    label = json.loads(ImageLabel.of(FULL, simulated=True).text())
    assert label["variables"] == {"local": ["A"], "global": ["G"]}
    assert (label["secrets"], label["imports"]) == (["s"], ["t"])
    assert label["simulation"] is True
    assert label["facts_digest"] == FULL.digest()
    assert "hunter" not in ImageLabel.of(FULL, simulated=True).text()
    assert FULL.salt not in ImageLabel.of(FULL, simulated=True).text()


def test_facts_survive_their_text_and_keep_their_digest() -> None:
    read = ImageFacts.read(FULL.to_json())
    assert read.digest() == FULL.digest()
    kept = BuildRecord.read(BuildRecord(image_id="i", inputs="x", facts=FULL).to_text())
    assert kept.facts.digest() == FULL.digest()
    assert "hunter" not in repr(FULL)


EVERYTHING: dict[str, Any] = {
    "command": 'python3 main.py "a b" {{x}}',
    "volumes": [
        {"name": "v", "path": "/v/{% raw %}{{x}}{% endraw %}"},
        {"name": "w", "path": "/w", "export": [{"session": "other", "update_policy": "ephemeral"}]},
        {"name": "z", "path": "/z", "import": {"session": "them"}},
    ],
    "environment": {"local": [{"name": "A", "value": "b"}], "global": [{"name": "G"}, {"name": "H", "value": ""}]},
    "injection_files": [{"path": "/etc/{% raw %}{{y}}{% endraw %}", "content": "$$SCONE::password$$"}],
    "secrets": {
        "global": [
            {"name": "password", "kind": "ascii", "size": "{{n}}"},
            {"name": "k", "kind": "private-key", "key_type": "P-384", "migrate": True},
            {"name": "c", "kind": "x509", "private_key": "k", "dns": "api", "export": ["abc", {"namespace": "e"}]},
            {"name": "b", "kind": "binary", "value": " DEADBEEF "},
            {"name": "f", "kind": "config-fragment", "value": {"a": None, "b": [1, {"c": None}]}},
        ],
        "import": ["imported", "{{late}}"],
    },
}


def test_facts_keep_the_bytes_that_images_are_known_by() -> None:
    made = facts(**EVERYTHING)
    label = hashlib.sha256(ImageLabel.of(made, simulated=True).text().encode()).hexdigest()
    assert made.digest() == "90d62aa6f930ca7ab5089b50186a5c01ac34f92271305fdf0b03e57eef19ef07"
    assert label == "8a1deb756d6bdb5bb9b17032d881a1174c866abaaf2124f6bb0525a9926be25f"
    assert ImageFacts.read(made.to_json()) == made


def test_a_token_says_in_the_session_how_long_it_is_valid() -> None:
    key = {"name": "k", "kind": "private-key", "key_type": "P-384"}
    token = {"name": "j", "kind": "jwt", "signer": "k", "alg": "ES384", "validity": {"for": "24h"}}
    kept = ImageFacts.read(facts(secrets={"global": [key, token]}).to_json())
    assert session(compiled(kept), "web")["secrets"] == [{**key, "migrate": True}, token]


@pytest.mark.parametrize("command", ["", " ", "'", '"a'])
def test_facts_with_a_command_that_has_no_words_are_none(command: str) -> None:
    with pytest.raises(ValidationError):
        ImageFacts.read(json.dumps({**json.loads(FULL.to_json()), "command": command}))
