"""What is remembered of layers is believed only as it was written, whoever else writes at the same time."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sconectl.image.layers.layer_cache import LayerCache
from sconectl.image.layers.layer_index import Member

KEY = hashlib.sha256(b"a layer").hexdigest()
OTHER = hashlib.sha256(b"another layer").hexdigest()
MEMBERS = tuple(Member(f"/a/{number}", "f", 0o644, size=3, digest=OTHER, offset=512 * number) for number in range(20))


def kept(folder: Path) -> LayerCache:
    cache = LayerCache(folder / "layers")
    cache.keep_members(KEY, MEMBERS)
    assert cache.members(KEY) == MEMBERS
    return cache


def test_no_changed_byte_is_believed(tmp_path: Path) -> None:
    cache = kept(tmp_path)
    file = tmp_path / "layers" / f"{KEY}.json"
    good = file.read_bytes()
    draw = random.Random(7)
    changed = [good[:length] for length in range(0, len(good), 41)]
    changed += [
        good + b" ",
        good + good,
        good[1:],
        bytes(len(good)),
        good.replace(b"0", b"1"),
        good.replace(b'"f"', b'"d"'),
    ]
    for _ in range(300):
        place = draw.randrange(len(good))
        changed.append(good[:place] + bytes([good[place] ^ draw.randrange(1, 256)]) + good[place + 1 :])
    for content in changed:
        file.write_bytes(content)
        assert cache.members(KEY) is None
        assert not file.exists()  # it is made again
    cache.keep_members(KEY, MEMBERS)
    assert file.read_bytes() == good


def test_what_belongs_to_another_layer_is_not_believed(tmp_path: Path) -> None:
    cache = kept(tmp_path)
    (tmp_path / "layers" / f"{KEY}.json").rename(tmp_path / "layers" / f"{OTHER}.json")
    assert cache.members(OTHER) is None
    assert not list((tmp_path / "layers").iterdir())


def test_what_was_there_before_files_had_checksums_is_made_again(tmp_path: Path) -> None:
    cache = kept(tmp_path)
    document = {"format": "layer-1", "key": KEY, "value": f"sha256:{OTHER}"}
    (tmp_path / "layers" / f"{KEY}.json").write_text(json.dumps(document))
    assert cache.value(KEY) is None


@pytest.mark.parametrize("kind", ["fifo", "folder", "link to nothing", "link to itself"])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    cache = kept(tmp_path)
    place = tmp_path / "layers" / f"{KEY}.json"
    place.unlink()
    match kind:
        case "fifo":
            os.mkfifo(place)
        case "folder":
            place.mkdir()
        case _:
            place.symlink_to("nothing" if kind == "link to nothing" else place.name)
    assert cache.value(KEY) is None
    cache.keep(KEY, 1)
    assert kind == "folder" or cache.value(KEY) == 1


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777, 0o1777])
def test_a_directory_that_others_can_write_to_is_not_believed(tmp_path: Path, mode: int) -> None:
    cache = kept(tmp_path)
    (tmp_path / "layers").chmod(mode)
    assert cache.members(KEY) is None
    cache.keep(OTHER, 1)
    assert [path.stem for path in (tmp_path / "layers").iterdir()] == [KEY]
    (tmp_path / "layers").chmod(0o755)
    assert cache.members(KEY) == MEMBERS


def test_a_directory_of_somebody_else_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = kept(tmp_path)
    somebody = os.geteuid() + 1
    monkeypatch.setattr("os.geteuid", lambda: somebody)
    assert cache.members(KEY) is None
    cache.keep(OTHER, 1)
    assert [path.stem for path in (tmp_path / "layers").iterdir()] == [KEY]


def test_a_directory_that_is_a_link_is_not_believed(tmp_path: Path) -> None:
    kept(tmp_path)
    (tmp_path / "link").symlink_to("layers")
    assert LayerCache(tmp_path / "link").members(KEY) is None


WRITER = """
import random, sys
from pathlib import Path
from sconectl.image.layers import layer_cache
layer_cache._KEPT = 5
cache, draw = layer_cache.LayerCache(Path(sys.argv[1])), random.Random(sys.argv[2])
found = 0
while found < int(sys.argv[3]):
    number = draw.randrange(8)
    cache.keep(f"key-{number}", [number] * 20000)
    number = draw.randrange(8)
    value = cache.value(f"key-{number}")
    assert value in (None, [number] * 20000), number
    found += value is not None
    if draw.random() < 0.1:  # somebody's disk is bad
        Path(sys.argv[1], f"key-{number}.json").write_bytes(b"x" * draw.randrange(9000))
"""


def writer(folder: Path, name: str, finds: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), name, str(finds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_processes_that_write_and_read_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "layers"
    killed = writer(folder, "0", 10**9)
    others = [writer(folder, name, 50) for name in "12"]
    for process in others:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    assert killed.poll() is None
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    cache = LayerCache(folder)
    for number in range(8):
        assert cache.value(f"key-{number}") in (None, [number] * 20000)


def test_what_dead_processes_left_is_removed_and_what_others_write_is_not(tmp_path: Path) -> None:
    cache = kept(tmp_path)
    left, written = tmp_path / "layers" / ".new-left", tmp_path / "layers" / ".new-written"
    for file in (left, written):
        file.write_bytes(b"half")
    os.utime(left, (1, 1))
    cache.keep(OTHER, 1)
    assert not left.exists()
    assert written.exists()
