"""The commands that a protected image runs, all with the interpreter that the launcher brings along."""

from __future__ import annotations

INTERPRETER = (
    "/scone/lib/ld.so",
    "--inhibit-cache",
    "--library-path",
    "/scone/lib",
    "/scone/bin/python3",
    "-I",
    "-S",
    "-B",
)
ENTRYPOINT = (*INTERPRETER, "/scone/runtime")
ASK_HEALTH = (*INTERPRETER, "/scone/runtime/sconectl/runtime/ask_health.pyc")
"""Asks the launcher for the health of the program. (It has no sources, only what they are compiled to.)"""
