"""Who attests the enclaves of a session, and what may be tolerated then, by name."""

from __future__ import annotations

SIMULATION = "simulation"
"""Enclaves of the toolchain sim: only the simulated CAS knows this mode, every other one refuses the session."""
HARDWARE = "hardware"
MODES = (HARDWARE, "maa", SIMULATION, "none")
MAA_TCB = "maa-managed-tcb"
LOCAL_TCB = "local-attestation-trust-cas-tcb"
DEBUG_MODE = "debug-mode"
ADVISORY_CATEGORIES = ("software-hardening-needed", "insecure-configuration", "outdated-tcb")
TOLERATIONS = (DEBUG_MODE, "hyperthreading", "insecure-igpu", "aepic-leak", *ADVISORY_CATEGORIES, MAA_TCB, LOCAL_TCB)
