"""What an image says about itself is read with mistrust: foreign labels give messages, never a traceback."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fakes.builders import facts
from fakes.engine import FakeEngine, FakeRegistry, Image
from fakes.members import directory, file

from sconectl.apply.inspect import InspectedImage, as_document, inspect_image
from sconectl.errors import BuildFailed, EngineUnreachable, PlanImpossible
from sconectl.image.layers.layer_index import Member
from sconectl.plan.facts.image_label import LABEL, ImageLabel
from sconectl.ports import ImageInfo

NAME = "registry.example.org/web:1"
FACTS = facts(
    dirs=["/app/data"],
    host_paths=["/data"],
    environment={"local": [{"name": "A", "value": "hunter2"}], "global": [{"name": "G", "value": "hunter3"}]},
    secrets={"global": [{"name": "s", "kind": "ascii", "value": "hunter4"}], "import": ["t"]},
)
LAYERS = ("sha256:" + "1" * 64, "sha256:" + "2" * 64, "sha256:" + "3" * 64, "sha256:" + "4" * 64)


def labelled(label: str | None = None) -> Image:
    config = {"Labels": {LABEL: label} if label is not None else None}
    return Image(ImageInfo("sha256:" + "f" * 64, "amd64", config, LAYERS), {})


def members(_reference: str, _info: ImageInfo) -> list[tuple[str, tuple[Member, ...]]]:
    contents = (
        (file("/usr/bin/python3", b"x" * 100),),
        (directory("/scone"), file("/scone/bin/python3", b"xx")),
        (file("/app/main.py", b"abc"), directory("/scone"), file("/scone/image/packs/0", b"")),
        (directory("/scone/image"), file("/scone/image/index.json", b"{}")),
    )
    return [(digest.removeprefix("sha256:"), found) for digest, found in zip(LAYERS, contents, strict=True)]


def inspected(engine: FakeEngine, remote: dict[str, Image] | None = None) -> InspectedImage:
    return inspect_image(NAME, engine=lambda: engine, registry=lambda: FakeRegistry(remote or {}), layers=members)


def test_everything_that_a_label_says_is_shown_and_no_value() -> None:
    found = as_document(inspected(FakeEngine(images={NAME: labelled(ImageLabel.of(FACTS, simulated=True).text())})))
    assert found["found_in"] == "container engine"
    assert found["measurement"] == FACTS.measurement
    assert (found["toolchain"], found["simulation"], found["mode"]) == ("sim", True, "production")
    assert found["protected"]["encrypted"] == ["/app/data"]
    assert found["protected"]["unprotected"] == ["/data"]
    assert found["variables"] == {"local": ["A"], "global": ["G"]}
    assert (found["secrets"], found["imports"]) == (["s"], ["t"])
    assert (found["user"], found["group"], found["exposed"]) == (None, None, [])
    ours = FACTS.model_copy(update={"user": 0, "group": 0, "exposed": (80, 443)})
    found = as_document(inspected(FakeEngine(images={NAME: labelled(ImageLabel.of(ours, simulated=True).text())})))
    assert (found["user"], found["group"], found["exposed"]) == (0, 0, [80, 443])
    assert found["facts_digest"] == ours.digest()
    assert found["image_session"] == FACTS.image_session
    assert [(layer["origin"], layer["size"]) for layer in found["layers"]] == [
        ("base", 100),
        ("launcher", 2),
        ("native", 3),
        ("enclave", 2),
    ]
    assert "hunter" not in json.dumps(found)


def test_an_image_of_a_registry_is_not_pulled() -> None:
    found = inspected(FakeEngine(), {NAME: labelled(ImageLabel.of(FACTS, simulated=True).text())})
    assert found.place == "registry"
    assert [(layer.digest, layer.size) for layer in found.layers] == [(layer[7:], None) for layer in LAYERS]


def test_an_engine_that_is_down_does_not_matter_if_the_registry_answers() -> None:
    found = inspected(FakeEngine(down=True), {NAME: labelled(ImageLabel.of(FACTS, simulated=True).text())})
    assert found.label.measurement == FACTS.measurement


def test_an_image_that_nobody_has() -> None:
    with pytest.raises(BuildFailed, match="engine has no image of this name; the registry has no image") as caught:
        inspected(FakeEngine())
    assert not isinstance(caught.value, EngineUnreachable)


def test_an_ordinary_image_is_no_confidential_one() -> None:
    with pytest.raises(PlanImpossible, match="no confidential image of sconectl"):
        inspected(FakeEngine(images={NAME: labelled()}))


def _changed(**changes: Any) -> str:
    return json.dumps({**json.loads(ImageLabel.of(FACTS, simulated=True).text()), **changes})


@pytest.mark.parametrize(
    "label",
    [
        "",
        "null",
        "[]",
        "{}",
        "\x00\x1b[2J",
        "[" * 100_000,
        '{"a":' * 100_000,
        "1" * 5000,
        '"' + "x" * (5 << 20) + '"',
        _changed(measurement="x"),
        _changed(measurement=None),
        _changed(parameters=[1]),
        _changed(parameters={"heap": {"x": 1}}),
        _changed(protected={"root": "../.."}),
        _changed(variables="\x1b[31m"),
        _changed(secrets={"a": "b"}),
        _changed(signer={"mrsigner": "no", "isvprodid": 0, "isvsvn": 0}),
        _changed(facts_digest=7),
        _changed(image_session=None),
    ],
)
def test_a_label_that_makes_no_sense(label: str) -> None:
    with pytest.raises(PlanImpossible, match="cannot be understood") as caught:
        inspected(FakeEngine(images={NAME: labelled(label)}))
    assert "\x1b" not in caught.value.message
