"""Runs every command of an example's README, from its own text, and compares what the README says that is printed.

A block with the language `sh` is run; a block without a language that follows it holds lines that have to be in the
output, in this order; `…` stands for anything.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .world import REPOSITORY, SCONECTL, World, free_port, gateway, run

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.M | re.S)
ADDRESS = "172.17.0.1:8082"
"""Where the CAS of every README listens."""


@dataclass(frozen=True)
class Block:
    """Commands of a README, and the lines that it promises."""

    commands: str
    promised: tuple[str, ...]


def blocks(page: str) -> list[Block]:
    """Return what a page says is typed, in its order."""
    found: list[Block] = []
    for indent, language, text in FENCE.findall(page):
        content = re.sub(rf"^{indent}", "", text, flags=re.M)
        if language == "sh":
            found.append(Block(content, ()))
        elif not language and found:
            last = found.pop()
            found.append(Block(last.commands, (*last.promised, *content.splitlines())))
    return found


def missing(promised: tuple[str, ...], output: str) -> list[str]:
    """Return the promised lines from the first one on that is not in the rest of the output."""
    lines = output.splitlines()
    for number, promise in enumerate(promised):
        pattern = re.compile(".*".join(re.escape(part) for part in promise.strip().split("…")))
        while lines and not pattern.search(lines[0]):
            lines.pop(0)
        if not lines:
            return list(promised[number:])
        lines.pop(0)
    return []


def walk(world: World, example: str, changed: Mapping[str, str] | None = None) -> dict[str, str]:
    """Type all that a README says in one shell, on a machine without a CAS; return what each block printed.

    Some texts are `changed`. A block that promises no line has to succeed. The images stay, with the records that later
    runs of `apply` in `world` go by, and so does what the CAS keeps.
    """
    host = gateway()
    world.address = f"{host}:{free_port(host)}"
    others = {ADDRESS: world.address, "sconectl-demo/": f"{world.prefix(example)}/", **(changed or {})}
    folder = world.root / "examples" / example
    shutil.copytree(REPOSITORY / "examples" / example, folder)
    (world.root / "scripts").symlink_to(REPOSITORY / "scripts")
    shutil.copy(world.root / "sconectl.toml", folder)
    for file in (file for file in folder.iterdir() if file.suffix in (".yaml", ".yml", ".sh")):
        file.write_text(replaced(file.read_text(), others))
    found = blocks((folder / "README.md").read_text())
    assert len(found) > 2
    commands = [replaced(block.commands, others) for block in found]
    script = f"exec 2>&1\nclean_up() {{\n{commands[-1]}\n}}\n"
    for number, block in enumerate(found):
        script += f"echo '@@ {number}'\n{commands[number]}\ncode=$?\necho \"@@ code $code\"\n"
        script += "" if block.promised else "[ $code = 0 ] || { clean_up; exit; }\n"
    places = {"BASE_IMAGE": world.base_image, "COMPOSE_PROJECT_NAME": f"walk-{world.name}"}
    variables = {**world.environment, **places, "PATH": f"{SCONECTL.parent}:{os.environ['PATH']}"}
    with alone():
        done = run(["bash", "-c", script], env=variables, cwd=folder)
    if (records := folder / "target" / "images").is_dir():
        shutil.copytree(records, world.target / "images")
    outputs = {}
    for number, block in enumerate(found):
        output, _, rest = done.out.partition(f"@@ {number}\n")[2].partition("@@ code ")
        code = rest.partition("\n")[0]
        outputs[block.commands] = output
        lacking = missing(block.promised, output)
        assert not lacking, f"{block.commands}\nprints\n{output}\nand not, from here on:\n{lacking}"
        assert block.promised or code == "0", f"{block.commands}\nends with {code or 'nothing'}:\n{output}"
    return outputs


def replaced(text: str, changed: Mapping[str, str]) -> str:
    for old, new in changed.items():
        text = text.replace(old, new)
    return text


@contextmanager
def alone() -> Iterator[None]:
    """Wait until no other README is walked on this machine: they all call their containers demo-…."""
    with (Path(tempfile.gettempdir()) / f"sconectl-readme-walk-{os.getuid()}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
