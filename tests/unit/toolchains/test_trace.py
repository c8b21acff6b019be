"""Logs of strace: which files a program used, and which directories are worth encrypting."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sconectl.errors import InvalidInput
from sconectl.image.observe import tracer
from sconectl.image.observe.trace import Accesses, read_trace
from sconectl.image.observe.trace_proposal import Proposal, propose

SEED = """\
execve("/usr/bin/python3", ["python3", "/app/rest_api.py"], 0x7ffe /* 8 vars */) = 0
openat(AT_FDCWD, "/etc/ld-musl-x86_64.path", O_RDONLY|O_CLOEXEC) = -1 ENOENT (No such file or directory)
open("/usr/lib/libpython3.7m.so.1.0", O_RDONLY|O_CLOEXEC) = 3
stat("/usr/lib/python3.7/os.py", {st_mode=S_IFREG|0644, st_size=37820, ...}) = 0
stat("/usr/lib/python3.7", {st_mode=S_IFDIR|0755, st_size=12288, ...}) = 0
open("/usr/lib/python3.7/__pycache__/os.cpython-37.pyc", O_RDONLY|O_CLOEXEC) = 3
open("/usr/lib/python3.7/lib-dynload/_ssl.cpython-37m-x86_64-linux-gnu.so", O_RDONLY) = 3
open("/usr/local/lib/python3.7/site-packages/flask/app.py", O_RDONLY) = 4
open("/app/rest_api.py", O_RDONLY) = 3
open("/app/gone.py", O_RDONLY) = -1 ENOENT (No such file or directory)
open("/etc/ssl/cert.pem", O_RDONLY) = 5
open("/proc/self/maps", O_RDONLY) = 5
open("/dev/urandom", O_RDONLY) = 5
open("/usr/share/zoneinfo/UTC", O_RDONLY) = 5
open("/lib/x86_64-linux-gnu/libz.so.1", O_RDONLY) = 5
open("/tmp/scratch", O_RDWR|O_CREAT, 0600) = 5
--- SIGCHLD {si_signo=SIGCHLD} ---
+++ killed by SIGTERM +++
"""


def test_the_directories_of_the_seed() -> None:
    found = propose(read_trace(SEED, "strace.log", "/"))
    assert found == Proposal(("/app", "/usr/lib/python3.7", "/usr/local/lib"), ())


def test_processes_interleaved_calls_and_working_directories() -> None:
    log = """\
1000 clone(child_stack=NULL, flags=CLONE_CHILD) = 1001
1001 chdir("/srv/data" <unfinished ...>
1000 openat(AT_FDCWD, "one", O_RDONLY <unfinished ...>
1001 <... chdir resumed>) = 0
1000 <... openat resumed>) = 3
1001 openat(AT_FDCWD, "two", O_RDONLY) = 3
1001 vfork( <unfinished ...>
1002 openat(AT_FDCWD</opt/x>, "three", O_RDONLY) = 3</opt/x/three>
1001 <... vfork resumed>) = 1002
[pid  1003] openat(7, "unknown", O_RDONLY) = 3
[pid  1003] openat(7</srv/y>, "four", O_RDONLY|O_CLOEXEC) = 3
12:30:01.123456 open("/a/b", O_RDONLY) = 3
1000 12:30:01 open("/a/c", O_RDONLY) = 3
1700000000.123 open("/a/d", O_RDONLY) = 3
1000 openat2(AT_FDCWD, "../five", {flags=O_RDONLY, resolve=0}, 24) = 3
1000 execve("./bin/run", ["run"], 0x1 /* 2 vars */) = 0
1000 openat(AT_FDCWD, "/a/dir", O_RDONLY|O_DIRECTORY) = 3
1000 exit_group(0) = ?
"""
    found = read_trace(log, "log", "/app/x")
    assert found.read == {
        "/app/x/one", "/srv/data/two", "/opt/x/three", "/srv/y/four", "/a/b", "/a/c", "/a/d", "/app/five",
    }  # fmt: skip
    assert found.started == {"/app/x/bin/run"}


@pytest.mark.parametrize(("written", "path"), [
    (r"/a/b\"c", '/a/b"c'), (r"/a/\n\t\\x", "/a/\n\t\\x"), (r"/a/\303\244", "/a/ä"), (r"/a/\xff", "/a/\udcff"),
    (r"/a/\0012", "/a/\x012"), ("/a/ö", "/a/ö"), ("/a/b) = 5", "/a/b) = 5"),
])  # fmt: skip
def test_names_with_escapes(written: str, path: str) -> None:
    assert read_trace(f'open("{written}", O_RDONLY) = 3\n', "log", "/").read == {path}


@pytest.mark.parametrize(
    "text", ["", "nothing\n", 'open("/x/y", O_RDONLY) = -1 ENOENT (No such file)\n', "\0\n", '(" = 0']
)
def test_a_log_without_files_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_trace(text, "some.log", "/")
    assert "some.log" in str(caught.value.findings[0])


def proposal(
    *read: str, started: tuple[str, ...] = (), written: tuple[str, ...] = (), volumes: tuple[str, ...] = ()
) -> Proposal:
    return propose(Accesses(frozenset(read), frozenset(started), frozenset(written)), volumes)


def test_what_has_to_stay_readable_is_left_out() -> None:
    found = proposal(
        "/opt/jdk/lib/modules", "/opt/jdk/lib/libjvm.so", "/opt/jdk/conf/security/java.security", "/opt/app/a.jar",
        "/usr/local/lib/libpython3.12.so.1.0", "/usr/local/lib/python3.12/os.py",
        started=("/opt/jdk/bin/java",),
    )  # fmt: skip
    assert found.dirs == ("/opt/app", "/opt/jdk/conf", "/usr/local/lib/python3.12")
    assert found.left == ("/opt/jdk/lib/modules",)


def test_what_the_program_writes_and_files_outside_of_directories() -> None:
    found = proposal("/V1/num", "/config.yaml", "/var/www/index.html", "/var/lib/x/y", "/usr/share/java/a.jar",
                     written=("/V1/num",))  # fmt: skip
    assert found == Proposal(("/usr/share/java", "/var/www"), ("/config.yaml",))


def test_volumes_are_encrypted_by_themselves() -> None:
    read = ("/V1/conf/x", "/app/main.py", "/app/lib/a.py", "/app/data/x", "/srv/y")
    found = proposal(*read, volumes=("/V1", "/app/data", "/srv"))
    assert found == Proposal(("/app/lib",), ("/app/main.py",))


def test_libraries_of_the_machine() -> None:
    assert proposal("/usr/lib/x86_64-linux-gnu/perl/x.pl", "/usr/lib/ssl/openssl.cnf").dirs == ()
    assert proposal("/usr/lib64/python3.9/os.py", "/usr/lib/node_modules/a/b.js").dirs == (
        "/usr/lib/node_modules", "/usr/lib64/python3.9",
    )  # fmt: skip


# --- our own tracer -------------------------------------------------------------------------------------------------

TRACER = Path(tracer.__file__)
PROGRAM = """
import os, subprocess, sys, threading
os.chdir(sys.argv[1])
threading.Thread(target=lambda: open("from a thread\\n").read()).start()
os.fork() or (open("child").read(), os._exit(0))
subprocess.run(["/bin/cat", "cat"], check=True)
open("new", "w").close()
try:
    open("gone")
except OSError:
    pass
print("printed")
sys.exit(3)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs ptrace")
def test_the_tracer_follows_threads_and_processes(tmp_path: Path) -> None:
    for name in ("from a thread\n", "child", "cat"):
        (tmp_path / name).write_text("x")
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", TRACER, "30", sys.executable, "-c", PROGRAM, tmp_path],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    found = read_trace(done.stdout, "trace", "/")
    ours = {path for path in found.read | found.written if path.startswith(str(tmp_path))}
    assert {str(tmp_path / name) for name in ("from a thread\n", "child", "cat", "new")} == ours
    assert {sys.executable, str(Path("/bin/cat"))} <= found.started
    assert "printed" not in done.stdout and "printed" in done.stderr
    assert "exited with 3" in done.stdout


def test_the_tracer_ends_what_it_started(tmp_path: Path) -> None:
    program = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    subprocess.run(
        [sys.executable, "-I", "-S", "-B", TRACER, "1", sys.executable, "-c", program], check=True, timeout=30
    )
    pid = (tmp_path / "pid").read_text()
    assert not Path(f"/proc/{pid}").exists()


def test_a_program_that_is_not_there() -> None:
    done = subprocess.run([sys.executable, TRACER, "5", "no-such-program"], capture_output=True, text=True, check=True)
    assert "no-such-program: No such file" in done.stderr and "exited with 127" in done.stdout


def test_like_strace(tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    log = tmp_path / "log"
    command = ["/bin/sh", "-c", "cat /etc/passwd /etc/group; cd /etc; cat hostname"]
    subprocess.run(["strace", "-f", "-o", log, *command], check=True, capture_output=True)
    ours = subprocess.run([sys.executable, TRACER, "30", *command], check=True, capture_output=True, text=True).stdout
    theirs = read_trace(log.read_text(), "log", "/")
    assert read_trace(ours, "ours", "/").read ^ theirs.read <= theirs.started
    assert {"/etc/passwd", "/etc/group", "/etc/hostname"} <= theirs.read
