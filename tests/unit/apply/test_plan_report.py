"""The plan before the build: steps, classes and sizes of paths, and what the image's files say against it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes.builders import facts, service_plan, service_text
from fakes.engine import FakeEngine, FakeRegistry, image
from fakes.members import directory, file, hard_link, link, special, tree

from sconectl.apply.image_findings import needs_contents
from sconectl.apply.native import NativeSources
from sconectl.apply.sources.requirements import Requirements
from sconectl.errors import BuildFailed
from sconectl.image.build.native_build import CopiedFile
from sconectl.image.layers.layer_index import Member
from sconectl.image.layers.root_tree import RootTree
from sconectl.manifest.reading.reader import read_manifest
from sconectl.plan.service.service import ServicePlan
from sconectl.ports import ImageInfo
from sconectl.report.plan_words import amounts, as_document, measured, readable, size_text
from sconectl.usecases.apply_service import EarlierRuns
from sconectl.usecases.plan_report import PlanReport, PlanWorld, report_plan

BASE = (
    directory("/usr/bin"),
    file("/usr/bin/python3", b"x" * 4096, 0o755),
    link("/bin", "usr/bin"),
    file("/usr/bin/su", b"su", 0o4755),
    file("/tmp/left", b"left", 0o4755),
    directory("/data"),
    file("/data/a", b"aa"),
    file("/data/b", b"bbb"),
)


class WithAccounts(RootTree):
    """Files whose contents are at hand, too: each is the account of root."""

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        return b"root:x:0:0::/root:/bin/sh\n"


def report(
    text: str,
    *members: Member,
    sources: NativeSources | None = None,
    engine: FakeEngine | None = None,
    volumes: tuple[str, ...] = (),
    **world: Any,
) -> PlanReport:
    used = engine or FakeEngine(images={"base:1": image({}, Volumes={path: {} for path in volumes})})
    asked: list[str] = []

    @contextmanager
    def files(reference: str, info: ImageInfo) -> Iterator[RootTree]:
        asked.append(reference)
        found = tree(*(members or BASE))
        yield WithAccounts(**vars(found)) if needs_contents(service_plan(text), info) else found

    document = read_manifest(text, "service.yaml", {}).document
    given = PlanWorld(engine=used, registry=lambda: FakeRegistry(used.remote), files=files, **world)
    found = report_plan(service_plan(text), sources or NativeSources(), document, given)
    assert {call.split()[0] for call in used.calls} == {"inspect"}, "a plan builds, pulls and loads nothing"
    assert len(asked) == (0 if found.base.missing else 1)
    return found


def states(found: PlanReport) -> dict[str, str]:
    return {step.name: step.state for step in found.steps}


def said(found: PlanReport, severity: str = "error") -> list[tuple[str, str]]:
    return [(finding.path, finding.message) for finding in found.findings if finding.severity == severity]


@pytest.fixture
def sources(tmp_path: Path) -> NativeSources:
    main = tmp_path / "main.py"
    main.write_bytes(b"print(1)\n")
    files = (
        CopiedFile("/app/lib", 0o755),
        CopiedFile("/app/lib/link", 0o777, link="../main.py"),
        CopiedFile("/app/main.py", 0o644, main),
    )
    return NativeSources(files, Requirements("requirements.txt", {"requirements.txt": b"flask\n"}))


def test_every_path_has_a_class_and_a_reason(sources: NativeSources) -> None:
    text = service_text(
        dirs=["/data"],
        host_paths=["/usr/bin/su"],
        requirements="requirements.txt",
        run=["make"],
        injection_files=[{"path": "/etc/app.conf", "content": "hunter2"}],
    )
    found = report(text, sources=sources)
    rows = {row.path: (row.rule.protection, row.kind, row.size, row.origin, row.rule.why) for row in found.paths}
    assert list(rows) == sorted(rows)
    assert rows["/usr/bin/python3"] == ("binary-fs", "f", 4096, "image", "default")
    assert rows["/data"] == ("encrypted", "d", 0, "image", "build.dirs")
    assert rows["/data/b"] == ("encrypted", "f", 3, "image", "build.dirs")
    assert rows["/usr/bin/su"] == ("host path", "f", 2, "image", "build.host_paths")
    assert rows["/tmp/left"][0] == "runtime-provided"
    assert rows["/app/main.py"] == ("binary-fs", "f", 9, "copy", "default")
    assert rows["/app/lib/link"] == ("binary-fs", "l", 0, "copy", "default")
    assert rows["/app"] == ("binary-fs", "d", 0, "build", "default")
    assert rows["/etc/app.conf"] == ("injected", "l", 0, "policy", "injection_files")
    assert rows["/etc"][0] == "binary-fs"
    assert found.unknown == (
        "made by requirements: not known before the build",
        "made by run (make): not known before the build",
    )
    by_path = {rule.path: amount for rule, amount in amounts(found)}
    assert (by_path["/data"].files, by_path["/data"].size) == (2, 5)
    assert by_path["/"].size == 4096 + 9
    assert said(found) == []
    assert "hunter2" not in repr(as_document(found))


def test_steps_in_order_and_which_would_be_done(sources: NativeSources) -> None:
    text = service_text(requirements="r.txt", run=["a", "b"], signature={"sign": True})
    names = ["image", "requirements", "copy", "run", "run", "launcher", "protect", "sign", "load", "push", "session"]
    plan = service_plan(text)
    expected = names if plan.signed else [name for name in names if name != "sign"]
    first = report(text, sources=sources)
    assert [step.name for step in first.steps] == expected
    assert states(first) == dict.fromkeys(expected, "to do") | {"image": "unchanged", "session": "checked"}
    again = report(text, sources=sources, earlier=EarlierRuns(launcher=True, facts=facts(), pushed=True))
    assert states(again) == dict.fromkeys(expected, "unchanged") | {"session": "checked"}
    pending = report(text, sources=sources, earlier=EarlierRuns(launcher=True, facts=facts()))
    assert [name for name, state in states(pending).items() if state == "to do"] == ["push"]
    local = report(text, sources=sources, push=False, session=False, earlier=EarlierRuns(launcher=True))
    assert {"push", "session"}.isdisjoint(states(local))
    assert states(local)["launcher"] == "unchanged"


def test_java_sources_are_compiled_and_not_copied(tmp_path: Path) -> None:
    source = tmp_path / "Main.java"
    source.write_text("class Main {}")
    files = (CopiedFile("/app/Main.java", 0o644, source), CopiedFile("/app/data.txt", 0o644, source))
    found = report(service_text(), sources=NativeSources(files, class_path=("/app",)))
    assert [(step.name, step.what) for step in found.steps][1:3] == [
        ("copy", "files below /app: 1"),
        ("compile", "Java sources: 1"),
    ]
    assert found.unknown == ("made by compile: not known before the build",)
    assert "/app/Main.java" not in {row.path for row in found.paths}


def test_an_image_that_has_to_be_pulled_is_not_pulled(sources: NativeSources) -> None:
    remote = image({}, Volumes={"/var/lib/x": {}})
    found = report(service_text(), sources=sources, engine=FakeEngine(remote={"base:1": remote}))
    assert (found.base.digest, found.base.missing) == (remote.info.id, "has to be pulled")
    assert states(found)["image"] == "to do"
    assert found.unknown == ("in base:1: not known before it is pulled",)
    assert found.rules["/var/lib/x"].why == "image volume"
    assert [row.path for row in found.paths if row.origin == "copy"] == [entry.path for entry in sources.files]


def test_an_image_that_nobody_has_is_named() -> None:
    with pytest.raises(BuildFailed, match="there is no image base:1"):
        report(service_text(), engine=FakeEngine())


def test_a_registry_that_does_not_answer_is_no_fault_of_the_plan() -> None:
    def broken() -> FakeRegistry:
        return FakeRegistry({}, failure=lambda: BuildFailed("the registry r answers 401"))

    plan: ServicePlan = service_plan(service_text())
    document = read_manifest(service_text(), "service.yaml", {}).document
    world = PlanWorld(engine=FakeEngine(), registry=broken, files=lambda _name, _info: pytest.fail("not asked for"))
    found = report_plan(plan, NativeSources(), document, world)
    assert found.base.digest == ""
    assert "answers 401" in found.base.missing


def test_what_cannot_be_protected_is_found_before_the_build() -> None:
    members = (*BASE, special("/srv/pipe", "p"), special("/dev/null", "c"), hard_link("/data/python3", "/usr/bin/su"))
    text = service_text(dirs=["/data"])
    found = report(text, *members)
    assert found.setuid == ("/data/python3", "/usr/bin/su")
    rights = "with the rights of another user or group (setuid)"
    assert said(found, "warning") == [("build.kind", f"1 protected file runs {rights}: /usr/bin/su")]
    assert said(found) == [
        ("build.kind", "/srv/pipe is a FIFO, which cannot be protected"),
        ("build.kind", "/usr/bin/su (protected) is a hard link to /data/python3 (encrypted)"),
        (
            "build.kind",
            f"1 encrypted file runs {rights}: /data/python3; such files cannot be encrypted",
        ),
    ]
    mended = report(service_text(dirs=["/data"], run=["rm /srv/pipe /data/python3"]), *members)
    assert said(mended) == []
    assert len(said(mended, "warning")) == 4


def test_paths_that_are_not_in_the_image() -> None:
    text = service_text(
        dirs=["/nowhere", "/data/a", "/lib/sub"],
        fs_files=["/usr/bin/python4"],
        binaries=["/opt/x", "python3", "/bin/python3"],
        plains=["/cache"],
        host_paths=["/sbin"],
    )
    found = report(text, *BASE, link("/sbin", "usr/bin"))
    assert said(found) == [
        ("build.dirs[0]", "/nowhere is not in the image"),
        ("build.dirs[1]", "/data/a is not a directory of the image"),
        ("build.dirs[2]", "/lib/sub is not in the image"),
        ("build.fs_files[0]", "/usr/bin/python4 is not in the image"),
        ("build.binaries[0]", "/opt/x is not in the image"),
    ]
    assert said(found, "warning")[1:] == [
        ("build.plains[0]", "/cache is not in the image"),
        ("build.host_paths[0]", "/sbin is a link, or behind one, in the image"),
    ]
    assert said(report(service_text(dirs=["/nowhere"], run=["mkdir /nowhere"]))) == []


def test_copied_paths_are_in_the_image(sources: NativeSources) -> None:
    assert said(report(service_text(dirs=["/app/lib"], fs_files=["/app/main.py"]), sources=sources)) == []


def test_places_of_injected_files() -> None:
    paths = ["/data", "/bin/x", "/usr/bin/su/x", "/etc/c"]
    found = report(service_text(injection_files=[{"path": path, "content": ""} for path in paths]))
    assert said(found) == [
        ("injection_files[0].path", "the image has a directory there"),
        ("injection_files[1].path", "/bin is a link in the image"),
        ("injection_files[2].path", "/usr/bin/su is a file in the image"),
    ]


def test_injected_files_that_the_user_cannot_get_at() -> None:
    """The files of a native image belong to its user; a built one runs as root, and the chart without capabilities."""
    closed = Member("/etc/redis", "d", 0o750, 102, 103)
    injection = [{"path": path, "content": ""} for path in ("/etc/redis/redis.conf", "/etc/hosts")]
    reason = "may not enter /etc/redis (user 102, group 103, mode 0750)"
    found = report(service_text(injection_files=injection), *BASE, closed)
    assert said(found, "warning")[-1:] == [
        ("injection_files[0].path", f"root without capabilities, as the chart starts it, {reason}")
    ]
    native = image({}, User="33")
    text = service_text(kind="sconify_image", **{"from": "native:1"}, command="/usr/bin/su", injection_files=injection)
    found = report(text, *BASE, closed, engine=FakeEngine(images={"native:1": native}))
    assert [fault for fault in said(found) if fault[0].startswith("injection")] == [
        ("injection_files[0].path", f"user 33 of the image {reason}"),
        (
            "injection_files[1].path",
            "/etc/hosts is written where the container runtime has it, which user 33 of the image may not",
        ),
    ]


@pytest.mark.parametrize("user", ["", "0", "33"])
def test_who_a_built_image_runs_as_is_found_out_with_the_files_at_hand(user: str) -> None:
    accounts = file("/etc/passwd", b"")
    engine = FakeEngine(images={"base:1": image({}, User=user)})
    found = report(
        service_text(injection_files=[{"path": "/etc/hosts", "content": ""}]), *BASE, accounts, engine=engine
    )
    assert len(said(found)) == (1 if user == "33" else 0)


@pytest.mark.parametrize("run", [[], ["chmod 755 /etc/redis"]])
def test_a_built_image_runs_as_the_user_of_its_base(run: list[str]) -> None:
    closed = Member("/etc/redis", "d", 0o750, 102, 103)
    injection = [{"path": path, "content": ""} for path in ("/etc/redis/redis.conf", "/etc/hosts")]
    engine = FakeEngine(images={"base:1": image({}, User="33")})
    found = report(service_text(injection_files=injection, run=run), *BASE, closed, engine=engine)
    in_place = ("injection_files[1].path", "which user 33 of the image may not")
    errors = [(path, message[-len(in_place[1]) :]) for path, message in said(found)]
    assert in_place in errors
    assert len(errors) == (1 if run else 2)  # a step may open the directory, and no step changes who the user is


def test_volumes_of_the_image_cannot_be_protected() -> None:
    found = report(service_text(dirs=["/data"]), volumes=("/data/v",))
    assert said(found) == [("build.dirs[0]", "cannot be protected: the native image declares /data/v as a volume")]
    found = report(service_text(fs_files=["/data/a"]), volumes=("/data",))
    assert said(found) == [("build.fs_files[0]", "cannot be protected: the native image declares /data as a volume")]


def test_what_the_image_has_where_a_volume_comes() -> None:
    text = service_text(volumes=[{"name": "V1", "path": "/data"}])
    found = report(text)
    left = "what the native image has in /data (2 files and directories) is left out: the volume V1 begins empty"
    assert ("build.volumes[0].path", left) in said(found, "warning") and said(found) == []
    assert [row.rule.protection for row in found.paths if row.path.startswith("/data")] == ["volume"] * 3
    assert said(report(text, volumes=("/data", "/data/inner"))) == []
    over = said(report(service_text(volumes=[{"name": "v", "path": "/srv/db"}]), volumes=("/srv",)))
    message = "cannot be a volume: the native image declares /srv as one, which is mounted over it"
    assert over == [("build.volumes[0].path", message)]


@pytest.mark.parametrize(("path", "what"), [("/bin", "/bin is a link"), ("/bin/v", "/bin is a link"),
    ("/data/a", "/data/a is a file")])  # fmt: skip
def test_a_volume_is_a_directory(path: str, what: str) -> None:
    volumes = [{"name": "v", "path": path}]
    assert ("build.volumes[0].path", f"{what} in the image") in said(report(service_text(volumes=volumes)))
    later = report(service_text(volumes=volumes, run=["true"]))
    assert ("build.volumes[0].path", f"{what} in the image") in said(later, "warning")


def test_devices_and_links_below_a_volume_do_not_matter() -> None:
    text = service_text(volumes=[{"name": "v", "path": "/data"}])
    members = [*BASE, special("/data/pipe", "p"), Member("/opt/a", "f", 0o644, target="/data/a", digest="00")]
    assert said(report(text, *members, directory("/opt"))) == []


def test_the_words_say_who_reads_what() -> None:
    text = service_text(
        dirs=["/data"],
        host_paths=["/opt/host"],
        environment={"local": [{"name": "A", "value": "hunter2"}]},
        injection_files=[{"path": "/etc/app.conf", "content": "hunter3"}],
    )
    found = report(text)
    lines = "\n".join([*measured(found), *readable(found)])
    assert "encrypted: neither contents nor names; that there is /data" in lines
    assert "everything in /opt/host, and may change it" in lines
    assert "that there is /etc/app.conf" in lines
    assert "of 1 variable and 0 secrets" in lines
    assert "SIMULATION" in lines
    assert "heap=67108864" in lines
    assert "mode=" not in lines
    assert "hunter" not in lines


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0"), (999, "999"), (1000, "1.0K"), (1024, "1.0K"), (102400, "100K"), (1 << 20, "1.0M"), (5 << 40, "5.0T")],
)
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text
    assert len(size_text(size)) <= 6
