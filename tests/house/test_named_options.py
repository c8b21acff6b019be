"""Commands, options and fields that messages name exist, the options in the commands that can say so."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import typer.main

from sconectl.cli.command_table import app
from sconectl.manifest.model.genservice import GenService
from sconectl.manifest.model.mesh import Mesh

from .sources import Module, imports, modules

_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9_-]+(?<![_-])")
_COMMAND = re.compile(r"sconectl ((?:[a-z][a-z-]+ ?){1,2})")
_FIELD = re.compile(
    r"(?<![\w./:])(build|environment|secrets|policy|services\[\]|cas\[\])\.(?!env\b|yaml\b)([a-z_]+)\b(?![./(])"
)
_RUN_STEP = "`run` step"
_OTHER_PROGRAM = re.compile(
    r"docker (run|build|pull)|COPY |\btar |\bpod|Kubernetes|container|/dev/shm|/ / |\bRUN |--cap-add|--ipc|--hash="
)
Command = tuple[str, ...]

SAID_BY: dict[tuple[str, str], set[str]] = {
    ("usecases.apply_service", "--base-image"): {"plan", "apply"},  # a converted image has other words
    ("usecases.plan_report", "--base-image"): {"plan"},
    ("apply.image_sessions", "--cas"): {"apply", "sconify-image"},  # "apply … again, with"
    ("usecases.apply_mesh", "--cas-config"): {"plan", "apply", "sconify-image"},
    ("cas.audit.anchor", "--anchor"): {"cas serve", "cas backup", "cas restore", "cas verify-audit-log"},
    ("cas.maintenance.audit_check", "--segments"): {"cas verify-audit-log"},
    ("cas.maintenance.backup", "--replace"): {"cas restore"},
    ("cas.client.refusal_hints", "--cas-config"): {"apply", "session create", "session update", "session read"},
    ("cas.attest.hardware_policies", "--hardware-policies"): {"cas serve"},  # stands behind that
    ("cli.options.apply_options", "--maa"): {"apply"},
    ("cli.options.apply_options", "--mode"): {"validate", "plan", "apply"},
    ("cli.cas.cas_cmd", "--import-from"): {"cas serve"},
    ("cli.cas.cas_keep_cmd", "--last"): {"cas verify-audit-log"},
    ("cli.cas.cas_keep_cmd", "--segments"): {"cas verify-audit-log"},
    ("cli.cas.cas_trust_cmd", "--platform"): {"cas show-identification"},
    ("cli.commands.fspf_cmd", "*"): {"fspf addr"},
    ("cli.session.session_access", "--fail-on-warning"): {"session sign", "session create", "session update"},
    ("cli.session.session_check", "--with-self-as-creator"): {"session calculate-hash"},
    ("cli.session.session_file", "--name"): {"session sign", "session create", "session update", "session verify"},
    ("cli.session.session_file", "--use-env"): {"session sign", "session create", "session update", "session diff"},
    ("cli.volume.volume_state_cmd", "*"): {"volume accept"},
    ("cli.volume.volume_files_cmd", "--of"): {"volume show", "volume backup"},
    ("cli.volume.volume_files_cmd", "--key"): {"volume verify", "volume extract"},
    ("apply.volumes.backup", "--replace"): {"volume restore"},
    ("cli.commands.identity_rotate_cmd", "*"): {"identity rotate"},
    ("cli.session.session_retire_cmd", "*"): {"session retire"},
    ("cli.session.session_sign_cmd", "*"): {"session encrypt"},
    ("manifest.reading.helm_set", "--set"): {"validate", "plan", "apply"},  # what is converted is in no manifest
    ("manifest.reading.reader", "*"): {"validate", "plan", "apply"},
    ("plan.mesh.mesh_service", "--release"): {"validate", "plan", "apply"},
    # `curated` asks the world of `apply` for one service; what is said about meshes is never said there.
    ("apply.gather", "--facts"): {"plan", "apply"},
    ("cli.options.manifest_files", "*"): {"validate", "plan", "apply"},
    ("plan.advice.advice_trust", "--mode"): {"validate", "plan", "apply"},
    ("plan.advice.advice_values", "--env-file"): {"validate", "plan", "apply"},
    ("usecases.over_time.left_behind", "--prune"): {"plan", "apply"},
    ("toolchains.fspf_file", "*"): {"fspf addr"},
    ("cas.client.tolerance", "*"): {"cas attest"},  # and of the field `tolerance`, which takes these flags
    ("cli.cas.cas_operator_cmd", "*"): {"cas operator"},
    ("cas.operator.kubernetes_api", "*"): {"cas operator"},
    ("cli.cas.cas_trust_cmd", "*"): {"cas attest"},
    ("image.program.entry_point", "--command"): {"sconify-image"},  # beside the field of a manifest
    ("image.layers.root_index", "--dir"): {"sconify-image"},
    ("cli.options.apply_options", "--helm-template"): {"plan", "apply"},
    ("cli.options.apply_options", "--toolchain"): {"plan", "apply"},  # what is converted is for sim
}
"""Which commands say what a module names, where the others that import the module never come to say it."""


def texts(module: Module) -> Iterator[tuple[int, str]]:
    """Yield the literals of a module that are no docstrings; a text with values in it is one."""
    docs = {
        id(node.body[0].value)
        for node in ast.walk(module.tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(module.tree):
        if isinstance(node, ast.JoinedStr):
            docs |= {id(part) for part in node.values}
            said = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
            yield node.lineno, said
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.lineno, node.value


def sentences(module: Module) -> Iterator[tuple[int, str]]:
    """Yield the texts that somebody reads: of more than one word, and about no other program."""
    for line, text in texts(module):
        if " " in text.strip() and not _OTHER_PROGRAM.search(text):
            yield line, text


@cache
def commands() -> dict[Command, tuple[str, frozenset[str]]]:
    """Return each command with the module that runs it, and its options."""
    found: dict[Command, tuple[str, frozenset[str]]] = {}

    def walk(command: Any, path: Command) -> None:  # typer brings a click of its own
        if hasattr(command, "list_commands"):
            for name in command.list_commands(None):
                walk(command.get_command(None, name), (*path, name))
            return
        options = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
        found[path] = (command.callback.__module__, frozenset(options))

    walk(typer.main.get_command(app), ())
    return found


def groups() -> set[Command]:
    return {path[:1] for path in commands() if len(path) > 1}


@cache
def reached(start: str) -> frozenset[str]:
    """Return the modules that a module imports, at any time, and what these import."""
    graph = {module.name: module for module in modules()}
    seen, waiting = {start}, [start]
    while waiting:
        for _, name in imports(graph[waiting.pop()]):
            known = name
            while known and known not in graph:
                known = known.rpartition(".")[0]
            if known not in ("", "sconectl", "sconectl.cli", "sconectl.cli.command_table", *seen):
                seen.add(known)
                waiting.append(known)
    return frozenset(seen)


def speakers(module: Module, option: str) -> list[Command]:
    """Return the commands that may say what a module names."""
    short = module.name.removeprefix("sconectl.")
    said = SAID_BY.get((short, option)) or SAID_BY.get((short, "*"))
    if said:
        return [tuple(name.split()) for name in said]
    return [path for path, (start, _) in commands().items() if module.name in reached(start)]


def named_command(text: str) -> Command | None:
    """Return the last command that a text names."""
    found: list[Command] = [tuple(match[1].split()) for match in _COMMAND.finditer(text)]
    for words in reversed(found):
        for command in (words, words[:1]):
            if command in commands():
                return command
    return None


def test_options_exist_in_the_commands_that_name_them() -> None:
    wrong = []
    for module in modules():
        if module.area in ("learn", "codes"):
            continue  # said by `explain`, about other commands
        for line, text in sentences(module):
            for found in _OPTION.finditer(text):
                if not found.start():
                    continue  # what is wrong with the option that was given
                command = named_command(text[: found.start()])
                for path in [command] if command else speakers(module, found[0]):
                    if found[0] not in commands()[path][1]:
                        wrong.append((module.shown, line, found[0], " ".join(path), text))
    assert wrong == []


def test_commands_that_are_named_exist() -> None:
    wrong = []
    said = [(module.shown, line, text) for module in modules() for line, text in texts(module)]
    for shown, line, text in said:
        for found in re.finditer(r"`sconectl ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?", text):
            first, second = (found[1],), (found[1], found[2] or "")
            if first not in commands() and second not in commands() and not (first in groups() and not found[2]):
                wrong.append((shown, line, found[0]))
    assert wrong == []


def fields(model: type[GenService] | type[Mesh]) -> dict[str, set[str]]:
    """Return the names of the fields of each part of a manifest."""
    schema = model.model_json_schema(by_alias=True)
    found = {}
    for part, of_part in schema["properties"].items():
        names = re.findall(r"'#/\$defs/(\w+)'", str(of_part))
        found[part] = {field for name in names for field in schema["$defs"][name].get("properties", {})}
    return found


def test_fields_that_are_named_exist() -> None:
    known = {part: names for model in (GenService, Mesh) for part, names in fields(model).items()}
    assert {"dirs", "copy", "to"} <= known["build"]
    wrong = [
        (module.shown, line, found[0])
        for module in modules()
        for line, text in sentences(module)
        for found in _FIELD.finditer(text)
        if found[2] not in known[found[1].removesuffix("[]")]
    ]
    assert wrong == []


def test_what_is_said_by_some_commands_only_is_still_said() -> None:
    named = {
        (module.name.removeprefix("sconectl."), option)
        for module in modules()
        for _, text in texts(module)
        for option in ("*", *_OPTION.findall(text))
    }
    assert set(SAID_BY) <= named


def test_what_every_image_meets_names_no_step_that_a_converted_one_lacks() -> None:
    said = [
        (module.shown, line, text)
        for module in modules()
        if module.area in ("image", "toolchains", "runtime")
        for line, text in texts(module)
        if _RUN_STEP in text or "--base-image" in text
    ]
    assert said == []
