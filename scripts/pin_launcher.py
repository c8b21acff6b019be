"""Pins what the launcher is made with, by hash: `.venv/bin/python scripts/pin_launcher.py [NAME==VERSION ...]`.

In: the versions to pin (default: those that are pinned), and the package index that pip uses here. Out: the file
sconectl/toolchains/sim/launcher_requirements.txt, with the wheels for every architecture, Python and C library that a
base image of the launcher may have. pip only asks; nothing is downloaded.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

FILE = Path(__file__).resolve().parents[1] / "sconectl" / "toolchains" / "sim" / "launcher_requirements.txt"
ARCHITECTURES = ("x86_64", "aarch64")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
LIBRARIES = ("manylinux2014", "manylinux_2_28", "manylinux_2_34")
HEAD = """\
# What the launcher is made with: exactly these files, nothing else. Written by scripts/pin_launcher.py.
# cffi's own requirement pycparser is not here: it is used when bindings are made, never when they are loaded.
"""
_ASK = ("-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "--only-binary", ":all:", "-qq")


def wheels(requirement: str) -> dict[str, str]:
    """Return the SHA-256 of all wheels of a requirement by file name."""
    found = {}
    for python in PYTHONS:
        for platform in (f"{library}_{architecture}" for architecture in ARCHITECTURES for library in LIBRARIES):
            options = ("--report", "-", "--target", "unused", "--python-version", python, "--platform", platform)
            asked = subprocess.run([sys.executable, "-I", *_ASK, *options, requirement], capture_output=True, text=True)
            if asked.returncode != 0 and "No matching distribution" not in asked.stderr:
                raise SystemExit(asked.stderr)
            for package in json.loads(asked.stdout)["install"] if asked.returncode == 0 else ():
                about = package["download_info"]
                found[about["url"].rpartition("/")[2]] = about["archive_info"]["hashes"]["sha256"]
    if not found:
        raise SystemExit(f"the index has no wheel for {requirement}")
    return found


def main() -> None:
    """Write the file."""
    requirements = sys.argv[1:] or re.findall(r"^[\w.-]+==[\w.]+", FILE.read_text(), re.MULTILINE)
    lines = [HEAD]
    for requirement in sorted(requirements):
        pinned = wheels(requirement)
        lines += [f"# {name}\n" for name in sorted(pinned)]
        lines.append(
            " \\\n    ".join([requirement, *(f"--hash=sha256:{pinned[name]}" for name in sorted(pinned))]) + "\n"
        )
    FILE.write_text("".join(lines))


if __name__ == "__main__":
    main()
