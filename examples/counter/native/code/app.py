"""Counts how often it has been run, in a file. It knows nothing of sconectl."""

import argparse
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-v", metavar="PATH", type=Path, default=Path("/V1/num"), help="where the number is kept")
    number = parser.parse_args().v
    if not number.exists():
        print(f"{number} does not exist, creating ... ")
        number.parent.mkdir(parents=True, exist_ok=True)
        number.touch()
        print("And writing 0 to it ... ")
        number.write_text("1")  # the number of this run
    executions = int(number.read_text())
    print(f"The number of executions is {executions}")
    number.write_text(str(executions + 1))


if __name__ == "__main__":
    main()
