"""Starts the launcher; the environment is taken and emptied before anything else is imported."""

import os

from sconectl.runtime.settings import take_settings

settings = take_settings(os.environ)

from sconectl.runtime.launcher import main  # noqa: E402

main(settings)
