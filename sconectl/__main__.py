"""`python -m sconectl`: the command line."""

from sconectl.cli.main import run

run()
