"""Variables that are about the chart, as upstream's manifests have them, in a mesh or in its images.

In: a lookup of the variables of a service, those that its image declares, its toolchain and its workload. Out: values
of its chart, which those of helm_extra_values win over, and faults. Where a variable can have no effect, as with a
simulation, it is left alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from sconectl import assets
from sconectl.manifest.model.ports import HIGHEST, port_number
from sconectl.plan.facts.toolchain_traits import ToolchainTraits

NAMES = ("restartPolicy", "useSGXDevPlugin", "sgxEpcMem")
_ENDING = ("job", "cronjob")
_RESTARTS = ("Always", "OnFailure", "Never")
_LARGEST = 1 << 24  # MiB
_HOST = re.compile(r"[A-Za-z0-9_.:-]{1,253}")

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


def waiting_values(environment: Mapping[str, str], toolchain: ToolchainTraits) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the peers that a service waits for, by the variables that its image declares, and what is wrong with them.

    An image of hardware cannot ask them itself, so there nothing is switched on.
    """
    peers: dict[str, Any] = {}
    faults: dict[str, str] = {}
    for number in (1, 2):
        name = f"INIT_CONTAINER{number}"
        switch, host, port = (environment.get(f"{name}{end}", "").strip() for end in ("_ENABLE", "", "_PORT"))
        if "{{" in switch + host + port:  # which is said where the value is missing
            continue
        if switch.lower() not in ("true", "false", ""):
            faults[f"{name}_ENABLE"] = "expected true or false"
        if switch.lower() != "true":
            continue
        if not _HOST.fullmatch(host):
            faults[name] = "expected the host that is waited for"
        if (found := port_number(port)) is None:
            faults[f"{name}_PORT"] = f"expected a port number from 1 to {HIGHEST}"
        peers[f"container{number}"] = {"enabled": toolchain.simulated, "host": host, "port": found}
    return ({} if faults or not peers else {"initContainers": peers}), faults
