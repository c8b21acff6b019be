"""Draws native images at random: users, paths, texts, volumes, links, layers and entry forms, as people have them.

In: a random number generator. Out: a `Native`, with the configuration byte for byte as an engine stores it. The program
is a script that prints what it finds around itself, through a busybox that is in every image.
"""

from __future__ import annotations

import io
import json
import posixpath
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import Any

from .world import docker, must

TEXTS = (
    "{{namespace}}", "{{ time }}", "{% raw %}", "$$SCONE::x$$", "$$SCONE::", "$$", "$HOME", "${VAR}", "@@1", "\\@\\@X",
    "'", '"', "\\", "\n", "\t", "  ", "=", ": ", "#", "- x", "!tag", "*a", "|", "`id`", "yes", "null", "ü", "\u2028",
    "🦊", "a", "b c", "",
)  # fmt: skip
BUSYBOX = "/bin/busybox"
_PASSWD = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\nodd:x:1001:1000::/srv/ödd home:/bin/sh\n"
_GROUP = "root:x:0:\nstaff:x:50:app\naudio:x:29:odd,app\napp:x:1000:\n"
_SIGNALS = "HUP INT QUIT TERM USR1 USR2"
_PROBE = f"""#!/bin/sh
b={BUSYBOX} p=/proc/$$
echo "argv $($b base64 -w 0 <$p/cmdline)"
echo "environ $($b base64 -w 0 <$p/environ)"
echo "cwd $($b readlink $p/cwd | $b base64 -w 0)"
$b grep -E '^(Uid|Gid|Groups|Umask|NoNewPrivs|Seccomp|Sig(Blk|Ign)|Cap...):' $p/status
$b cat $p/limits
echo "oom $($b cat $p/oom_score_adj)"
for f in $p/fd/*; do echo "file ${{f##*/}}"; done
while read -r path; do $b stat -c '%N %f %u %g %s' "$path" || echo "no $path"; done </paths
"""


@dataclass(frozen=True)
class File:
    """One member of a layer: `content` is bytes, the target of a link, or None for a directory."""

    content: bytes | str | None
    mode: int = 0o755
    owner: tuple[int, int] = (0, 0)
    hard: bool = False


@dataclass(frozen=True)
class Native:
    """An image; `refused` are words of the reason for which it cannot be converted, `waits` if a signal ends it."""

    number: int
    config: dict[str, Any]
    layers: tuple[dict[str, File], ...] = field(repr=False)
    waits: bool = False
    tty: bool = False
    by_manifest: bool = False
    refused: tuple[str, ...] = ()

    @property
    def words(self) -> list[str]:
        return [*(self.config.get("Entrypoint") or ()), *(self.config.get("Cmd") or ())]


def draw(number: int, random: Random) -> Native:
    """Draw one image."""
    refused: list[str] = []
    files = _files(random)
    config: dict[str, Any] = {"Env": _environment(random, refused)}
    user = random.choice(
        ["", "", "0", "root", "app", "app", "odd", "app:staff", "1000", "1001:29", "4711", "4711:0", "nix"]
    )
    if user:
        config["User"] = user
    if user == "nix":
        refused.append("'nix' of the image is not in its /etc/passwd")
    pwd = random.choice(["", "/", "/work", "/work", "/new/dir", "/link", "/tmp/x", "/a b", "/ünï/x"])
    if pwd:
        config["WorkingDir"] = pwd
    volumes = random.choice([[], [], ["/data"], ["/data", "/not/there"], ["/var/lib/x y"]])
    if volumes:
        config["Volumes"] = {path: {} for path in volumes}
    words = _entry(random, config, files)
    waits = random.random() < 0.4
    stop = random.choice(["", "SIGINT", "SIGUSR1", "3", "SIGRTMIN+2"]) if waits else ""
    if stop:
        config["StopSignal"] = stop
    if waits and random.random() < 0.7:
        config |= _health(random)
    if random.random() < 0.3:
        config["ExposedPorts"] = {"8080/tcp": {}}
    if random.random() < 0.3:
        config["Labels"] = {"text": _text(random), "{{x}}": "$$SCONE::y$$"}
    if random.random() < 0.2:
        config["OnBuild"] = ["RUN echo {{no}}"]
    files["/probe"] = File((_PROBE + _ending(random, waits=waits)).encode())
    files["/paths"] = File("".join(f"{path}\n" for path in sorted(files) if "\n" not in path).encode(), 0o644)
    plain = not any(mark in word for word in words for mark in ("{{", "{%", "$", "@@"))
    return Native(
        number,
        config,
        _layers(random, files),
        waits,
        tty=random.random() < 0.25,
        by_manifest=plain and random.random() < 0.4,
        refused=tuple(refused),
    )


def _text(random: Random) -> str:
    return "".join(random.choice(TEXTS) for _ in range(random.randint(0, 6)))


def _environment(random: Random, refused: list[str]) -> list[str]:
    names = ["A", "B_1", "with.dot", "ü", "x y", "HOME", "HOSTNAME", "LC_ALL", "{{x}}", "$Y", "-"]
    found = [f"{name}={_text(random)}" for name in random.sample(names, random.randint(0, 5))]
    if random.random() < 0.5:
        found.insert(0, f"PATH=/opt/tools:/bin:{_text(random).replace(chr(10), '')}")
    if random.random() < 0.2:
        found.append(f"A={_text(random)}")
    if random.random() < 0.08:
        found.append("\\@\\@X=1")
        refused.append("a policy cannot give to a program")
    return found


def _files(random: Random) -> dict[str, File]:
    owner = random.choice([(0, 0), (1000, 1000), (1001, 50)])
    found = {
        "/etc/passwd": File(_PASSWD.encode(), 0o644),
        "/etc/group": File(_GROUP.encode(), 0o644),
        "/bin/sh": File("busybox"),
        "/work": File(None, 0o755, owner),
        "/work/file": File(_text(random).encode(), 0o644, owner),
        "/link": File("work"),
        "/data/inner": File(b"of the image", 0o644, owner),
        "/data": File(None, random.choice([0o755, 0o777, 0o1777]), owner),
        "/home/app": File(None, 0o755, (1000, 1000)),
        "/opt/tools/tool": File(random.choice(["/probe", "../../probe"])),
    }
    if random.random() < 0.5:
        found["/a b/ünï {{x}} $Y"] = File(b"odd name", 0o644, owner)
        found["/a b"] = File(None)
    if random.random() < 0.5:
        found["/work/hard"] = File("/work/file", hard=True, owner=owner, mode=0o644)
    if random.random() < 0.3:
        found["/dangling"] = File("/nowhere")
    return found


def _entry(random: Random, config: dict[str, Any], files: dict[str, File]) -> list[str]:
    """Draw how the image starts its program; return the words."""
    arguments = [_text(random) for _ in range(random.randint(0, 3))]
    form = random.choice(["exec", "both", "shell", "path", "script", "link", "relative", "env"])
    if form == "exec":
        config["Cmd"] = ["/probe", *arguments]
    elif form == "both":
        config |= {"Entrypoint": ["/probe"], "Cmd": arguments or None}
    elif form == "shell":
        config["Cmd"] = ["/bin/sh", "-c", "exec /probe one \"two $A\" '{{x}}'"]
    elif form == "path":
        config["Env"] = ["PATH=/opt/tools:/bin", *(e for e in config["Env"] if not e.startswith("PATH="))]
        config["Entrypoint"] = ["tool", *arguments]
    elif form == "script":
        files["/entry.sh"] = File(b'#!/bin/sh\nset -eu\nexec "$@"\n')
        config |= {"Entrypoint": ["/entry.sh"], "Cmd": ["/probe", *arguments]}
    elif form == "link":
        files["/start"] = File("opt/tools/tool")
        config["Entrypoint"] = ["/start", *arguments]
    elif form == "relative":
        config |= {"WorkingDir": "/work", "Entrypoint": ["../probe", *arguments]}
    else:
        config["Entrypoint"] = [BUSYBOX, "env", "INNER=1", "/probe", *arguments]
    return [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]


def _health(random: Random) -> dict[str, Any]:
    code = random.choice([0, 0, 1])
    test = random.choice(
        [
            ["CMD-SHELL", f'echo "health $A in $PWD {{{{x}}}} $HOME"; exit {code}'],
            ["CMD", "/bin/sh", "-c", f"echo health $({BUSYBOX} id) $A; exit {code}"],
            ["CMD", BUSYBOX, "printf", "health %s", "$$SCONE::x$$"],
        ]
    )
    return {"Healthcheck": {"Test": test, "Interval": 10**9, "Timeout": 20 * 10**9, "Retries": 1}}


def _ending(random: Random, *, waits: bool) -> str:
    if not waits:
        return (
            f'echo "input $({BUSYBOX} head -c 5 | {BUSYBOX} base64)"\nexit {random.choice([0, 1, 3, 42, 127, 255])}\n'
        )
    traps = "\n".join(f"trap 'echo got {name}; exit 42' {name}" for name in [*_SIGNALS.split(), "36"])
    return f"{traps}\necho ready\nwhile :; do {BUSYBOX} sleep 0.1; done\n"


def _layers(random: Random, files: Mapping[str, File]) -> tuple[dict[str, File], ...]:
    """Spread the files over layers, with some that come and go."""
    count = random.randint(1, 3)
    layers: list[dict[str, File]] = [{} for _ in range(count)]
    for path, file in files.items():
        number = 0 if file.hard or path == "/work/file" else random.randrange(count)
        layers[number][path] = file
        above = posixpath.dirname(path)
        if above in files and files[above].content is None:  # engines differ in directories that a layer does not have
            layers[number][above] = files[above]
    if count > 1:
        layers[0] |= {"/gone/file": File(b"removed", 0o644), "/changed": File(b"first", 0o644)}
        layers[-1] |= {"/gone/.wh.file": File(b"", 0o644), "/changed": File("work/file")}
    return tuple(layers)


def load(native: Native, name: str, busybox: bytes) -> None:
    """Bring the image into the engine under `name`."""
    first = {BUSYBOX: File(busybox), "/bin": File(None), "/etc": File(None), "/tmp": File(None, 0o1777)}
    layers = [_tar(layer) for layer in (first, *native.layers)]
    document = {
        "architecture": "amd64",
        "os": "linux",
        "config": native.config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer).hexdigest()}" for layer in layers]},
    }
    members = {f"{number}/layer.tar": File(layer, 0o644) for number, layer in enumerate(layers)}
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": list(members)}]
    members |= {
        "config.json": File(json.dumps(document).encode(), 0o644),
        "manifest.json": File(json.dumps(manifest).encode(), 0o644),
    }
    done = subprocess.run(["docker", "load"], input=_tar(members), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def _tar(files: Mapping[str, File]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(_with_parents(files), key=lambda path: (files[path].hard if path in files else False, path)):
            file = files.get(path, File(None))
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.mode, (entry.uid, entry.gid) = file.mode, file.owner
            if file.content is None:
                entry.type = tarfile.DIRTYPE
            elif isinstance(file.content, str):
                entry.type = tarfile.LNKTYPE if file.hard else tarfile.SYMTYPE
                entry.linkname = file.content.lstrip("/") if file.hard else file.content
            else:
                entry.size = len(file.content)
            tar.addfile(entry, io.BytesIO(file.content) if isinstance(file.content, bytes) else None)
    return buffer.getvalue()


def _with_parents(files: Mapping[str, File]) -> Iterable[str]:
    found = set(files)
    for path in files:
        while (path := posixpath.dirname(path)) not in ("/", ""):
            if path not in found and path in ("/gone", "/var", "/opt", "/opt/tools", "/home", "/a b"):
                found.add(path)
    return found


def busybox_of(image: str) -> bytes:
    """Return the busybox of an image."""
    container = must(docker("create", image)).out.strip()
    try:
        copied = subprocess.run(["docker", "cp", f"{container}:{BUSYBOX}", "-"], capture_output=True, check=True)
        with tarfile.open(fileobj=io.BytesIO(copied.stdout)) as tar:
            file = tar.extractfile("busybox")
            assert file is not None
            return file.read()
    finally:
        docker("rm", container)
