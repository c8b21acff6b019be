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

from sconectl.cli.options import sconify_options as options
from sconectl.cli.options.apply_options import check_toolchain, warn_of_simulation
from sconectl.cli.options.config import load_config
from sconectl.cli.options.option_values import pairs
from sconectl.cli.output.console import Console, note, result
from sconectl.cli.output.printable import shown
from sconectl.cli.session.session_access import one_of
from sconectl.cli.wiring import (
    DEFAULT_TOOLCHAIN,
    Wiring,
    build_environment,
    cache_directory,
    data_directory,
    default_cas_config,
    source_date_epoch,
    toolchains,
)
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


def sconify_image(
    source: options.Source,
    to: options.To,
    binary: options.Binary = None,
    name: options.Name = "",
    namespace: options.Namespace = "",
    create_namespace: options.CreateNamespace = False,
    service_name: options.ServiceName = "service",
    cas: options.Cas = "local",
    command: options.Command = "",
    env: options.Env = None,
    disable_copy_envvars: options.NoImageEnv = False,
    directory: options.Directories = None,
    plain: options.Plain = None,
    plain_file: options.PlainFile = None,
    host_path: options.HostPath = None,
    volume: options.Volume = None,
    binary_fs: options.BinaryFs = False,
    fs_dir: options.FsDir = None,
    fs_file: options.FsFile = None,
    trace: options.Trace = "",
    trace_seconds: options.TraceSeconds = 30,
    secrets: options.Secrets = None,
    injectedfiles: options.InjectedFiles = None,
    template: options.Template = None,
    session: options.SessionFile = None,
    identity: options.Identity = None,
    disable_update: options.NoUpdate = False,
    disable_session_upload: options.NoUpload = False,
    disable_attestation: options.NoCasAttestation = False,
    heap: options.Heap = "1G",
    stack: options.Stack = "4M",
    dlopen: options.Dlopen = 2,
    fork: options.Fork = 0,
    mprotect: options.Mprotect = 0,
    log: options.Log = "",
    allow_tcb_vulnerabilities: options.AllowTcb = False,
    allow_debug_mode: options.AllowDebug = False,
    disable_session_attestation: options.NoSessionAttestation = False,
    azure_attestation: options.Azure = "",
    scone_signer: options.Signer = None,
    workload: options.Workload = "",
    expose: options.Expose = None,
    chart_directory: options.ChartDirectory = None,
    chart_volume: options.ChartVolume = None,
    chart_manifests: options.ChartManifests = None,
    chart_set: options.ChartSet = None,
    push_image: options.PushImage = False,
    dry_run: options.DryRun = False,
    target: options.Target = Path("target"),
    cas_config: options.CasConfig = None,
    verbose: options.Verbose = 0,
    debug: options.Debug = False,
    no_color: options.NoColor = False,
    base: options.Base = "",
    cas_debug: options.CasDebug = False,
    cli: options.Cli = "",
    crosscompiler: options.Crosscompiler = "",
    las: options.Las = "",
    no_fs_defaults: options.NoFsDefaults = False,
    no_links: options.NoLinks = False,
    no_service_libraries: options.NoServiceLibraries = False,
    no_shared_objects: options.NoSharedObjects = False,
    no_library_path: options.NoLibraryPath = False,
    no_replacement: options.NoReplacement = False,
    generate_sconefile: options.Sconefile = False,
) -> None:
    """Convert an existing image: protect it, and put its policy into a CAS.

    Prints the name of the session, NAMESPACE/NAME, and nothing else on stdout.
    docs/sconify.md explains the options. Two are too long for the tables below:

    --disable-update-session-if-exists      refuses to change an existing session

    --disable-session-security-attestation  accepts everybody. Dangerous.
    """
    from sconectl.apply.sconify_chart import ChartRequest
    from sconectl.usecases.convert import Attested, SconifyRequest, default_name

    check_toolchain(DEFAULT_TOOLCHAIN)
    if no_color:
        os.environ["NO_COLOR"] = "1"
    given = {
        "--base": base, "--cas-debug": cas_debug, "--cli": cli, "--crosscompiler": crosscompiler, "--las": las,
        "--disable-binary-fs-defaults": no_fs_defaults, "--disable-binary-symlink-detection": no_links,
        "--disable-copy-service-libraries": no_service_libraries,
        "--disable-copy-shared-object-dependencies": no_shared_objects,
        "--disable-ld-library-path-in-session": no_library_path,
        "--disable-replace-unsconifiable-binaries": no_replacement, "--generate-sconefile": generate_sconefile,
    }  # fmt: skip
    for option, value in given.items():
        if value:
            note(f"{option} has no effect: {options.WITHOUT_EFFECT[option]}")
    if binary_fs and directory:
        raise UsageError("--binary-fs and --dir exclude each other", hint="choose what to do with the directories")
    parameters = {
        "SCONE_HEAP": options.size_within("--heap", heap, *_HEAP),
        "SCONE_STACK": options.size_within("--stack", stack, *_STACK),
        "SCONE_ALLOW_DLOPEN": str(dlopen),
        **({"SCONE_FORK": "1"} if fork else {}),
        **({"SCONE_MPROTECT": "1"} if mprotect else {}),
        **({"SCONE_LOG": log} if log else {}),
    }
    if log:
        one_of("--log", log.lower(), _LEVELS)
    chart_volumes = options.chart_volumes_of(chart_volume or [])
    request = SconifyRequest(
        source=source,
        to=to,
        name=name or default_name(to),
        namespace=namespace or f"NS-{randomness.token_hex(8)}",
        service_name=service_name,
        cas=cas,
        toolchain=toolchains()[DEFAULT_TOOLCHAIN].traits,
        command=command,
        protection={
            "binaries": binary or (),
            "dirs": directory or (),
            "plains": plain or (),
            "plain_files": plain_file or (),
            "host_paths": [
                *(path for value in host_path or () for path in value.split(",")),
                *(volume["path"] for volume in chart_volumes),
            ],
            "fs_dirs": fs_dir or (),
            "fs_files": fs_file or (),
        },
        volumes=options.volumes_of(volume or []),
        environment={**parameters, **pairs("--env", env or [])},
        copy_environment=not disable_copy_envvars,
        secrets=_section(secrets, "SECRETS"),
        injected_files=_section(injectedfiles, "INJECTED_FILES"),
        signing_key=str(scone_signer.absolute()) if scone_signer else "",
        attested=Attested(
            anything=not disable_session_attestation,
            weak_platform=allow_tcb_vulnerabilities,
            debug_mode=allow_debug_mode,
            azure=azure_attestation,
        ),
        create_namespace=create_namespace,
        update=not disable_update,
    )
    request = _with_template(request, template)
    chart = ChartRequest(
        workload=workload,
        port=expose,
        volumes=chart_volumes,
        values=pairs("--k8s-helm-set", chart_set or []),
        manifests=chart_manifests,
    )
    upload = not (dry_run or disable_session_upload or generate_sconefile)
    run = _Run(
        target=target,
        cas_config=cas_config or default_cas_config(),
        identity=identity,
        any_cas=disable_attestation,
        upload=upload,
        push=push_image and not dry_run,
        console=Console(max(verbose, int(debug))),
    )
    _warn(request, run)
    run.convert(request, chart, trace, trace_seconds, session, chart_directory)
    result(request.session)


def _warn(request: SconifyRequest, run: _Run) -> None:
    """Say what weakens the result, because it was asked for."""
    warn_of_simulation(DEFAULT_TOOLCHAIN)
    if not request.attested.anything:
        note("warning: the session checks no enclave: whoever reaches the CAS gets its secrets (none, as asked for)")
    if run.any_cas:
        note("warning: the CAS is not identified: whoever answers gets the session (as asked for)")
    if request.attested.debug_mode:
        note("warning: the session accepts enclaves in debug mode, whose memory can be read")


@dataclass(frozen=True)
class _Run:
    """How this run reaches the outside world."""

    target: Path
    cas_config: Path
    identity: Path | None
    any_cas: bool
    upload: bool
    push: bool
    console: Console

    def convert(
        self,
        request: SconifyRequest,
        chart: ChartRequest,
        trace: str,
        seconds: int,
        session: Path | None,
        out: Path | None,
    ) -> None:
        """Convert, and write what goes to files of its own."""
        from sconectl.apply.sconify_chart import chart_files, check_chart
        from sconectl.artefacts.session import session_file
        from sconectl.cas.disk.private_files import write_private
        from sconectl.usecases.convert import convert

        check_chart(chart, request.service_name)
        with ExitStack() as stack:
            world = self._world(request, stack)
            request = self._with_proposal(request, trace, seconds, world)
            with self.console.working():
                done = convert(request, world)
        if session is not None:
            write_private(session, session_file(done.session).encode())
        if chart.workload:
            folder = out or self.target / "helm"
            files = chart_files(chart, done.plan, request.service_name)
            Wiring(target=folder, cas_config=None, notify=note).workspace.write(files, replaces=(request.service_name,))
            note(f"chart: {folder / request.service_name}")

    def _world(self, request: SconifyRequest, stack: ExitStack) -> ServiceWorld:
        from sconectl.plan.service.base_images import DEFAULT_BASES
        from sconectl.usecases.apply_service import ServiceWorld

        config = load_config(Path.cwd())
        wiring = Wiring(target=self.target, cas_config=self.cas_config, notify=note)
        return ServiceWorld(
            toolchain=toolchains()[DEFAULT_TOOLCHAIN],
            engine=wiring.engine,
            registry=lambda: wiring.registry,
            keys=wiring.keys,
            workspace=wiring.workspace,
            store=self._store(request.cas, stack) if self.upload else None,
            environment=build_environment(config.ca_bundle),
            launcher_base=config.launcher_base or config.base_images.get("python") or DEFAULT_BASES["python"],
            cache=cache_directory(),
            push=self.push,
            progress=self.console.step,
            detail=self.console.detail,
            remark=lambda text: note(f"note: {shown(text)}"),
            epoch=source_date_epoch(),
        )

    def _store(self, cas: str, stack: ExitStack) -> SessionStore:
        from sconectl.cas.client.identity import CasConfig
        from sconectl.cas.connect import connect

        known, identity = self.cas_config, self.identity
        if self.any_cas:  # no key is known, and none is remembered
            identity = identity or CasConfig(known).identity().file
            known = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sconectl-")))
        return connect(cas, config_dir=known, data_dir=data_directory() / "cas", identity_file=identity, notify=note)

    def _with_proposal(self, request: SconifyRequest, trace: str, seconds: int, world: ServiceWorld) -> SconifyRequest:
        """Return the request with the directories that a trace proposes, if none were given."""
        from sconectl.usecases.sconify_trace import proposal_from_log, proposal_from_run

        if not trace:
            return request
        if trace == _OBSERVED:
            with self.console.working():
                proposal = proposal_from_run(request, seconds, world)
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
