"""How much processor time small commands take: `python bench/start.py`.

In: nothing. Out: for each command, its processor time as a whole process over that of a Python that does nothing, or
that only loads the libraries which every command needs. What is compared takes turns; a ratio is that of the medians
of all rounds.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

ROUNDS = 21
ROOT = Path(__file__).resolve().parents[1]
SCONECTL = str(Path(sys.executable).with_name("sconectl"))
MESH = str(ROOT / "examples/hello-user/mesh.yaml")
# What is installed has its bytecode; the first round writes it here.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
PASS, LIBRARIES = "pass", "import typer, pydantic, ruamel.yaml"
IN_USE = f"{LIBRARIES}; pydantic.TypeAdapter(str)"  # pydantic loads most of itself when it is first used
VALIDATE = (SCONECTL, "validate", "-f", MESH, "--set", "CAS_URL=cas.example.org")
ROWS = [  # what is run, what it is compared with, and the goal
    ("--version", (SCONECTL, "--version"), PASS, 2.0),
    ("--help", (SCONECTL, "--help"), PASS, 8),
    ("validate of one mesh", VALIDATE, LIBRARIES, 1.25),
    ("validate of one mesh", VALIDATE, IN_USE, 1.25),
]


def processor_time(command: tuple[str, ...]) -> float:
    """Return the processor time of a process in milliseconds."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=ENVIRONMENT)
    assert process.stderr is not None
    said = process.stderr.read().decode(errors="replace")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        sys.exit(f"{' '.join(command)} failed:\n{said}")
    return 1000 * (usage.ru_utime + usage.ru_stime)


def main() -> int:
    commands: dict[str, tuple[str, ...]] = {
        code: (sys.executable, "-I", "-c", code) for code in (PASS, LIBRARIES, IN_USE)
    }
    commands |= {name: command for name, command, _, _ in ROWS}
    for command in commands.values():
        processor_time(command)
    rounds = [[processor_time(command) for command in commands.values()] for _ in range(ROUNDS)]
    times = dict(zip(commands, map(statistics.median, zip(*rounds, strict=True)), strict=True))
    for name, time in times.items():
        print(f"{name}: {time:.1f} ms of processor time")
    missed = False
    for name, _, base, goal in ROWS:
        ratio = times[name] / times[base]
        missed |= ratio > goal
        print(f"{name}, next to `{base}`: {ratio:.2f} (goal {goal}: {'MISSED' if ratio > goal else 'met'})")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
