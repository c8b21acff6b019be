"""Proposes directories to encrypt for an image: from a log of strace, or from a run under observation.

In: the request, the log or the number of seconds to run. Out: a `Proposal`. Raises `BuildFailed`, `InvalidInput` and
`PlanImpossible`.
"""

from __future__ import annotations

import re

from sconectl.apply.work_directory import work_directory
from sconectl.image.observe.trace import read_trace
from sconectl.image.observe.trace_proposal import Proposal, propose
from sconectl.image.settings.native_places import image_pwd
from sconectl.toolchains.interface import Workshop
from sconectl.usecases.apply_service import ServiceWorld
from sconectl.usecases.convert import SconifyRequest, native_image, planned
from sconectl.usecases.observed_run import observe

_ENDED = re.compile(r"\+\+\+ exited with (-?[1-9][0-9]*) ")


def proposal_from_log(request: SconifyRequest, log: str, name: str, world: ServiceWorld) -> Proposal:
    """Propose directories from the text of a log that is called `name`."""
    native = native_image(request.source, world)
    return propose(read_trace(log, name, image_pwd(native.config)), _volumes(request))


def proposal_from_run(request: SconifyRequest, seconds: int, world: ServiceWorld) -> Proposal:
    """Run the native image once, for at most `seconds`, and propose directories from what its program opens."""
    native = native_image(request.source, world)
    plan = planned(request, native)  # whose parts are checked
    base = native_image(world.launcher_base, world)
    with work_directory() as work:
        workshop = Workshop(world.engine, world.environment, work, world.cache, world.detail)
        launcher, interpreter = world.toolchain.launcher(base, workshop), world.toolchain.interpreter
        world.progress(f"running {request.source} for {seconds} seconds under observation")
        log = observe(world.engine, native.id, plan.command.words, launcher, interpreter, seconds, world.detail)
    if ended := _ENDED.search(log):
        world.remark(f"the program ended with status {ended[1]} while it was observed; -v shows what it said")
    return propose(read_trace(log, "observed run", plan.build.pwd), _volumes(request))


def _volumes(request: SconifyRequest) -> list[str]:
    return [volume["path"] for volume in request.volumes]
