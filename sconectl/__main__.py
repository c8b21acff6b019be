"""The command line, for `python -I -m sconectl`."""

import os
import sys

if not sys.flags.safe_path and sys.path[:1] == [os.getcwd()]:  # noqa: PTH109 - nothing else is imported before this
    del sys.path[0]  # without -I it is the working directory: what lies there must not replace our modules

from sconectl.cli.main import run

run()
