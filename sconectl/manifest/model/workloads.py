"""What runs the pods of a service: the kinds of workloads, and when a CronJob starts one."""

# Annotations are no texts here (no `from __future__ import annotations`): pydantic would compile each at every start.

from collections.abc import Iterator
from typing import Annotated, Any

from sconectl.manifest.model.faults import Misfit
from sconectl.manifest.model.fields import OneOf, matching
from sconectl.text.marks import SHOWN

CRONJOB = "cronjob"
WORKLOADS = {
    "deployment": "pods that are alike and keep nothing",
    "statefulset": "pods with stable names, each with storage of its own for each volume",
    "job": "one pod that runs to its end, once for each installation",
    CRONJOB: "one pod that runs to its end whenever `schedule` says so",
    "daemonset": "one pod on each node",
}


def _part(one: str) -> str:
    some = rf"(?:\*|\?|(?:{one})(?:-(?:{one}))?)(?:/[1-9][0-9]{{0,3}})?"
    return f"{some}(?:,{some})*"


def _words(text: str) -> str:
    return "|".join("".join(f"[{letter.upper()}{letter}]" for letter in word) for word in text.split())


_PARTS = (
    "[0-5]?[0-9]",
    "[01]?[0-9]|2[0-3]",
    "0?[1-9]|[12][0-9]|3[01]",
    f"0?[1-9]|1[0-2]|{_words('jan feb mar apr may jun jul aug sep oct nov dec')}",
    f"0?[0-6]|{_words('sun mon tue wed thu fri sat')}",
)
_NAMED = "@(?:yearly|annually|monthly|weekly|daily|midnight|hourly)"
SCHEDULE = rf" *(?:{_NAMED}|{' +'.join(map(_part, _PARTS))}) *\Z"
_EXPECTED = "five fields of a crontab (minute, hour, day, month, weekday 0-6), like 30 2 * * 1-5"

Workload = Annotated[str, OneOf(WORKLOADS)]
Schedule = Annotated[str, matching(SCHEDULE, _EXPECTED), SHOWN]


def schedule_misfits(service: Any) -> Iterator[Misfit]:
    """Yield what is wrong between the fields `workload` and `schedule` of a service."""
    if not isinstance(service, dict):
        return
    workload, schedule = service.get("workload") or "", service.get("schedule") or ""
    if workload == CRONJOB and not schedule:
        yield Misfit(("workload",), "a CronJob needs a schedule", "add schedule, like 30 2 * * 1-5", True)
    elif schedule and workload not in ("", CRONJOB):
        yield Misfit(("schedule",), f"only a {CRONJOB} has a schedule", f"remove it, or write workload: {CRONJOB}")
