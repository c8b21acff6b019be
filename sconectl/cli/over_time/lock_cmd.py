"""`sconectl lock`: whether sconectl.lock says the same as the manifests. Asks nobody, and needs no secret.

In: manifests and the lock beside the target directory. Out: a line on stdout; what does not agree on stderr, with exit
code 4.
"""

from __future__ import annotations

from typing import Annotated

import typer

from sconectl.cli.options.apply_options import ApplyOptions
from sconectl.cli.options.groups import Only, grouped
from sconectl.cli.output.console import result
from sconectl.errors import PlanImpossible, UsageError


@grouped
def lock(
    options: Annotated[
        ApplyOptions,
        Only("files target lock policy_namespace set_ env_file max_size", target="The lock is beside this directory."),
    ],
    check: Annotated[bool, typer.Option("--check", help="Compare the manifests with the lock.")] = False,
    output: Annotated[str, typer.Option("--output", metavar="FORM", help="text or json.")] = "text",
) -> None:
    """Compare manifests with sconectl.lock, which `apply` writes; offline.

    Fails if a manifest, or a file that a mesh names, has changed since it was applied.
    """
    from sconectl.apply.lock.lock_file import read_lock
    from sconectl.cli.options.manifest_files import read_all
    from sconectl.cli.output.finding_json import as_json
    from sconectl.cli.session.session_access import one_of
    from sconectl.cli.wiring import Wiring
    from sconectl.usecases.over_time.lock_check import disagreements

    one_of("--output", output, ("text", "json"))
    if not check:
        raise UsageError("the lock is written by `sconectl apply`", hint="give --check to compare it with manifests")
    manifests = read_all(options)
    file = Wiring(options.target, lock=options.lock).lock
    raw = file.read()
    if raw is None:
        raise PlanImpossible(f"there is no {file.name}", hint="apply the manifests, and commit the lock with them")
    found = list(disagreements(manifests, read_lock(raw, file.name)))
    if output == "json":
        result(as_json(found))
    if found:
        raise PlanImpossible(f"{file.name} and the manifests disagree", findings=found)
    if output == "text":
        result(f"{file.name}: agrees with {len(manifests)} {'manifest' if len(manifests) == 1 else 'manifests'}")
