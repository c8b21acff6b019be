"""The files that the command line names: manifests with their variables, and what lies around them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sconectl.errors import UsageError
from sconectl.manifest.placeholders import chain_variables
from sconectl.manifest.reader import Manifest, read_manifest

if TYPE_CHECKING:
    from sconectl.cli.apply_options import ApplyOptions


def read_given(options: ApplyOptions) -> Manifest:
    """Read the manifest that the options name, with its variables filled in. Raises `UsageError`, `InvalidInput`."""
    file = str(options.file)
    text = sys.stdin.buffer.read() if file == "-" else _bytes(options.file)
    sources = [options.variables, *(_env_file(path) for path in options.env_files)]
    if file.endswith(".template"):
        sources.append(dict(os.environ))
    return read_manifest(text, "<stdin>" if file == "-" else file, chain_variables(sources))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", hint="give the manifest with -f FILE") from error


def _env_file(path: Path) -> dict[str, str]:
    values = {}
    for number, line in enumerate(_bytes(path).decode("utf-8", "replace").splitlines(), 1):
        text = line.strip().removeprefix("export ").strip()
        if not text or text.startswith("#"):
            continue
        name, sign, value = text.partition("=")
        if not sign or not name.strip().isidentifier():
            raise UsageError(f"{path}:{number}: expected NAME=VALUE")
        value = value.strip()
        quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
        values[name.strip()] = value[1:-1] if quoted else value
    return values


def directory_of(options: ApplyOptions) -> Path:
    """Return the directory that paths in the manifest are relative to."""
    return Path.cwd() if str(options.file) == "-" else options.file.parent


def private_paths(options: ApplyOptions) -> tuple[Path, ...]:
    """Return the files and directories with values that belong to the service alone."""
    return (options.target, *(() if str(options.file) == "-" else (options.file,)), *options.env_files)
