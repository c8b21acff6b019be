"""The program behind a command line: shells, scripts, wrappers, links, and what is said if there is none."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

import pytest
from fakes.roots import Content, MemoryRoot, elf_file

from sconectl.errors import PlanImpossible
from sconectl.image.program.entry_point import Surroundings, find_program

ELF = elf_file()
ROOT: dict[str, Content] = {
    "/bin": "usr/bin",
    "/usr/bin/bash": ELF,
    "/usr/bin/dash": ELF,
    "/usr/bin/sh": "dash",
    "/usr/bin/env": ELF,
    "/usr/bin/tini": ELF,
    "/usr/bin/dumb-init": ELF,
    "/usr/local/bin/gosu": ELF,
    "/usr/bin/timeout": ELF,
    "/usr/bin/python3": "python3.11",
    "/usr/bin/python3.11": ELF,
    "/usr/bin/java": "/etc/alternatives/java",
    "/etc/alternatives/java": "/usr/lib/jvm/java-17/bin/java",
    "/usr/lib/jvm/java-17/bin/java": ELF,
    "/usr/sbin/nginx": ELF,
    "/usr/local/bin/redis-server": ELF,
    "/lib64/ld-linux-x86-64.so.2": ELF,
    "/usr/bin/pip": b"#!/usr/bin/python3\nimport pip\n",
    "/app/env-script": b"#!/usr/bin/env python3\nprint(1)\n",
    "/app/split-script": b"#!/usr/bin/env -S python3 -u -X dev\n",
    "/app/tool": b"#! /app/env-script --flag\n",
    "/app/start.sh": b"#!/bin/sh\nset -e\n# exec wrong\nexport A=1\nexec python3 /app/main.py \"$@\"\n",
    "/app/plain.sh": b"python3 /app/main.py > /dev/null 2>&1\n",
    "/app/last.sh": b"#!/bin/bash\necho hello\n[ -f /x ] && python3 /app/init.py\npython3 /app/main.py\n",
    "/app/odd.sh": b"#!/bin/sh\n$SOMETHING \"$@\"\nfor i in 1 2; do echo $i; done\n",
    "/app/loop.sh": b"#!/bin/sh\nexec /app/loop.sh\n",
    "/app/arguments.sh": b"#!/bin/sh\nprogram=$1\nshift\nexec \"${PROGRAM:-nginx}\" -g \"daemon off;\"\n",
    "/usr/local/bin/docker-entrypoint.sh": b"""#!/bin/sh
set -e
if [ "${1#-}" != "$1" ]; then
    set -- redis-server "$@"
fi
if [ "$1" = 'redis-server' -a "$(id -u)" = '0' ]; then
    find . \\! -user redis -exec chown redis '{}' +
    exec gosu redis "$0" "$@"
fi
exec "$@"
""",
}  # fmt: skip
AROUND = Surroundings({"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/bin"}, "/app")


def binary_of(line: str, root: Mapping[str, Content] = ROOT, around: Surroundings = AROUND) -> str:
    return find_program(MemoryRoot(root), shlex.split(line), around).binary


PYTHON, NGINX, REDIS, DASH = (
    "/usr/bin/python3.11", "/usr/sbin/nginx", "/usr/local/bin/redis-server", "/usr/bin/dash",
)  # fmt: skip
JAVA = "/usr/lib/jvm/java-17/bin/java"


@pytest.mark.parametrize(("line", "binary"), [
    ("python3 /app/main.py", PYTHON),
    ("/bin/python3", PYTHON),
    ("../usr/bin/python3", PYTHON),
    ("java -jar /app/a.jar", JAVA),
    ("/bin/sh -c 'python3 -B /app/main.py'", PYTHON),
    ("/bin/sh -c \"exec nginx -g 'daemon off;'\"", NGINX),
    ("sh -ec 'A=1 B=2 exec nginx'", NGINX),
    ("bash -o pipefail -c 'cd /x && nginx 2>&1 | cat'", "/usr/bin/bash"),
    ("sh -c 'cd /x && exec nginx >/dev/null 2>&1'", NGINX),
    ("sh -c 'exec \"$0\" \"$@\"' nginx -t", NGINX),
    ("sh", DASH),
    ("sh -c 'echo hello'", DASH),
    ("sh /app/plain.sh", PYTHON),
    ("sh plain.sh", PYTHON),
    ("env A=1 B=2 nginx", NGINX),
    ("/usr/bin/env -u X -i PATH=/usr/sbin nginx", NGINX),
    ("env -S 'A=1 nginx -t' more", NGINX),
    ("env", "/usr/bin/env"),
    ("tini -- python3 x.py", PYTHON),
    ("tini -g -e 143 -p SIGTERM -- python3 x.py", PYTHON),
    ("dumb-init --rewrite 15:3 -v python3 x.py", PYTHON),
    ("timeout -k 5 30 tini nginx", NGINX),
    ("gosu redis:redis redis-server --port 1", REDIS),
    ("/lib64/ld-linux-x86-64.so.2 --library-path /x nginx", NGINX),
    ("tini -- docker-entrypoint.sh redis-server", REDIS),
    ("docker-entrypoint.sh redis-server", REDIS),
    ("docker-entrypoint.sh", DASH),
    ("pip install x", PYTHON),
    ("/app/env-script", PYTHON),
    ("/app/split-script", PYTHON),
    ("/app/tool", PYTHON),
    ("./start.sh one two", PYTHON),
    ("/app/last.sh", PYTHON),
    ("/app/odd.sh", DASH),
    ("/app/arguments.sh x", NGINX),
])  # fmt: skip
def test_the_program_behind_a_command(line: str, binary: str) -> None:
    assert binary_of(line) == binary


def test_the_way_is_told() -> None:
    found = find_program(MemoryRoot(ROOT), ["/bin/sh", "-c", "java -jar a.jar"], AROUND)
    assert [(step.path, step.why) for step in found.steps] == [
        ("/bin", "link to usr/bin"),
        ("/usr/bin/sh", "link to dash"),
        ("/usr/bin/dash", "named by the command"),
        ("/usr/bin/java", "link to /etc/alternatives/java"),
        ("/etc/alternatives/java", "link to /usr/lib/jvm/java-17/bin/java"),
        (JAVA, "started by the shell"),
    ]


def test_busybox() -> None:
    root: dict[str, Content] = {
        "/bin/busybox": ELF, "/bin/sh": "/bin/busybox", "/usr/bin/env": "../../bin/busybox", "/app/run": ELF,
        "/app/run.sh": b"#!/bin/sh\nexec /app/run\n",
    }  # fmt: skip
    for line in (
        "sh -c /app/run",
        "busybox sh -c '/app/run -x'",
        "env /app/run",
        "busybox env /app/run",
        "/app/run.sh",
    ):
        assert binary_of(line, root) == "/app/run", line
    assert binary_of("busybox httpd -f", root) == "/bin/busybox"


@pytest.mark.parametrize(("line", "message", "hint"), [
    ("ngnix -g x", "the program ngnix is not in the image", "did you mean /usr/sbin/nginx?"),
    ("sh -c 'exec ngnix -g x'", "the program ngnix is not in the image", "did you mean /usr/sbin/nginx?"),
    ("python", "the program python is not in the image", "did you mean /usr/bin/python3 or /usr/bin/python3.11?"),
    ("/usr/local/bin/java x", "/usr/local/bin/java is not in the image", "did you mean /usr/bin/java?"),
    ("start", "the program start is not", "programs in PATH are"),
    ("/app/loop.sh", "programs start each other", "--command"),
    ("''", "empty name", ""),
    ("/app", "the program /app is not in the image", ""),
])  # fmt: skip
def test_what_is_not_there(line: str, message: str, hint: str) -> None:
    root = {**ROOT, "/app/loop.sh": b"#!/app/loop.sh\n"}
    with pytest.raises(PlanImpossible) as caught:
        binary_of(line, root)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_without_a_path_every_program_is_a_candidate() -> None:
    with pytest.raises(PlanImpossible) as caught:
        binary_of("server", {"/srv/start": ELF, "/data": b"x"}, Surroundings({}, "/"))
    assert caught.value.hint == "the image has /data, /srv/start"


def test_a_program_that_the_kernel_cannot_start() -> None:
    with pytest.raises(PlanImpossible, match="neither an ELF program nor a script"):
        binary_of("/app/plain.sh")
    with pytest.raises(PlanImpossible, match="interpreter of /app/x, /bin/fish is not in the image"):
        binary_of("/app/x", {**ROOT, "/app/x": b"#!/bin/fish\n"})
    root = MemoryRoot({"/bin/p": ELF}, modes={"/bin/p": 0o644})
    with pytest.raises(PlanImpossible, match="/bin/p is not executable"):
        find_program(root, ["p"], Surroundings({}, "/"))


def test_links_that_lead_nowhere() -> None:
    for target in ("/a", "/gone", "../../../../b", "/bin/b/c"):
        with pytest.raises(PlanImpossible, match="is not in the image"):
            binary_of("/a", {"/a": target, "/b": "/b", "/bin/b": ELF})
    assert binary_of("/a", {"/a": "../../../usr/x", "/usr/x": ELF}) == "/usr/x"


def test_libraries_of_the_language() -> None:
    root: dict[str, Content] = {
        **ROOT, "/usr/lib/python3.11": None, "/usr/lib/python3": None, "/usr/local/lib/python3.11": None,
        "/usr/bin/node": ELF, "/usr/lib/node_modules": None, "/app/node_modules": None,
    }  # fmt: skip

    def folders(*command: str) -> dict[str, str]:
        return {step.path: step.why for step in find_program(MemoryRoot(root), command, AROUND).service}

    assert set(folders("python3", "x.py")) == {"/usr/lib/python3.11", "/usr/lib/python3", "/usr/local/lib/python3.11"}
    node = "libraries of node, for /usr/bin/node"
    assert folders("node", "/app/server.js") == {"/usr/lib/node_modules": node, "/app/node_modules": node}
    assert list(folders("java", "x")) == ["/usr/lib/jvm/java-17"]
    assert folders("nginx") == {}
