"""What happens to volumes on a machine: mounts that are missing, wrong, full or used by two, and files of all kinds.

SCONECTL_TEST_SMALL_FILES is how many small files there are in one test, SCONECTL_TEST_LARGE_FILE how many MiB a large
one has; in `make nightly` that is 100,000 and 1,024.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator

import pytest

from .confidential import Confidential, address_of, await_end, converted
from .databases.clients import IMAGE, Refused, Told
from .world import World, docker, is_running, logs, must

SMALL_FILES = int(os.environ.get("SCONECTL_TEST_SMALL_FILES", "5000"))
LARGE_FILE = int(os.environ.get("SCONECTL_TEST_LARGE_FILE", "80"))
REFUSED = 125
PICTURE = """
import hashlib, os, stat
result = {}
def look(folder):
    for name in sorted(os.listdir(folder)):
        path = folder + b'/' + name
        status = os.lstat(path)
        shown = [oct(status.st_mode)]
        if stat.S_ISREG(status.st_mode):
            shown += [status.st_nlink, status.st_mtime_ns]
            with open(path, 'rb') as file:
                shown.append(hashlib.sha256(file.read()).hexdigest())
        elif stat.S_ISLNK(status.st_mode):
            shown.append(os.fsdecode(os.readlink(path)))
        result[path.hex()] = shown
        if stat.S_ISDIR(status.st_mode):
            look(path)
look(b'/data')
"""
FILES_OF_ALL_KINDS = r"""
import os, subprocess
os.makedirs('/data/one/two')
os.mkdir('/data/other')
for name in (b'a\nname', b'not \xff utf-8', b'volume.fspf', b' ', b'x' * 255):
    with open(b'/data/' + name, 'wb') as file:
        file.write(name)
os.link('/data/volume.fspf', '/data/one/linked')
os.symlink('../text', '/data/one/symbolic')
with open('/data/sparse', 'wb') as file:
    file.truncate(50 << 20)
    file.seek(30 << 20)
    file.write(b'in the midst')
log = os.open('/data/log', os.O_CREAT | os.O_WRONLY | os.O_APPEND)
for number in range(1000):
    os.write(log, b'line %d\n' % number)
    if number % 100 == 0:
        os.fsync(log)
with open('/data/one/two/moved', 'wb') as file:
    file.write(b'across directories')
os.rename('/data/one/two/moved', '/data/other/moved')
os.rename('/data/one/two', '/data/other/two')
gone = open('/data/gone', 'w+b')
gone.write(b'nobody can open it any more')
gone.flush()
os.unlink('/data/gone')
os.fsync(gone.fileno())
for way in ('mapping', 'temporary', 'vector', 'kernel'):
    subprocess.run(['/usr/local/bin/writer', way, '/data/other/' + way], check=True)
os.sync()
"""
TOO_MUCH = """
import os
file = open('/data/large', 'wb')
file.write(os.urandom(30 << 20))
file.flush()
os.fsync(file.fileno())
"""


def told(container: str) -> Told:
    """Connect to the program, once it is there."""
    deadline = time.monotonic() + 240
    while True:
        assert is_running(container) and time.monotonic() < deadline, logs(container)
        try:
            return Told(socket.create_connection((address_of(container), 7000), timeout=120))
        except OSError:
            time.sleep(0.02)


def do(container: str, code: str) -> object:
    link = told(container)
    try:
        return link.do(code)
    finally:
        link.socket.close()


def started(container: str) -> str:
    must(docker("start", container))
    return container


def refusal(container: str) -> str:
    """Start a container that is refused; return its log."""
    must(docker("start", container))
    assert await_end(container) == REFUSED, logs(container)
    log = logs(container)
    assert "FATAL" in log and "Traceback" not in log and "bug of sconectl" not in log, log
    return log


@pytest.fixture(scope="module")
def volume(module_world: World) -> Iterator[Confidential]:
    """An image with a volume that holds a file of 20 MB."""
    image = converted(module_world, f"{IMAGE}/volumes", {"data": "/data"}, name="faults")
    try:
        first = started(image.create())
        do(first, "import os; open('/data/large', 'wb').write(os.urandom(20 << 20)); os.sync()")
        must(docker("stop", first))
        yield image
    finally:
        image.remove()


@pytest.fixture(autouse=True)
def without_containers(volume: Confidential) -> Iterator[None]:
    yield
    volume.world.remove_containers()


def test_what_the_native_image_has_at_the_path_is_left_out(volume: Confidential) -> None:
    container = started(volume.create())
    assert do(container, "import os; result = [sorted(os.listdir('/data')), oct(os.stat('/data').st_mode)]") == [
        ["large"], "0o40750",
    ]  # fmt: skip
    found = must(docker("run", "--rm", "--entrypoint", "sh", volume.native, "-c", "cat /data/text")).out.strip()
    exported = must(docker("exec", "-u", "0", container, "sh", "-c", f"grep -rl {found} /usr /opt /data || :")).out
    assert found == "a-text-in-the-native-image" and exported == ""


def test_no_storage(volume: Confidential) -> None:
    log = refusal(volume.create(storage={}))
    assert "volume data has no storage: nothing is mounted at /scone/volumes/data" in log
    assert "docker run -v data:/scone/volumes/data" in log


def test_no_memory(volume: Confidential) -> None:
    log = refusal(volume.create(memory=()))
    assert "docker run --tmpfs /scone/memory" in log


def test_read_only_storage(volume: Confidential) -> None:
    mount = f"type=volume,src={volume.storage('data')},dst=/scone/volumes/data,readonly"
    log = refusal(volume.create("--mount", mount, storage={}))
    assert "the storage of volume data cannot be used" in log and "mounted read-only" in log


def test_a_storage_that_does_not_fit_into_memory(volume: Confidential) -> None:
    log = refusal(volume.create(memory=("--tmpfs", "/scone/memory:size=8m")))
    assert "volume data does not fit into memory: its files need 2" in log and "--tmpfs /scone/memory:size=" in log


def test_two_containers_with_one_storage(volume: Confidential) -> None:
    first = started(volume.create(host="the-first"))
    do(first, "import os; open('/data/kept', 'w').write('of the first'); os.sync()")
    second = volume.create("-e", "SCONE_VOLUME_TIMEOUT=1", host="the-second")
    assert "the-first" in refusal(second)
    assert "another container of this machine has the storage" in refusal(volume.create(host="the-first"))
    assert do(first, "result = open('/data/kept').read()") == "of the first"
    must(docker("kill", first))
    begin = time.monotonic()
    assert do(started(first), "result = open('/data/kept').read()") == "of the first"
    assert time.monotonic() - begin < 20  # less than a lease lasts
    must(docker("stop", first))
    assert do(started(second), "result = open('/data/kept').read()") == "of the first"
    must(docker("stop", second))


def test_files_of_all_kinds_and_ways_to_write_them(volume: Confidential) -> None:
    container = started(volume.create())
    do(container, FILES_OF_ALL_KINDS)
    seen = do(container, PICTURE)
    assert isinstance(seen, dict) and len(seen) >= 18, seen
    must(docker("kill", container))
    assert do(started(container), PICTURE) == seen
    must(docker("stop", container))
    assert do(started(container), PICTURE) == seen
    for way, place in (("mapping", 65530), ("temporary", 0), ("vector", 1 << 20), ("kernel", 100_000)):
        code = f"with open('/data/other/{way}', 'rb') as file: file.seek({place}); result = file.read(27).decode()"
        assert do(container, code) == "written by a static program"
    do(container, "import os, shutil\nfor folder in ('one', 'other'): shutil.rmtree('/data/' + folder)\nos.sync()")


@pytest.mark.timeout(900)
def test_many_small_files(volume: Confidential) -> None:
    container = started(volume.create())
    do(container, f"""
import os
for number in range({SMALL_FILES}):
    folder = '/data/small/%d' % (number // 500)
    os.makedirs(folder, exist_ok=True)
    with open('%s/%d' % (folder, number), 'w') as file:
        file.write(str(number))
os.sync()
""")  # fmt: skip
    must(docker("kill", container))
    count = """
import os
result = sum(open(os.path.join(folder, name)).read() == name for folder, _, names in os.walk('/data/small')
             for name in names)
"""
    assert do(started(container), count) == SMALL_FILES
    must(docker("stop", container))
    assert do(started(container), f"{count}import shutil; shutil.rmtree('/data/small'); os.sync()") == SMALL_FILES


@pytest.mark.timeout(900)
def test_one_large_file(volume: Confidential) -> None:
    """Larger than what the journal may have: written at once, then here and there, with a kill after each."""
    container = started(volume.create())
    do(container, f"""
import os
part = os.urandom(1 << 20)
file = os.open('/data/larger', os.O_CREAT | os.O_WRONLY)
for number in range({LARGE_FILE}):
    os.write(file, number.to_bytes(8, 'big') + part[8:])
os.fsync(file)
""")  # fmt: skip
    digest = """
import hashlib
with open('/data/larger', 'rb') as file:
    result = hashlib.file_digest(file, 'sha256').hexdigest()
"""
    patch = f"""
import os
file = os.open('/data/larger', os.O_WRONLY)
for number in range(200):
    os.pwrite(file, os.urandom(3000), number * ({LARGE_FILE << 20} - 3000) // 200)
    if number % 20 == 0:
        os.fdatasync(file)
os.fdatasync(file)
"""
    for work in ("", patch):
        do(container, work)
        expected = do(container, digest)
        must(docker("kill", container))
        assert do(started(container), digest) == expected
    do(container, "import os; os.unlink('/data/larger'); os.sync()")


def test_a_full_disk(module_world: World) -> None:
    """A sync fails while the storage is full; afterwards everything goes on, and what was acknowledged is there."""
    image = converted(module_world, f"{IMAGE}/volumes", {"data": "/data"}, name="full")
    limits = ("--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=size=20m")
    must(docker("volume", "create", *limits, image.storage("data")))
    keeps = f"{image.storage('data')}-kept"
    must(docker("run", "-d", "--name", keeps, "-v", f"{image.storage('data')}:/storage", "--entrypoint", "sleep",
                image.native, "600"))  # fmt: skip
    try:
        container = started(image.create())
        do(container, "import os; open('/data/small', 'w').write('acknowledged'); os.sync()")
        with pytest.raises(Refused, match="No space left on device"):
            do(container, TOO_MUCH)
        assert do(container, "result = open('/data/small').read()") == "acknowledged"
        do(container, "import os; os.unlink('/data/large'); open('/data/small', 'w').write('again'); os.sync()")
        must(docker("kill", container))
        assert do(started(container), "import os; result = [open('/data/small').read(), os.listdir('/data')]") == [
            "again", ["small"],
        ]  # fmt: skip
        assert "No space left on device" in logs(container)
    finally:
        docker("rm", "-f", keeps)
        image.remove()
