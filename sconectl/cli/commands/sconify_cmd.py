"""`sconectl sconify-image`, also installed as `sconify_image`: converts an existing image in one call.

Prints `<namespace>/<name>`, the session of the new image, on stdout and nothing else. Its options are in
`sconify_options`.
"""

from __future__ import annotations

import os
import secrets as randomness
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sconectl.cli.options.apply_options import check_toolchain, warn_of_simulation
from sconectl.cli.options.config import load_config
from sconectl.cli.options.groups import grouped
from sconectl.cli.options.option_values import pairs
from sconectl.cli.options.sconify_options import (
    WITHOUT_EFFECT,
    SconifyOptions,
    chart_volumes_of,
    size_within,
    volumes_of,
)
from sconectl.cli.output.console import Console, note, result
from sconectl.cli.output.printable import shown
from sconectl.cli.session.session_access import one_of
from sconectl.cli.wiring import DEFAULT_TOOLCHAIN, Wiring, cas_directory, default_cas_config, toolchains
from sconectl.errors import UsageError
from sconectl.regular_files import first_bytes
from sconectl.text.yaml_tree import MAX_BYTES

if TYPE_CHECKING:
    from sconectl.apply.sconify_chart import ChartRequest
    from sconectl.ports import SessionStore
    from sconectl.usecases.apply_service import ServiceWorld
    from sconectl.usecases.convert import SconifyRequest

_LEVELS = ("trace", "debug", "info", "warning", "error", "fatal")
_OBSERVED = "run"
_HEAP, _STACK = (8 << 20, 60 << 30), (32 << 10, 8 << 20)


@grouped
def sconify_image(given: SconifyOptions) -> None:
    """Convert an existing image: protect it, and put its policy into a CAS.

    Prints the name of the session, NAMESPACE/NAME, and nothing else on stdout.
    docs/sconify.md explains the options. Two are too long for the tables below:

    --disable-update-session-if-exists      refuses to change an existing session

    --disable-session-security-attestation  accepts everybody. Dangerous.
    """
    from sconectl.apply.sconify_chart import ChartRequest
    from sconectl.usecases.convert import Attested, SconifyRequest, default_name

    check_toolchain(DEFAULT_TOOLCHAIN)
    if given.no_color:
        os.environ["NO_COLOR"] = "1"
    for option, reason in WITHOUT_EFFECT.items():
        if getattr(given, option):
            note(f"--{option.replace('_', '-')} has no effect: {reason}")
    if given.binary_fs and given.directory:
        raise UsageError("--binary-fs and --dir exclude each other", hint="choose what to do with the directories")
    parameters = {
        "SCONE_HEAP": size_within("--heap", given.heap, *_HEAP),
        "SCONE_STACK": size_within("--stack", given.stack, *_STACK),
        "SCONE_ALLOW_DLOPEN": str(given.dlopen),
        **({"SCONE_FORK": "1"} if given.fork else {}),
        **({"SCONE_MPROTECT": "1"} if given.mprotect else {}),
        **({"SCONE_LOG": given.log} if given.log else {}),
    }
    if given.log:
        one_of("--log", given.log.lower(), _LEVELS)
    chart_volumes = chart_volumes_of(given.chart_volume or [])
    request = SconifyRequest(
        source=given.source,
        to=given.to,
        name=given.name or default_name(given.to),
        namespace=given.namespace or f"NS-{randomness.token_hex(8)}",
        service_name=given.service_name,
        cas=given.cas,
        toolchain=toolchains()[DEFAULT_TOOLCHAIN].traits,
        command=given.command,
        protection={
            "binaries": given.binary or (),
            "dirs": given.directory or (),
            "plains": given.plain or (),
            "plain_files": given.plain_file or (),
            "host_paths": [
                *(path for value in given.host_path or () for path in value.split(",")),
                *(volume["path"] for volume in chart_volumes),
            ],
            "fs_dirs": given.fs_dir or (),
            "fs_files": given.fs_file or (),
        },
        volumes=volumes_of(given.volume or [], given.volume_tags or []),
        environment={**parameters, **pairs("--env", given.env or [])},
        copy_environment=not given.disable_copy_envvars,
        secrets=_section(given.secrets, "SECRETS"),
        injected_files=_section(given.injectedfiles, "INJECTED_FILES"),
        signing_key=str(given.scone_signer.absolute()) if given.scone_signer else "",
        attested=Attested(
            anything=not given.disable_session_attestation,
            weak_platform=given.allow_tcb_vulnerabilities,
            debug_mode=given.allow_debug_mode,
            azure=given.azure_attestation,
        ),
        create_namespace=given.create_namespace,
        update=not given.disable_update,
    )
    request = _with_template(request, given.template)
    chart = ChartRequest(
        workload=given.workload,
        port=given.expose,
        volumes=chart_volumes,
        values=pairs("--k8s-helm-set", given.chart_set or []),
        manifests=given.chart_manifests,
    )
    run = _Run(given, Console(max(given.verbose, int(given.debug))))
    _warn(request, run)
    run.convert(request, chart)
    result(request.session)


def _warn(request: SconifyRequest, run: _Run) -> None:
    """Say what weakens the result, because it was asked for."""
    warn_of_simulation(DEFAULT_TOOLCHAIN)
    if not request.attested.anything:
        note("warning: the session checks no enclave: whoever reaches the CAS gets its secrets (none, as asked for)")
    if run.given.disable_attestation:
        note("warning: the CAS is not identified: whoever answers gets the session (as asked for)")
    if request.attested.debug_mode:
        note("warning: the session accepts enclaves in debug mode, whose memory can be read")


@dataclass(frozen=True)
class _Run:
    """How this run reaches the outside world."""

    given: SconifyOptions
    console: Console

    def convert(self, request: SconifyRequest, chart: ChartRequest) -> None:
        """Convert, and write what goes to files of its own."""
        from sconectl.apply.sconify_chart import chart_files, check_chart
        from sconectl.artefacts.session import session_file
        from sconectl.cas.disk.private_files import write_private
        from sconectl.usecases.convert import convert

        check_chart(chart, request.service_name, [volume["name"] for volume in request.volumes])
        with ExitStack() as stack:
            world = self._world(request, stack)
            request = self._with_proposal(request, self.given.trace, world)
            with self.console.working():
                done = convert(request, world)
        if self.given.session is not None:
            write_private(self.given.session, session_file(done.session).encode())
        if chart.workload:
            folder = self.given.chart_directory or self.given.target / "helm"
            workspace = Wiring(folder).workspace
            before = workspace.read(f"{request.service_name}/Chart.yaml")
            files = chart_files(chart, done.plan, request.service_name, before)
            workspace.write(files, replaces=(request.service_name,))
            note(f"chart: {folder / request.service_name}")

    def _world(self, request: SconifyRequest, stack: ExitStack) -> ServiceWorld:
        given, config = self.given, load_config(Path.cwd())
        upload = not (given.dry_run or given.disable_session_upload or given.generate_sconefile)
        return Wiring(given.target, given.cas_config).service_world(
            self.console,
            self._store(request.cas, stack) if upload else None,
            toolchain=DEFAULT_TOOLCHAIN,
            push=given.push_image and not given.dry_run,
            ca_bundle=config.ca_bundle,
            launcher_base=config.launcher_base or config.base_images.get("python", ""),
        )

    def _store(self, cas: str, stack: ExitStack) -> SessionStore:
        from sconectl.cas.client.identity import CasConfig
        from sconectl.cas.connect import connect

        known, identity = self.given.cas_config or default_cas_config(), self.given.identity
        if self.given.disable_attestation:  # no key is known, and none is remembered
            identity = identity or CasConfig(known).identity().file
            known = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sconectl-")))
        place = load_config(Path.cwd()).reached(cas)
        return connect(place, config_dir=known, data_dir=cas_directory(), identity_file=identity, notify=note)

    def _with_proposal(self, request: SconifyRequest, trace: str, world: ServiceWorld) -> SconifyRequest:
        """Return the request with the directories that a trace proposes, if none were given."""
        from sconectl.usecases.sconify_trace import proposal_from_log, proposal_from_run

        if not trace:
            return request
        if trace == _OBSERVED:
            with self.console.working():
                proposal = proposal_from_run(request, self.given.trace_seconds, world)
        else:
            proposal = proposal_from_log(request, _read(Path(trace)), trace, world)
        note("the trace proposes: " + (" ".join(f"--dir {shown(path)}" for path in proposal.dirs) or "nothing"))
        for path in proposal.left:
            note(f"  {shown(path)} stays readable: no directory with it can be encrypted")
        if request.protection["dirs"]:
            return request
        return replace(request, protection={**request.protection, "dirs": proposal.dirs})


def _with_template(request: SconifyRequest, template: Path | None) -> SconifyRequest:
    from sconectl.apply.session_template import SessionTemplate

    if template is None:
        return request
    given = SessionTemplate(str(template), _read(template), request.secrets, request.injected_files)
    return replace(request, template=given)


def _section(file: Path | None, variable: str) -> str:
    return os.environ.get(variable, "") if file is None else _read(file)


def _read(file: Path) -> str:
    try:
        content = first_bytes(file, MAX_BYTES + 1, streams=True)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise UsageError(f"{file} is larger than {MAX_BYTES} bytes")
    return content.decode("utf-8", "surrogateescape").replace("\r\n", "\n")
