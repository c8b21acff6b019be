"""How much processor time small commands take: `python bench/start.py`.

In: nothing. Out: for each command, its processor time as a whole process over that of `python -I -c pass`. What is
compared takes turns; a ratio is that of the medians of all rounds.
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
BASE = (sys.executable, "-I", "-c", "pass")
COMMANDS = {
    "--version": ((SCONECTL, "--version"), 2.0),
    "--help": ((SCONECTL, "--help"), 8),
    "validate of one mesh": ((SCONECTL, "validate", "-f", MESH, "--set", "CAS_URL=cas.example.org"), 14),
}


def processor_time(command: tuple[str, ...]) -> float:
    """Return the processor time of a process in milliseconds."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read().decode(errors="replace")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        sys.exit(f"{' '.join(command)} failed:\n{said}")
    return 1000 * (usage.ru_utime + usage.ru_stime)


def main() -> int:
    commands = [BASE, *(command for command, _ in COMMANDS.values())]
    for command in commands:
        processor_time(command)
    rounds = [[processor_time(command) for command in commands] for _ in range(ROUNDS)]
    base, *times = (statistics.median(column) for column in zip(*rounds, strict=True))
    print(f"python -I -c pass: {base:.1f} ms of processor time")
    missed = False
    for (name, (_, goal)), time in zip(COMMANDS.items(), times, strict=True):
        missed |= time / base > goal
        verdict = "MISSED" if time / base > goal else "met"
        print(f"{name}: {time / base:.2f} (goal {goal}: {verdict}; {time:.1f} ms)")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
