"""Images and files that cannot be protected, or hardly: one clear message each, or a protected image."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .bad_inputs import FILE_SIZE, PROGRAM, Bench, member, refused, tiny_program
from .registry import running_registry
from .world import SCONECTL, free_port, must, run

ENTRY = 'ENTRYPOINT ["/app/program"]'
SPECIAL = {"character": tarfile.CHRTYPE, "block": tarfile.BLKTYPE, "fifo": tarfile.FIFOTYPE}
SYMBOLIC, HARD = tarfile.SYMTYPE, tarfile.LNKTYPE


def index_of(bench: Bench) -> dict[str, Any]:
    """Return the index of protected files of the image that was made."""
    container = must(bench.engine.docker("create", bench.target)).out.strip()
    file = bench.world.root / "index.json"
    must(bench.engine.docker("cp", f"{container}:/scone/image/index.json", file))
    must(bench.engine.docker("rm", container))
    found: dict[str, Any] = json.loads(file.read_bytes())
    return found


def test_an_unknown_base_image(bench: Bench, tmp_path: Path) -> None:
    with running_registry(tmp_path) as registry, bench.nothing_left():
        image = f"{registry.address}/none:1"
        file = bench.manifest(**{"from": image})
        refused(bench.apply(file, "-n"), 5, f"pulling {image}", "not found", "--base-image")
    with bench.nothing_left():
        nowhere = f"127.0.0.1:{free_port('127.0.0.1')}/none:1"
        refused(bench.apply(bench.manifest(**{"from": nowhere}), "-n"), 5, nowhere, "--base-image", "does 127.0.0.1")


def foreign_image(bench: Bench) -> str:
    """Load an image that says it is for another processor."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        info, content = PROGRAM
        tar.addfile(info, io.BytesIO(content or b""))
    config = {
        "architecture": "arm64",
        "os": "linux",
        "config": {"Entrypoint": ["/app/program"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": ["bad/foreign:1"], "Layers": ["layer.tar"]}]
    archive = bench.world.root / "foreign.tar"
    with tarfile.open(archive, "w") as tar:
        for name, data in (
            ("config.json", json.dumps(config).encode()),
            ("layer.tar", layer.getvalue()),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            tar.addfile(member(name, data)[0], io.BytesIO(data))
    must(bench.engine.docker("load", "--input", archive))
    bench.made.append("bad/foreign:1")
    return "bad/foreign:1"


def test_an_image_for_another_processor(bench: Bench) -> None:
    image = foreign_image(bench)
    with bench.nothing_left():
        refused(bench.apply(bench.convert(image), "-n"), 5, f"{image} is an image for arm64", "linux/amd64")
        refused(bench.apply(bench.manifest(**{"from": image}), "-n"), 5, f"{image} is an image for arm64")


def test_a_program_for_another_processor(bench: Bench) -> None:
    program = bytearray(tiny_program())
    program[18] = 183  # AArch64
    image = bench.image("processor", [member("app/program", bytes(program))], ENTRY)
    with bench.nothing_left():
        refused(bench.apply(bench.convert(image), "-n"), 4, "/app/program", "arm64")


def sconify(bench: Bench, image: str, *words: str) -> Any:
    return bench.sconectl(
        "sconify-image", f"--from={image}", f"--to={bench.target}", "--namespace=bad", "--name=bad",
        "--create-namespace", "--cas=local", *words,
    )  # fmt: skip


def test_an_image_without_entry_point(bench: Bench) -> None:
    image = bench.image("no-entry", [PROGRAM])
    with bench.nothing_left():
        refused(sconify(bench, image), 4, f"{image} has no entry point and no command", "--command")


def test_a_program_that_is_not_there(bench: Bench) -> None:
    image = bench.image("no-binary", [PROGRAM, member("usr/bin/programme", tiny_program())], ENTRY, "ENV PATH=/usr/bin")
    with bench.nothing_left():
        refused(bench.apply(bench.convert(image, command="program --now"), "-n"), 4, "program", "/usr/bin/programme")
        refused(bench.apply(bench.convert(image, binaries=["/app/progam"]), "-n"), 4, "/app/progam", "did you mean")


def test_setuid_files(bench: Bench) -> None:
    image = bench.image("setuid", [PROGRAM, member("opt/su", tiny_program(), mode=0o4755)], ENTRY)
    with bench.nothing_left():
        refused(bench.apply(bench.convert(image, dirs=["/opt"]), "-n"), 5, "/opt/su", "set-uid")
    shown = must(bench.sconectl("plan", "-f", bench.convert(image)))
    assert "/opt/su" in shown.err and "setuid" in shown.err
    must(bench.apply(bench.convert(image), "-n"))


def test_device_nodes(bench: Bench) -> None:
    nodes = [member(f"app/{name}", type=kind, devmajor=1, devminor=3) for name, kind in SPECIAL.items()]
    image = bench.image("device", [PROGRAM, *nodes], ENTRY)
    texts = ["device", "FIFO", *(f"/app/{name}" for name in SPECIAL)]
    with bench.nothing_left():
        refused(bench.apply(bench.convert(image), "-n"), 5, "host_paths", *texts)
        refused(bench.apply(bench.convert(image, dirs=["/app"]), "-n"), 5, *texts)


def test_hard_links_across_classes(bench: Bench) -> None:
    files = [PROGRAM, member("secret/file", b"x"), member("plain/link", type=HARD, linkname="secret/file")]
    image = bench.image("links", files, ENTRY)
    with bench.nothing_left():
        file = bench.convert(image, dirs=["/secret"], plains=["/plain"])
        refused(bench.apply(file, "-n"), 5, "/secret/file", "/plain/link", "hard link")


def test_a_hundred_thousand_files(bench: Bench) -> None:
    many = [member(f"many/{number % 100:02}/{number:06}", b"%d" % number) for number in range(100_000)]
    file = bench.convert(bench.image("many", [PROGRAM, *many], ENTRY), dirs=["/many/00"])
    must(bench.apply(file, "-n"))
    assert len(index_of(bench)["entries"]) > 99_000
    assert [*bench.temporary.iterdir()] == []


MEASURED = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:])
_, status, usage = os.wait4(process.pid, 0)
print(usage.ru_maxrss)
sys.stdout.flush()
os._exit(os.waitstatus_to_exitcode(status))
"""
"""Runs a command and prints its largest memory in KiB, which begins with that of its parent: a small one here."""


def test_one_large_file(bench: Bench) -> None:
    """The memory that sconectl takes does not depend on the size of files."""
    info, _ = member("app/large")
    info.size = FILE_SIZE
    words = ["docker", "--host", bench.engine.host, "import", "--change", ENTRY, "-", "bad/large:1"]
    bench.made.append("bad/large:1")
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as importing:
        with tarfile.open(fileobj=importing.stdin, mode="w|") as tar, Path("/dev/zero").open("rb") as zeros:
            tar.addfile(PROGRAM[0], io.BytesIO(tiny_program()))
            tar.addfile(info, zeros)
        assert importing.stdin is not None
        importing.stdin.close()
    sealed: tuple[list[str], ...] = ([], ["/app"])
    for dirs in sealed:
        file = bench.convert("bad/large:1", command="/app/program", dirs=dirs)
        command = [str(SCONECTL), "apply", "-f", str(file), "-n"]
        environment = {**bench.world.environment, **bench.settings}
        done = must(
            run(
                [sys.executable, "-I", "-c", MEASURED, *command, "--cas", "local"],
                env=environment,
                cwd=bench.world.root,
            )
        )
        memory = int(done.out.splitlines()[-1])
        assert memory < 300 << 10, f"{memory} KiB"
    assert [*bench.temporary.iterdir()] == []


NAMES = [b"two\nlines", b"\xff\xfenot utf-8", "größe".encode(), b'"quoted" $HOME `id`', b"\x1b[31mred", b"a" * 255]


def test_names_that_are_no_text(bench: Bench) -> None:
    members = [PROGRAM, member("names", None), *(member(b"names/" + name, name) for name in NAMES)]
    image = bench.image("names", members, ENTRY)
    must(bench.apply(bench.convert(image), "-n"))
    assert sum(path.startswith("/names/") for path in index_of(bench)["entries"]) == len(NAMES)
    must(bench.apply(bench.convert(image, dirs=["/names"]), "-n"))
    done = must(bench.sconectl("plan", "-f", bench.convert(image, dirs=["/names"])))
    assert "\x1b" not in done.text
    bad = member(b"app/\x1b[31mred\nline", type=tarfile.FIFOTYPE)
    image = bench.image("names-of-bad", [PROGRAM, bad], ENTRY)
    err = refused(bench.apply(bench.convert(image), "-n"), 5, "FIFO")
    assert "\x1b" not in err and "red\nline" not in err


def test_names_that_are_no_text_in_the_project(bench: Bench) -> None:
    file = bench.manifest("names", copy=["data", "main.py"], pwd="/app")
    folder = os.fsencode(file.parent / "data")
    os.mkdir(folder)  # noqa: PTH102 (bytes)
    for name in NAMES:
        with open(os.path.join(folder, name), "wb") as content:  # noqa: PTH118, PTH123
            content.write(name)
    (file.parent / "main.py").write_text("print()")
    must(bench.apply(file, "-n"))
    assert sum(path.startswith("/app/data/") for path in index_of(bench)["entries"]) == len(NAMES)


def test_symbolic_links_that_loop_or_lead_out(bench: Bench) -> None:
    links = [
        member("app/a", type=SYMBOLIC, linkname="b"),
        member("app/b", type=SYMBOLIC, linkname="a"),
        member("app/self", type=SYMBOLIC, linkname="self"),
        member("app/out", type=SYMBOLIC, linkname="../../../../etc/shadow"),
    ]
    image = bench.image("loops", [PROGRAM, *links], ENTRY)
    must(bench.apply(bench.convert(image), "-n"))
    assert index_of(bench)["entries"]["/app/out"] == ["l", "../../../../etc/shadow"]
    with bench.nothing_left():
        refused(
            bench.apply(bench.convert(image, command="/app/a"), "-n"),
            4,
            "the program /app/a is not in the image",
            "/app/program",
        )


@pytest.fixture
def project(bench: Bench) -> Iterator[Path]:
    folder = bench.world.root / "project"
    folder.mkdir(exist_ok=True)
    (folder / "main.py").write_text("print()")
    yield folder


def test_links_in_the_project_that_loop_or_lead_out(bench: Bench, project: Path) -> None:
    for name, target in (("loop", "loop"), ("out", "/etc/hostname"), ("up", "../../etc/hostname")):
        link = project / name
        link.symlink_to(target)
        with bench.nothing_left():
            refused(bench.apply(bench.manifest("project", copy=[name]), "-n"), 4, "SC1005", "build.copy[0]")
        link.unlink()


@pytest.mark.parametrize("path", ["../../etc/shadow", "/etc/shadow", "a/../../../etc/shadow"])
def test_files_outside_the_project(bench: Bench, project: Path, path: str) -> None:
    with bench.nothing_left():
        refused(bench.apply(bench.manifest("project", copy=[path]), "-n"), 3, "SC1002", "build.copy[0]")


def test_requirements_that_need_a_compiler(bench: Bench, project: Path) -> None:
    (project / "requirements.txt").write_text("netifaces==0.11.0\n")  # its newest wheels are for Python 3.9
    file = bench.manifest("project", copy=["main.py"], requirements="requirements.txt", pwd="/app")
    with bench.nothing_left():
        refused(bench.apply(file, "-n"), 5, "a build step failed", "compil", "base image")
