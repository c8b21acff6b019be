"""What the attestation of a session may tolerate, by name."""

from __future__ import annotations

MAA_TCB = "maa-managed-tcb"
LOCAL_TCB = "local-attestation-trust-cas-tcb"
DEBUG_MODE = "debug-mode"
ADVISORY_CATEGORIES = ("software-hardening-needed", "insecure-configuration", "outdated-tcb")
TOLERATIONS = (DEBUG_MODE, "hyperthreading", "insecure-igpu", "aepic-leak", *ADVISORY_CATEGORIES, MAA_TCB, LOCAL_TCB)
