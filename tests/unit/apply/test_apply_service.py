"""Building an image: nothing is done twice, what was cut off is finished, and keys and values go nowhere."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from fakes.builders import service_plan, service_text
from fakes.engine import PYTHON, FakeEngine, Image, image, root_of
from fakes.roots import elf_file
from fakes.stores import MemorySessionStore
from fakes.workspace import FakeKeys

from sconectl.adapters.workspace_disk import DiskWorkspace
from sconectl.apply.image_sessions import read_facts, share_image
from sconectl.apply.sources.requirements import Requirements
from sconectl.errors import BuildFailed, CasError, EngineUnreachable, PlanImpossible
from sconectl.plan.facts.image_label import LABEL, ImageLabel
from sconectl.plan.mesh.mesh import ImageShare

from .one_project import IMAGE, SECRETS, Bench


def test_a_first_run_builds_pushes_and_records(bench: Bench) -> None:
    done = bench.apply()
    assert (done.built, done.pushed, done.files_changed) == (True, True, 1)
    assert done.session is not None
    assert done.session.outcome == "created"
    assert bench.engine.remote[IMAGE].info.id == bench.record().image_id == bench.engine.images[IMAGE].info.id
    assert bench.record().pushed.startswith("sha256:")
    assert (bench.workspace.root / "images/web.json").stat().st_mode & 0o777 == 0o600
    assert read_facts(bench.store, done.facts.image_session) == done.facts
    files = bench.engine.images[IMAGE].root
    assert files["/app/main.py"][1] == b"print(1)"
    assert "/scone/runtime" in files


def test_an_unchanged_run_does_nothing(bench: Bench) -> None:
    bench.apply()
    file = bench.workspace.root / "images/web.json"
    before = (file.read_bytes(), file.stat().st_mtime_ns)
    bench.quiet()
    done = bench.apply()
    assert (done.built, done.pushed, done.files_changed) == (False, False, 0)
    assert done.session is not None
    assert done.session.outcome == "unchanged"
    assert {call.split()[0] for call in bench.engine.calls} == {"inspect"}
    assert bench.store.put_log == []
    assert (file.read_bytes(), file.stat().st_mtime_ns) == before


def _other_file(bench: Bench) -> dict[str, Any]:
    bench.main.write_text("print(2)")
    return {}


def _other_base(bench: Bench) -> dict[str, Any]:
    bench.engine.images["base:1"] = image({"/usr/bin/python3": b"a newer interpreter"})
    return {}


def _other_key(bench: Bench) -> dict[str, Any]:
    bench.machine = "b"
    return {}


@pytest.mark.parametrize(
    "change",
    [
        _other_file,
        _other_base,
        _other_key,
        lambda _: {"plan": service_plan(service_text(**{**SECRETS, "command": "python3 other.py"}))},
        lambda _: {"plan": service_plan(service_text(**SECRETS, run=["write /x y"]))},
        lambda _: {"plan": service_plan(service_text(**SECRETS), mode="debug")},
        lambda _: {"plan": service_plan(service_text(**SECRETS, plains=["/tmp/x"]))},
        lambda _: {"requirements": Requirements("r.txt", {"r.txt": b"humanize\n"})},
    ],
    ids=["file", "base", "key", "command", "run", "mode", "plains", "requirements"],
)
def test_every_input_leads_to_a_new_build(bench: Bench, change: Any) -> None:
    bench.apply()
    old = bench.record().inputs
    done = bench.apply(**change(bench))
    assert (done.built, done.pushed) == (True, True)
    assert bench.record().inputs != old
    assert done.session is not None
    # Another file system or key gives other facts; requirements change nothing here, for the fake installs nothing.
    assert done.session.outcome in ("updated", "unchanged")


def test_a_lost_image_is_built_again_and_is_the_same(bench: Bench) -> None:
    first = bench.apply()
    bench.engine.remove(bench.record().image_id)
    again = bench.apply()
    assert again.built
    assert again.facts == first.facts
    assert bench.engine.images[IMAGE].info.labels[LABEL] == ImageLabel.of(first.facts, simulated=True).text()


@pytest.mark.parametrize("other", [PYTHON, None], ids=["another", "none"])
def test_an_image_that_lost_its_name_gets_it_back(bench: Bench, other: Image | None) -> None:
    first = bench.apply()
    bench.engine.images.pop(IMAGE)
    if other:
        bench.engine.images[IMAGE] = other
    assert not bench.apply().built
    assert bench.engine.images[IMAGE].info.labels[LABEL] == ImageLabel.of(first.facts, simulated=True).text()


def test_a_damaged_record_is_built_again(bench: Bench) -> None:
    bench.apply()
    bench.workspace.write({"images/web.json": b"{}"}, private=True)
    assert bench.apply().built


def test_a_failed_push_is_repeated_without_a_build(bench: Bench) -> None:
    bench.engine.refuse_push = True
    with pytest.raises(BuildFailed) as caught:
        bench.apply()
    assert caught.value.exit_code == 5
    assert bench.record().pushed == ""
    assert bench.store.put_log == []
    bench.engine.refuse_push = False
    bench.quiet()
    done = bench.apply()
    assert (done.built, done.pushed) == (False, True)
    assert bench.engine.count("build") == bench.engine.count("load") == 0
    assert done.session is not None
    assert done.session.outcome == "created"


def test_a_failed_upload_is_repeated_without_build_and_push(bench: Bench) -> None:
    bench.store.unreachable = True
    with pytest.raises(CasError):
        bench.apply()
    assert bench.record().pushed
    bench.store.unreachable = False
    bench.quiet()
    done = bench.apply()
    assert (done.built, done.pushed) == (False, False)
    assert bench.store.put_log == [done.facts.image_session]


def test_without_push_and_then_with(bench: Bench) -> None:
    assert not bench.apply(push=False).pushed
    assert IMAGE not in bench.engine.remote
    done = bench.apply()
    assert (done.built, done.pushed) == (False, True)


def test_a_dry_run_reaches_no_cas_and_no_registry(bench: Bench) -> None:
    done = bench.apply(push=False, store=False)
    assert (done.built, done.pushed, done.session) == (True, False, None)
    assert bench.store.put_log == bench.store.read_log == []
    assert bench.engine.count("push") == 0


def test_a_base_image_is_pulled_only_if_it_is_not_there(bench: Bench) -> None:
    bench.engine.remote["base:1"] = bench.engine.images.pop("base:1")
    bench.apply()
    assert bench.engine.count("pull") == 1
    assert "pulling base:1" in bench.said


def test_a_missing_base_image_says_how_to_give_another(bench: Bench) -> None:
    del bench.engine.images["base:1"]
    with pytest.raises(BuildFailed) as caught:
        bench.apply()
    assert "--base-image" in caught.value.hint
    assert not bench.workspace.root.exists()


def test_a_failing_step_leaves_nothing(bench: Bench) -> None:
    with pytest.raises(BuildFailed) as caught:
        bench.apply(service_plan(service_text(run=["exit 7"])))
    assert "exit 7" in caught.value.output
    assert not bench.workspace.root.exists()
    assert bench.store.put_log == []
    assert IMAGE not in bench.engine.images


def test_an_engine_that_is_down(bench: Bench) -> None:
    bench.engine.down = True
    with pytest.raises(EngineUnreachable):
        bench.apply()
    assert not bench.workspace.root.exists()


def test_exports_of_the_image_session_survive_a_new_build(bench: Bench) -> None:
    plan = service_plan(service_text(**SECRETS, dirs=["/app"]))
    done = bench.apply(plan)
    share_image(bench.store, ImageShare(done.facts, ("shop/web",)), FakeKeys())
    bench.main.write_text("print(3)")
    again = bench.apply(plan)
    assert again.session is not None
    assert again.session.outcome == "updated"
    stored = bench.store.read(again.facts.image_session)
    assert stored is not None
    assert "shop/web" in stored.text


def test_existing_images_are_converted_without_a_build(bench: Bench) -> None:
    bench.engine.images["native:1"] = image({"/bin/app": elf_file()}, env=("A=1",), User="1000", Cmd=["/bin/app"])
    plan = service_plan(service_text(kind="sconify_image", from_="native:1", command="/bin/app", binaries=["/bin/app"]))
    bench.apply()  # so that the launcher is there
    bench.quiet()
    done = bench.apply(plan)
    assert bench.engine.count("build") == 0
    config = bench.engine.images[IMAGE].info.config
    assert config["User"] == "1000"
    assert "Cmd" not in config
    assert "Env" not in config
    assert [(v.name, v.value) for v in done.facts.environment.image] == [("A", "1")]
    with pytest.raises(PlanImpossible, match="/bin/gone"):
        bench.apply(service_plan(service_text(kind="sconify_image", from_="native:1", binaries=["/bin/gone"])))


def test_an_image_with_volumes(bench: Bench) -> None:
    native = image({"/bin/app": elf_file(), "/V1/a": b"OLD", "/V1/b": b"OLD"}, Cmd=["/bin/app"], Volumes={"/V1": {}})
    bench.engine.images["native:1"] = native
    volumes = [{"name": "V1", "path": "/V1", "tags": "bounded"}, {"name": "w", "path": "/srv/w"}]
    text = service_text(kind="sconify_image", from_="native:1", command="/bin/app", volumes=volumes)
    done = bench.apply(service_plan(text))
    made = bench.engine.images[IMAGE]
    assert "Volumes" not in made.info.config
    assert (made.root["/V1"][1], made.root["/srv/w"][1]) == ("/scone/memory/volumes/V1", "/scone/memory/volumes/w")
    assert not any(b"OLD" in layer for layer in made.layers)
    label = ImageLabel.read(IMAGE, made.info.labels)
    assert label.parameters["volumes"] == '{"V1":{"tags":"bounded"}}' == done.facts.parameters["volumes"]
    left = "what the native image has in /V1 (2 files and directories) is left out: the volume V1 begins empty"
    assert bench.remarks.count(left) == 1
    assert sum("Volumes (/V1)" in remark for remark in bench.remarks) == 1


@pytest.mark.parametrize(
    ("user", "numbers"),
    [
        ("", (0, 0)),
        ("0", (0, 0)),
        ("1000:50", (1000, 50)),
        ("app", (999, 998)),
        ("7", (7, 0)),
    ],
)
def test_user_and_ports_of_the_image_are_known_to_everybody(bench: Bench, user: str, numbers: tuple[int, int]) -> None:
    accounts = {"/etc/passwd": b"app:x:999:998::/:/bin/sh\n"}
    ports: dict[str, Any] = {name: {} for name in ("8443/tcp", "53/udp", "80", "99999/tcp", "http/tcp")}
    bench.engine.images["native:1"] = image(
        {"/bin/app": elf_file(), **accounts}, Cmd=["/bin/app"], User=user, ExposedPorts=ports
    )
    done = bench.apply(service_plan(service_text(kind="sconify_image", from_="native:1", command="/bin/app")))
    label = ImageLabel.read(IMAGE, bench.engine.images[IMAGE].info.labels)
    for known in (done.facts, label):
        assert (known.user, known.group, known.exposed) == (*numbers, (80, 8443))


# --- what must stay unreadable --------------------------------------------------------------------------------------


def everything(archive: bytes) -> bytes:
    """Return the bytes of all files in nested tars, and their names."""
    found = archive
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            reader = tar.extractfile(member) if member.isreg() else None
            if reader is not None and member.name.endswith(".tar"):
                found += everything(reader.read())
    return found


def test_keys_and_values_are_in_nothing_that_the_engine_or_target_gets(bench: Bench) -> None:
    bench.apply(service_plan(service_text(**SECRETS, dirs=["/app"])))
    key = FakeKeys().image_key("registry.example.org/web")
    handed = [everything(archive) for archive in bench.engine.archives]
    assert any(b"io.sconectl.image" in part for part in handed)
    in_target = [path.read_bytes() for path in bench.workspace.root.rglob("*") if path.is_file()]
    for part in [
        *handed,
        *map(everything, bench.engine.contexts),
        *in_target,
        *(c.encode() for c in bench.engine.calls),
    ]:
        for form in (key, key.hex().encode()):
            assert form not in part
    for part in handed:
        assert b"hunter" not in part
        assert b"print(1)" not in part  # encrypted
    label = bench.engine.images[IMAGE].info.labels[LABEL]
    assert "hunter" not in label
    assert json.loads(label)["facts_digest"] == bench.record().facts.digest()


def test_the_context_holds_no_values_and_no_user_text_outside_json(bench: Bench) -> None:
    bench.apply(service_plan(service_text(**SECRETS, run=["write /x '\nFROM evil'"])))
    for context in bench.engine.contexts:
        assert b"hunter" not in everything(context)
        dockerfile = root_of(context)["/Dockerfile"][1]
        assert isinstance(dockerfile, bytes)
        assert dockerfile.count(b"FROM ") - dockerfile.count(b" FROM ") == 1
        assert sum(line.startswith(b"FROM") for line in dockerfile.splitlines()) == 1


def test_two_machines_with_one_key_make_the_same_image(bench: Bench, tmp_path: Path) -> None:
    first = bench.apply(service_plan(service_text(**SECRETS, dirs=["/app"])))
    (tmp_path / "two").mkdir()
    other = Bench(
        FakeEngine(images={"base:1": PYTHON}),
        MemorySessionStore(tmp_path / "two"),
        DiskWorkspace(tmp_path / "two/target"),
        tmp_path / "two",
    )
    second = other.apply(service_plan(service_text(**SECRETS, dirs=["/app"])))
    assert second.facts == first.facts
    assert other.record() == bench.record()
