"""Says in words what an image will have measured, and what an operator of its machine will be able to read.

In: a `PlanReport`. Out: lines of text, and the form that programs read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sconectl.plan.facts.toolchain_traits import ToolchainTraits
from sconectl.plan.service.protection import Protection, Rule
from sconectl.report.volumes import service_volumes, storage_lines
from sconectl.usecases.plan_report import PathRow, PlanReport

_SIGNED_ONLY = ("isvprodid", "isvsvn", "mode")


@dataclass(frozen=True)
class Amount:
    """How many files, links and directories there are, and the size of the files."""

    files: int = 0
    links: int = 0
    directories: int = 0
    size: int = 0


def amount(rows: Iterator[PathRow]) -> Amount:
    """Count rows."""
    files = links = directories = size = 0
    for row in rows:
        files += row.kind == "f"
        links += row.kind == "l"
        directories += row.kind == "d"
        size += row.size
    return Amount(files, links, directories, size)


def amounts(report: PlanReport) -> list[tuple[Rule, Amount]]:
    """Return for each rule, by path, how many files it decides about."""
    by_rule: dict[str, list[PathRow]] = {path: [] for path in report.rules}
    for row in report.paths:
        by_rule[row.rule.path].append(row)
    return [(report.rules[path], amount(iter(rows))) for path, rows in by_rule.items()]


def measured(report: PlanReport) -> list[str]:
    """Return lines that say which files the measurement will depend on."""
    of_root = amount(row for row in report.paths if row.rule.protection == "binary-fs")
    parameters = report.plan.parameters
    lines = [
        "launcher: all files of /scone that are the same in every image",
        f"binary-fs: path, mode, size and content of {counted(of_root.files, 'file')} ({size_text(of_root.size)}), the "
        f"targets of {counted(of_root.links, 'link')}, the modes of {counted(of_root.directories, 'directory')}",
        *(f"binary-fs {text}" for text in report.unknown),
    ]
    if report.plan.sealed or report.plan.injected:
        lines.append("encrypted, injected: that there is something, and where; not what is in it")
    if report.plan.volumes:
        lines.append("volume: that there is one, and where; not what is in it")
    named = (f"{name}={parameters[name]}" for name in sorted(parameters) if name not in _SIGNED_ONLY)
    return [*lines, f"parameters: {', '.join(named)}"]


def readable(report: PlanReport) -> list[str]:
    """Return lines that say which data anybody with the image or the machine will be able to read."""
    model, paths = report.plan.model, _paths_by_class(report)
    lines = ["binary-fs: everything; a change stops the start"]
    if "encrypted" in paths:
        lines.append(
            f"encrypted: neither contents nor names; that there is {_list(paths['encrypted'])}, and from the size of "
            "the encrypted data about how many files of which sizes"
        )
    open_paths = paths.get("plain", []) + paths.get("host path", [])
    if open_paths:
        lines.append(f"plain, host path: everything in {_list(open_paths)}, and may change it")
    if "injected" in paths:
        lines.append(f"injected: that there is {_list(paths['injected'])}; the content is in the policy")
    lines += [f"volume, {line}" for line in storage_lines(service_volumes(report.plan))]
    variables = len(model.environment.local) + len(model.environment.global_)
    secrets = len(model.secrets.global_) + len(model.secrets.import_)
    return [
        *lines,
        "runtime-provided: everything, and may change it",
        "label: the paths above, the parameters, and the names, not the values, of "
        f"{counted(variables, 'variable')} and {counted(secrets, 'secret')}",
        "command line, values: nothing; they are in the policy",
        *_simulation(report.plan.toolchain),
    ]


def _simulation(toolchain: ToolchainTraits) -> list[str]:
    said = "root on the machine also reads the memory of the running program, with decrypted and injected files"
    return [f"SIMULATION (toolchain {toolchain.name}): {said}"] if toolchain.simulated else []


def _paths_by_class(report: PlanReport) -> dict[Protection, list[str]]:
    found: dict[Protection, list[str]] = {}
    for rule in report.rules.values():
        found.setdefault(rule.protection, []).append(rule.path)
    return found


def _list(paths: list[str]) -> str:
    return ", ".join(sorted(paths))


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, like `2 files`."""
    plural = f"{noun.removesuffix('y')}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def size_text(size: int) -> str:
    """Return a size as a short text, like 12.3M."""
    value, unit = float(size), ""
    for unit in ("", "K", "M", "G", "T"):
        if value < 1000 or unit == "T":
            break
        value /= 1024
    return f"{value:.0f}{unit}" if not unit or value >= 100 else f"{value:.1f}{unit}"


def as_document(report: PlanReport) -> dict[str, Any]:
    """Return the report as plain values; findings are left to the caller."""
    plan = report.plan
    return {
        "name": plan.build.name,
        "kind": plan.build.kind,
        "image": plan.image,
        "toolchain": plan.toolchain.name,
        "simulation": plan.toolchain.simulated,
        "base": {"reference": report.base.reference, "digest": report.base.digest, "missing": report.base.missing},
        "steps": [{"step": step.name, "what": step.what, "state": step.state} for step in report.steps],
        "classes": [
            {
                "path": rule.path,
                "protection": rule.protection,
                "why": rule.why,
                "files": found.files,
                "links": found.links,
                "directories": found.directories,
                "size": found.size,
            }
            for rule, found in amounts(report)
        ],
        "paths": [
            {
                "path": row.path,
                "kind": row.kind,
                "mode": f"{row.mode:04o}",
                "size": row.size,
                "origin": row.origin,
                "protection": row.rule.protection,
                "why": row.rule.why,
            }
            for row in report.paths
        ],
        "unknown": list(report.unknown),
        "volumes": service_volumes(plan),
        "parameters": dict(plan.parameters),
        "measured": measured(report),
        "readable": readable(report),
        "setuid": list(report.setuid),
    }
