"""Images with encrypted directories and injected files, from a manifest and in one call."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from .changed_bytes import flip_encrypted
from .world import SCONECTL, World, docker, must, run, running_world, saved_bytes

SERVICE = """
apiVersion: scone/5.8
kind: genservice
build:
  name: {name}
  kind: {kind}
  to: {image}
  command: {command}
{build}
environment:
  local:
    - name: TOKEN
      value: $$SCONE::token$$
secrets:
  global:
    - {{name: token, kind: ascii, value: explicit-token-value}}
    - {{name: blob, kind: binary, size: 16}}
{rest}
"""

MESH = """
apiVersion: scone/5.8
kind: mesh
cas: [{{cas_url: {cas}}}]
policy: {{namespace: {namespace}}}
env:
services:
  - {{name: app, image: {image}}}
"""


def deploy(world: World, name: str, kind: str, command: str, build: str = "", rest: str = "") -> tuple[str, str]:
    """Apply a service and a mesh of it; return image and configuration id."""
    folder = world.root / name
    folder.mkdir(exist_ok=True)
    image = world.image(name)
    service = SERVICE.format(name=name, kind=kind, image=image, command=command, build=build, rest=rest)
    (folder / "service.yaml").write_text(service)
    (folder / "mesh.yaml").write_text(MESH.format(cas=world.address, namespace=name, image=image))
    must(world.apply_service(folder / "service.yaml"))
    must(world.sconectl("apply", "-f", folder / "mesh.yaml"))
    program = command.split()[0].strip("\"'").rsplit("/", 1)[-1]
    return image, f"{name}/app/{program}"


PROGRAM = """
import os, sys
sys.path.insert(0, '/secret/lib')
import hidden
print('module', hidden.VALUE)
print('data', open('/secret/data.txt').read())
print('link', open('/secret/link.txt').read())
print('injected', open('/etc/app/config.ini').read())
print('inside', open('/secret/injected.txt').read())
print('hosts', open('/etc/hosts').read())
print('mode', oct(os.stat('/etc/app/config.ini').st_mode & 0o777))
print('token', os.environ['TOKEN'])
"""


@dataclass(frozen=True)
class Sealed:
    """A machine with one image, which has an encrypted directory."""

    world: World
    image: str
    config_id: str


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory, base_image: str, ca_bundle: str, cache: Path) -> Iterator[Sealed]:
    with running_world(tmp_path_factory.mktemp("sealed"), base_image, ca_bundle, cache) as world:
        yield Sealed(world, *encrypted_project(world))


def encrypted_project(world: World) -> tuple[str, str]:
    folder = world.root / "sealed"
    (folder / "files/lib").mkdir(parents=True)
    (folder / "main.py").write_text(PROGRAM)
    (folder / "files/lib/hidden.py").write_text("VALUE = 'a-hidden-module'\n")
    (folder / "files/data.txt").write_text("hidden-data " * 20000)
    (folder / "files/empty").write_text("")
    build = (
        "  pwd: /srv/app\n  copy: [main.py, files]\n  dirs: [/secret]\n  run:\n"
        "    - mkdir /secret && cp -r files/* /secret && rm -r files && ln -s data.txt /secret/link.txt\n"
    )
    rest = (
        "injection_files:\n"
        "  - {path: /etc/app/config.ini, content: 'token=$$SCONE::token$$ blob=$$SCONE::blob:hex$$'}\n"
        "  - {path: /secret/injected.txt, content: in-a-sealed-directory}\n"
        "  - {path: /etc/hosts, content: '127.0.0.1 localhost injected-host'}\n"
    )
    return deploy(world, "sealed", "python", "python3 /srv/app/main.py", build, rest)


def test_encrypted_directories_and_injected_files(sealed: Sealed, tmp_path: Path) -> None:
    world, image, config_id = sealed.world, sealed.image, sealed.config_id
    content = saved_bytes(image, tmp_path)
    for secret in (
        b"a-hidden-module",
        b"hidden-data",
        b"explicit-token-value",
        b"in-a-sealed-directory",
        b"injected-host",
    ):
        assert secret not in content
    chart = b"".join(p.read_bytes() for p in (world.target / "helm").rglob("*") if p.is_file())
    assert b"explicit-token-value" not in chart and b"injected-host" not in chart
    code, log = world.finish(world.start(image, config_id=config_id))
    assert code == 0, log
    assert "module a-hidden-module" in log and "data hidden-data" in log and "link hidden-data" in log
    assert "injected token=explicit-token-value blob=" in log and "mode 0o700" in log
    assert "inside in-a-sealed-directory" in log and "injected-host" in log and "token explicit-token-value" in log
    code, log = world.finish(world.start(image, config_id=config_id, options=["--tmpfs", "/dev/shm:exec,size=64m"]))
    assert code == 0, log
    _refused_when_tampered(world, image, config_id)
    _refused_without_memory(world, image, config_id)
    _refused_in_shared_memory(world, image, config_id)


def _refused_when_tampered(world: World, image: str, config_id: str) -> None:
    container = world.create(image, config_id=config_id)
    flip_encrypted(container)
    must(docker("start", container))
    code, log = world.finish(container)
    assert code == 125 and "/secret/data.txt" in log and "module" not in log, log


def _refused_without_memory(world: World, image: str, config_id: str) -> None:
    code, log = world.finish(world.start(image, config_id=config_id, options=["-v", "/dev/shm"]))
    assert code == 125 and "is not in memory" in log, log


def _refused_in_shared_memory(world: World, image: str, config_id: str) -> None:
    """Whoever shares /dev/shm reads what is decrypted there: `docker run --ipc=container:NAME`."""
    other = world.start(image, "60", options=["--ipc", "shareable", "--entrypoint", "/bin/sleep"])
    for mode in ("shareable", f"container:{other}", "host"):
        options = ["--ipc", mode]
        code, log = world.finish(world.start(image, config_id=config_id, options=options))
        assert code == 125 and "/dev/shm is shared with other containers" in log and "module" not in log, (mode, log)
        code, log = world.finish(
            world.start(image, config_id=config_id, options=["--ipc", mode, "--tmpfs", "/dev/shm"])
        )
        assert code == 0, (mode, log)
        seen = must(docker("exec", other, "find", "/dev/shm", "-type", "f")).out
        assert seen == "", seen


def test_an_older_state_of_the_encrypted_files_is_refused(world: World) -> None:
    folder = world.root / "rolled"
    (folder / "data").mkdir(parents=True)
    containers = []
    for version in ("first", "second"):
        (folder / "data" / "state").write_text(f"the {version} state\n" * 50)
        build = "  pwd: /srv/app\n  copy: [data]\n  dirs: [/srv/app/data]\n"
        image, config_id = deploy(world, "rolled", "python", "/bin/cat /srv/app/data/state", build)
        containers.append(world.create(image, config_id=config_id))
    older, newer = containers
    for path in ("/scone/image/fs.fspf", "/scone/image/packs"):
        must(docker("cp", f"{older}:{path}", world.root))
        must(docker("cp", world.root / Path(path).name, f"{newer}:/scone/image/"))
    must(docker("start", newer))
    code, log = world.finish(newer)
    assert code == 125 and "encrypted files of the image were changed" in log and "state\n" not in log, log


def test_the_key_of_another_namespace_is_not_shared(sealed: Sealed) -> None:
    """The image session gives the key to the service of the mesh, and to nobody else."""
    world = sealed.world
    name = next(p.stem for p in (world.target / "images").iterdir())
    assert name == "sealed"
    policy = (world.target / "policies/app.yaml").read_text()
    assert "$$SCONE::sconectl-fspf-key$$" in policy
    keys = [p.read_text().strip() for p in (world.root / "data/sconectl/keys").iterdir()]
    everything = b"".join(p.read_bytes() for p in world.target.rglob("*") if p.is_file())
    assert keys and not any(key.encode() in everything for key in keys)


def test_sconify_image_in_one_call(world: World, tmp_path: Path) -> None:
    """As existing pipelines call it: stdout is the session and nothing else."""
    context = tmp_path / "native"
    context.mkdir()
    (context / "Dockerfile").write_text(
        f"FROM {world.base_image}\nENV LANG=C.UTF-8\nCOPY app.py /app/app.py\nWORKDIR /app\n"
        "CMD python3 -B /app/app.py\n"
    )
    (context / "app.py").write_text(
        "import os\nprint('hidden-source', os.environ['LANG'], open('/tls/token').read(), os.getcwd())\n"
    )
    native, image = world.image("native"), world.image("sconified")
    must(docker("build", "-q", "-t", native, str(context)))
    sections = {
        "SECRETS": "secrets:\n  - name: token\n    kind: ascii\n    value: from-the-session\n",
        "INJECTED_FILES": 'injection_files:\n  - path: "/tls/token"\n    content: $$SCONE::token$$\n',
    }
    done = run(
        [
            SCONECTL.with_name("sconify_image"), "--namespace=my_namespace-1", "--name=flask", f"--from={native}",
            f"--to={image}", f"--cas={world.address}", "--dir=/app", "--heap=1G", "--stack=4M", "--dlopen=2",
            "--binary=/usr/bin/python3", "--create-namespace",
        ],
        env={**world.environment, **sections},
        cwd=world.root,
    )  # fmt: skip
    assert must(done).out == "my_namespace-1/flask\n"
    assert b"hidden-source" not in saved_bytes(image, tmp_path)
    code, log = world.finish(world.start(image, config_id="my_namespace-1/flask/service"))
    assert code == 0 and "hidden-source C.UTF-8 from-the-session" in log, log
    refused: list[str | Path] = [SCONECTL.with_name("sconify_image"), "--namespace=nobody", f"--from={native}"]
    again = run([*refused, f"--to={image}", f"--cas={world.address}"], env=world.environment, cwd=world.root)
    assert again.code == 6 and again.out == "" and "--create-namespace" in again.err
