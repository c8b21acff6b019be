"""Variables of a mesh that are about its chart, as upstream's manifests have them: no program gets them.

In: a lookup of the variables of a service, its toolchain and its workload. Out: values of its chart, which those of
helm_extra_values win over, and faults. Where a variable can have no effect, as with a simulation, it is left alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from sconectl import assets
from sconectl.plan.facts.toolchain_traits import ToolchainTraits

NAMES = ("restartPolicy", "useSGXDevPlugin", "sgxEpcMem")
_ENDING = ("job", "cronjob")
_RESTARTS = ("Always", "OnFailure", "Never")
_LARGEST = 1 << 24  # MiB

Lookup = Callable[[str], str | None]
"""Gives the value of a variable, or None."""


def variable_values(lookup: Lookup, toolchain: ToolchainTraits, workload: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return values of the chart, and what is wrong by the name of the variable."""
    values: dict[str, Any] = {}
    faults: dict[str, str] = {}
    found = {name: (lookup(name) or "").strip() for name in NAMES}
    if (restart := found["restartPolicy"]) and workload in _ENDING:
        if restart not in _RESTARTS:
            faults["restartPolicy"] = f"expected {' or '.join(_RESTARTS)}"
        elif restart != _RESTARTS[0]:  # which a Job cannot have
            values["jobs"] = {"restartPolicy": restart}
    if toolchain.sgx and (plugin := found["useSGXDevPlugin"]):
        values["useSGXDevPlugin"] = plugin
        schema = json.loads(assets.read("charts_templates/service/values.schema.json"))
        if plugin not in (known := schema["properties"]["useSGXDevPlugin"]["enum"]):
            faults["useSGXDevPlugin"] = f"expected {', '.join(filter(None, known))}"
    if toolchain.sgx and (size := found["sgxEpcMem"]):
        if size.isascii() and size.isdecimal() and len(size) <= len(str(_LARGEST)) and int(size) <= _LARGEST:
            values["sgxEpcMem"] = int(size)
        else:
            faults["sgxEpcMem"] = "expected a number of MiB"
    return values, faults
