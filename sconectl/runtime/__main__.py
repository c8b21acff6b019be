"""Starts the launcher; the environment is taken and emptied before anything else is imported."""

import os
import sys

from sconectl.runtime.settings import take_settings

settings = take_settings(os.environ, sys.argv[1:])
os.environ["OPENSSL_CONF"] = "/dev/null"  # else the image's own openssl.cnf would choose what the launcher loads

try:
    from sconectl.runtime.launcher import main
except Exception as error:  # a damaged launcher must not look like a program that failed
    os.write(2, f"[SCONE|FATAL] The launcher is damaged: {type(error).__name__}\n".encode())
    os._exit(125)

main(settings)
